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

_PAPER, _INK, _FAINT = (250, 250, 250), (40, 40, 44), (120, 120, 128)
_FITS, _LOST = (22, 150, 84), (214, 48, 49)
_COLUMNS, _MOST_VIEWS = 4, 8
_MARGIN, _GUTTER, _LINE = 16, 28, 20
_FINE = 2  # drawn larger by this and reduced, for smooth lines


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
        return [silhouettes.reached(v, mask, *rig) for v, mask in enumerate(silhouettes.masks)]


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
    side = _FINE * cell_px
    factor = side / max(picture.shape[:2])
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    image = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.LANCZOS)
    image = Image.blend(image, Image.new("RGB", size, (255, 255, 255)), 0.25)
    lost, kept = _enlarged(mask & ~hull, size), _enlarged(hull, size)
    image.paste(Image.new("RGB", size, _LOST), mask=lost.point(lambda value: value * 0.62))
    edge = np.asarray(kept.filter(ImageFilter.MaxFilter(5))) > np.asarray(
        kept.filter(ImageFilter.MinFilter(3))
    )
    edge[[0, 1, -2, -1]] = edge[:, [0, 1, -2, -1]] = False  # the edge of the picture only cuts
    image.paste(Image.new("RGB", size, _FITS), mask=Image.fromarray(edge))
    framed = Image.new("RGB", (side, side), (255, 255, 255))
    framed.paste(image, (0, 0))
    return framed.resize((cell_px, cell_px), Image.Resampling.LANCZOS)


def _enlarged(mask: Mask, size: tuple[int, int]) -> Image.Image:
    """A mask at another size, without the steps of its pixels."""
    large = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BICUBIC)
    large = large.filter(ImageFilter.GaussianBlur(0.7 * max(size) / max(mask.shape)))
    return large.point(lambda value: 255 if value >= 128 else 0)


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
