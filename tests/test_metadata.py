from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cameras import random_cameras

from geogen_hf.errors import CameraError, MetadataError, UsageError
from geogen_hf.metadata.reader import Document, SubjectCameras, parse_document, read_metadata
from geogen_hf.metadata.stored_intrinsics import pixel_intrinsics

EXTRINSICS, INTRINSICS = random_cameras(seed=5, count=3)


def document(name: str = "subj_1", **changes: object) -> Document:
    cameras = [
        {"extrinsics": e.tolist(), "intrinsics": k.tolist()}
        for e, k in zip(EXTRINSICS, INTRINSICS, strict=True)
    ]
    value = {"name": name, "cameras": cameras, **changes}
    return Document(f"{name}.json", json.dumps(value).encode())


def test_matrices_come_back_exactly() -> None:
    found = parse_document(document())
    assert found.subject_id == "subj_1"
    assert found.view_ids == (0, 1, 2)
    np.testing.assert_array_equal(found.matrices, EXTRINSICS)
    np.testing.assert_array_equal(found.intrinsics.values, INTRINSICS)


def test_text_is_kept_as_it_was() -> None:
    text = document().text
    assert parse_document(Document("a", b"\xef\xbb\xbf" + text)).text == text.decode()
    assert parse_document(Document("a", text)).text == text.decode()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"{", "Expecting"),
        (b"\xff\xfe{}", "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "list"),
        (b'{"nom": 1}', "nom"),
        (b'{"name": 3, "cameras": [1]}', "3"),
        (b'{"name": "a", "cameras": []}', "[]"),
        (b'{"name": "a", "cameras": [[]]}', "[]"),
        (b'{"name": "a", "cameras": [{"K": 1}]}', "K"),
        (b'{"name": "a", "cameras": NaN}', "NaN"),
        (b"", "Expecting"),
    ],
)
def test_what_cannot_be_read_says_what_it_is(text: bytes, found: str) -> None:
    with pytest.raises(MetadataError) as caught:
        parse_document(Document("P8: metadata_7.json", text))
    assert "metadata_7.json" in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 2], [3, 4]],
        [[1, 2, 3, 4]] * 3,
        [[1, 2, 3]] * 4,
        "identity",
        [[float("inf")] * 4] * 4,
        [[1e999] * 4] * 4,
        [["x"] * 4] * 4,
        None,
    ],
)
def test_what_is_no_4x4_matrix_is_refused(matrix: object) -> None:
    camera = {"extrinsics": matrix, "intrinsics": np.eye(3).tolist()}
    with pytest.raises(MetadataError, match="subj_1"):
        parse_document(document(cameras=[camera]))


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,0123eE.-NaInftyrul ', max_size=60))
def test_no_text_does_anything_but_parse_or_raise_metadata_error(text: bytes | str) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(MetadataError):
        parse_document(Document("fuzz", data))


def test_all_files_are_tried_and_every_problem_told() -> None:
    documents = [
        document("subj_1"),
        Document("broken.json", b"{"),
        document("subj_10"),
        document("subj_1"),
    ]
    cameras, problems = read_metadata(documents)
    assert sorted(cameras) == ["subj_1", "subj_10"]
    assert [problem.kind for problem in problems] == ["bad metadata", "duplicate metadata"]
    assert "broken.json" in problems[0].detail
    assert problems[1].subject_id == "subj_1"


# --- arrangements that no schema of the sample writer has


def read(value: object, path: str = "subj_1.json") -> SubjectCameras:
    return parse_document(Document(path, json.dumps(value).encode()))


POSE, K = EXTRINSICS[0].tolist(), INTRINSICS[0].tolist()
CAMERA = {"extrinsics": POSE, "K": K}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("subj_x.json", "subj_x"),
        ("all/metadata_subj_x.json", "subj_x"),
        ("subj_x/cameras.json", "subj_x"),
        ("deep/subj_x/images/metadata.json", "subj_x"),
    ],
)
def test_a_subject_is_named_by_its_file_where_nothing_else_does(path: str, expected: str) -> None:
    assert read([CAMERA], path).subject_id == expected


@pytest.mark.parametrize("path", ["metadata.json", "images/dataset.json"])
def test_a_subject_without_any_name_is_refused(path: str) -> None:
    with pytest.raises(MetadataError, match="a subject's name"):
        read([CAMERA], path)


@pytest.mark.parametrize(
    ("key", "view"),
    [("7", 7), ("007.PNG", 7), ("cam_7", 7), ("View 7", 7), ("./7.png", 7), ("frame-0012", 12)],
)
def test_names_of_views(key: str, view: int) -> None:
    found = read({"name": "b", "cameras": {key: CAMERA}})
    assert (found.subject_id, found.view_ids) == ("b", (view,))


def test_views_are_put_in_order_with_their_cameras() -> None:
    cameras = {
        str(view): {"R_T": extrinsics.tolist(), "K": K}
        for view, extrinsics in zip((10, 9, 2), EXTRINSICS, strict=True)
    }
    found = read({"name": "a", "cameras": cameras})
    assert found.view_ids == (2, 9, 10)
    np.testing.assert_array_equal(found.matrices, EXTRINSICS[::-1])


ROTATION = EXTRINSICS[0, :3, :3].tolist()


@pytest.mark.parametrize(
    ("camera", "direction", "axes"),
    [
        ({"World-To Camera": POSE}, "world_to_camera", None),
        ({"w2c_matrix": POSE}, "world_to_camera", None),
        ({"CAM2WORLD": POSE}, "camera_to_world", None),
        ({"params": {"camera": {"c2w": {"R": ROTATION, "t": [1, 2, 3]}}}}, "camera_to_world", None),
        ({"matrix_world": POSE}, "camera_to_world", "opengl"),
        ({"pose": POSE, "camera_convention": "OpenCV"}, None, "opencv"),
        ({"pose": POSE, "c2w": POSE}, "camera_to_world", None),
    ],
)
def test_keys_claim_what_they_say(camera: dict[str, object], direction: str, axes: str) -> None:
    found = read({"name": "a", "cameras": [{**camera, "K": K}]})
    assert (found.claims.direction, found.claims.axes) == (direction, axes)


def test_quaternions_may_be_objects() -> None:
    q = {"x": 0.1, "y": 0.7, "z": -0.1, "w": 0.7}
    found = read({"name": "a", "views": [{"quaternion": q, "t": [[1], [2], [3]], "K": K}]})
    # 1 - 2 (y² + z²), 2 (xy + wz), 2 (xz - wy), by hand.
    np.testing.assert_allclose(found.matrices[0, :3, 0], [0.0, 0.0, -1.0], atol=1e-12)
    assert found.matrices[0, :3, 3].tolist() == [1, 2, 3]


POSES, KS = EXTRINSICS.tolist(), INTRINSICS.tolist()


def by_view(values: list[object]) -> dict[str, object]:
    return {f"{view}.png": value for view, value in enumerate(values)}


@pytest.mark.parametrize(
    "value",
    [
        {"name": "a", "cameras": {"extrinsics": POSES, "intrinsics": KS}},
        {"name": "a", "cameras": {"extrinsics": by_view(POSES), "intrinsics": by_view(KS)}},
        {"name": "a", "R": EXTRINSICS[:, :3, :3].tolist(), "t": EXTRINSICS[:, :3, 3].tolist()}
        | {"camera": {"K": KS}},
        {"a": {"extrinsics": [np.ravel(pose).tolist() for pose in POSES], "K": KS}},
        {"a": {"poses": POSES, "files": None, "K": KS}, "b": {"poses": POSES, "K": KS}},
    ],
)
def test_one_array_a_quantity_is_taken_apart(value: object) -> None:
    cameras, problems = read_metadata([Document("all.json", json.dumps(value).encode())])
    assert problems == []
    assert cameras["a"].view_ids == (0, 1, 2)
    np.testing.assert_array_equal(cameras["a"].matrices, EXTRINSICS)
    np.testing.assert_array_equal(cameras["a"].intrinsics.values, INTRINSICS)


def test_notes_beside_subjects_and_cameras_are_no_problem() -> None:
    value = {
        "version": 2,
        "info": {"made": "by hand"},
        "subj_1": {"cameras": {"0": CAMERA, "comment": {"by": "me"}}, "landmarks": [1, 2]},
        "subj_2": {"cameras": {"0": CAMERA}},
    }
    cameras, problems = read_metadata([Document("all.json", json.dumps(value).encode())])
    assert sorted(cameras) == ["subj_1", "subj_2"]
    assert problems == []


def test_one_file_an_image_is_gathered_by_subject() -> None:
    text = json.dumps({"camera": CAMERA, "pose": [[0.1] * 3] * 52}).encode()
    documents = [Document(f"P8: s{s}/{v}.json", text) for v in (2, 0, 1) for s in (1, 2)]
    cameras, problems = read_metadata(documents)
    assert problems == []
    assert {key: found.view_ids for key, found in cameras.items()} == {
        "s1": (0, 1, 2),
        "s2": (0, 1, 2),
    }
    assert len(json.loads(cameras["s1"].text)) == 3
    _, problems = read_metadata([*documents, Document("s1/002.json", text)])
    assert [(p.kind, p.subject_id) for p in problems] == [("bad metadata", "s1")]
    assert "view 2 twice" in problems[0].detail


def test_twelve_flat_numbers_are_read_the_way_that_has_rotations_in_it() -> None:
    rows = [{"pose": e[:3].ravel().tolist(), "K": K} for e in EXTRINSICS]
    columns = [{"pose": e[:3].T.ravel().tolist(), "K": K} for e in EXTRINSICS]
    one, other = (read({"name": "a", "cameras": each}) for each in (rows, columns))
    np.testing.assert_array_equal(one.matrices, EXTRINSICS)
    np.testing.assert_array_equal(other.matrices, EXTRINSICS.swapaxes(1, 2))
    assert (one.claims.transposed, other.claims.transposed) == (False, True)


def test_intrinsics_by_columns_are_recognised_by_their_form() -> None:
    found = read({"name": "a", "cameras": [{"pose": POSE, "K": INTRINSICS[0].T.ravel().tolist()}]})
    np.testing.assert_array_equal(found.intrinsics.values[0], INTRINSICS[0])


# --- intrinsics, once the image is known


def test_intrinsics_of_another_image_size_are_refused() -> None:
    found = read({"name": "a", "cameras": [{**CAMERA, "resolution": [640, 360]}]})
    np.testing.assert_array_equal(pixel_intrinsics(found.intrinsics, 640, 360), INTRINSICS[:1])
    with pytest.raises(CameraError, match="another size"):
        pixel_intrinsics(found.intrinsics, 320, 180)


def test_normalised_intrinsics_take_the_size_of_each_image() -> None:
    sides = np.array([[640.0], [360.0], [1.0]])
    cameras = [{"pose": POSE, "K": (k / sides).tolist()} for k in INTRINSICS]
    found = read({"name": "a", "cameras": cameras})
    assert found.intrinsics.kind == "normalised"
    pixels = pixel_intrinsics(found.intrinsics, [640, 320, 640], [360, 180, 360])
    np.testing.assert_allclose(pixels[[0, 2]], INTRINSICS[[0, 2]], rtol=1e-12)
    np.testing.assert_allclose(pixels[1, :2], INTRINSICS[1, :2] / 2, rtol=1e-12)


def test_missing_intrinsics_are_the_publishers_only_if_asked_for() -> None:
    found = read({"name": "a", "cameras": [{"pose": POSE}]})
    with pytest.raises(CameraError, match='default_intrinsics="upstream"'):
        pixel_intrinsics(found.intrinsics, 512, 512)
    (matrix,) = pixel_intrinsics(found.intrinsics, 512, 512, "upstream")
    np.testing.assert_allclose(matrix, [[711.1111, 0, 256], [0, 711.1111, 256], [0, 0, 1]])
    with pytest.raises(UsageError, match="default_intrinsics"):
        pixel_intrinsics(found.intrinsics, 512, 512, "guess")  # type: ignore[arg-type]


# --- what is refused, and how


def refusal(cameras: object) -> str:
    with pytest.raises(MetadataError) as caught:
        read({"name": "subj_1", "cameras": cameras})
    return str(caught.value)


TINY_K = [[6, 0, 1.1], [0, 6, 1.1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ({"extrinsics": POSE, "pose": POSE, "K": K}, ["extrinsics, pose", '{"extrinsics": "ex']),
        ({"w2c": POSE, "c2w": POSE, "K": K}, ["keys w2c, c2w", "camera_schema"]),
        ({"pose": POSE, "K": K, "intrinsics": K}, ["keys K, intrinsics", '{"intrinsics": "K"}']),
        ({"q": [1, 0, 0, 0], "t": [1, 2, 3], "K": K}, ["quaternion_order"]),
        ({"q_wxyz": [1, 1, 0, 0], "t": [1, 2, 3], "K": K}, ["view 0", "length 1.414"]),
        ({"R": ROTATION, "position": [1, 2, 3]}, ["keys R, position", '{"extrinsics":']),
        ({"pose": POSE, "fx": 100, "cx": 50}, ["only fx", "camera_schema"]),
        ({"pose": POSE, "focal_length_mm": 50}, ["only focal_length_mm", "the sensor's width"]),
        ({"pose": POSE, "K": TINY_K}, ["view 0", "intrinsics_units", "either or neither"]),
        ({"pose": POSE, "K": K, "k1": 0.01}, ["k1", "pinhole"]),
        ({"pose": POSE, "camera_angle_x": 40}, ["180 degrees"]),
        ({"pose": POSE, "K": K, "w": -3, "h": 7}, ["w to be an image's size"]),
        ({"pose": POSE[:2], "K": K}, ["4×4 or 3×4", "view 0", "(2, 4)"]),
        ({"pose": [["1"] * 4] * 4, "K": K}, ["finite numbers", "'1'"]),
        ({"pose": [[True, 0.5, 0.5, 0.5]] * 4, "K": K}, ["finite numbers", "True"]),
        ({"pose": [[1e200] * 4] * 4, "K": K}, ["over 1e+09"]),
        ({"pose": [[10**400] * 4] * 4, "K": K}, ["finite numbers"]),
        ({"landmarks": [1], "K": K}, ["keys landmarks, K", '{"extrinsics": "<key>"}']),
        ({"pose": POSE, "K": K, "layout": "diagonal"}, ["layout to be", "'diagonal'"]),
        ({"pose": POSE, "K": K, "name": "left"}, ["'left'", '{"view": "list"}']),
    ],
)
def test_doubt_is_refused_with_the_keys_and_a_remedy(camera: object, said: list[str]) -> None:
    text = refusal([camera])
    assert "subj_1" in text
    for words in said:
        assert words in text


def test_the_view_that_is_wrong_is_named() -> None:
    assert "subj_1 view 2" in refusal([CAMERA, CAMERA, {**CAMERA, "extrinsics": [[1, 2], [3]]}])
    assert "subj_1 view 12" in refusal({"3": CAMERA, "12": {**CAMERA, "extrinsics": None}})
    assert "subj_1 view 1" in refusal([CAMERA, {"extrinsics": POSE}])
    assert "subj_1 view 1" in refusal([CAMERA, {**CAMERA, "extrinsics": POSE[:3]}])
    assert "subj_1 camera number 1" in refusal([CAMERA, 7])


def test_the_same_view_or_key_twice_is_refused() -> None:
    assert "view 3 twice" in refusal({"3": CAMERA, "03.png": CAMERA})
    text = json.dumps({"name": "a", "cameras": {"3": CAMERA, "4": CAMERA}}).replace('"4"', '"3"')
    with pytest.raises(MetadataError, match="key '3' is there twice"):
        parse_document(Document("a.json", text.encode()))


def test_names_that_contradict_each_other_are_refused() -> None:
    assert "'subj_2'" in refusal([{**CAMERA, "file": "subj_2/0.png"}])


def test_mixed_schemas_are_problems_of_the_few() -> None:
    odd = {"name": "odd", "cameras": [{"world_to_camera": POSE, "K": K}]}
    documents = [document(f"subj_{n}") for n in range(3)]
    cameras, problems = read_metadata([*documents, Document("odd.json", json.dumps(odd).encode())])
    assert len(cameras) == 4
    assert [(p.kind, p.subject_id) for p in problems] == [("mixed metadata", "odd")]
    assert "worldtocamera" in problems[0].detail


def test_one_bad_subject_in_a_file_of_all_leaves_the_others() -> None:
    value = {"subj_1": {"0": CAMERA}, "subj_2": {"0": {"extrinsics": "?", "K": K}}, "subj_3": []}
    cameras, problems = read_metadata([Document("all.json", json.dumps(value).encode())])
    assert list(cameras) == ["subj_1"]
    assert [p.subject_id for p in problems] == ["subj_2", "subj_3"]


# --- hostile input

WORDS = (
    "name cameras frames labels subjects camera extrinsics pose R t q K intrinsics fx fy cx cy w h "
    "focal_length sensor_width camera_angle_x file view layout k1 c2w matrix_world label qvec tvec "
    "0 1 2.png s/3.png subj_1 resolution id axes"
)
KEYS = st.sampled_from(WORDS.split())
VALUES = [POSE, K, EXTRINSICS[1, :3].ravel().tolist(), [1.0, 0, 0, 0], [1, 2, 3], [0.1] * 25]
LEAVES = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-(10**30), 10**30)
    | st.sampled_from(["", "0", "s/1.png", "column-major", "xyzw"])
    | st.sampled_from(VALUES)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
CAMERAS = st.dictionaries(
    st.sampled_from(["pose", "R", "t", "q_wxyz", "K", "fx", "fy", "cx", "cy", "file", "w", "h"]),
    st.sampled_from([*VALUES, 3, 0.5, 640.0, "1.png", None, True]),
    min_size=1,
)
NEARLY = st.fixed_dictionaries(
    {"name": st.just("s")},
    optional={
        "cameras": st.lists(CAMERAS, max_size=3)
        | st.dictionaries(st.sampled_from(["0", "1.png", "x"]), CAMERAS)
        | CAMERAS,
        "K": st.sampled_from(VALUES),
        "camera_angle_x": st.floats(0, 4),
    },
)


@settings(max_examples=600, deadline=None)
@given(TREES | NEARLY, st.sampled_from(["s/0.json", "subj_1.json", "dataset.json", ""]))
def test_no_tree_does_anything_but_parse_or_become_a_problem(tree: object, path: str) -> None:
    cameras, problems = read_metadata([Document("fuzz", json.dumps(tree).encode(), path)])
    assert cameras or problems
    for subject_id, found in cameras.items():
        assert subject_id == found.subject_id
        assert found.subject_id
        assert found.matrices.shape == (len(found.view_ids), 4, 4)
        assert np.isfinite(found.matrices).all()
        assert np.isfinite(found.intrinsics.values).all()
        assert list(found.view_ids) == sorted(set(found.view_ids))
        json.loads(found.text)


@pytest.mark.parametrize("depth", [60, 300, 900])
@pytest.mark.parametrize("key", ["cameras", "camera", "pose", "x"])
def test_deep_nesting_is_refused(key: str, depth: int) -> None:
    value: object = 1.0
    for _ in range(depth):
        value = [value] if key == "x" else {key: value}
    for tree in (value, {"name": "a", "cameras": [{"pose": value, "K": K}]}):
        with pytest.raises(MetadataError):
            parse_document(Document("deep.json", deep_json(tree)))


def deep_json(tree: object) -> bytes:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return json.dumps(tree).encode()
    finally:
        sys.setrecursionlimit(limit)
