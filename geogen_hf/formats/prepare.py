"""Ready an identity for a format: scale, centre, mask and mirror it before it is laid out.

Open this module to see in which order the options of `LayoutOptions` work.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.hull import SurfacePoints, hull_surface
from geogen_hf.cameras.intrinsics import mirror, resize_intrinsics
from geogen_hf.cameras.poses import FloatArray, camera_centre, unit_vectors
from geogen_hf.cameras.rigs import measure_rigs
from geogen_hf.cameras.silhouettes import Foreground, foreground
from geogen_hf.errors import CameraError, UsageError
from geogen_hf.formats.layout import Format, encode_png, mask_alpha
from geogen_hf.formats.scene import LayoutOptions, Scene, Similarity
from geogen_hf.images import decode_rgb

logger = logging.getLogger(__name__)

_LEAST_MASKED = 3  # views that a hull is carved from
_USUAL_RADII = (0.5, 2.0)  # of what the tool expects: outside, the user is told


def settle_options(form: Format, options: LayoutOptions) -> LayoutOptions:
    """Fill in a format's defaults.

    Raises:
        UsageError: The format has no use for an option.
    """
    masks = form.needs_masks if options.masks is None else options.masks
    radius = form.radius if options.centre and options.radius is None else options.radius
    for name, wanted, possible in (
        ("masks", masks, form.masks is not None),
        ("mirrored", options.mirrored, form.mirrors),
    ):
        if wanted and not possible:
            raise UsageError(f"this format has no {name}", remedy=f"leave --{name} out")
    return replace(options, masks=masks, radius=radius)


@dataclass
class Preparer:
    """Readies scenes of one conversion, and tells each thing about the format once."""

    form: Format
    options: LayoutOptions
    _told: set[str] = field(default_factory=set)

    def __call__(self, scene: Scene) -> Scene:
        """The scene as the format lays it out.

        Raises:
            CameraError: It cannot be centred.
        """
        options = self.options
        scene = replace(scene, options=options)
        if options.image_size is not None:
            scene = _scaled(scene, options.image_size)
        if options.radius is not None:
            similarity = centring(scene.extrinsics, options.radius, self.form.up)
            moved = similarity.extrinsics(scene.extrinsics)
            scene = replace(scene, similarity=similarity, extrinsics=moved)
        if options.masks or self.form.points:
            scene = self._derive(scene)
        if self.form.numbered:
            scene = replace(scene, names=_numbered(scene))
        if options.mirrored:
            scene = _with_mirrored(scene)
        for advice in (*self.form.advice(scene), *self._about_scale(scene)):
            if advice not in self._told:
                logger.warning("%s (first seen with %s)", advice, scene.subject_id)
                self._told.add(advice)
        return scene

    def _derive(self, scene: Scene) -> Scene:
        pictures = [decode_rgb(image) for image in scene.images]
        masks = [foreground(picture) for picture in pictures]
        for view_id, mask in zip(scene.view_ids, masks, strict=True):
            if mask.doubt is not None:
                logger.warning(
                    "%s view %d: the outline cannot be told from the background: %s",
                    scene.subject_id, view_id, mask.doubt,
                )  # fmt: skip
        if self.form.points:
            found = surface_points(pictures, masks, scene.extrinsics, scene.intrinsics)
            if found is None:
                logger.warning(
                    "%s: no visual hull; the points are a grey ball instead", scene.subject_id
                )
            scene = replace(scene, points=found or _ball(scene))
        if not self.options.masks:
            return scene
        scene = replace(scene, foregrounds=tuple(masks))
        if self.form.masks == "alpha":
            return _with_alpha(scene, pictures)
        return scene

    def _about_scale(self, scene: Scene) -> list[str]:
        if self.form.normalises or len(scene.names) < 2:
            return []
        found, (least, most) = camera_radius(scene.extrinsics), _USUAL_RADII
        if least * self.form.radius <= found <= most * self.form.radius:
            return []
        return [
            f"cameras stand about {found:.1g} from the head, where the tool expects about "
            f"{self.form.radius:g}: --centre moves them there"
        ]


def _numbered(scene: Scene) -> tuple[str, ...]:
    """Names as EG3D's `dataset_tool.py` gives them, a thousand to a folder."""
    endings = (name.rpartition(".")[2] for name in scene.names)
    return tuple(f"img{scene.folder}{row:03d}.{ending}" for row, ending in enumerate(endings))


def _scaled(scene: Scene, long_side_px: int) -> Scene:
    images, sizes, intrinsics = [], [], []
    for row, data in enumerate(scene.images):
        width, height = scene.sizes[row]
        factor = long_side_px / max(width, height)
        new = (max(1, round(width * factor)), max(1, round(height * factor)))
        images.append(data if new == (width, height) else _resized(data, new))
        sizes.append(new)
        intrinsics.append(resize_intrinsics(scene.intrinsics[row], (width, height), new))
    return replace(
        scene,
        images=tuple(images),
        names=tuple(
            name if image is old else f"{name.rpartition('.')[0]}.png"
            for name, image, old in zip(scene.names, images, scene.images, strict=True)
        ),
        sizes=tuple(sizes),
        intrinsics=np.stack(intrinsics),
    )


def _resized(data: bytes, size_wh: tuple[int, int]) -> bytes:
    picture = Image.fromarray(decode_rgb(data))
    buffer = io.BytesIO()
    picture.resize(size_wh, Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()


def _with_alpha(scene: Scene, pictures: list[NDArray[np.uint8]]) -> Scene:
    images = [
        encode_png(np.dstack([picture, mask_alpha(mask)]))
        for picture, mask in zip(pictures, scene.foregrounds, strict=True)
    ]
    names = tuple(f"{name.rpartition('.')[0]}.png" for name in scene.names)
    return replace(scene, images=tuple(images), names=names)


def _with_mirrored(scene: Scene) -> Scene:
    """Add a flipped copy of each image, whose camera sees the world mirrored in its plane x = 0."""
    widths = np.array([width for width, _ in scene.sizes])
    extrinsics, intrinsics = mirror(scene.extrinsics, scene.intrinsics, widths)
    flipped = [
        encode_png(np.ascontiguousarray(decode_rgb(image)[:, ::-1])) for image in scene.images
    ]
    names = [f"{name.rpartition('.')[0]}_mirror.png" for name in scene.names]
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


def centring(
    world_to_camera: FloatArray, radius: float, up: tuple[float, float, float]
) -> Similarity:
    """The similarity that centres a subject.

    The point that the optical axes come nearest to becomes the origin, the median distance of the
    cameras from it becomes `radius`, and the world's axis that is upwards in the images becomes
    `up`, an axis or its opposite. Only a whole axis of the world is turned, never a mean of the
    cameras' directions: so subjects stay upright as they were rendered.

    Raises:
        CameraError: The cameras do not look at one point.

    Example:
        >>> from geogen_hf.cameras.poses import look_at
        >>> eyes = [(1, 0.3, 6), (6, 0, 1), (1, 0, -4)]
        >>> found = centring(look_at(eyes, (1, 0, 1), (0, 1, 0)), 10, (0, 0, 1))
        >>> round(found.scale, 3), (found.rotation @ [0, 1, 0]).round(6).tolist()
        (2.0, [0.0, 0.0, 1.0])
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
    return Similarity(scale, rotation, -scale * rotation @ rig.centre[0])


def _rotation_between(start: FloatArray, end: FloatArray) -> FloatArray:
    """The least rotation from one unit vector to another, exact for axes."""
    across, along = np.cross(start, end), float(start @ end)
    if along < -0.5 and np.allclose(across, 0):
        axis = np.eye(3)[int(np.argmin(np.abs(start)))]
        return np.asarray(2 * np.outer(axis, axis) - np.eye(3))
    skew = np.cross(np.eye(3), unit_vectors(across, "axis") if across.any() else across)
    return np.asarray(np.eye(3) + skew * np.linalg.norm(across) + skew @ skew * (1 - along))
