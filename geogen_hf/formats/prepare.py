"""Ready an identity for a format: scale, centre, mask and mirror it before it is laid out.

Open this module to see in which order the options of `LayoutOptions` work.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.foreground import Foreground, foreground
from geogen_hf.cameras.intrinsics import mirror, resize_intrinsics
from geogen_hf.cameras.poses import camera_centre
from geogen_hf.cameras.rigs import measure_rigs
from geogen_hf.cameras.surface import SurfacePoints, hull_surface
from geogen_hf.errors import UsageError, explain
from geogen_hf.formats.layout import Format, encode_png
from geogen_hf.formats.layout_options import LayoutOptions
from geogen_hf.formats.scene import Scene
from geogen_hf.formats.similarity import camera_radius, centring
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
            raise UsageError(explain(f"this format has no {name}", remedy=f"leave --{name} out"))
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
            ImageError: An image is damaged.
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
        if options.mirrored:
            scene = _with_mirrored(scene)
        for advice in (*self.form.advice(scene), *self._about_scale(scene)):
            if advice not in self._told:
                logger.warning("%s (first seen with %s)", advice, scene.subject_id)
                self._told.add(advice)
        return scene

    def _derive(self, scene: Scene) -> Scene:
        pictures = [decode_rgb(image, where=scene.subject_id) for image in scene.images]
        masks = [foreground(picture) for picture in pictures]
        for view_id, mask in zip(scene.view_ids, masks, strict=True):
            if mask.doubt is not None:
                logger.warning(
                    "%s view %d: the outline cannot be told from the background: %s",
                    scene.subject_id, view_id, mask.doubt,
                )  # fmt: skip
        if self.form.points:
            scene = replace(scene, points=_points(scene, pictures, masks))
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


def _scaled(scene: Scene, long_side_px: int) -> Scene:
    images, sizes, intrinsics = [], [], []
    for row, data in enumerate(scene.images):
        width, height = scene.sizes[row]
        factor = long_side_px / max(width, height)
        new = (max(1, round(width * factor)), max(1, round(height * factor)))
        images.append(data if new == (width, height) else _resized(scene, data, new))
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


def _resized(scene: Scene, data: bytes, size_wh: tuple[int, int]) -> bytes:
    picture = Image.fromarray(decode_rgb(data, where=scene.subject_id))
    buffer = io.BytesIO()
    picture.resize(size_wh, Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()


def _with_alpha(scene: Scene, pictures: list[NDArray[np.uint8]]) -> Scene:
    images = []
    for picture, mask in zip(pictures, scene.foregrounds, strict=True):
        alpha = mask.alpha if mask.doubt is None else np.full_like(mask.alpha, 255)
        images.append(encode_png(np.dstack([picture, alpha])))
    names = tuple(f"{name.rpartition('.')[0]}.png" for name in scene.names)
    return replace(scene, images=tuple(images), names=names)


def _with_mirrored(scene: Scene) -> Scene:
    """Add a flipped copy of each image, whose camera sees the world mirrored in its plane x = 0."""
    widths = np.array([width for width, _ in scene.sizes])
    extrinsics, intrinsics = mirror(scene.extrinsics, scene.intrinsics, widths)
    flipped = [
        encode_png(np.ascontiguousarray(decode_rgb(image, where=scene.subject_id)[:, ::-1]))
        for image in scene.images
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


def _points(
    scene: Scene, pictures: list[NDArray[np.uint8]], masks: list[Foreground]
) -> SurfacePoints:
    """The hull's surface from the views whose outline can be told, or a ball in its place."""
    known = [row for row, mask in enumerate(masks) if mask.doubt is None]
    if len(known) >= _LEAST_MASKED:
        found = hull_surface(
            [pictures[row] for row in known],
            [masks[row].mask for row in known],
            scene.extrinsics[known],
            scene.intrinsics[known],
        )
        if len(found.xyz):
            return replace(found, view=np.array(known)[found.view])
    logger.warning("%s: no visual hull; the points are a grey ball instead", scene.subject_id)
    return _ball(scene)


def _ball(scene: Scene, count: int = 1024) -> SurfacePoints:
    """Points spread evenly in a ball that fills half of the frame, seen by no view."""
    rng = np.random.default_rng(0)
    centre = measure_rigs(scene.extrinsics, np.array([0])).centre[0]
    distance = float(np.median(np.linalg.norm(camera_centre(scene.extrinsics) - centre, axis=-1)))
    radius = distance * scene.sizes[0][0] / (4 * float(scene.intrinsics[0, 0, 0]))
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    xyz = centre + radius * np.cbrt(rng.uniform(size=(count, 1))) * directions
    grey = np.full((count, 3), 128, dtype=np.uint8)
    return SurfacePoints(xyz, grey, np.full(count, -1), np.zeros((count, 2)))
