"""Draw identities with Pillow alone: contact sheets, cameras, and the proof of their convention.

`geogen preview`, `geogen demo`, `geogen inspect --picture` and the card of an export show these
pictures.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from geogen_hf.cameras.conventions import CANDIDATES, Convention, express
from geogen_hf.cameras.poses import (
    FloatArray,
    camera_centre,
    intrinsics_from_fov,
    look_at,
    project,
    unproject,
)
from geogen_hf.cameras.rigs import Orbit, fit_orbit
from geogen_hf.cameras.scores import percent
from geogen_hf.cameras.silhouettes import Mask
from geogen_hf.cameras.trials import Seen, Stored, seen_subjects
from geogen_hf.errors import ArchiveError, ImageError, ReleaseError
from geogen_hf.release.convention import ResolvedConvention
from geogen_hf.release.release import Identity
from geogen_hf.release.subjects import Subject, decode_for_eye

_WHITE, _PAPER, _INK = (255, 255, 255), (250, 250, 250), (40, 40, 44)
_PALE, _FAINT = (190, 190, 196), (120, 120, 128)
_AXIS_COLOURS = {"x": (204, 51, 51), "y": (46, 139, 62), "z": (45, 85, 200)}
_FRUSTUM_COLOUR = (230, 126, 34)
_FITS, _LOST = (22, 150, 84), (214, 48, 49)
_CELL_PX, _COLUMNS = 150, 4
_MARGIN, _GUTTER, _LINE = 16, 28, 20
_PEN_PX = 1.5


@dataclass(frozen=True)
class Views:
    """What the pictures are made of: an identity's V decoded images and its cameras.

    The cameras are `(V, 4, 4)` float64 world-to-camera, OpenCV axes, and `(V, 3, 3)` pixels.
    """

    subject_id: str
    images: Sequence[Image.Image]
    extrinsics: FloatArray
    intrinsics: FloatArray


def decode_views(identity: Identity) -> Views:
    """Decode an identity's images for drawing; large ones are reduced, with their intrinsics.

    Raises:
        ImageError: One is damaged.
    """
    places = [f"subject {identity.subject_id}, view {view}" for view in identity.view_ids]
    return _decode(identity, identity.images, places)


def views_of(subject: Subject, encoded: Sequence[bytes]) -> Views:
    """As `decode_views`, of a subject and its images as `read_each` gives them.

    Raises:
        ArchiveError: An image is damaged; the message names part, member, subject and view.
    """
    try:
        return _decode(subject, encoded, subject.places)
    except ImageError as error:
        raise ArchiveError(str(error)) from error


def _decode(of: Subject | Identity, encoded: Sequence[bytes], places: Sequence[str]) -> Views:
    pictures, scaled = decode_for_eye(encoded, places, of.intrinsics)
    return Views(of.subject_id, list(map(Image.fromarray, pictures)), of.extrinsics, scaled)


def contact_sheet(subjects: Sequence[Views], cell_px: int = 128) -> Image.Image:
    """Draw a row of images for each identity, in the order of azimuth.

    Args:
        subjects: One or more identities, with any number of views each.
        cell_px: Side of an image in the sheet, pixels.

    Returns:
        The sheet, RGB. Each image is labelled with the azimuth of its camera in degrees, as
        `geogen_hf.cameras.rigs.Orbit` measures it; a line at the foot says from where.
    """
    margin, caption = 8, max(14, cell_px // 8)
    font = ImageFont.load_default(caption * 0.8)
    longest = max(font.getlength(views.subject_id) for views in subjects)
    label_width = int(longest) + 1 + 2 * margin
    columns = max(len(views.images) for views in subjects)
    row_height = cell_px + caption + margin
    foot_top = len(subjects) * row_height + margin
    size = (label_width + columns * (cell_px + margin), foot_top + caption + margin)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, views in enumerate(subjects):
        top = margin + row * row_height
        draw.text((margin, top + cell_px // 2), views.subject_id, _INK, font, anchor="lm")
        azimuth_deg = fit_orbit(views.extrinsics).angles(views.extrinsics)[0]
        for column, view in enumerate(np.argsort(azimuth_deg, kind="stable")):
            left = label_width + column * (cell_px + margin)
            cell = views.images[view].resize((cell_px, cell_px), Image.Resampling.LANCZOS)
            sheet.paste(cell, (left, top))
            text = f"{azimuth_deg[view]:.0f}°"
            place = (left + cell_px // 2, top + cell_px + caption // 2)
            draw.text(place, text, _INK, font, anchor="mm")
    axis = "xyz"[int(np.argmax(fit_orbit(subjects[0].extrinsics).front))]
    foot = f"Azimuth of the camera around the head; 0° is where the world's {axis} axis points."
    draw.text((margin, foot_top + caption // 2), foot, _INK, font, anchor="lm")
    return sheet


def camera_rig(views: Views, size_px: int = 900) -> Image.Image:
    """Draw the cameras of one identity where they stand, each holding its image.

    Args:
        views: The identity.
        size_px: Width of the picture; it is 2/3 as high.

    Returns:
        The picture, RGB: frusta, the axes of each camera, the world's axes at the point the cameras
        look at, and the circle they stand around.
    """
    scale = 2  # drawn larger and reduced, since Pillow draws lines with hard edges
    width, height = size_px * scale, size_px * scale * 2 // 3
    picture = Image.new("RGB", (width, height), _PAPER)
    orbit = fit_orbit(views.extrinsics)
    distance = float(np.median(orbit.angles(views.extrinsics)[2]))
    observer = _Observer(orbit, distance, width, height)
    turns, side = np.linspace(0, 2 * np.pi, 97)[:, None], np.cross(orbit.up, orbit.front)
    ring = orbit.centre + distance * (np.cos(turns) * orbit.front + np.sin(turns) * side)
    _draw_lines(picture, observer, ring, _PALE, 3)
    depths = observer.see(camera_centre(views.extrinsics))[1]
    behind = [v for v in np.argsort(-depths) if depths[v] > observer.distance]
    for view in behind:
        _draw_camera(picture, observer, views, int(view), 0.28 * distance)
    _draw_axes(picture, observer, orbit.centre, 0.35 * distance * np.eye(3), 32)
    for view in np.argsort(-depths):
        if view not in behind:
            _draw_camera(picture, observer, views, int(view), 0.28 * distance)
    font = ImageFont.load_default(12 * scale)
    text = (
        f"{views.subject_id}: {len(views.images)} cameras with their axes (x right, y down, "
        "z forward); large: the world's, where they look"
    )
    ImageDraw.Draw(picture).text((12 * scale, 10 * scale), text, _INK, font)
    return picture.resize((width // scale, height // scale), Image.Resampling.LANCZOS)


class _Observer:
    """The camera that looks at the rig from above and in front."""

    def __init__(self, orbit: Orbit, distance: float, width: int, height: int) -> None:
        side = np.cross(orbit.up, orbit.front)
        towards = orbit.front * 0.85 + side * 0.45 + orbit.up * 0.75
        self.distance = 2.7 * distance
        eye = orbit.centre + self.distance * towards / np.linalg.norm(towards)
        self._extrinsics = look_at(eye, orbit.centre, orbit.up)
        self._intrinsics = intrinsics_from_fov(56.0, width, height)

    def see(self, points_world: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixels `(N, 2)` and depths `(N,)` of world points `(N, 3)`."""
        return project(points_world, self._extrinsics, self._intrinsics)


def _draw_axes(
    picture: Image.Image,
    observer: _Observer,
    origin: FloatArray,
    directions: FloatArray,
    font_px: int,
) -> None:
    """Draw x, y and z, the rows of `directions`, in their colours and with their names."""
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(font_px)
    for (name, colour), direction in zip(_AXIS_COLOURS.items(), directions, strict=True):
        _draw_lines(picture, observer, np.stack([origin, origin + direction]), colour, 6)
        x_px, y_px = observer.see((origin + 1.2 * direction)[None])[0][0]
        draw.text((x_px, y_px), name, colour, font, anchor="mm")


def _draw_camera(
    picture: Image.Image, observer: _Observer, views: Views, view: int, depth: float
) -> None:
    image = views.images[view]
    width, height = image.size
    corners_px = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    extrinsics, intrinsics = views.extrinsics[view], views.intrinsics[view]
    corners = unproject(corners_px, np.full(4, depth), extrinsics, intrinsics)
    quad_px = observer.see(corners)[0]
    _paste_onto(picture, image, corners_px, quad_px)
    _draw_lines(picture, observer, corners[[0, 1, 2, 3, 0]], _FRUSTUM_COLOUR, 3)
    centre = camera_centre(extrinsics)
    for corner in corners:
        _draw_lines(picture, observer, np.stack([centre, corner]), _FRUSTUM_COLOUR, 3)
    _draw_axes(picture, observer, centre, 0.4 * depth * extrinsics[:3, :3], 20)


def _draw_lines(
    picture: Image.Image,
    observer: _Observer,
    points_world: FloatArray,
    colour: tuple[int, int, int],
    width_px: int,
) -> None:
    pixels = observer.see(points_world)[0]
    ImageDraw.Draw(picture).line([(x, y) for x, y in pixels], colour, width_px, joint="curve")


def _paste_onto(
    picture: Image.Image, image: Image.Image, corners_px: FloatArray, quad_px: FloatArray
) -> None:
    """Paste `image` so that its corners land on `quad_px`, in perspective."""
    x, y = quad_px.T
    zero, one = np.zeros(4), np.ones(4)
    source_x, source_y = corners_px.T
    rows_x = np.stack([x, y, one, zero, zero, zero, -x * source_x, -y * source_x], axis=1)
    rows_y = np.stack([zero, zero, zero, x, y, one, -x * source_y, -y * source_y], axis=1)
    system, target = np.concatenate([rows_x, rows_y]), np.concatenate([source_x, source_y])
    homography = np.linalg.solve(system, target)
    placed = image.transform(
        picture.size, Image.Transform.PERSPECTIVE, list(homography), Image.Resampling.BILINEAR
    )
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).polygon([(float(a), float(b)) for a, b in quad_px], fill=255)
    picture.paste(placed, (0, 0), mask)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A subject whose proof is drawn: its silhouettes, and its images, paled, in their size."""

    subject_id: str
    seen: Seen
    images: list[Image.Image]

    def hulls(self, convention: Convention) -> list[Mask]:
        """What of each silhouette the hull of all reaches."""
        rig, silhouettes = self.seen.read(convention), self.seen.silhouettes
        if rig is None:
            return [np.zeros_like(mask) for mask in silhouettes.masks]
        return silhouettes.reached(silhouettes.masks, rig)


def proof_picture(
    shown: Iterable[Views], cameras: ResolvedConvention, *, subjects: int
) -> Image.Image:
    """Draw the silhouettes' hull for the convention that was taken and for the next best.

    The visual hull of all silhouettes is drawn into each view: on the left with the cameras as they
    were read, on the right as the next best candidate has them. With true cameras its outline
    follows the head; wrong ones cut parts of the head away. Where no convention is settled, the two
    best candidates are drawn.

    Args:
        shown: Some of a release, until enough of them have three images or more, all of a head
            before an even background. Their extrinsics are as stored where nothing is settled.
        cameras: How the cameras of the release were read.
        subjects: How many of them to draw.

    Returns:
        The picture, RGB.

    Raises:
        ReleaseError: None of them can be drawn.
    """
    taken = cameras.convention
    drawable = filter(None, (_drawn(views, taken) for views in shown))
    drawn = list(islice(drawable, subjects))
    if not drawn:
        what = "no subject whose cameras could be drawn"
        raise ReleaseError(what, expected="heads before an even background")
    misfits = {c: float(np.mean([each.seen.plain(c) for each in drawn])) for c in CANDIDATES}
    ranked = sorted(CANDIDATES, key=lambda c: (c != taken, misfits[c]))
    columns = [(ranked[0], "taken" if taken else "best, not settled"), (ranked[1], "next best")]
    blocks = [
        _block(
            drawn, convention, f"{said}: outlines misfit by {percent(misfits[convention]):.2f} %"
        )
        for convention, said in columns
    ]
    notes = [
        "Green: outline of the visual hull, seen again by each camera. Red: parts of the head that "
        "the hull lacks, because other views rule them out.",
        *(warning.text for warning in cameras.warnings[:3]),
    ]
    return _page(blocks, notes)


def _drawn(views: Views, taken: Convention | None) -> _Drawn | None:
    """Find the silhouettes of a subject; None where too few views are there, or no head."""
    if len(views.images) < 3:
        return None
    stored = views.extrinsics if taken is None else express(views.extrinsics, taken)
    pictures = list(map(np.asarray, views.images)), views.intrinsics
    seen = seen_subjects(Stored.of([stored], [views.subject_id]), lambda _: pictures, [0])
    if not seen:
        return None
    images = [_paled(views.images[row]) for row in seen[0].rows]
    return _Drawn(views.subject_id, seen[0], images)


def _paled(image: Image.Image) -> Image.Image:
    factor = _CELL_PX / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.HAMMING)  # a third of the work of Lanczos
    return Image.blend(image, Image.new("RGB", size, _WHITE), 0.25)


def _block(drawn: Sequence[_Drawn], convention: Convention, said: str) -> Image.Image:
    """All subjects under one convention, one below the other."""
    rows = [_cells(each, each.hulls(convention)) for each in drawn]
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


def _cells(drawn: _Drawn, hulls: Sequence[Mask]) -> Image.Image:
    rows = -(-len(hulls) // _COLUMNS)
    step = _CELL_PX + 4
    sheet = Image.new("RGB", (_COLUMNS * step - 4, rows * step - 4), _PAPER)
    masks = drawn.seen.silhouettes.masks
    for place, (image, mask, hull) in enumerate(zip(drawn.images, masks, hulls, strict=True)):
        corner = place % _COLUMNS * step, place // _COLUMNS * step
        sheet.paste(_WHITE, (*corner, corner[0] + _CELL_PX, corner[1] + _CELL_PX))
        sheet.paste(_with_hull(image, mask, hull), corner)
    return sheet


def _with_hull(image: Image.Image, mask: Mask, hull: Mask) -> Image.Image:
    """Draw the hull's outline and what the hull lacks into one image."""
    lost = np.clip(_inwards(mask & ~hull, image.size) + 0.5, 0, 1)
    line = np.clip(_PEN_PX / 2 + 0.5 - np.abs(_inwards(hull, image.size)), 0, 1)
    line[[0, -1]] = line[:, [0, -1]] = 0  # the edge of the picture only cuts
    image = image.copy()
    for colour, opacity in ((_LOST, 0.62 * lost), (_FITS, line)):
        image.paste(colour, mask=Image.fromarray((255 * opacity).astype(np.uint8)))
    return image


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
    letters = (width - 2 * _MARGIN) // 7  # in a line: they are 6 px wide in the mean
    lines = [line for note in notes for line in textwrap.wrap(note, letters)]
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
