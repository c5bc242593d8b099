"""Conventions of stored matrices: each against its meaning written out, and round trips."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cameras import SEEDS, random_cameras

from geogen_hf.cameras.conventions import (
    AXES_SIGNS,
    CANDIDATES,
    CANONICAL,
    AxesName,
    CameraAxes,
    Convention,
    canonicalise,
    express,
    to_camera_to_world,
    to_pytorch3d,
)
from geogen_hf.cameras.poses import look_at
from geogen_hf.cameras.validate import is_rotation
from geogen_hf.errors import CameraError, UsageError

CONVENTIONS = st.sampled_from(CANDIDATES)


@given(SEEDS, CONVENTIONS)
def test_canonicalise_undoes_express(seed: int, convention: Convention) -> None:
    extrinsics, _ = random_cameras(seed, count=6)
    stored = express(extrinsics.reshape(2, 3, 4, 4), convention)
    assert stored.shape == (2, 3, 4, 4)
    # Even mirrored axes leave proper rotations in the file: no determinant gives them away.
    np.testing.assert_allclose(np.linalg.det(stored[..., :3, :3]), 1.0, atol=1e-9)
    np.testing.assert_allclose(
        canonicalise(stored, convention).reshape(6, 4, 4), extrinsics, atol=1e-9
    )


@given(SEEDS, CONVENTIONS)
def test_express_undoes_canonicalise(seed: int, convention: Convention) -> None:
    stored, _ = random_cameras(seed)
    if convention.transposed:
        stored = np.swapaxes(stored, -1, -2)
    read = canonicalise(stored, convention)
    assert is_rotation(read[..., :3, :3]).all()
    np.testing.assert_allclose(express(read, convention), stored, atol=1e-9)


@given(SEEDS, st.sampled_from([c for c in CANDIDATES if c.mirrored]))
def test_left_handed_cameras_in_a_right_handed_world_are_read_in_that_world(
    seed: int, convention: Convention
) -> None:
    extrinsics, _ = random_cameras(seed)
    stored = np.diag([*AXES_SIGNS[convention.axes], 1]) @ extrinsics  # determinant -1
    if convention.direction == "camera_to_world":
        stored = np.linalg.inv(stored)
    if convention.transposed:
        stored = np.swapaxes(stored, -1, -2)
    np.testing.assert_allclose(canonicalise(stored, convention), extrinsics, atol=1e-9)


def test_every_pair_of_candidates_differs() -> None:
    assert len(CANDIDATES) == len(set(CANDIDATES)) == 32
    assert CANDIDATES[0] == CANONICAL
    extrinsics, _ = random_cameras(11)
    for one, other in itertools.combinations(CANDIDATES, 2):
        assert np.abs(express(extrinsics, one) - express(extrinsics, other)).max() > 1e-3


@pytest.mark.parametrize(
    ("axes", "of_tool"),
    [("opencv",) * 2, ("opengl",) * 2, ("opengl", "blender"), ("opencv_turned", "pytorch3d")],
)
def test_the_same_as_the_exporters(axes: CameraAxes, of_tool: AxesName) -> None:
    extrinsics, intrinsics = random_cameras(12)
    out = express(extrinsics, Convention("camera_to_world", axes))
    np.testing.assert_array_equal(out, to_camera_to_world(extrinsics, of_tool))
    turned = express(extrinsics, Convention("world_to_camera", "opencv_turned"))
    view = to_pytorch3d(extrinsics, intrinsics, 640, 360)
    np.testing.assert_array_equal(turned[:, :3, :3].swapaxes(1, 2), view.R)


@pytest.mark.parametrize(
    ("axes", "columns"),
    [
        ("opencv", ("right", "down", "forward")),
        ("opengl", ("right", "up", "backward")),
        ("opencv_turned", ("left", "up", "forward")),
        ("opengl_turned", ("left", "down", "backward")),
        ("opencv_mirrored_x", ("left", "down", "forward")),
        ("opencv_mirrored_y", ("right", "up", "forward")),
        ("opengl_mirrored_x", ("left", "up", "backward")),
        ("opengl_mirrored_y", ("right", "down", "backward")),
    ],
)
def test_columns_point_where_the_name_says(axes: CameraAxes, columns: tuple[str, ...]) -> None:
    # From (3, 0, 1) along -x with z up: right is +y, worked out by hand.
    extrinsics = look_at((3, 0, 1), (0, 0, 1), (0, 0, 1))
    right, up, forward = np.array([0, 1, 0]), np.array([0, 0, 1]), np.array([-1, 0, 0])
    named = {"right": right, "up": up, "forward": forward}
    named |= {"left": -right, "down": -up, "backward": -forward}
    convention = Convention("camera_to_world", axes)
    stored = express(extrinsics, convention)
    world = np.array([-1, 1, 1]) if convention.mirrored else np.array([1, 1, 1])
    for column, name in enumerate(columns):
        np.testing.assert_allclose(stored[:3, column], named[name] * world, atol=1e-12)
    np.testing.assert_allclose(stored[:, 3], [*(np.array([3, 0, 1]) * world), 1], atol=1e-12)
    transposed = express(extrinsics, Convention("camera_to_world", axes, transposed=True))
    np.testing.assert_array_equal(transposed, stored.T)


@given(CONVENTIONS)
def test_names_are_read_back(convention: Convention) -> None:
    assert Convention.from_name(convention.name) == convention
    assert Convention.from_name(convention.name.upper().replace("_", "-")) == convention
    assert str(convention) == convention.name


def test_other_spellings() -> None:
    for name in ("c2w blender", "C2W OpenGL", "camera-to-world  opengl"):
        assert Convention.from_name(name) == Convention("camera_to_world", "opengl")
    assert Convention.from_name("w2c pytorch3d transposed") == Convention(
        "world_to_camera", "opencv_turned", transposed=True
    )
    assert Convention.from_name("c2w unity").mirrored


@pytest.mark.parametrize(
    "name", ["", "c2w", "opengl", "c2w opengl turned", "opengl c2w", "c2w opengl transposed twice"]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="opencv_mirrored_x"):
        Convention.from_name(name)


def test_unknown_values_and_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="camera_to_world"):
        Convention("c2w", "opengl")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="opengl_turned"):
        Convention("camera_to_world", "unity")  # type: ignore[arg-type]
    for function in (canonicalise, express):
        with pytest.raises(CameraError, match="shape"):
            function(np.eye(3), CANONICAL)
