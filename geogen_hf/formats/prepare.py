"""Ready an identity for a format: scale, centre, mask and mirror it before it is laid out.

Open this module to add an option of how scenes are laid out, or to see in which order they work.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.hull import SurfacePoints, hull_surface
from geogen_hf.cameras.poses import FloatArray, camera_centre, mirror, resize_intrinsics
from geogen_hf.cameras.rigs import measure_rigs
from geogen_hf.cameras.silhouettes import Foreground, foreground
from geogen_hf.errors import CameraError, UsageError
from geogen_hf.formats.layout import Format, Scene, encode_png, mask_alpha
from geogen_hf.images import LONGEST_PX, decode_rgb

logger = logging.getLogger(__name__)

_LEAST_MASKED = 3  # views that a hull is carved from
_USUAL_RADII = (0.5, 2.0)  # of what the tool expects: outside, the user is told


@dataclass(frozen=True)
class LayoutOptions:
    """How scenes are laid out: the arguments of `convert` with these names."""

    masks: bool | None
    holdout: int | None
    centre: bool
    radius: float | None
    image_size: int | None
    mirrored: bool


def settle_options(form: Format, options: LayoutOptions) -> LayoutOptions:
    """Fill in a format's defaults, and refuse what is out of range or of no use to it."""
    for name, least, most in (("holdout", 1, None), ("image_size", 8, LONGEST_PX)):
        value = getattr(options, name)
        if value is not None and not least <= value <= (most or value):
            expected = f"at least {least}" if most is None else f"{least} to {most}"
            raise UsageError(f"{name} is out of range", expected=expected, found=value)
    radius = options.radius
    if radius is not None and not (options.centre and 0 < radius < float("inf")):
        raise UsageError(
            "a radius cannot be used",
            expected="a positive number, together with centring",
            found=f"radius {radius}, centre {options.centre}",
            remedy="add --centre, or leave --radius out",
        )
    if options.centre and radius is None:
        radius = form.radius
    masks = form.needs_masks if options.masks is None else options.masks
    if masks and form.masks is None:
        raise UsageError("this format has no masks", remedy="leave --masks out")
    if options.mirrored and not form.mirrors:
        raise UsageError("this format has no mirrored", remedy="leave --mirrored out")
    return replace(options, masks=masks, radius=radius)


def prepare(scene: Scene, form: Format, options: LayoutOptions, told: set[str]) -> Scene:
    """The scene as the format lays it out; `CameraError` where it cannot be centred.

    What the user should know of the format is logged once, unless it is in `told`.
    """
    scene = replace(scene, holdout=options.holdout)
    if options.image_size is not None:
        scene = _scaled(scene, options.image_size)
    if options.radius is not None:
        moved, similarity = centred(scene.extrinsics, options.radius, form.up)
        scene = replace(scene, similarity=similarity, extrinsics=moved)
    if options.masks or form.points:
        scene = _derive(scene, form, with_masks=bool(options.masks))
    if form.numbered:
        scene = replace(scene, names=_numbered(scene))
    if options.mirrored:
        scene = _with_mirrored(scene)
    for advice in (form.advice(scene), _about_scale(scene, form)):
        if advice is not None and advice not in told:
            logger.warning("%s (first seen with %s)", advice, scene.subject_id)
            told.add(advice)
    return scene


def _derive(scene: Scene, form: Format, *, with_masks: bool) -> Scene:
    pictures = [decode_rgb(image) for image in scene.images]
    masks = [foreground(picture) for picture in pictures]
    for view_id, mask in zip(scene.view_ids, masks, strict=True):
        if mask.doubt is not None:
            what = "%s view %d: the outline cannot be told from the background: %s"
            logger.warning(what, scene.subject_id, view_id, mask.doubt)
    if form.points:
        found = surface_points(pictures, masks, scene.extrinsics, scene.intrinsics)
        if found is None:
            what = "%s: no visual hull; the points are a grey ball instead"
            logger.warning(what, scene.subject_id)
        scene = replace(scene, points=found or _ball(scene))
    if not with_masks:
        return scene
    if form.masks == "alpha":
        pairs = zip(pictures, map(mask_alpha, masks), strict=True)
        images = tuple(encode_png(np.dstack(pair)) for pair in pairs)
        names = tuple(f"{Path(name).stem}.png" for name in scene.names)
        scene = replace(scene, images=images, names=names)
    return replace(scene, foregrounds=tuple(masks))


def _about_scale(scene: Scene, form: Format) -> str | None:
    if form.normalises or len(scene.names) < 2:
        return None
    found, (least, most) = camera_radius(scene.extrinsics), _USUAL_RADII
    if least * form.radius <= found <= most * form.radius:
        return None
    return (
        f"cameras stand about {found:.1g} from the head, where the tool expects about "
        f"{form.radius:g}: --centre moves them there"
    )


def _numbered(scene: Scene) -> tuple[str, ...]:
    """Names as EG3D's `dataset_tool.py` gives them, a thousand to a folder."""
    return tuple(
        f"img{scene.folder}{row:03d}{Path(name).suffix}" for row, name in enumerate(scene.names)
    )


def _scaled(scene: Scene, long_side_px: int) -> Scene:
    images, names, sizes, intrinsics = list(scene.images), list(scene.names), [], []
    for row, old in enumerate(scene.sizes):
        factor = long_side_px / max(old)
        new = (max(1, round(old[0] * factor)), max(1, round(old[1] * factor)))
        if new != old:
            images[row], names[row] = _resized(images[row], new), f"{Path(names[row]).stem}.png"
        sizes.append(new)
        intrinsics.append(resize_intrinsics(scene.intrinsics[row], old, new))
    return replace(
        scene,
        images=tuple(images),
        names=tuple(names),
        sizes=tuple(sizes),
        intrinsics=np.stack(intrinsics),
    )


def _resized(data: bytes, size_wh: tuple[int, int]) -> bytes:
    picture = Image.fromarray(decode_rgb(data))
    buffer = io.BytesIO()
    picture.resize(size_wh, Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()


def _with_mirrored(scene: Scene) -> Scene:
    """Add a flipped copy of each image, whose camera sees the world mirrored in its plane x = 0."""
    widths = np.array([width for width, _ in scene.sizes])
    extrinsics, intrinsics = mirror(scene.extrinsics, scene.intrinsics, widths)
    flipped = [
        encode_png(np.ascontiguousarray(decode_rgb(image)[:, ::-1])) for image in scene.images
    ]
    names = [f"{Path(name).stem}_mirror.png" for name in scene.names]
    return replace(
        scene,
        view_ids=scene.view_ids * 2,
        images=(*scene.images, *flipped),
        names=(*scene.names, *names),
        sizes=scene.sizes * 2,
        extrinsics=np.concatenate([scene.extrinsics, extrinsics]),
        intrinsics=np.concatenate([scene.intrinsics, intrinsics]),
    )


def surface_points(
    pictures: Sequence[NDArray[np.uint8]],
    foregrounds: Sequence[Foreground],
    extrinsics: FloatArray,
    intrinsics: FloatArray,
    count: int = 4096,
) -> SurfacePoints | None:
    """Sample the visual hull of the views whose outline can be told; None where it is empty."""
    known = [row for row, found in enumerate(foregrounds) if found.doubt is None]
    if len(known) < _LEAST_MASKED:
        return None
    found = hull_surface(
        [pictures[row] for row in known],
        [foregrounds[row].mask for row in known],
        extrinsics[known],
        intrinsics[known],
        count=count,
    )
    return replace(found, view=np.array(known)[found.view]) if len(found.xyz) else None


def _ball(scene: Scene, count: int = 1024) -> SurfacePoints:
    """Points spread evenly in a ball that fills half of the frame, seen by no view."""
    rng = np.random.default_rng(0)
    centre = measure_rigs(scene.extrinsics, np.array([0])).centre[0]
    half_frame = scene.sizes[0][0] / (2 * float(scene.intrinsics[0, 0, 0]))
    radius = camera_radius(scene.extrinsics) * half_frame / 2
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    xyz = centre + radius * np.cbrt(rng.uniform(size=(count, 1))) * directions
    grey = np.full((count, 3), 128, dtype=np.uint8)
    return SurfacePoints(xyz, grey, np.full(count, -1), np.zeros((count, 2)))


def camera_radius(world_to_camera: FloatArray) -> float:
    """Median distance of cameras `(V, 4, 4)` from the point that they look at."""
    centre = measure_rigs(world_to_camera, np.array([0])).centre[0]
    return float(np.median(np.linalg.norm(camera_centre(world_to_camera) - centre, axis=-1)))


def centred(
    world_to_camera: FloatArray, radius: float, up: tuple[float, float, float]
) -> tuple[FloatArray, dict[str, Any]]:
    """Extrinsics `(V, 4, 4)` in a centred world, and the similarity from the old one as JSON.

    The point that the optical axes come nearest to becomes the origin, the median distance of the
    cameras from it becomes `radius`, and the world's axis that is upwards in the images becomes
    `up`, an axis or its opposite. Only a whole axis of the world is turned, never a mean of the
    cameras' directions: so subjects stay upright as they were rendered. `CameraError` where the
    cameras do not look at one point.

    Example:
        >>> from geogen_hf.cameras.poses import look_at
        >>> eyes = [(1, 0.3, 6), (6, 0, 1), (1, 0, -4)]
        >>> moved, similarity = centred(look_at(eyes, (1, 0, 1), (0, 1, 0)), 10, (0, 0, 1))
        >>> round(similarity["scale"], 3), (camera_centre(moved)[0].round(1) + 0).tolist()
        (2.0, [0.0, -10.0, 0.6])
    """
    rig = measure_rigs(world_to_camera, np.array([0]))
    if not rig.sound[0]:
        raise CameraError(
            "these cameras cannot be centred",
            expected="three views or more that look at one point in front of them",
            found=f"{rig.views[0]} views that pass it by {rig.miss[0]:.0%} of their distance",
            remedy="convert without --centre",
        )
    axis = int(np.argmax(np.abs(rig.up[0])))
    upwards = np.eye(3)[axis] * np.sign(rig.up[0, axis])
    rotation = _rotation_between(upwards, np.asarray(up, dtype=np.float64))
    scale = radius / camera_radius(world_to_camera)
    translation = -scale * rotation @ rig.centre[0]
    moved = world_to_camera.copy()
    moved[:, :3, :3] = world_to_camera[:, :3, :3] @ rotation.T
    moved[:, :3, 3] = scale * world_to_camera[:, :3, 3] - moved[:, :3, :3] @ translation
    return moved, {
        "formula": "point = scale * rotation @ point_of_release + translation",
        "scale": scale,
        "rotation": rotation.tolist(),
        "translation": translation.tolist(),
    }


def _rotation_between(start: FloatArray, end: FloatArray) -> FloatArray:
    """The least rotation from one axis, or its opposite, to another; both are unit vectors."""
    if (start == -end).all():
        axis = np.eye(3)[int(np.argmin(np.abs(start)))]
        return np.asarray(2 * np.outer(axis, axis) - np.eye(3))
    skew = np.cross(np.eye(3), np.cross(start, end))
    return np.asarray(np.eye(3) + skew + skew @ skew * (1 - start @ end))
