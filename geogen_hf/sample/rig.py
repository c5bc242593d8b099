"""Where the cameras of a subject stand: a jittered ring round the whole head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.intrinsics import intrinsics_from_focal_mm
from geogen_hf.cameras.poses import look_at
from geogen_hf.errors import UsageError, explain
from geogen_hf.sample.heads import subject_index

FOCAL_MM = 50.0
SENSOR_MM = 36.0
ELEVATION_RANGE_DEG = (-10.0, 25.0)

_DISTANCE_RANGE_M = (0.66, 0.71)  # head and shoulders fill the frame at 50 mm on 36 mm
_TARGET_M = (0.0, -0.028, 0.0)
_TARGET_JITTER_M = 0.006
_AZIMUTH_JITTER = 0.22  # share of the even spacing; below 0.5 the views keep their order
_CAMERA_STREAM = 1  # keeps the draws of cameras and heads apart


def subject_cameras(
    subject_id: str, *, views: int = 7, size: int = 128, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact cameras of a subject, one a view.

    The extrinsics depend on seed, subject and number of views only: pictures of another size show
    the same geometry.

    Args:
        subject_id: `subj_<5 digits>`.
        views: How many views, spread over the whole circle.
        size: Width and height of the pictures in pixels.
        seed: Seed of the release.

    Returns:
        extrinsics `(V, 4, 4)` float64 world-to-camera, OpenCV axes (x right, y down, z forward),
        metres, and intrinsics `(V, 3, 3)` float64 pixels, pixel (0, 0) covering [0, 1) x [0, 1).

    Raises:
        UsageError: Unknown form of the id, or a count, size or seed out of range.

    Example:
        >>> extrinsics, intrinsics = subject_cameras("subj_00000", views=5, size=36)
        >>> extrinsics.shape, intrinsics[0].tolist()
        ((5, 4, 4), [[50.0, 0.0, 18.0], [0.0, 50.0, 18.0], [0.0, 0.0, 1.0]])
    """
    for name, value, least in (("views", views, 1), ("size", size, 1), ("seed", seed, 0)):
        if value < least:
            raise UsageError(explain(f"{name} is too small", expected=f">= {least}", found=value))
    rng = np.random.default_rng((seed, subject_index(subject_id), _CAMERA_STREAM))
    spacing_deg = 360.0 / views
    jitter_deg = rng.uniform(-_AZIMUTH_JITTER, _AZIMUTH_JITTER, views) * spacing_deg
    azimuth = np.radians(rng.uniform(0.0, 360.0) + np.arange(views) * spacing_deg + jitter_deg)
    elevation = np.radians(rng.uniform(*ELEVATION_RANGE_DEG, views))
    distance_m = rng.uniform(*_DISTANCE_RANGE_M)
    target = np.array(_TARGET_M) + rng.uniform(-_TARGET_JITTER_M, _TARGET_JITTER_M, (views, 3))
    outward = np.stack(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ],
        axis=-1,
    )
    extrinsics = look_at(target + distance_m * outward, target, (0.0, 1.0, 0.0))
    intrinsics = intrinsics_from_focal_mm(FOCAL_MM, SENSOR_MM, size, size)
    return extrinsics, np.broadcast_to(intrinsics, (views, 3, 3)).copy()
