from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cameras import SEEDS, Array, random_cameras, random_rotations

from geogen_hf.cameras import conventions, intrinsics_matrix
from geogen_hf.cameras import validate as checks
from geogen_hf.errors import CameraError


@given(SEEDS, st.sampled_from([3, 4, 6]))
def test_rounded_extrinsics_are_accepted_and_can_be_repaired(seed: int, decimals: int) -> None:
    extrinsics, _ = random_cameras(seed, count=20)
    rounded = extrinsics.round(decimals)
    np.testing.assert_array_equal(checks.validate_extrinsics(rounded), rounded)
    repaired = checks.nearest_rotation(rounded[:, :3, :3])
    error, determinant = checks.rotation_errors(repaired)
    assert error.max() < 1e-12
    assert determinant.min() > 0
    np.testing.assert_allclose(repaired, extrinsics[:, :3, :3], atol=2 * 10.0**-decimals)


def spoil(matrix: Array, how: str) -> Array:
    matrix = matrix.copy()
    if how == "mirrored":
        matrix[1, :] *= -1
    elif how == "scaled":
        matrix[:3, :3] *= 1.7
    elif how == "off":
        matrix[:3, :3] *= 1.01
    elif how == "sheared":
        matrix[0, :3] += 0.6 * matrix[1, :3]
    elif how == "transposed":
        matrix = matrix.T
    elif how == "last row":
        matrix[3] = [0, 0, 1, 0]
    else:
        matrix[1, 2] = float(how)
    return matrix


@pytest.mark.parametrize(
    ("how", "fault", "remedy"),
    [
        ("mirrored", "mirrored", "axes convention"),
        ("scaled", r"scaled by 1\.7", "divide"),
        ("off", "slightly off", "nearest_rotation"),
        ("sheared", "no rotations", "order"),
        ("transposed", "last row", "transpose"),
        ("last row", "last row", "16 numbers"),
        ("nan", "not finite", "repair"),
        ("inf", "not finite", "repair"),
        ("1e200", "no rotations", "order"),
    ],
)
def test_bad_extrinsics_are_refused_with_index_and_remedy(
    how: str, fault: str, remedy: str
) -> None:
    extrinsics = random_cameras(11, count=6)[0].reshape(2, 3, 4, 4)
    extrinsics[1, 0] = spoil(extrinsics[1, 0], how)
    extrinsics[1, 2] = spoil(extrinsics[1, 2], how)
    with pytest.raises(CameraError, match=fault) as caught:
        checks.validate_extrinsics(extrinsics)
    message = str(caught.value)
    assert "index [1, 0]" in message
    assert "2 of 6" in message
    assert remedy in message.partition("remedy:")[2]


def test_report_gives_determinant_and_error() -> None:
    extrinsics, _ = random_cameras(12)
    extrinsics[2, 0, :3] *= -1
    with pytest.raises(CameraError, match=r"determinant -1, \|R\^T R - 1\| = \d"):
        checks.validate_extrinsics(extrinsics)


def test_each_rotation_is_told_apart() -> None:
    rotations = random_rotations(np.random.default_rng(7), 5)
    rotations[1] = rotations[1][:, [1, 0, 2]]
    rotations[2] *= 1 + 2e-3
    rotations[3] *= 1 + 0.5e-3
    rotations[4, 0, 0] = np.nan
    assert checks.is_rotation(rotations).tolist() == [True, False, False, True, False]
    error, determinant = checks.rotation_errors(rotations)
    np.testing.assert_allclose(determinant[:2], [1, -1])
    np.testing.assert_allclose(error[2], 4.004e-3, rtol=1e-6)
    assert error[4] == np.inf
    assert np.isnan(determinant[4])


@given(SEEDS)
def test_nearest_rotation_is_nearer_than_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noisy = random_rotations(rng, 1)[0] + rng.uniform(-5e-3, 5e-3, size=(3, 3))
    nearest = checks.nearest_rotation(noisy)
    distance = np.linalg.norm(noisy - nearest)
    # Small turns away from it, about every axis.
    for axis in np.vstack([np.eye(3), -np.eye(3)]) * 1e-3:
        turn = conventions.rotation_from_quaternion([1, *axis], "wxyz")
        assert np.linalg.norm(noisy - turn @ nearest) > distance


@pytest.mark.parametrize("how", ["mirrored", "scaled", "nan"])
def test_nearest_rotation_hides_no_mistake(how: str) -> None:
    rotation = spoil(random_cameras(13)[0][0], how)[:3, :3]
    with pytest.raises(CameraError, match="rotations"):
        checks.nearest_rotation(rotation)


@pytest.mark.parametrize(
    ("at", "value", "fault"),
    [
        ((0, 0), np.nan, "not finite"),
        ((0, 0), -700.0, "fx"),
        ((1, 1), 0.0, "fy"),
        ((1, 0), 3.0, "form"),
        ((2, 2), -1.0, "form"),
        ((2, 0), 300.0, "form"),
        ((0, 2), 0.5, "cx"),
        ((1, 2), 359.0, "cy"),
    ],
)
def test_bad_intrinsics_are_refused_with_index(
    at: tuple[int, int], value: float, fault: str
) -> None:
    _, intrinsics = random_cameras(14)
    np.testing.assert_array_equal(
        checks.validate_intrinsics(intrinsics, 640, [360, 360, 360]), intrinsics
    )
    intrinsics[1][at] = value
    with pytest.raises(CameraError, match=fault) as caught:
        checks.validate_intrinsics(intrinsics, 640, [360, 360, 360])
    assert "index [1]" in str(caught.value)
    assert "1 of 3" in str(caught.value)


def test_principal_points_are_checked_only_where_the_size_is_known() -> None:
    cropped = intrinsics_matrix(700, 500, 20, 200)
    checks.validate_intrinsics(cropped)
    checks.validate_intrinsics(cropped, 640, 360, max_offset=0.5)
    with pytest.raises(CameraError, match=r"320 \+- 160 px for this width"):
        checks.validate_intrinsics(cropped, 640, 360)


def test_the_report_names_the_size_of_the_bad_image() -> None:
    _, intrinsics = random_cameras(15)
    with pytest.raises(CameraError, match=r"1000 \+- 500 px for this width") as caught:
        checks.validate_intrinsics(intrinsics, [640, 640, 2000])
    assert "index [2]" in str(caught.value)
