"""Points on the visual hull of one subject, coloured from its pictures.

The visual hull is all of space that no silhouette rules out. It holds the head and bulges where
no camera looks into a hollow. Open this module for a starting point cloud: splatting starts from
it, and a viewer shows it.

No voxels are needed: a pixel's ray is followed to the first point that no other silhouette rules
out (Matusik et al., "Image-Based Visual Hulls", 2000). So every point is seen by the pixel that
gives its colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import FloatArray, camera_centre, rays
from geogen_hf.cameras.rigs import measure_rigs
from geogen_hf.cameras.silhouettes import Mask

_STEPS = 128  # along a ray, through a sphere as wide as the frame: 5 mm on a head
_HALVINGS = 8  # of the last step: down to 0.02 mm
_PIXELS_TRIED = 1.3  # for each point wanted: rays along an outline may miss what is left


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points on a surface.

    Attributes:
        xyz: `(P, 3)` float64 world points, the extrinsics' unit of length.
        rgb: `(P, 3)` uint8 sRGB.
        view: `(P,)` index of the picture that each point was seen in.
        pixel: `(P, 2)` x and y there, pixels, at the middle of a pixel.
    """

    xyz: FloatArray
    rgb: NDArray[np.uint8]
    view: NDArray[np.intp]
    pixel: FloatArray


def hull_surface(
    pictures: Sequence[NDArray[np.uint8]],
    masks: Sequence[Mask],
    world_to_camera: FloatArray,
    intrinsics: FloatArray,
    *,
    count: int = 4096,
    seed: int = 0,
) -> SurfacePoints:
    """Sample the surface of the visual hull.

    A point counts as inside if it is in the frame of at least half of the other cameras, and in
    the silhouettes of all that have it in their frame. The same arguments give the same points.

    Args:
        pictures: V pictures, `(H, W, 3)` uint8.
        masks: V silhouettes, `(H, W)` bool, one for each picture.
        world_to_camera: `(V, 4, 4)` extrinsics, OpenCV axes.
        intrinsics: `(V, 3, 3)` pixels.
        count: About how many points; fewer where there are fewer pixels.
        seed: Of the choice of pixels.

    Returns:
        The points; none where the silhouettes leave nothing.

    Example:
        >>> from geogen_hf.cameras.poses import look_at
        >>> eyes = [(0, 0, 5), (5, 0, 0), (0, 0, -5), (-5, 0, 0)]
        >>> picture, mask = np.full((32, 32, 3), 90, np.uint8), np.zeros((32, 32), bool)
        >>> mask[8:24, 8:24] = True  # 2 wide, at a distance of 5
        >>> lens = np.tile([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]], (4, 1, 1))
        >>> cameras = look_at(eyes, (0, 0, 0), (0, 1, 0)), lens
        >>> found = hull_surface([picture] * 4, [mask] * 4, *cameras, count=100)
        >>> bool(len(found.xyz) > 90), bool(np.abs(found.xyz).max() < 1.3)
        (True, True)
    """
    rng = np.random.default_rng(seed)
    centre = measure_rigs(world_to_camera, np.array([0])).centre[0]
    eyes = camera_centre(world_to_camera)
    distance = np.linalg.norm(eyes - centre, axis=-1)
    half_frame = [
        0.5 * max(mask.shape) * d / k[[0, 1], [0, 1]].min()
        for mask, d, k in zip(masks, distance, intrinsics, strict=True)
    ]
    radius = float(np.median(half_frame)) * 1.2
    share = np.array([mask.sum() for mask in masks]) / max(1, sum(mask.sum() for mask in masks))
    parts = []
    for view, mask in enumerate(masks):
        rows, columns = np.nonzero(mask)
        wanted = min(len(rows), round(count * float(share[view]) * _PIXELS_TRIED))
        chosen = np.sort(rng.choice(len(rows), wanted, replace=False))
        pixel = np.stack([columns[chosen] + 0.5, rows[chosen] + 0.5], axis=-1, dtype=np.float64)
        others = [other for other in range(len(masks)) if other != view]
        origins, directions = rays(pixel, world_to_camera[view], intrinsics[view])
        hull = _Hull([masks[o] for o in others], world_to_camera[others], intrinsics[others])
        middle = distance[view]
        depth = _first_inside(hull, eyes[view], directions, middle - radius, middle + radius)
        met = np.isfinite(depth)
        xyz = (origins + depth[:, None] * directions)[met]
        rgb = pictures[view][rows[chosen], columns[chosen]][met]
        parts.append(SurfacePoints(xyz, rgb, np.full(len(xyz), view), pixel[met]))
    xyz, rgb, views, pixels = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("xyz", "rgb", "view", "pixel")
    )
    kept = np.sort(rng.choice(len(xyz), min(count, len(xyz)), replace=False))
    return SurfacePoints(xyz[kept], rgb[kept], views[kept], pixels[kept])


@dataclass(frozen=True, eq=False)
class _Hull:
    """Silhouettes and their cameras."""

    masks: Sequence[Mask]
    world_to_camera: FloatArray
    intrinsics: FloatArray

    def contains(
        self, origin: FloatArray, directions: FloatArray, depth: FloatArray
    ) -> NDArray[np.bool_]:
        """Which points `(P, D)`, at these depths along P rays from one origin, are inside."""
        inside = np.ones(depth.shape, dtype=np.bool_)
        framed = np.zeros(depth.shape, dtype=np.int32)
        for mask, pose, lens in zip(self.masks, self.world_to_camera, self.intrinsics, strict=True):
            start = (lens @ (pose[:3, :3] @ origin + pose[:3, 3])).astype(np.float32)
            towards = (directions @ (lens @ pose[:3, :3]).T).astype(np.float32)
            x, y, z = (start[axis] + depth * towards[:, axis, None] for axis in range(3))
            height, width = mask.shape
            seen = (z > 0) & (x >= 0) & (x < width * z) & (y >= 0) & (y < height * z)
            z[~seen], x[~seen], y[~seen] = 1, 0, 0
            x /= z
            y /= z
            # Rounding may lead from just inside the frame to its edge.
            column = np.minimum(x.astype(np.intp), width - 1)
            row = np.minimum(y.astype(np.intp), height - 1)
            inside &= ~seen | mask[row, column]
            framed += seen
        return np.asarray(inside & (2 * framed >= len(self.masks)))


def _first_inside(
    hull: _Hull, origin: FloatArray, directions: FloatArray, near: float, far: float
) -> FloatArray:
    """How far each of P rays goes to the hull, `(P,)`; not a number where it misses it."""
    steps = np.linspace(max(near, 0.0), far, _STEPS, dtype=np.float32)
    inside = hull.contains(origin, directions, np.tile(steps, (len(directions), 1)))
    first = inside.argmax(axis=1)
    low, high = steps[np.maximum(first - 1, 0)], steps[first]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        within = hull.contains(origin, directions, middle[:, None])[:, 0]
        low, high = np.where(within, low, middle), np.where(within, middle, high)
    return np.where(inside.any(axis=1), high.astype(np.float64), np.nan)
