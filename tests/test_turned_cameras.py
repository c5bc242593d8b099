"""Cameras by a position and angles or numbers of a turn load from zips, or say what is needed."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrangements import lettered
from numpy.typing import NDArray
from random_cameras import turned

from geogen_hf import open_release
from geogen_hf.cameras.conventions import (
    CANDIDATES,
    CANONICAL,
    Convention,
    QuaternionOrder,
    canonicalise,
    express,
    quaternion_from_rotation,
)
from geogen_hf.cameras.poses import camera_centre as centre
from geogen_hf.cameras.poses import look_at
from geogen_hf.errors import MetadataError
from geogen_hf.metadata.reader import Document, Metadata, read_metadata
from geogen_hf.metadata.schema import load_camera_schema
from geogen_hf.sample import subject_cameras, write_release

Matrix = NDArray[np.float64]
Form = Callable[[Matrix], dict[str, Any]]
"""The keys of a camera's pose, of its canonical extrinsics."""

SIZE = 48
IDS = [f"subj_{index:05d}" for index in range(4)]
Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""From the sample's world, where y is up, to one where z is."""


def poses(subject_id: str, z_up: bool, rolled_deg: float = 0.0) -> Matrix:
    extrinsics, _ = subject_cameras(subject_id, size=SIZE)
    angles = np.radians(rolled_deg) * np.sin(np.arange(len(extrinsics)) + len(subject_id))
    for extrinsic, angle in zip(extrinsics, angles, strict=True):
        extrinsic[:3] = turned("z", angle) @ extrinsic[:3]
    return np.asarray(extrinsics @ np.linalg.inv(Z_UP) if z_up else extrinsics)


def decomposed(rotation: Matrix, order: str) -> list[float]:
    """The angles of turns about three distinct axes, the first of `order` leftmost."""
    first, second, third = map("xyz".index, order)
    sign = 1.0 if (second - first) % 3 == 1 else -1.0
    angles = [
        np.arctan2(-sign * rotation[second, third], rotation[third, third]),
        np.arcsin(np.clip(sign * rotation[first, third], -1, 1)),
        np.arctan2(-sign * rotation[first, second], rotation[first, first]),
    ]
    again = turned(order[0], angles[0]) @ turned(order[1], angles[1]) @ turned(order[2], angles[2])
    np.testing.assert_allclose(again, rotation, atol=1e-9)
    return [float(angle) for angle in angles]


def by_matrix(
    order: str, axes: str, unit: float = 180 / np.pi, keys: str = "yaw pitch roll"
) -> Form:
    """Angles as libraries take them out of a camera-to-world rotation."""

    def form(e: Matrix) -> dict[str, Any]:
        c2w = express(e, Convention.from_name(f"camera_to_world {axes}"))
        angles = [unit * angle for angle in decomposed(c2w[:3, :3], order)]
        return {"position": centre(e).tolist(), **dict(zip(keys.split(), angles, strict=True))}

    return form


def where_it_looks(
    up: str, keys: str, signs: tuple[float, float] = (1, 1), away: bool = False, unit: float = 1.0
) -> Form:
    """Heading and height of the line of sight, or of the camera as its target sees it."""

    def form(e: Matrix) -> dict[str, Any]:
        x, y, z = -e[2, :3] if away else e[2, :3]
        heading, height = (np.arctan2(x, z), y) if up == "y" else (np.arctan2(y, x), z)
        angles = [signs[0] * heading * unit, signs[1] * np.arcsin(height) * unit, 0.0]
        return {
            **dict(zip(keys.split(), angles, strict=False)),
            "location": dict(zip("xyz", centre(e).tolist(), strict=True)),
        }

    return form


def inside(box: str, form: Form) -> Form:
    def boxed(e: Matrix) -> dict[str, Any]:
        value = form(e)
        return {"position": value.pop("position"), box: value}

    return boxed


def singles(position: str, quaternion: str, axes: str = "camera_to_world opencv") -> Form:
    """Single numbers: a position and a quaternion under keys that end in letters."""

    def form(e: Matrix) -> dict[str, Any]:
        stored = express(e, Convention.from_name(axes))
        turned = quaternion_from_rotation(stored[:3, :3], "wxyz")
        return {
            **lettered(position, "xyz", stored[:3, 3]),
            **lettered(quaternion, "wxyz", turned),
        }

    return form


FORMS: dict[str, tuple[Form, bool]] = {
    "yaw pitch roll": (where_it_looks("y", "yaw pitch roll", unit=180 / np.pi), False),
    "yaw and pitch": (where_it_looks("z", "camera_yaw camera_pitch"), True),
    "azimuth elevation roll": (where_it_looks("y", "azimuth elevation roll", away=True), False),
    "pan tilt roll": (
        where_it_looks("z", "pan_deg tilt_deg roll_deg", (-1, 1), unit=57.29578),
        True,
    ),
    "heading down": (where_it_looks("y", "heading pitch roll", (1, -1)), False),
    "out of a matrix, zyx": (by_matrix("zyx", "opengl"), False),
    "out of a matrix, yxz": (by_matrix("yxz", "opengl", 1.0), False),
    "out of a matrix, zyx, opencv": (by_matrix("zyx", "opencv"), True),
    "out of a matrix, zxy, z up": (by_matrix("zxy", "opengl", keys="yaw pitch roll"), True),
    "out of a matrix, roll first": (by_matrix("xyz", "opencv", keys="roll pitch yaw"), False),
    "angles in a box": (inside("rotation", by_matrix("zyx", "opengl", 1.0)), True),
    "x y z, qw qx qy qz": (singles("{}", "q{}"), False),
    "tx ty tz, w x y z": (singles("t{}", "{}"), False),
    "pos_x, rot_x, world-to-camera": (singles("t_{}", "rot_{}", "world_to_camera opencv"), False),
    "X Y Z, qw qx qy qz, opengl": (singles("{}", "q{}", "camera_to_world opengl"), True),
}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("turned"), subjects=len(IDS), size=SIZE, workers=1)


def camera(form: Form, e: Matrix, view: int) -> dict[str, Any]:
    return {"view": view, **form(e), "fov": 39.597752709049864}


def replace_metadata(release: Path, form: Form, z_up: bool) -> None:
    with zipfile.ZipFile(release / "metadata_files.zip", "w") as archive:
        for name in IDS:
            views = [camera(form, e, view) for view, e in enumerate(poses(name, z_up))]
            archive.writestr(f"{name}.json", json.dumps({"name": name, "cameras": views}))


@pytest.mark.parametrize("name", FORMS)
def test_forms_load_from_zips_by_what_the_images_show(release: Path, name: str) -> None:
    form, z_up = FORMS[name]
    replace_metadata(release, form, z_up)
    with open_release(release) as found:
        for subject_id in IDS:
            true, k = poses(subject_id, z_up), subject_cameras(subject_id, size=SIZE)[1]
            np.testing.assert_allclose(found[subject_id].extrinsics, true, atol=1e-3)
            np.testing.assert_allclose(found[subject_id].intrinsics, k, atol=1e-3)


# --- what the metadata alone decides, and what it leaves to a `camera_schema`


def read(every: list[list[dict[str, Any]]], schema: dict[str, str] | None = None) -> Metadata:
    texts = [json.dumps({"cameras": cameras}).encode() for cameras in every]
    documents = [Document(f"s{n}.json", text, f"s{n}.json") for n, text in enumerate(texts)]
    views = {f"s{n}": range(len(cameras)) for n, cameras in enumerate(every)}
    return read_metadata(documents, views, schema=load_camera_schema(schema) if schema else None)


def remedies(every: list[list[dict[str, Any]]]) -> list[dict[str, str]]:
    """What a refusal tells to state."""
    with pytest.raises(MetadataError, match="camera_schema") as caught:
        read(every)
    return [
        json.loads(text) for text in re.findall(r"\{.*?\}", str(caught.value).split("remedy:")[1])
    ]


def same(found: Metadata, true: list[Matrix], stored: list[Convention]) -> bool:
    return any(
        all(
            np.abs(canonicalise(found.cameras[f"s{n}"].matrices, each) - poses).max() <= 1e-3
            for n, poses in enumerate(true)
        )
        for each in stored
    )


C2W = [each for each in CANDIDATES if each.direction == "camera_to_world" and not each.transposed]


def test_the_sign_of_a_roll_is_stated_as_the_refusal_says() -> None:
    def rolled(e: Matrix) -> dict[str, Any]:
        level = np.cross(e[2, :3], (0, 1, 0))
        roll = np.arctan2(e[0, :3] @ np.cross(e[2, :3], level), e[0, :3] @ level)
        return {**where_it_looks("y", "yaw pitch roll")(e), "roll": float(roll)}

    true = [poses(name, z_up=False, rolled_deg=9.0) for name in IDS]
    every = [[camera(rolled, e, view) for view, e in enumerate(each)] for each in true]
    said = remedies(every)
    assert {each["turns"] for each in said[:2]} == {"+y-x+z", "+y-x-z"}
    assert sum(same(read(every, each), true, C2W) for each in said) == 1


def test_angles_that_are_all_zero_fit_everything_and_are_refused() -> None:
    angles = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0}
    eyes = np.random.default_rng(0).uniform(-1, 1, (7, 3)).tolist()
    every = [[{**angles, "position": eye, "fov": 40.0} for eye in eyes]]
    assert "turns" in remedies(every)[0]


def sevens(position_first: bool, order: QuaternionOrder, level: bool) -> tuple[Any, list[Matrix]]:
    """Cameras at distance 1 that turn about y alone, so that both ends have length 1."""
    every, true = [], []
    for subject in range(3):
        azimuth = subject + np.linspace(0, 5, 7) ** 1.1
        height = np.zeros(7) if level else 0.3 * np.sin(9 * azimuth)
        places = np.stack(
            [np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], -1
        )
        true.append(look_at(places, np.zeros(3), (0, 1, 0)))
        stored = express(true[-1], Convention("camera_to_world", "opengl"))
        ends = [stored[:, :3, 3], quaternion_from_rotation(stored[:, :3, :3], order)]
        rows = np.concatenate(ends if position_first else ends[::-1], axis=1)
        every.append([{"c2w": row.tolist(), "fov": 40.0} for row in rows])
    return every, true


@pytest.mark.parametrize("position_first", [True, False])
@pytest.mark.parametrize("order", ["wxyz", "xyzw"])
@pytest.mark.parametrize("level", [True, False])
def test_seven_numbers_whose_ends_both_have_length_1(
    position_first: bool, order: QuaternionOrder, level: bool
) -> None:
    every, true = sevens(position_first, order, level)
    assert same(read(every), true, C2W)


def test_seven_numbers_that_no_rig_decides_are_stated_as_the_refusal_says() -> None:
    every, true = sevens(True, "xyzw", level=True)
    alone = [each[:1] for each in every]
    said = remedies(alone)
    assert {each["pose_order"] for each in said} == {"position first", "quaternion first"}
    assert any(same(read(alone, each), [each[:1] for each in true], C2W) for each in said)


def test_of_two_poses_the_one_whose_cameras_look_at_one_point_is_taken() -> None:
    true = [poses(name, z_up=False) for name in IDS]
    body = look_at((1.0, 2.0, 3.0), (0.0, 0.1, 0.2), (0, 1, 0))
    every = [
        [
            {"pose": (turn4(view) @ body).tolist(), "extrinsics": e.tolist(), "fov": 40.0}
            for view, e in enumerate(each)
        ]
        for each in true
    ]
    assert same(read(every), true, [CANONICAL])
    said = remedies([each[:1] for each in every])
    assert said == [{"extrinsics": "pose"}, {"extrinsics": "extrinsics"}]


def turn4(view: int) -> Matrix:
    """A body's pose in each view: it looks elsewhere every time."""
    found = np.eye(4)
    found[:3, :3] = turned("x", 1.3 * view) @ turned("y", 2.1 * view)
    found[:3, 3] = (view, -view, 0.5 * view)
    return found


def test_the_axis_that_is_up_is_that_cameras_stand_round() -> None:
    for z_up in (False, True):
        true = [poses(name, z_up) for name in IDS]
        every = [
            [
                {
                    "position": centre(e).tolist(),
                    "target": (centre(e) + e[2, :3]).tolist(),
                    "fov": 40.0,
                }
                for e in each
            ]
            for each in true
        ]
        upright = [
            Convention("world_to_camera", "opencv"),
            Convention("world_to_camera", "opencv_turned"),
        ]
        assert same(read(every), true, upright)
    said = remedies([each[:1] for each in every])
    assert {"world_up": "+z"} in said
