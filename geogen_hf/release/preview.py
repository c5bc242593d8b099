"""Draw a contact sheet of identities, and the cameras around one of them, with Pillow alone.

`geogen preview`, `geogen demo` and the card of an export show these pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geogen_hf.cameras.intrinsics import intrinsics_from_fov
from geogen_hf.cameras.poses import FloatArray, camera_centre, look_at, project, unproject
from geogen_hf.cameras.rigs import Orbit, fit_orbit
from geogen_hf.release.release import Identity
from geogen_hf.release.subjects import decode_for_eye

_BACKGROUND, _INK, _FAINT = (250, 250, 250), (40, 40, 44), (190, 190, 196)
_AXIS_COLOURS = {"x": (204, 51, 51), "y": (46, 139, 62), "z": (45, 85, 200)}
_FRUSTUM_COLOUR = (230, 126, 34)


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
    cameras = identity.extrinsics, identity.intrinsics
    return views_of(identity.subject_id, identity.images, *cameras, places)


def views_of(
    subject_id: str,
    encoded: Sequence[bytes],
    extrinsics: FloatArray,
    intrinsics: FloatArray,
    places: Sequence[str],
) -> Views:
    """As `decode_views`, of images whose places are named in messages."""
    pictures, scaled = decode_for_eye(encoded, places, intrinsics)
    return Views(subject_id, list(map(Image.fromarray, pictures)), extrinsics, scaled)


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
    sheet = Image.new("RGB", size, _BACKGROUND)
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
    picture = Image.new("RGB", (width, height), _BACKGROUND)
    orbit = fit_orbit(views.extrinsics)
    distance = float(np.median(orbit.angles(views.extrinsics)[2]))
    observer = _Observer(orbit, distance, width, height)
    turns, side = np.linspace(0, 2 * np.pi, 97)[:, None], np.cross(orbit.up, orbit.front)
    ring = orbit.centre + distance * (np.cos(turns) * orbit.front + np.sin(turns) * side)
    _draw_lines(picture, observer, ring, _FAINT, 3)
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
