"""Intrinsics: made from a lens, and kept true when the image changes.

The convention is that of `geogen_hf.cameras`: pixels of the stored image, pixel (0, 0) covering
[0, 1) x [0, 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from geogen_hf.cameras.poses import FloatArray, as_stack, compose_rigid, unit_vectors


def intrinsics_matrix(
    fx: ArrayLike, fy: ArrayLike, cx: ArrayLike, cy: ArrayLike, skew: ArrayLike = 0.0
) -> FloatArray:
    """Put `(...)` focal lengths and principal points together as `(..., 3, 3)`, in their unit.

    Example:
        >>> intrinsics_matrix(100, 50, 60, 40).tolist()
        [[100.0, 0.0, 60.0], [0.0, 50.0, 40.0], [0.0, 0.0, 1.0]]
    """
    entries = [np.asarray(entry, dtype=np.float64) for entry in (fx, skew, cx, fy, cy)]
    upper = np.stack(np.broadcast_arrays(*entries), axis=-1)
    matrix = np.zeros((*upper.shape[:-1], 3, 3))
    matrix[..., 0, :], matrix[..., 1, 1:] = upper[..., :3], upper[..., 3:]
    matrix[..., 2, 2] = 1.0
    return matrix


def intrinsics_from_focal_mm(
    focal_mm: ArrayLike, sensor_mm: ArrayLike, width: ArrayLike, height: ArrayLike
) -> FloatArray:
    """Intrinsics of a lens with square pixels and its principal point in the middle.

    `focal_px = focal_mm / sensor_mm * width`: the Blender manual's perspective camera with
    sensor fit "horizontal".

    Args:
        focal_mm: `(...)` focal length in millimetres.
        sensor_mm: `(...)` WIDTH of the sensor in millimetres, which the image's width fills.
        width: `(...)` image width in pixels.
        height: `(...)` image height in pixels.

    Returns:
        `(..., 3, 3)` float64 intrinsics in pixels.

    Example:
        >>> intrinsics_from_focal_mm(50, 36, 512, 512)[0].round(1)
        array([711.1,   0. , 256. ])
    """
    width, height = np.asarray(width, np.float64), np.asarray(height, np.float64)
    focal_px = np.asarray(focal_mm, np.float64) / np.asarray(sensor_mm, np.float64) * width
    return intrinsics_matrix(focal_px, focal_px, width / 2, height / 2)


def intrinsics_from_fov(fov_x_deg: ArrayLike, width: ArrayLike, height: ArrayLike) -> FloatArray:
    """Intrinsics with a horizontal field of view, square pixels and a centred principal point.

    NeRF-synthetic's `camera_angle_x` is this angle in radians: pass `np.degrees` of it.

    Example:
        >>> intrinsics_from_fov(90, 200, 100)[:2].round(9).tolist()
        [[100.0, 0.0, 100.0], [0.0, 100.0, 50.0]]
    """
    half_width, half_height = np.asarray(width) / 2.0, np.asarray(height) / 2.0
    focal_px = half_width / np.tan(np.radians(np.asarray(fov_x_deg)) / 2)
    return intrinsics_matrix(focal_px, focal_px, half_width, half_height)


def field_of_view_deg(intrinsics: ArrayLike, width: ArrayLike, height: ArrayLike) -> FloatArray:
    """Horizontal and vertical field of view, `(..., 2)` degrees, edge to edge of the image.

    Exact for any principal point: the angles on its two sides are added. Skew is left out.
    """
    intrinsics = as_stack(intrinsics, "intrinsics", 3, 3)
    focal, before = intrinsics[..., [0, 1], [0, 1]], intrinsics[..., :2, 2]
    size = np.stack(np.broadcast_arrays(width, height), axis=-1)
    angles = np.arctan2(before, focal) + np.arctan2(size - before, focal)
    return np.asarray(np.degrees(angles))


def resize_intrinsics(
    intrinsics: ArrayLike, size_wh: tuple[int, int], new_size_wh: tuple[int, int]
) -> FloatArray:
    """Intrinsics `(..., 3, 3)` after the image is resized from one (width, height) to another.

    Exact because pixels are areas (see the top of this module), and right for resamplers that
    keep the image's edges where they are, as Pillow does (`align_corners=False` in PyTorch).

    Example:
        >>> resize_intrinsics(intrinsics_matrix(100, 50, 60, 40), (128, 64), (64, 64))[0]
        array([50.,  0., 30.])
    """
    scale = np.append(np.divide(new_size_wh, size_wh), 1.0)
    return np.asarray(as_stack(intrinsics, "intrinsics", 3, 3) * scale[:, None])


def crop_intrinsics(intrinsics: ArrayLike, left: ArrayLike, top: ArrayLike) -> FloatArray:
    """Intrinsics `(..., 3, 3)` after `left` columns and `top` rows are cut off, `(...)` pixels.

    What is cut off on the right and below does not matter. Negative numbers are padding.

    Example:
        >>> crop_intrinsics(intrinsics_matrix(100, 50, 60, 40), 10, -5)[:2, 2]
        array([50., 45.])
    """
    intrinsics = as_stack(intrinsics, "intrinsics", 3, 3)
    offset = intrinsics_matrix(0.0, 0.0, left, top) * np.array([[1.0], [1.0], [0.0]])
    return np.asarray(intrinsics - offset)


def mirror(
    world_to_camera: ArrayLike,
    intrinsics: ArrayLike,
    width: ArrayLike,
    plane_normal: ArrayLike = (1.0, 0.0, 0.0),
) -> tuple[FloatArray, FloatArray]:
    """Cameras that describe horizontally flipped images.

    No proper camera sees the same world in a flipped image: the rotation would have
    determinant -1. It sees the mirrored world instead. With `S` the reflection of the world in
    the plane through its origin with `plane_normal`, and `M` the flip of the camera's x,
    `M world_to_camera S` is a proper camera that sees `S point` where the flipped image shows
    `point`. Choose the head's own left-right axis as normal: a head is nearly its own mirror
    image, so the mirrored world still holds an upright head in its usual place. For x, this is
    what `flip_yaw` in EG3D's data preparation does to poses.

    Args:
        world_to_camera: `(..., 4, 4)` extrinsics.
        intrinsics: `(..., 3, 3)` pixels.
        width: `(...)` image width in pixels.
        plane_normal: `(..., 3)` world direction of any length.

    Returns:
        Extrinsics `(..., 4, 4)` and intrinsics `(..., 3, 3)` of the flipped images.

    Example:
        >>> from geogen_hf.cameras.poses import camera_centre, look_at
        >>> left = look_at((-3, 0, 4), (0, 0, 0), (0, 1, 0))
        >>> right, flipped = mirror(left, intrinsics_matrix(100, 50, 60, 40), width=128)
        >>> camera_centre(right).round(9) + 0.0, float(flipped[0, 2])
        (array([3., 0., 4.]), 68.0)
    """
    extrinsics = as_stack(world_to_camera, "extrinsics", 4, 4)
    normal = unit_vectors(as_stack(plane_normal, "plane_normal", 3), "plane_normal")
    reflection = np.eye(3) - 2 * normal[..., :, None] * normal[..., None, :]
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    intrinsics = as_stack(intrinsics, "intrinsics", 3, 3)
    fx, skew, cx = (intrinsics[..., 0, column] for column in range(3))
    fy, cy = intrinsics[..., 1, 1], intrinsics[..., 1, 2]
    flipped = intrinsics_matrix(fx, fy, np.asarray(width) - cx, cy, 0.0 - skew)
    return flip @ extrinsics @ compose_rigid(reflection, np.zeros(3)), flipped
