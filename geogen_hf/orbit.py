"""The circle that a subject's cameras stand on: its centre and its up direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from geogen_hf.cameras import FloatArray, as_stack, camera_centre, orbit_angles


@dataclass(frozen=True)
class Orbit:
    """Where cameras look.

    Attributes:
        centre: `(3,)` float64 world point that the optical axes come nearest to.
        up: `(3,)` float64 unit world direction that is upwards in the images, on average.
        front: `(3,)` float64 unit world direction of azimuth 0: the first of the world's z, x and
            y that is more than 45 degrees away from `up`.
    """

    centre: FloatArray
    up: FloatArray
    front: FloatArray

    def angles(self, world_to_camera: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Azimuth and elevation in degrees, and distance, as `cameras.orbit_angles` gives them."""
        return orbit_angles(world_to_camera, self.centre, self.up, self.front)


def fit_orbit(world_to_camera: ArrayLike) -> Orbit:
    """Find what the cameras of one subject have in common.

    The centre minimises the sum of squared distances to the optical axes: the normal equations of
    `sum |(1 - d d^T)(x - c)|^2` over camera centres `c` and unit axes `d`.

    Args:
        world_to_camera: `(V, 4, 4)` extrinsics.

    Returns:
        The orbit. A single camera leaves the centre anywhere on its axis: the point nearest to the
        world's origin is taken.

    Example:
        >>> from geogen_hf.cameras import look_at
        >>> eyes = [(0, 0, 5), (5, 1, 0), (0, 2, -5)]
        >>> fit_orbit(look_at(eyes, (1, 2, 3), (0, 1, 0))).centre.round(6)
        array([1., 2., 3.])
    """
    extrinsics = as_stack(world_to_camera, "extrinsics", 4, 4)
    axes = extrinsics[:, 2, :3]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    pulled = (across @ camera_centre(extrinsics)[:, :, None])[..., 0]
    centre = np.linalg.lstsq(across.sum(axis=0), pulled.sum(axis=0), rcond=1e-9)[0]
    mean_up = -extrinsics[:, 1, :3].mean(axis=0)
    up = mean_up / max(float(np.linalg.norm(mean_up)), 1e-12)
    candidates = np.eye(3)[[2, 0, 1]]
    return Orbit(centre, up, candidates[int(np.argmax(np.abs(candidates @ up) < 0.7))])
