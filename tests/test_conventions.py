"""Conversions, each against its tool's own definition written out here."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cameras import SEEDS, Array, random_cameras, random_rotations

from geogen_hf.cameras import conventions
from geogen_hf.cameras import poses as cameras
from geogen_hf.errors import CameraError, UsageError

SIZES = st.tuples(st.integers(32, 2000), st.integers(32, 2000))
AXES = st.sampled_from(get_args(conventions.AxesName))
ORDERS = st.sampled_from(get_args(conventions.QuaternionOrder))


def points_of(seed: int) -> Array:
    return np.random.default_rng([seed, 1]).uniform(-1, 1, size=(5, 3))


@given(SEEDS, AXES)
def test_camera_to_world_round_trip(seed: int, axes: conventions.AxesName) -> None:
    extrinsics, _ = random_cameras(seed)
    camera_to_world = conventions.to_camera_to_world(extrinsics, axes)
    back = conventions.from_camera_to_world(camera_to_world, axes)
    np.testing.assert_allclose(back, extrinsics, atol=1e-9)


def test_unknown_axes_are_refused() -> None:
    with pytest.raises(UsageError, match="opengl"):
        conventions.to_camera_to_world(np.eye(4), "unity")  # type: ignore[arg-type]


def pytorch3d_pixels(
    points: Array, camera: conventions.PyTorch3DCameras, width: int, height: int
) -> Array:
    """Project as PyTorch3D's "Cameras" page defines it: row vectors, then NDC, then screen.

    NDC x grows to the left and y upwards; the shorter side spans [-1, 1], the longer one
    [-s, s] with s the longer side over the shorter; screen (0, 0) is the top left corner.
    """
    view = points @ camera.R + camera.T[:, None, :]
    ndc = camera.focal_length[:, None] * view[..., :2] / view[..., 2:]
    ndc = ndc + camera.principal_point[:, None]
    span_x = width / height if width > height else 1.0
    span_y = height / width if height > width else 1.0
    x_px = (span_x - ndc[..., 0]) / (2 * span_x) * width
    y_px = (span_y - ndc[..., 1]) / (2 * span_y) * height
    return np.stack([x_px, y_px], axis=-1)


@given(SEEDS, SIZES)
def test_pytorch3d_projects_to_the_same_pixels(seed: int, size: tuple[int, int]) -> None:
    extrinsics, intrinsics = random_cameras(seed, *size)
    camera = conventions.to_pytorch3d(extrinsics, intrinsics, *size)
    points = points_of(seed)
    expected, _ = cameras.project(points, extrinsics, intrinsics)
    np.testing.assert_allclose(pytorch3d_pixels(points, camera, *size), expected, atol=1e-8)
    back = conventions.from_pytorch3d(camera, *size)
    np.testing.assert_allclose(back[0], extrinsics)
    np.testing.assert_allclose(back[1], intrinsics)


def test_pytorch3d_numbers_worked_out_by_hand() -> None:
    rotation = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    extrinsics = cameras.compose_rigid(rotation, (1, 2, 8))
    camera = conventions.to_pytorch3d(
        extrinsics, cameras.intrinsics_matrix(300, 200, 250, 90), 400, 200
    )
    # x and y of the camera change sign, and rows become columns.
    np.testing.assert_array_equal(camera.R, [[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    np.testing.assert_array_equal(camera.T, [-1, -2, 8])
    # One NDC unit is 100 px; the principal point is 50 px right of and 10 px above the middle.
    np.testing.assert_allclose(camera.focal_length, [3, 2])
    np.testing.assert_allclose(camera.principal_point, [-0.5, 0.1])


@given(SEEDS, SIZES)
def test_eg3d_labels_project_to_the_same_pixels(seed: int, size: tuple[int, int]) -> None:
    extrinsics, intrinsics = random_cameras(seed, *size)
    labels = conventions.to_eg3d(extrinsics, intrinsics, *size)
    assert labels.shape == (3, 25)
    points = points_of(seed)
    expected, _ = cameras.project(points, extrinsics, intrinsics)
    for label, pixels in zip(labels, expected, strict=True):
        # As EG3D's renderer has it: image coordinates in [0, 1], camera-to-world inverted.
        world_to_camera = np.linalg.inv(label[:16].reshape(4, 4))
        camera = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
        fx, _, cx, _, fy, cy, *last_row = label[16:]
        unit = camera[:, :2] / camera[:, 2:] * [fx, fy] + [cx, cy]
        np.testing.assert_allclose(unit * size, pixels, atol=1e-6)
        assert last_row == [0, 0, 1]
    back = conventions.from_eg3d(labels, *size)
    np.testing.assert_allclose(back[0], extrinsics, atol=1e-9)
    np.testing.assert_allclose(back[1], intrinsics)


def test_eg3d_labels_take_one_lens_for_many_poses() -> None:
    extrinsics, intrinsics = random_cameras(4)
    labels = conventions.to_eg3d(extrinsics, intrinsics[0], 640, 360)
    np.testing.assert_allclose(conventions.from_eg3d(labels, 640, 360)[1], intrinsics[[0, 0, 0]])


@given(SEEDS, SIZES)
def test_nerfstudio_rays_meet_the_points(seed: int, size: tuple[int, int]) -> None:
    extrinsics, intrinsics = random_cameras(seed, *size)
    camera = conventions.to_nerfstudio(extrinsics, intrinsics, *size)
    assert (camera.w, camera.h) == size
    pixels, _ = cameras.project(points_of(seed), extrinsics, intrinsics)
    # A nerfstudio ray: x right, y up, looking along -z, turned by the transform matrix.
    x = (pixels[..., 0] - camera.cx[:, None]) / camera.fl_x[:, None]
    y = -(pixels[..., 1] - camera.cy[:, None]) / camera.fl_y[:, None]
    local = np.stack([x, y, -np.ones_like(x)], axis=-1)
    directions = local @ np.swapaxes(camera.transform_matrix[:, :3, :3], -1, -2)
    towards = points_of(seed) - camera.transform_matrix[:, None, :3, 3]
    np.testing.assert_allclose(np.cross(directions, towards), 0, atol=1e-8)
    assert ((directions * towards).sum(axis=-1) > 0).all()
    back = conventions.from_nerfstudio(camera)
    np.testing.assert_allclose(back[0], extrinsics, atol=1e-9)
    np.testing.assert_array_equal(back[1], intrinsics)


def test_formats_without_skew_refuse_it() -> None:
    skewed = cameras.intrinsics_matrix(300, 200, 250, 90, skew=2)
    for convert in (conventions.to_pytorch3d, conventions.to_nerfstudio):
        with pytest.raises(CameraError, match="skew"):
            convert(np.eye(4), skewed, 400, 200)
    assert conventions.to_eg3d(np.eye(4), skewed, 400, 200)[17] == 2 / 400


@pytest.mark.parametrize(
    ("order", "quaternion"), [("wxyz", [0.5, -0.5, 0.5, 0.5]), ("xyzw", [-0.5, 0.5, 0.5, 0.5])]
)
def test_known_quaternion(order: conventions.QuaternionOrder, quaternion: list[float]) -> None:
    # 120 degrees about (-1, 1, 1) sends x to -z, y to -x and z to y: the columns.
    expected = [[0, -1, 0], [0, 0, 1], [-1, 0, 0]]
    found = conventions.rotation_from_quaternion(np.multiply(quaternion, 3), order)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    back = conventions.quaternion_from_rotation(expected, order)
    np.testing.assert_allclose(back, quaternion)


@given(SEEDS, ORDERS)
def test_quaternion_round_trip(seed: int, order: conventions.QuaternionOrder) -> None:
    rotations = random_rotations(np.random.default_rng(seed), 8).reshape(2, 4, 3, 3)
    quaternions = conventions.quaternion_from_rotation(rotations, order)
    assert (quaternions[..., order.index("w")] >= 0).all()
    back = conventions.rotation_from_quaternion(quaternions, order)
    np.testing.assert_allclose(back, rotations, atol=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_quaternions_of_half_turns(axis: int) -> None:
    half_turn = -np.eye(3)
    half_turn[axis, axis] = 1
    quaternion = conventions.quaternion_from_rotation(half_turn, "xyzw")
    np.testing.assert_allclose(np.abs(quaternion), np.eye(4)[axis])


def test_bad_quaternions_are_refused() -> None:
    for quaternion in ([0, 0, 0, 0], [np.nan, 0, 0, 1]):
        with pytest.raises(CameraError, match="quaternion"):
            conventions.rotation_from_quaternion(quaternion, "wxyz")
    with pytest.raises(UsageError, match="xyzw"):
        conventions.rotation_from_quaternion([1, 0, 0, 1], "wzyx")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="xyzw"):
        conventions.quaternion_from_rotation(np.eye(3), "xyz")  # type: ignore[arg-type]
