"""Draw the proof of the camera convention, for a person to judge at a glance.

For a few subjects, the visual hull of all silhouettes is drawn into each view: on the left with the
cameras as they were read, on the right as the next best candidate has them. With true cameras its
outline follows the head; wrong ones cut parts of the head away. `geogen inspect --picture` and the
card of an exported folder show this picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from geogen_hf.cameras.conventions import CANDIDATES, Convention, express
from geogen_hf.cameras.scores import percent
from geogen_hf.cameras.silhouettes import Mask
from geogen_hf.cameras.trials import Seen, Stored, seen_subjects
from geogen_hf.errors import ArchiveError, CameraError, ImageError, ReleaseError
from geogen_hf.images import Pixels
from geogen_hf.release.release import Release
from geogen_hf.release.subjects import Subject, decode_for_eye
from geogen_hf.source.zip_reader import Archives, png_size, unpack_png

_WHITE, _PAPER, _INK, _FAINT = (255, 255, 255), (250, 250, 250), (40, 40, 44), (120, 120, 128)
_FITS, _LOST = (22, 150, 84), (214, 48, 49)
_COLUMNS, _MOST_VIEWS = 4, 8
_MARGIN, _GUTTER, _LINE = 16, 28, 20
_PEN_PX = 1.5


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A subject to draw."""

    subject_id: str
    pictures: list[Pixels]
    seen: Seen

    def hulls(self, convention: Convention) -> list[Mask]:
        """What of each silhouette the hull of all reaches."""
        rig, silhouettes = self.seen.read(convention), self.seen.silhouettes
        if rig is None:
            return [np.zeros_like(mask) for mask in silhouettes.masks]
        return silhouettes.reached(silhouettes.masks, *rig)


def proof_picture(release: Release, *, subjects: int = 2, cell_px: int = 150) -> Image.Image:
    """Draw the silhouettes' hull for the convention that was taken and for the next best.

    Where no convention is settled, the two best candidates are drawn.

    Args:
        release: Its images are read from its archives, those of a few subjects only.
        subjects: How many subjects to draw.
        cell_px: Side of an image in the picture, pixels.

    Returns:
        The picture, RGB.

    Raises:
        ReleaseError: No subject has three images of a head before an even background.
        FetchError: A part cannot be read from its host.
    """
    taken = release.camera_convention.convention
    drawn = _subjects_to_draw(release, taken, subjects)
    if not drawn:
        what = "no subject whose cameras could be drawn"
        raise ReleaseError(what, expected="heads before an even background")
    misfits = {c: float(np.mean([each.seen.plain(c) for each in drawn])) for c in CANDIDATES}
    ranked = sorted(CANDIDATES, key=lambda c: (c != taken, misfits[c]))
    columns = [(ranked[0], "taken" if taken else "best, not settled"), (ranked[1], "next best")]
    blocks = [
        _block(
            drawn,
            convention,
            f"{said}: outlines misfit by {percent(misfits[convention]):.2f} %",
            cell_px,
        )
        for convention, said in columns
    ]
    notes = [
        "Green: outline of the visual hull, seen again by each camera. Red: parts of the head that "
        "the hull lacks, because other views rule them out.",
        *(warning.text for warning in release.camera_convention.warnings[:3]),
    ]
    return _page(blocks, notes)


def _subjects_to_draw(release: Release, taken: Convention | None, count: int) -> list[_Drawn]:
    every = [subject for subject in release.subjects if len(subject.images) >= 3]
    spread = [np.linspace(0, len(every) - 1, some).round() for some in (count, 4 * count)]
    found: list[_Drawn] = []
    with Archives() as archives:
        for place in dict.fromkeys(np.concatenate(spread).astype(int)) if every else ():
            drawn = _read_subject(archives, every[place], taken)
            if drawn is not None:
                found.append(drawn)
            if len(found) == count:
                break
    return found


def _read_subject(archives: Archives, subject: Subject, taken: Convention | None) -> _Drawn | None:
    """Read the images of a subject; None where they are damaged or show no head."""
    try:
        (records,) = archives.records([subject.images])
        encoded = list(map(unpack_png, subject.images, records))
        own = subject.at_sizes(list(map(png_size, subject.images, encoded)))
        few = np.unique(np.linspace(0, len(encoded) - 1, _MOST_VIEWS).round().astype(int))
        chosen = [encoded[view] for view in few], [subject.images[view] for view in few]
        shown = decode_for_eye(*chosen, own.intrinsics[few])
    except (ArchiveError, CameraError, ImageError):
        return None
    stored = own.extrinsics if taken is None else express(own.extrinsics, taken)
    seen = seen_subjects(Stored.of([stored[few]]), lambda _: shown, [0], [subject.subject_id])
    return _Drawn(subject.subject_id, shown[0], seen[0]) if seen else None


def _block(drawn: Sequence[_Drawn], convention: Convention, said: str, cell_px: int) -> Image.Image:
    """All subjects under one convention, one below the other."""
    rows = [_cells(each, each.hulls(convention), cell_px) for each in drawn]
    width = max(row.width for row in rows)
    height = 2 * _LINE + 10 + sum(row.height + _LINE + 8 for row in rows)
    block = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(block)
    draw.text((0, 0), convention.name, _INK, ImageFont.load_default(17))
    draw.text((0, _LINE + 2), said, _FAINT, ImageFont.load_default(13))
    top = 2 * _LINE + 10
    for each, row in zip(drawn, rows, strict=True):
        draw.text((0, top), each.subject_id, _INK, ImageFont.load_default(13))
        block.paste(row, (0, top + _LINE))
        top += row.height + _LINE + 8
    return block


def _cells(drawn: _Drawn, hulls: Sequence[Mask], cell_px: int) -> Image.Image:
    cells = [
        _cell(picture, mask, hull, cell_px)
        for picture, mask, hull in zip(
            drawn.pictures, drawn.seen.silhouettes.masks, hulls, strict=True
        )
    ]
    rows = -(-len(cells) // _COLUMNS)
    step = cell_px + 4
    sheet = Image.new("RGB", (_COLUMNS * step - 4, rows * step - 4), _PAPER)
    for place, cell in enumerate(cells):
        sheet.paste(cell, (place % _COLUMNS * step, place // _COLUMNS * step))
    return sheet


def _cell(picture: Pixels, mask: Mask, hull: Mask, cell_px: int) -> Image.Image:
    """One image, paled, with the hull's outline and what the hull lacks."""
    factor = cell_px / max(picture.shape[:2])
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    image = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.LANCZOS)
    image = Image.blend(image, Image.new("RGB", size, _WHITE), 0.25)
    lost = np.clip(_inwards(mask & ~hull, size) + 0.5, 0, 1)
    line = np.clip(_PEN_PX / 2 + 0.5 - np.abs(_inwards(hull, size)), 0, 1)
    line[[0, -1]] = line[:, [0, -1]] = 0  # the edge of the picture only cuts
    for colour, opacity in ((_LOST, 0.62 * lost), (_FITS, line)):
        stencil = Image.fromarray((255 * opacity).astype(np.uint8))
        image.paste(Image.new("RGB", size, colour), mask=stencil)
    framed = Image.new("RGB", (cell_px, cell_px), _WHITE)
    framed.paste(image, (0, 0))
    return framed


def _inwards(mask: Mask, size: tuple[int, int]) -> NDArray[np.float32]:
    """Estimate how far pixels near a mask's outline lie inside it, in pixels of another size.

    A blurred edge rises by 1 / (sigma sqrt(2 pi)) a pixel, so the steps of the mask do not show.
    """
    sigma = max(1.2, 0.7 * max(size) / max(mask.shape))  # so that a pen's width stays distinct
    large = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BICUBIC)
    blurred = np.asarray(large.filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float32)
    return np.asarray((blurred / 255 - np.float32(0.5)) * np.float32(sigma * np.sqrt(2 * np.pi)))


def _page(blocks: Sequence[Image.Image], notes: Sequence[str]) -> Image.Image:
    width = sum(block.width for block in blocks) + _GUTTER * (len(blocks) - 1) + 2 * _MARGIN
    font = ImageFont.load_default(13)
    lines = [line for note in notes for line in _wrapped(note, font, width - 2 * _MARGIN)]
    height = max(block.height for block in blocks)
    page = Image.new("RGB", (width, height + _LINE * len(lines) + 2 * _MARGIN), _PAPER)
    left = _MARGIN
    for block in blocks:
        page.paste(block, (left, _MARGIN))
        left += block.width + _GUTTER
    draw = ImageDraw.Draw(page)
    for place, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + height + _LINE * place), line, _INK, font)
    return page


def _wrapped(text: str, font: Any, width: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            yield line
            line = word
        else:
            line = longer
    if line:
        yield line
