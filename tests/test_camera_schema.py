"""What metadata does not say can be stated, and what is stated is checked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cameras import random_cameras, to_canonical

from geogen_hf.cameras.conventions import CANONICAL, Convention, express
from geogen_hf.errors import MetadataError, UsageError
from geogen_hf.metadata.assembly import SubjectCameras, canonical_extrinsics
from geogen_hf.metadata.reader import Document, read_metadata
from geogen_hf.metadata.schema import CameraSchema, load_camera_schema
from geogen_hf.metadata.stored_intrinsics import pixel_intrinsics

EXTRINSICS, INTRINSICS = random_cameras(seed=8, count=3)
SIZE = (640, 360)
STORED = Convention("camera_to_world", "opengl")


def document(value: object, path: str = "data.json") -> Document:
    return Document(path, json.dumps(value).encode(), path)


def read(
    value: object,
    schema: Mapping[str, object] | CameraSchema | None = None,
    name: str = "a",
    views: Iterable[int] = (0,),
) -> SubjectCameras:
    loaded = None if schema is None else load_camera_schema(schema)
    found = read_metadata([document(value)], {name: tuple(views)}, schema=loaded)
    if found.problems:
        raise MetadataError("\n".join(problem.detail for problem in found.problems))
    return found.cameras[name]


def test_a_schema_that_no_key_gives_away() -> None:
    """Columns first, a pose under two keys, an odd lens, views by a key of their own."""
    stored = express(EXTRINSICS, STORED)
    shots = [
        {
            "which": {"picture": f"{view}.png"},
            "geo.metry": {"m": matrix.T.ravel().tolist(), "decoy": [1]},
            "extrinsics": "see the paper",
            "optik": {
                "brennweite": [k[0, 0] / 640, k[1, 1] / 360],
                "mitte": [k[0, 2] / 640, k[1, 2] / 360],
            },
        }
        for view, matrix, k in zip((4, 2, 3), stored, INTRINSICS, strict=True)
    ]
    value = {"wer": {"heisst": "subj_q"}, "rig": {"shots": shots}}
    schema = {
        "cameras": "rig.shots",
        "subject": "wer.heisst",
        "view": "rig.shots.*.which.picture",
        "extrinsics": ["geo.metry", "m"],
        "layout": "column-major",
        "direction": "camera_to_world",
        "axes": "opengl",
        "intrinsics": {"focal": "optik.brennweite", "principal": "Optik.Mitte"},
        "intrinsics_units": "normalised",
    }
    with pytest.raises(MetadataError, match="several ways that disagree"):  # the order and a number
        read(value, None, "subj_q", [2, 3, 4])
    found = read(value, schema, "subj_q", [2, 3, 4])
    assert (found.subject_id, found.view_ids) == ("subj_q", (2, 3, 4))
    assert (found.claims.direction, found.claims.axes) == ("camera_to_world", "opengl")
    assert found.claims.transposed is False
    extrinsics, intrinsics = to_canonical(found, STORED, SIZE)
    order = [1, 2, 0]
    np.testing.assert_allclose(extrinsics, EXTRINSICS[order], atol=1e-12)
    np.testing.assert_allclose(intrinsics, INTRINSICS[order], rtol=1e-12)


CAMERA = {"extrinsics": EXTRINSICS[0].tolist(), "K": INTRINSICS[0].tolist()}


@pytest.mark.parametrize(
    ("camera", "schema"),
    [
        ({"pose": EXTRINSICS[1].tolist()}, {"extrinsics": "Extrinsics"}),
        ({"intrinsics": INTRINSICS[1].tolist()}, {"intrinsics": "K"}),
        ({"view": "left"}, {"view": "order of cameras"}),
        ({"fx": 3}, {}),
    ],
)
def test_what_is_ambiguous_can_be_read_by_stating_one_thing(
    camera: dict[str, object], schema: dict[str, object]
) -> None:
    value = {"name": "a", "cameras": [{**camera, **CAMERA}]}
    if "view" not in camera and schema:
        with pytest.raises(MetadataError, match="camera_schema"):
            read(value)
    found = read(value, schema or {"intrinsics": "K"})
    np.testing.assert_array_equal(found.matrices, EXTRINSICS[:1])
    np.testing.assert_array_equal(found.intrinsics.values, INTRINSICS[:1])


def test_units_direction_and_order_can_be_stated() -> None:
    half = np.sqrt(0.5)
    camera = {"q": [half, 0, 0, half], "t": [7, 8, 9], "lens": [[6, 0, 2], [0, 6, 1], [0, 0, 1]]}
    value = {"name": "a", "cameras": [camera]}
    stated = {
        "quaternion": "q",
        "translation": "t",
        "direction": "camera_to_world",
        "intrinsics": "lens",
        "intrinsics_units": "pixels",
    }
    seconds = {}
    for order in ("wxyz", "xyzw"):
        found = read(value, {**stated, "quaternion_order": order})
        seconds[order] = (found.matrices[0, :3, 1].round(9) + 0.0).tolist()
        assert found.claims.direction == "camera_to_world"
        assert found.intrinsics.kind == "pixels"
    assert seconds == {"wxyz": [-1, 0, 0], "xyzw": [0, 0, 1]}
    with pytest.raises(MetadataError, match=r'{"quaternion_order": "wxyz"} or'):
        read(value, stated)


def test_units_of_a_few_degrees_can_be_stated() -> None:
    shots = [
        {"azimuth": 0.1 * view, "elevation": 0.5, "distance": 2.0, "K": INTRINSICS[0].tolist()}
        for view in range(3)
    ]
    value = {"name": "a", "cameras": shots}
    with pytest.raises(MetadataError, match=r'camera_schema=\{"euler_units": "radians"\}'):
        read(value, None, views=range(3))
    for units, x in (("radians", 2 * np.sin(0.2) * np.cos(0.5)), ("degrees", 0.00698)):
        found = read(value, {"euler_units": units}, views=range(3))
        places = canonical_extrinsics(found, CANONICAL)[2]
        assert -places[:3, 0] @ places[:3, 3] == pytest.approx(x, abs=1e-5)


def test_what_the_metadata_says_itself_is_overruled() -> None:
    camera = {**CAMERA, "layout": "column-major", "axes": "opengl"}
    value = {"name": "a", "cameras": [camera]}
    assert read(value).claims.axes == "opengl"
    found = read(value, {"layout": "row-major", "axes": "opencv"})
    assert found.claims.axes == "opencv"
    np.testing.assert_array_equal(found.matrices, EXTRINSICS[:1])


def test_subjects_of_one_file_can_be_pointed_at() -> None:
    value = {"a": {"b": {"subj_1": {"x": {"0": CAMERA}}, "subj_2": {"x": {"1": CAMERA}}}}, "c": []}
    schema = load_camera_schema({"cameras": "a.b.*.x"})
    found = read_metadata([document(value)], {"subj_1": [0], "subj_2": [1]}, schema=schema)
    assert found.problems == []
    assert {key: each.view_ids for key, each in found.cameras.items()} == {
        "subj_1": (0,),
        "subj_2": (1,),
    }
    assert json.loads(found.cameras["subj_2"].text) == {"x": {"1": CAMERA}}
    missing = load_camera_schema({"cameras": "a.x"})
    with pytest.raises(MetadataError, match="no cameras"):
        read_metadata([document(value)], {"subj_1": [0]}, schema=missing)


def test_no_intrinsics_can_be_stated() -> None:
    value = {"name": "a", "cameras": [{**CAMERA, "K": "lost"}]}
    assert read(value, {"intrinsics": {}}).intrinsics.kind == "absent"


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"schema{suffix}"
    texts = {
        ".toml": 'extrinsics = "extrinsics"\nview = "order of cameras"\n'
        '[intrinsics]\nfocal_mm = "f.a"\n'
        'sensor_mm = "f.b"\n',
        ".json": '{"extrinsics": "extrinsics", "view": "order of cameras", '
        '"intrinsics": {"focal_mm": "f.a", "sensor_mm": "f.b"}}',
    }
    path.write_text(texts[suffix])
    value = {"name": "a", "cameras": [{**CAMERA, "f": {"a": 50, "b": 36}}]}
    found = read(value, load_camera_schema(path))
    focal_px = pixel_intrinsics(found.intrinsics, 72, 40)[0, [0, 1], [0, 1]]
    np.testing.assert_allclose(focal_px, 100, rtol=1e-12)
    assert load_camera_schema(str(path)) == load_camera_schema(path)
    path.write_text("=")
    with pytest.raises(UsageError, match="cannot be read"):
        load_camera_schema(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_camera_schema(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, "not a table"),
        ([], "not a table"),
        ({"extrinsic": "m", "view": "file", "axis": 1}, r"\['extrinsic', 'axis'\]"),
        ({"direction": "c2w"}, "world_to_camera or camera_to_world"),
        ({"axes": "blender"}, "unknown axes"),
        ({"layout": "columns"}, "row-major or column-major"),
        ({"view": 3}, "view is no place"),
        ({"subject": [1]}, "subject is no place"),
        ({"extrinsics": ""}, "extrinsics is no path"),
        ({"extrinsics": "a.b.c.d.e"}, "up to 4 keys"),
        ({"extrinsics": ["a", 1]}, "is no path"),
        ({"rotation": "R"}, "rotation and translation"),
        ({"extrinsics": "m", "translation": "t"}, "does not say one pose"),
        ({"intrinsics_units": "px"}, "unknown intrinsics_units"),
        ({"intrinsics": "K", "intrinsics_units": "mm"}, "pixels or normalised"),
        ({"intrinsics": {"fov_x": "a"}, "intrinsics_units": "pixels"}, "does not suit"),
        ({"intrinsics": {"fx": "a", "cy": "b"}}, "fx fy cx cy"),
        ({"intrinsics": 3}, "intrinsics is no path"),
        ({"intrinsics": {"focal": 9, "principal": 8}}, "principal is no path"),
    ],
)
def test_a_wrong_schema_says_what_is_wrong(schema: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_camera_schema(schema)  # type: ignore[arg-type]


def test_a_path_that_leads_nowhere_or_to_something_else_is_told_with_the_keys_there_are() -> None:
    value = {"name": "a", "cameras": [CAMERA]}
    for schema, keys in (
        ({"extrinsics": "pose.m"}, "'cameras'"),
        ({"extrinsics": "K"}, "K to be 4×4"),
        ({"intrinsics": "lens"}, "K"),
        ({"intrinsics": {"fov_x": "K"}}, "K to be a finite number"),
    ):
        with pytest.raises(MetadataError, match=keys):
            read(value, schema)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("aK.3", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aK.3", max_size=4), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(["extrinsics", "intrinsics", "view", "subject", "cameras", "axes", "layout"])


@given(
    st.dictionaries(KEYS, JSON | st.sampled_from(["list", "opencv", "a.b", "K", {"fov_x": "K"}]))
)
def test_any_mapping_is_a_schema_or_a_usage_error(schema: dict[str, object]) -> None:
    try:
        loaded = load_camera_schema(schema)
    except UsageError:
        return
    with contextlib.suppress(MetadataError):
        read_metadata([document({"name": "a", "cameras": [CAMERA]})], {"a": [0]}, schema=loaded)
