"""Pinhole cameras in one canonical convention, as batched float64 numpy arrays.

- **Extrinsics** are world-to-camera with OpenCV axes (x right, y down, z into the scene):
  `(..., 4, 4)`, `point_camera = world_to_camera @ point_world` on homogeneous columns.
- **Intrinsics** are pixels of the stored image: `(..., 3, 3)`, upper triangular, last row 0 0 1.
- **Pixels** are areas: pixel (0, 0) covers [0, 1) x [0, 1) and has its centre at (0.5, 0.5). So a
  centred principal point is (W/2, H/2), and a resize multiplies intrinsics exactly. OpenCV's own
  functions put whole numbers on pixel centres: subtract 0.5 from cx and cy before calling them.

The projection is the pinhole model of OpenCV's `calib3d` documentation, without distortion.
Leading dimensions are free everywhere and broadcast as numpy's do. Functions take anything that
becomes a float64 array, and raise `CameraError` where the trailing shape is wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.errors import CameraError

FloatArray = NDArray[np.float64]


def as_stack(values: ArrayLike, name: str, *trailing: int) -> FloatArray:
    """Read `values` as float64 `(..., *trailing)`, or raise `CameraError` under `name`."""
    expected = f"(..., {', '.join(map(str, trailing))})"
    try:
        stack = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        what = f"{name} are not an array of numbers"
        raise CameraError(what, expected=expected, found=error) from error
    if stack.shape[stack.ndim - len(trailing) :] != trailing or stack.ndim < len(trailing):
        what = f"{name} have the wrong shape"
        raise CameraError(what, expected=expected, found=stack.shape)
    return stack


def compose_rigid(rotation: ArrayLike, translation: ArrayLike) -> FloatArray:
    """Put `(..., 3, 3)` rotations and `(..., 3)` translations together as `(..., 4, 4)`."""
    rotation = as_stack(rotation, "rotations", 3, 3)
    translation = as_stack(translation, "translations", 3)
    lead = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    matrix = np.zeros((*lead, 4, 4))
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation
    matrix[..., 3, 3] = 1.0
    return matrix


def invert_rigid(transform: ArrayLike) -> FloatArray:
    """Invert `(..., 4, 4)` rotations with translation, exactly: the rotation is transposed.

    Turns world-to-camera into camera-to-world and back. Not for matrices with scale or shear.
    """
    transform = as_stack(transform, "rigid transforms", 4, 4)
    inverse = np.swapaxes(transform[..., :3, :3], -1, -2)
    return compose_rigid(inverse, -(inverse @ transform[..., :3, 3:])[..., 0])


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike) -> FloatArray:
    """Extrinsics of a camera at `eye` that looks at `target` with `up` upwards in its image.

    Args:
        eye: `(..., 3)` camera centre, world frame.
        target: `(..., 3)` world point that lands on the principal point.
        up: `(..., 3)` world direction, of any length, towards the top of the image.

    Returns:
        `(..., 4, 4)` float64 world-to-camera, OpenCV axes, the unit of `eye`.

    Raises:
        CameraError: `eye` is `target`, or `up` is parallel to the line of sight.

    Example:
        >>> look_at((0, 0, 5), (0, 0, 0), (0, 1, 0)) @ [1, 2, 0, 1]  # right of the axis, above it
        array([ 1., -2.,  5.,  1.])
    """
    eye, target = as_stack(eye, "eye", 3), as_stack(target, "target", 3)
    forward = unit_vectors(target - eye, "the line of sight (target - eye)")
    across = np.cross(forward, unit_vectors(as_stack(up, "up", 3), "up"))
    right = unit_vectors(across, "up, seen across the line of sight")
    axes = np.broadcast_arrays(right, np.cross(forward, right), forward)
    rotation = np.stack(axes, axis=-2)
    return compose_rigid(rotation, -(rotation @ eye[..., None])[..., 0])


def camera_centre(world_to_camera: ArrayLike) -> FloatArray:
    """Where cameras stand: `(..., 3)` float64, world frame, from `(..., 4, 4)` extrinsics.

    Example:
        >>> camera_centre(look_at((3, -1, 2), (0, 0, 0), (0, 1, 0))).round(9)
        array([ 3., -1.,  2.])
    """
    return invert_rigid(world_to_camera)[..., :3, 3]


def project(
    points_world: ArrayLike, world_to_camera: ArrayLike, intrinsics: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Pixels and depths of world points (OpenCV `calib3d`, pinhole model).

    Args:
        points_world: `(..., N, 3)`, world frame.
        world_to_camera: `(..., 4, 4)` extrinsics.
        intrinsics: `(..., 3, 3)` pixels.

    Returns:
        pixels `(..., N, 2)` as x, y; and depth `(..., N)`, the z of the camera frame (not the
        distance), in the world's unit. Points that are not in front of the camera (depth <= 0)
        have depths but no pixels: nan.

    Example:
        >>> extrinsics = look_at((0, 0, 5), (0, 0, 0), (0, 1, 0))
        >>> project([[1, 2, 0]], extrinsics, intrinsics_matrix(100, 50, 60, 40))
        (array([[80., 20.]]), array([5.]))
    """
    points_world = as_stack(points_world, "points", 3)
    extrinsics = as_stack(world_to_camera, "extrinsics", 4, 4)
    intrinsics = as_stack(intrinsics, "intrinsics", 3, 3)
    rotation_t = np.swapaxes(extrinsics[..., :3, :3], -1, -2)
    points_camera = points_world @ rotation_t + extrinsics[..., None, :3, 3]
    depth = points_camera[..., 2]
    scaled = (points_camera @ np.swapaxes(intrinsics, -1, -2))[..., :2]
    return scaled / np.where(depth > 0, depth, np.nan)[..., None], depth


def unproject(
    pixels: ArrayLike, depth: ArrayLike, world_to_camera: ArrayLike, intrinsics: ArrayLike
) -> FloatArray:
    """World points `(..., N, 3)` at pixels `(..., N, 2)`, depths `(..., N)`: undoes `project`."""
    depth = np.asarray(depth, dtype=np.float64)
    extrinsics = as_stack(world_to_camera, "extrinsics", 4, 4)
    points_camera = _pixel_directions(pixels, intrinsics) * depth[..., None]
    return np.asarray((points_camera - extrinsics[..., None, :3, 3]) @ extrinsics[..., :3, :3])


def pixel_centres(width: int, height: int) -> FloatArray:
    """Centres of all pixels, row by row: `(height * width, 2)` float64 x, y."""
    x_px, y_px = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x_px, y_px], axis=-1).reshape(-1, 2)


def rays(
    pixels: ArrayLike, world_to_camera: ArrayLike, intrinsics: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """World rays through pixels `(..., N, 2)`, for instance those of `pixel_centres`.

    Returns:
        origins `(..., N, 3)` (the camera centre; a read-only view) and unit directions
        `(..., N, 3)`, both world frame.
    """
    extrinsics = as_stack(world_to_camera, "extrinsics", 4, 4)
    directions = _pixel_directions(pixels, intrinsics) @ extrinsics[..., :3, :3]
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    origins = camera_centre(extrinsics)[..., None, :]
    return np.broadcast_to(origins, directions.shape), directions


def _pixel_directions(pixels: ArrayLike, intrinsics: ArrayLike) -> FloatArray:
    pixels = as_stack(pixels, "pixels", 2)
    homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)
    inverse = np.linalg.inv(as_stack(intrinsics, "intrinsics", 3, 3))
    return np.asarray(homogeneous @ np.swapaxes(inverse, -1, -2))


def unit_vectors(vectors: FloatArray, name: str) -> FloatArray:
    """Scale `(..., N)` vectors to length 1, or raise `CameraError` under `name` if one has none."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > 1e-9)).all():
        raise CameraError(f"{name} is no direction", expected="a finite, nonzero vector")
    return np.asarray(vectors / length)


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
