"""Measure how well the silhouettes of one subject fit together under given cameras.

The visual hull is all of space that no silhouette rules out. If cameras and silhouettes are true,
what cast the silhouettes is inside the hull, so that the hull, seen again by any of the cameras,
reaches that camera's whole outline. Wrong cameras carve too much away. This is the silhouette
coherence of Hernandez, Schmitt and Cipolla, "Silhouette Coherence for Camera Calibration under
Circular Motion" (PAMI 2007).

No voxels are needed: the hull reaches a pixel exactly if somewhere along the pixel's ray lies a
point that no other silhouette rules out (Matusik et al., "Image-Based Visual Hulls", 2000). The
**misfit** of an outline pixel is how far the best such point lies outside the other silhouettes,
in pixels of the masks (`LONG_SIDE_PX`); that of a subject is the mean over all outlines.

Real intrinsics are a little wrong. `Silhouettes.adjust` therefore also finds the small corrections
of principal points and focal lengths under which the silhouettes fit best, by Gauss-Newton with a
penalty on their size. Cameras of a wrong convention cannot be corrected like this.

Two things stay open whatever the cameras are: a focal length that is wrong in all views alike (it
scales the hull, nearly) and, for cameras level with the head, a principal point that is too high
or too low in all views alike (it moves the hull, nearly).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import FloatArray, camera_centre, invert_rigid
from geogen_hf.cameras.silhouettes import Mask, Silhouette, outline

FARTHEST_PX = 8.0
"""Larger misfits of a pixel count as this: how wrong a wrong camera is does not matter."""

_DEPTHS = 32  # points tried along a ray
_MOST_PIXELS = 90  # of an outline, evenly spread
_DEPTH_SEARCHED = 1.2  # in half frames: heads are about as deep as they are wide
_ROUNDS = 4
#: Expected size of corrections: x and y of the principal point in pixels, log of the focal length.
_USUAL_SIZE = np.array([3.0, 3.0, 0.05])
_PENALTY = 60.0  # weight of a correction of the usual size, in outline pixels
_LONGEST_STEP = np.array([3.0, 3.0, 0.1])


@dataclass(frozen=True, eq=False)
class Adjusted:
    """The corrections under which silhouettes fit best.

    Attributes:
        misfit: With the corrections, in pixels of the masks.
        corrections: `(V, 3)`: what to add to cx and cy, in pixels of the masks, and to the natural
            logarithm of the focal length.
    """

    misfit: float
    corrections: FloatArray


@dataclass(frozen=True, eq=False)
class _View:
    """A silhouette, prepared once for all cameras that are tried."""

    pixels: FloatArray  # (P, 2) centres of outline pixels, x and y
    outside: NDArray[np.float32]  # (h, w) distance from the silhouette, 0 inside
    slope: NDArray[np.float32]  # (h, w, 2) its gradient, x and y


@dataclass(frozen=True, eq=False)
class _Rays:
    """How the rays of one view run through another: pixel = towards * depth + start."""

    homography: FloatArray
    towards: NDArray[np.float32]
    start: NDArray[np.float32]

    @classmethod
    def between(
        cls, rays: FloatArray, pose: FloatArray, source: FloatArray, target: FloatArray
    ) -> _Rays:
        homography = target @ pose[:3, :3]
        return cls(
            homography @ np.linalg.inv(source),
            (rays @ homography.T).astype(np.float32),
            (target @ pose[:3, 3]).astype(np.float32),
        )


class Silhouettes:
    """The silhouettes of one subject, to be tried with many cameras.

    Args:
        silhouettes: V silhouettes.
        intrinsics: `(V, 3, 3)` pixels of the pictures (not of the masks).
    """

    def __init__(self, silhouettes: Sequence[Silhouette], intrinsics: FloatArray) -> None:
        self._views = [_prepared(each.mask) for each in silhouettes]
        self._shapes = [each.mask.shape for each in silhouettes]
        self._intrinsics = np.stack(
            [each.intrinsics(own) for each, own in zip(silhouettes, intrinsics, strict=True)]
        )

    def misfit(self, world_to_camera: FloatArray, centre: FloatArray) -> float:
        """Measure the misfit of cameras as they are.

        Args:
            world_to_camera: `(V, 4, 4)` extrinsics, OpenCV axes.
            centre: `(3,)` world point that the cameras look at, in front of them.

        Returns:
            The mean over the outlines of all views, in pixels of the masks.
        """
        least = []
        for index, view in enumerate(self._views):
            rays = self._rays(index, view.pixels, world_to_camera, self._intrinsics)
            depths = self._depths(index, world_to_camera, centre, self._intrinsics)
            least.append(self._worst(rays, depths, len(view.pixels)).min(axis=1))
        return float(np.concatenate(least).mean())

    def adjust(
        self, world_to_camera: FloatArray, centre: FloatArray, *, stiffness: float = 1.0
    ) -> Adjusted:
        """Find small corrections of the intrinsics under which the silhouettes fit best.

        Args:
            world_to_camera: `(V, 4, 4)` extrinsics, OpenCV axes.
            centre: `(3,)` world point that the cameras look at, in front of them.
            stiffness: How much corrections cost, 1 to compare candidates. With less they come
                closer to their true size.

        Returns:
            The best that was found. Zero corrections are among what is tried.
        """
        corrections = np.zeros((len(self._views), 3))
        penalty = stiffness * _PENALTY / np.tile(np.square(_USUAL_SIZE), len(self._views))
        best, least = Adjusted(FARTHEST_PX, corrections), np.inf
        for remaining in reversed(range(_ROUNDS + 1)):
            misfits, slopes = self._evaluate(world_to_camera, centre, corrections)
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
            limit = np.tile(_LONGEST_STEP, len(self._views))
            corrections = (flat - step.clip(-limit, limit)).reshape(-1, 3)
        return best

    def common_shift(
        self, world_to_camera: FloatArray, centre: FloatArray, shift: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Normal equations for a shift of the principal point that all views share.

        Args:
            world_to_camera: `(V, 4, 4)` extrinsics, OpenCV axes.
            centre: `(3,)` world point that the cameras look at.
            shift: `(2,)` where to linearise, pixels of the masks.

        Returns:
            Matrix `(2, 2)` and right side `(2,)`; of several subjects, they add up.
        """
        corrections = np.tile([*shift, 0.0], (len(self._views), 1))
        misfits, slopes = self._evaluate(world_to_camera, centre, corrections)
        shared = slopes.reshape(len(misfits), -1, 3).sum(axis=1)[:, :2]
        weighted = shared / (1 + misfits)[:, None]
        return weighted.T @ shared, -(weighted.T @ misfits)

    def reached(
        self, view: int, within: Mask, world_to_camera: FloatArray, centre: FloatArray
    ) -> Mask:
        """Draw what of a mask the hull of the other silhouettes covers, as one view sees it."""
        pixels = np.argwhere(within)[:, ::-1] + 0.5
        rays = self._rays(view, pixels, world_to_camera, self._intrinsics)
        depths = self._depths(view, world_to_camera, centre, self._intrinsics)
        reached = within.copy()
        reached[within] = self._worst(rays, depths, len(pixels)).min(axis=1) <= 1.0
        return reached

    def _evaluate(
        self, world_to_camera: FloatArray, centre: FloatArray, corrections: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Misfits of all outline pixels, `(P,)`, and their derivatives, `(P, 3 V)`."""
        intrinsics = self._corrected(corrections)
        misfits: list[FloatArray] = []
        slopes: list[FloatArray] = []
        for index, view in enumerate(self._views):
            rays = self._rays(index, view.pixels, world_to_camera, intrinsics)
            depths = self._depths(index, world_to_camera, centre, intrinsics)
            place = self._worst(rays, depths, len(view.pixels)).argmin(axis=1)
            misfit, slope = self._derivatives(index, rays, depths[place], intrinsics)
            misfits.append(misfit)
            slopes.append(slope)
        return np.concatenate(misfits), np.concatenate(slopes)

    def _corrected(self, corrections: FloatArray) -> FloatArray:
        intrinsics = np.array(self._intrinsics)
        intrinsics[:, :2, :2] *= np.exp(corrections[:, 2])[:, None, None]
        intrinsics[:, :2, 2] += corrections[:, :2]
        return intrinsics

    def _rays(
        self,
        index: int,
        pixels: FloatArray,
        world_to_camera: FloatArray,
        intrinsics: FloatArray,
    ) -> dict[int, _Rays]:
        """Rays of a view's pixels in every other view."""
        homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
        rays = homogeneous @ np.linalg.inv(intrinsics[index]).T
        to_world = invert_rigid(world_to_camera[index])
        return {
            other: _Rays.between(
                rays, world_to_camera[other] @ to_world, intrinsics[index], intrinsics[other]
            )
            for other in range(len(self._views))
            if other != index
        }

    def _depths(
        self,
        index: int,
        world_to_camera: FloatArray,
        centre: FloatArray,
        intrinsics: FloatArray,
    ) -> NDArray[np.float32]:
        distance = np.linalg.norm(camera_centre(world_to_camera) - centre, axis=-1)
        focal = intrinsics[:, [0, 1], [0, 1]].min(axis=1)
        reach = _DEPTH_SEARCHED * float((distance * np.max(self._shapes, axis=1) / 2 / focal).max())
        depth = float(world_to_camera[index, 2] @ [*centre, 1.0])
        near = max(depth - reach, 0.05 * depth)
        return np.linspace(near, depth + reach, _DEPTHS, dtype=np.float32)

    def _worst(
        self, rays: dict[int, _Rays], depths: NDArray[np.float32], count: int
    ) -> NDArray[np.float32]:
        """How far points on rays, `(P, D)`, lie outside the silhouette that excludes them most."""
        worst = np.zeros((count, len(depths)), dtype=np.float32)
        for other, ray in rays.items():
            x, y, z = (ray.towards[:, axis, None] * depths + ray.start[axis] for axis in range(3))
            behind = z <= np.float32(1e-9)
            z[behind] = 1
            x /= z
            y /= z
            outside = _looked_up(self._views[other].outside, x, y)
            outside[behind] = FARTHEST_PX
            np.maximum(worst, outside, out=worst)
        return worst

    def _derivatives(
        self,
        index: int,
        rays: dict[int, _Rays],
        depths: NDArray[np.float32],
        intrinsics: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Misfits `(P,)` at one depth a ray, and their derivatives `(P, 3 V)`.

        The silhouette that excludes the point most decides; the point's pixel there moves with the
        intrinsics of both views.
        """
        view, pixels = self._views[index], self._views[index].pixels
        misfit = np.zeros(len(pixels))
        decides = np.full(len(pixels), -1)
        places = {}
        for other, ray in rays.items():
            scaled = ray.towards * depths[:, None] + ray.start
            z = np.maximum(scaled[:, 2], 1e-9)
            x, y = scaled[:, 0] / z, scaled[:, 1] / z
            outside = _looked_up(self._views[other].outside, x, y)
            outside[scaled[:, 2] <= 1e-9] = FARTHEST_PX
            decides[outside > misfit] = other
            misfit = np.maximum(misfit, outside)
            places[other] = np.stack([x, y], axis=-1), z
        slopes = np.zeros((len(pixels), len(self._views), 3))
        for other, (place, z) in places.items():
            at = np.flatnonzero((decides == other) & (misfit < FARTHEST_PX))
            slope = _looked_up(self._views[other].slope, *place[at].T)
            slopes[at, other, :2] = slope
            slopes[at, other, 2] = (slope * (place[at] - intrinsics[other, :2, 2])).sum(axis=-1)
            # A shifted principal point of this view moves its pixels the other way.
            matrix = rays[other].homography[:, :2] * depths[at, None, None]
            moved = matrix[:, :2] - place[at][:, :, None] * matrix[:, 2:]
            own = np.einsum("pi,pij->pj", slope, moved / z[at, None, None])
            slopes[at, index, :2] = -own
            slopes[at, index, 2] = -(own * (view.pixels[at] - intrinsics[index, :2, 2])).sum(-1)
        return misfit, slopes.reshape(len(pixels), -1)


def _prepared(mask: Mask) -> _View:
    rows, columns = np.nonzero(outline(mask))
    few = np.unique(np.linspace(0, len(rows) - 1, _MOST_PIXELS).round().astype(np.intp))
    few = few[: len(rows)]
    outside = _distance_outside(mask)
    down, right = np.gradient(outside)
    slope = np.stack([right, down], axis=-1)
    return _View(np.stack([columns[few], rows[few]], axis=-1) + 0.5, outside, slope)


def _distance_outside(mask: Mask) -> NDArray[np.float32]:
    """Distance of every pixel from the mask, at most `FARTHEST_PX`; with room below the picture.

    A body goes on below the lower edge of its picture, but not beyond the others: points left of,
    right of or above the picture are as far outside as the edge of the picture there.
    """
    distance = np.full(mask.shape, FARTHEST_PX, dtype=np.float32)
    distance[mask] = 0
    reach = int(FARTHEST_PX)
    height, width = mask.shape
    padded = np.pad(mask, reach)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            length = float(np.hypot(dx, dy))
            if 0 < length < FARTHEST_PX:
                moved = padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
                np.minimum(distance, length, out=distance, where=moved)
    if mask[-1].any():
        distance = np.concatenate([distance, np.zeros((1, width), dtype=np.float32)])
    return distance


def _looked_up(table: NDArray[np.float32], x: FloatArray, y: FloatArray) -> NDArray[np.float32]:
    """Values of a table at pixel coordinates; beyond its edges, those at the edge."""
    height, width = table.shape[:2]
    place = np.clip(y, 0, height - 1).astype(np.intp)
    place *= width
    place += np.clip(x, 0, width - 1).astype(np.intp)
    return table.reshape(height * width, -1)[place].reshape(*place.shape, *table.shape[2:])
