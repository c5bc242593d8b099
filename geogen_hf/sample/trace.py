"""Sphere tracing: where rays meet a head.

A ray may always step by the signed distance (Hart, "Sphere tracing", 1996). Two things make it fast
in numpy: rays that arrived or left are dropped from the arrays as they do, and a coarse pass walks
one cone a tile of pixels up to where the surface is first within the cone, so that the rays of the
tile start there, or not at all where the cone meets nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geogen_hf.sample.heads import Head
from geogen_hf.sample.primitives import Array, Points
from geogen_hf.sample.shape import BOUND_CENTRE, BOUND_RADIUS, surface_distance

TILE_PX = 8
_HIT_M = 1.5e-4  # 1/20 of a pixel at 128 px: fattens outlines by less than can be seen
_CONE_STOP_M = 2e-3
_MAX_STEPS = 72
_PATIENCE = 14  # steps after which a ray is content with `_LATE_HIT_M`
_LATE_HIT_M = 5e-4
_BLOCK = 1 << 14  # rays at a time: their arrays stay in the processor's cache


@dataclass(frozen=True)
class Views:
    """Cameras as the tracer wants them: `(V, 3)` eyes, and two `(V, 3, 3)` matrices.

    `inverse` takes pixels (x, y, 1) to directions in the camera frame, `to_world` these to the
    world frame.
    """

    eyes: NDArray[np.float64]
    to_world: NDArray[np.float64]
    inverse: NDArray[np.float64]

    @classmethod
    def of(cls, world_to_camera: NDArray[np.float64], intrinsics: NDArray[np.float64]) -> Views:
        """From `(V, 4, 4)` extrinsics and `(V, 3, 3)` intrinsics."""
        to_world = np.swapaxes(world_to_camera[:, :3, :3], 1, 2)
        eyes = -(to_world * world_to_camera[:, None, :3, 3]).sum(axis=2)
        return cls(eyes, to_world, np.asarray(np.linalg.inv(intrinsics), dtype=np.float64))

    def rays(
        self, view: NDArray[np.intp], x_px: Array, y_px: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Origins and unit directions, `(3, N)` float32 world frame, through pixels `(N,)`.

        Sums are written out, as a matrix product's rounding may depend on BLAS and its threads.
        """
        pixel = np.stack([x_px, y_px, np.ones_like(x_px)])
        camera = [(self.inverse[view, row].T * pixel).sum(axis=0) for row in range(3)]
        world = [(self.to_world[view, row].T * camera).sum(axis=0) for row in range(3)]
        directions = np.stack(world)
        directions /= np.sqrt((directions * directions).sum(axis=0))
        return self.eyes[view].T.astype(np.float32, order="C"), directions.astype(np.float32)


def tile_starts(head: Head, views: Views, size: int) -> NDArray[np.float32]:
    """How far the rays of each tile may go untested: `(V, T, T)` float32 metres, inf for a miss."""
    tiles = -(-size // TILE_PX)
    count = len(views.eyes)
    view, row, column = (i.ravel() for i in np.indices((count, tiles, tiles)))
    origins, directions = views.rays(view, (column + 0.5) * TILE_PX, (row + 0.5) * TILE_PX)
    # A pixel's distance from the tile's centre over the focal length is at least their angle.
    focal_inverse = np.maximum(views.inverse[:, 0, 0], views.inverse[:, 1, 1]).astype(np.float32)
    widening = (focal_inverse * np.float32(TILE_PX * 0.5**0.5))[view]
    centre_m, _ = _bound(origins, directions)
    travelled = np.maximum(np.float32(0.0), centre_m - np.float32(BOUND_RADIUS))
    leaves = centre_m + np.float32(BOUND_RADIUS)
    active = np.arange(len(view))
    for _ in range(_MAX_STEPS):
        here = travelled[active]
        room = surface_distance(head, _along(origins[:, active], directions[:, active], here))
        room -= here * widening[active]
        here += np.maximum(room, 0.0)
        travelled[active] = here
        active = active[(room > _CONE_STOP_M) & (here < leaves[active])]
        if not len(active):
            break
    travelled[travelled >= leaves] = np.inf
    return np.asarray(travelled.reshape(count, tiles, tiles), dtype=np.float32)


def trace(
    head: Head, origins: NDArray[np.float32], directions: NDArray[np.float32], start: Array
) -> NDArray[np.float32]:
    """Follow rays to the surface.

    Args:
        head: What to look at.
        origins: `(3, N)` float32 world frame, metres.
        directions: `(3, N)` float32 unit vectors, world frame.
        start: `(N,)` metres known to be free along each ray.

    Returns:
        `(N,)` float32 distance along the ray, inf where it misses.
    """
    reached = np.full(len(start), np.inf, dtype=np.float32)
    for first in range(0, len(start), _BLOCK):
        part = slice(first, first + _BLOCK)
        _trace_block(head, origins[:, part], directions[:, part], start[part], reached[part])
    return reached


def _trace_block(
    head: Head, origins: Array, directions: Array, start: Array, reached: Array
) -> None:
    centre_m, half_chord = _bound(origins, directions)
    leaves = centre_m + half_chord
    here = np.maximum(start, centre_m - half_chord)
    active = np.flatnonzero(here < leaves)
    origins, directions = origins[:, active], directions[:, active]
    here, leaves = here[active], leaves[active]
    for step in range(_MAX_STEPS):
        if not len(active):
            return
        room = surface_distance(head, _along(origins, directions, here))
        arrived = room < (_HIT_M if step < _PATIENCE else _LATE_HIT_M)
        reached[active[arrived]] = here[arrived]
        here = here + room
        going = ~arrived & (here < leaves)
        # Compacting copies everything, so it waits until a good share of rays is done.
        if np.count_nonzero(going) < 0.85 * len(active):
            active, here, leaves = active[going], here[going], leaves[going]
            origins, directions = origins[:, going], directions[:, going]
        else:
            here = np.where(arrived, here - room, here)


def points_at(origins: Array, directions: Array, distance: Array) -> Points:
    """Points along rays: three `(N,)` arrays."""
    return _along(origins, directions, distance)


def _along(origins: Array, directions: Array, distance: Array) -> Points:
    x, y, z = (o + d * distance for o, d in zip(origins, directions, strict=True))
    return x, y, z


def _bound(origins: Array, directions: Array) -> tuple[Array, Array]:
    """Distance along each ray to the point nearest the bounding sphere's centre; half the chord.

    The half chord of a ray that misses the sphere is negative, so that it leaves before it enters.
    """
    x, y, z = (np.float32(c) - o for c, o in zip(BOUND_CENTRE, origins, strict=True))
    nearest = x * directions[0] + y * directions[1] + z * directions[2]
    inside = np.float32(BOUND_RADIUS**2) - (x * x + y * y + z * z - nearest * nearest)
    return nearest, np.where(inside > 0, np.sqrt(np.maximum(inside, 0.0)), np.float32(-1.0))
