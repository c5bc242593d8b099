"""The visual hull of one subject: how well its silhouettes fit together, and points on it.

The visual hull is all of space that no silhouette rules out. If cameras and silhouettes are true,
what cast the silhouettes is inside the hull, so that the hull, seen again by any of the cameras,
reaches that camera's whole outline. Wrong cameras carve too much away. This is the silhouette
coherence of Hernandez, Schmitt and Cipolla, "Silhouette Coherence for Camera Calibration under
Circular Motion" (PAMI 2007).

No voxels are needed: the hull reaches a pixel exactly if somewhere along the pixel's ray lies a
point that no other silhouette rules out (Matusik et al., "Image-Based Visual Hulls", 2000). The
**misfit** of an outline pixel is how far the best such point lies outside the other silhouettes,
in pixels of the masks (`LONG_SIDE_PX`); that of a subject is the mean over all outlines.

Two things stay open whatever the cameras are: a focal length that is wrong in all views alike (it
scales the hull, nearly) and, for cameras level with the head, a principal point that is too high
or too low in all views alike (it moves the hull, nearly).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import FloatArray, camera_centre, invert_rigid, rays
from geogen_hf.cameras.rigs import Rig, measure_rigs
from geogen_hf.cameras.silhouettes import Mask, Silhouette, evenly_spread, outline

FARTHEST_PX = 8.0
"""Larger misfits of a pixel count as this: how wrong a wrong camera is does not matter."""

_BLOCK = 256  # rays at a time
_DEPTHS = 32  # points tried along a ray
_LEAST_DEPTH = np.float32(1e-9)  # what is nearer to a camera, or behind it, it does not see
_MOST_PIXELS = 90  # of an outline, evenly spread
_DEPTH_SEARCHED = 1.2  # in half frames: heads are about as deep as they are wide
_ROUNDS = 4
#: Expected size of corrections: x and y of the principal point in pixels, log of the focal length.
_USUAL_SIZE = np.array([3.0, 3.0, 0.05])
_PENALTY = 60.0  # weight of a correction of the usual size, in outline pixels
_LONGEST_STEP = np.array([3.0, 3.0, 0.1])

_STEPS = 128  # along a ray to the surface, through a sphere as wide as the frame: 5 mm on a head
_HALVINGS = 8  # of the last step: down to 0.02 mm
_PIXELS_TRIED = 1.3  # for each point wanted: rays along an outline may miss what is left


class Adjusted(NamedTuple):
    """The corrections under which silhouettes fit best, and the misfit with them in mask pixels."""

    misfit: float
    corrections: FloatArray  # (V, 3): of cx and cy in mask pixels, of the log of the focal length


class Silhouettes:
    """V silhouettes of one subject, to be tried with many cameras.

    The intrinsics are in pixels of the pictures, not of the masks.
    """

    def __init__(self, silhouettes: Sequence[Silhouette], intrinsics: FloatArray) -> None:
        self.masks = [each.mask for each in silhouettes]
        self._pixels = [_outline_pixels(mask) for mask in self.masks]
        scale = np.array([[*each.scale, 1.0] for each in silhouettes])
        self._intrinsics = intrinsics * scale[:, :, None]
        distances = [_distance_outside(mask) for mask in self.masks]
        slopes = [np.stack([*np.gradient(each)][::-1], axis=-1) for each in distances]
        height, width = self._table = np.max([each.shape for each in distances], axis=0)
        # One table after the other, all of one size, to look up at once.
        self._distance = np.concatenate([_padded(each, height, width) for each in distances])
        self._slope = np.concatenate([_padded(each, height, width) for each in slopes])

    def misfit(self, rig: Rig) -> float:
        """The mean misfit over the outlines of all views, in pixels of the masks."""
        rays = self._rays(rig, self._intrinsics, self._pixels)
        least = [self._outside(each).max(axis=0).min(axis=1) for each in rays]
        return float(np.concatenate(least).mean())

    def adjust(self, rig: Rig, *, stiffness: float = 1.0) -> Adjusted:
        """Find small corrections of the intrinsics, which are a little wrong, that fit best.

        By Gauss-Newton with a penalty on their size, times `stiffness`: 1 to compare candidates;
        with less they come closer to their true size. Zero corrections are among what is tried.
        Cameras of a wrong convention cannot be corrected like this.
        """
        corrections = np.zeros((len(self._pixels), 3))
        penalty = stiffness * _PENALTY / np.tile(np.square(_USUAL_SIZE), len(self._pixels))
        best, least = Adjusted(FARTHEST_PX, corrections), np.inf
        for remaining in reversed(range(_ROUNDS + 1)):
            misfits, slopes = self._evaluate(rig, corrections)
            weights = 1 / (1 + misfits)  # pixels that will never fit shall not decide
            flat = corrections.ravel()
            total = float((weights * misfits**2).sum() + penalty @ flat**2)
            if total < least:
                best, least = Adjusted(float(misfits.mean()), corrections), total
            if not remaining or not misfits.any():
                break
            weighted = slopes * weights[:, None]
            normal = weighted.T @ slopes + np.diag(penalty)
            step = np.linalg.solve(normal, weighted.T @ misfits + penalty * flat)
            limit = np.tile(_LONGEST_STEP, len(self._pixels))
            corrections = (flat - step.clip(-limit, limit)).reshape(-1, 3)
        return best

    def common_shift(self, rig: Rig, shift: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Normal equations, `(2, 2)` and `(2,)`, for a shift that all principal points share.

        They are linearised at `shift`, `(2,)` pixels of the masks. Those of subjects add up.
        """
        corrections = np.tile([*shift, 0.0], (len(self._pixels), 1))
        misfits, slopes = self._evaluate(rig, corrections)
        shared = slopes.reshape(len(misfits), -1, 3).sum(axis=1)[:, :2]
        weighted = shared / (1 + misfits)[:, None]
        return weighted.T @ shared, -(weighted.T @ misfits)

    def reached(self, within: Sequence[Mask], rig: Rig) -> list[Mask]:
        """For each view, find the part of a mask that the hull of the other silhouettes covers."""
        pixels = [np.argwhere(mask)[:, ::-1] + np.float64(0.5) for mask in within]
        reached = [mask.copy() for mask in within]
        for mask, own in zip(reached, self._rays(rig, self._intrinsics, pixels), strict=True):
            # So few at a time that their points stay in the cache: all at once take twice as long.
            blocks = (
                replace(own, towards=own.towards[:, :, start : start + _BLOCK])
                for start in range(0, max(1, len(own.pixels)), _BLOCK)
            )
            fits = [self._outside(block).max(axis=0).min(axis=1) <= 1.0 for block in blocks]
            mask[mask] = np.concatenate(fits)
        return reached

    def _evaluate(self, rig: Rig, corrections: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Misfits of all outline pixels, `(P,)`, and their derivatives, `(P, 3 V)`."""
        intrinsics = np.array(self._intrinsics)
        intrinsics[:, :2, :2] *= np.exp(corrections[:, 2])[:, None, None]
        intrinsics[:, :2, 2] += corrections[:, :2]
        rays = self._rays(rig, intrinsics, self._pixels)
        found = [self._derivatives(each, intrinsics) for each in rays]
        misfits, slopes = zip(*found, strict=True)
        return np.concatenate(misfits), np.concatenate(slopes)

    def _rays(
        self, rig: Rig, intrinsics: FloatArray, pixels: Sequence[FloatArray]
    ) -> Iterator[_Rays]:
        """The rays of pixels `(P, 2)` of each view, view by view."""
        world_to_camera, centre = rig
        relative = world_to_camera @ invert_rigid(world_to_camera)[:, None]
        homography = intrinsics @ relative[..., :3, :3] @ np.linalg.inv(intrinsics)[:, None]
        start = (intrinsics @ relative[..., :3, 3:]).astype(np.float32)
        # The head is looked for as far before and behind the centre as frames are wide there.
        distance = np.linalg.norm(camera_centre(world_to_camera) - centre, axis=-1)
        focal = intrinsics[:, [0, 1], [0, 1]].min(axis=1)
        sides = np.array([max(mask.shape) for mask in self.masks])
        reach = _DEPTH_SEARCHED * float((distance * sides / 2 / focal).max())
        depth = world_to_camera[:, 2] @ [*centre, 1.0]
        near = np.maximum(depth - reach, 0.05 * depth)
        depths = np.linspace(near, depth + reach, _DEPTHS, axis=1, dtype=np.float32)
        for view, own in enumerate(pixels):
            others = np.delete(np.arange(len(pixels)), view)
            infinity = homography[view, others]
            towards = (infinity[:, :, :2] @ own.T + infinity[:, :, 2:]).astype(np.float32)
            yield _Rays(view, own, others, infinity, towards, start[view, others], depths[view])

    def _outside(self, rays: _Rays) -> NDArray[np.float32]:
        """How far points on rays, `(O, P, D)`, lie outside the silhouettes of the other views."""
        x, y, z = rays.points(rays.depths)
        outside = self._distance.take(self._places(rays.others, x, y))
        outside[z <= _LEAST_DEPTH] = FARTHEST_PX
        return outside

    def _places(
        self, views: NDArray[np.intp], x: NDArray[np.float32], y: NDArray[np.float32]
    ) -> NDArray[np.int32]:
        """Where values of the views' tables are, at pixels `(len(views), …)`; inside the edges."""
        height, width = self._table
        # Conversions to 32 bits are vectorised, those to 64 are not: ten times as slow.
        place = np.clip(y, 0, np.float32(height - 1)).astype(np.int32)
        place *= width
        place += np.clip(x, 0, np.float32(width - 1)).astype(np.int32)
        place += views.reshape(-1, *[1] * (x.ndim - 1)).astype(np.int32) * (height * width)
        return place

    def _derivatives(self, rays: _Rays, intrinsics: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Misfits `(P,)` at the best depth of each ray, and their derivatives `(P, 3 V)`.

        The silhouette that excludes the point most decides; the point's pixel there moves with the
        intrinsics of both views.
        """
        outside = self._outside(rays)
        best = outside.max(axis=0).argmin(axis=1)
        outside = np.take_along_axis(outside, best[None, :, None], axis=2)[..., 0]
        misfit = outside.max(axis=0).astype(np.float64)
        at = np.flatnonzero((misfit > 0) & (misfit < FARTHEST_PX))
        decides = outside[:, at].argmax(axis=0)
        other, depth = rays.others[decides], rays.depths[best[at]]
        x, y, z = (each[decides, at, 0] for each in rays.points(rays.depths[best, None]))
        slope = self._slope.take(self._places(other, x, y), axis=0)
        place = np.stack([x, y], axis=-1)
        slopes = np.zeros((len(misfit), len(intrinsics), 3))
        slopes[at, other, :2] = slope
        slopes[at, other, 2] = (slope * (place - intrinsics[other, :2, 2])).sum(axis=-1)
        # A shifted principal point of this view moves its pixels the other way.
        matrix = rays.homography[decides, :, :2] * depth[:, None, None]
        moved = matrix[:, :2] - place[:, :, None] * matrix[:, 2:]
        own = np.einsum("pi,pij->pj", slope, moved / z[:, None, None])
        middle = intrinsics[rays.view, :2, 2]
        slopes[at, rays.view, :2] = -own
        slopes[at, rays.view, 2] = -(own * (rays.pixels[at] - middle)).sum(axis=-1)
        return misfit, slopes.reshape(len(misfit), -1)


@dataclass(frozen=True, eq=False)
class _Rays:
    """How the rays of P pixels of one view run through the O others."""

    view: int
    pixels: FloatArray  # (P, 2)
    others: NDArray[np.intp]  # (O,)
    homography: FloatArray  # (O, 3, 3) from the view's pixels to another's, at infinity
    towards: NDArray[np.float32]  # (O, 3, P) what `start` changes by with depth
    start: NDArray[np.float32]  # (O, 3, 1) the view's centre, as another projects it
    depths: NDArray[np.float32]  # (D,) in the view's own depth

    def points(self, depths: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Pixels x and y, and depths z, each `(O, P, D)`, at depths `(D,)` or `(P, D)`."""
        x, y, z = (
            self.towards[:, axis, :, None] * depths + self.start[:, axis, :, None]
            for axis in range(3)
        )
        ahead = np.maximum(z, _LEAST_DEPTH)
        x /= ahead
        y /= ahead
        return x, y, z


def _outline_pixels(mask: Mask) -> FloatArray:
    """Centres `(P, 2)`, x and y, of evenly spread pixels of the outline."""
    rows, columns = np.nonzero(outline(mask))
    few = evenly_spread(len(rows), _MOST_PIXELS)
    return np.asarray(np.stack([columns[few], rows[few]], axis=-1) + 0.5, dtype=np.float64)


def _distance_outside(mask: Mask) -> NDArray[np.float32]:
    """Distance of every pixel from the mask, at most `FARTHEST_PX`; with room below the picture.

    A body goes on below the lower edge of its picture, but not beyond the others: points left of,
    right of or above the picture are as far outside as the edge of the picture there.
    """
    reach = int(FARTHEST_PX)
    squared = np.where(mask, np.float32(0), np.float32(FARTHEST_PX**2))
    # The square of a distance is the sum of those along rows and along columns.
    for _ in range(2):
        padded = np.pad(squared, ((reach, reach), (0, 0)), constant_values=FARTHEST_PX**2)
        shifts = range(-reach, reach + 1)
        moved = [padded[reach + dy : reach + dy + len(squared)] + dy * dy for dy in shifts]
        squared = np.minimum.reduce(moved).T
    distance = np.sqrt(np.minimum(squared, FARTHEST_PX**2))
    if mask[-1].any():
        distance = np.concatenate([distance, np.zeros((1, mask.shape[1]), dtype=np.float32)])
    return np.asarray(distance, dtype=np.float32)


def _padded(table: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A table at a larger size, its rows in one; beyond its edges, values at the edges count."""
    wider = [(0, height - len(table)), (0, width - table.shape[1]), *[(0, 0)] * (table.ndim - 2)]
    return np.pad(table, wider, mode="edge").reshape(height * width, *table.shape[2:])


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """P points on a surface."""

    xyz: FloatArray  # (P, 3) world points, the extrinsics' unit of length
    rgb: NDArray[np.uint8]  # (P, 3) sRGB
    view: NDArray[np.intp]  # (P,) index of the picture that each point was seen in
    pixel: FloatArray  # (P, 2) x and y there, at the middle of a pixel


def hull_surface(
    pictures: Sequence[NDArray[np.uint8]],
    masks: Sequence[Mask],
    world_to_camera: FloatArray,
    intrinsics: FloatArray,
    *,
    count: int = 4096,
    seed: int = 0,
) -> SurfacePoints:
    """Sample the surface of the visual hull: a point cloud to start splatting from, or to view.

    The rays of pixels are followed to the hull, so every point is seen by the pixel that gives its
    colour. A point counts as inside if it is in the frame of at least half of the other cameras,
    and in the silhouettes of all that have it in their frame. The hull holds the head and bulges
    where no camera looks into a hollow. The same arguments give the same points, about `count`.
    """
    rng = np.random.default_rng(seed)
    centre = measure_rigs(world_to_camera, np.array([0])).centre[0]
    eyes = camera_centre(world_to_camera)
    distance = np.linalg.norm(eyes - centre, axis=-1)
    focal_px = intrinsics[:, [0, 1], [0, 1]].min(axis=1)
    half_frame = 0.5 * np.array([max(mask.shape) for mask in masks]) * distance / focal_px
    radius = float(np.median(half_frame)) * 1.2
    share = np.array([mask.sum() for mask in masks]) / max(1, sum(mask.sum() for mask in masks))
    parts = []
    for view, mask in enumerate(masks):
        rows, columns = np.nonzero(mask)
        wanted = min(len(rows), round(count * float(share[view]) * _PIXELS_TRIED))
        chosen = np.sort(rng.choice(len(rows), wanted, replace=False))
        pixel = np.stack([columns[chosen] + 0.5, rows[chosen] + 0.5], axis=-1, dtype=np.float64)
        others = [other for other in range(len(masks)) if other != view]
        cameras = [masks[o] for o in others], world_to_camera[others], intrinsics[others]
        origins, directions = rays(pixel, world_to_camera[view], intrinsics[view])
        inside = partial(_inside, *cameras, eyes[view], directions)
        depth = _first_inside(inside, distance[view] - radius, distance[view] + radius)
        met = np.isfinite(depth)
        xyz = (origins + depth[:, None] * directions)[met]
        rgb = pictures[view][rows[chosen], columns[chosen]][met]
        parts.append((xyz, rgb, np.full(len(xyz), view), pixel[met]))
    xyz, rgb, views, pixels = (np.concatenate(each) for each in zip(*parts, strict=True))
    kept = np.sort(rng.choice(len(xyz), min(count, len(xyz)), replace=False))
    return SurfacePoints(xyz[kept], rgb[kept], views[kept], pixels[kept])


def _inside(
    masks: Sequence[Mask],
    world_to_camera: FloatArray,
    intrinsics: FloatArray,
    origin: FloatArray,
    directions: FloatArray,
    depth: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Which points of P rays from one origin are in the hull, at depths `(P or 1, D)`."""
    inside = np.ones((len(directions), depth.shape[1]), dtype=np.bool_)
    framed = np.zeros(inside.shape, dtype=np.int32)
    for mask, pose, lens in zip(masks, world_to_camera, intrinsics, strict=True):
        start = (lens @ (pose[:3, :3] @ origin + pose[:3, 3])).astype(np.float32)
        towards = (directions @ (lens @ pose[:3, :3]).T).astype(np.float32)
        x, y, z = (start[axis] + depth * towards[:, axis, None] for axis in range(3))
        height, width = mask.shape
        seen = (z > 0) & (x >= 0) & (x < width * z) & (y >= 0) & (y < height * z)
        z[~seen], x[~seen], y[~seen] = 1, 0, 0
        x /= z
        y /= z
        # Rounding may lead from just inside the frame to its edge.
        place = np.minimum(y.astype(np.int32), height - 1) * width
        place += np.minimum(x.astype(np.int32), width - 1)
        inside &= ~seen | mask.take(place)
        framed += seen
    return np.asarray(inside & (2 * framed >= len(masks)))


def _first_inside(
    inside: Callable[[NDArray[np.float32]], NDArray[np.bool_]], near: float, far: float
) -> FloatArray:
    """How far each of P rays goes to the hull, `(P,)`; not a number where it misses it."""
    steps = np.linspace(max(near, 0.0), far, _STEPS, dtype=np.float32)
    found = inside(steps[None])
    first = found.argmax(axis=1)
    low, high = steps[np.maximum(first - 1, 0)], steps[first]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        within = inside(middle[:, None])[:, 0]
        low, high = np.where(within, low, middle), np.where(within, middle, high)
    return np.where(found.any(axis=1), high.astype(np.float64), np.nan)
