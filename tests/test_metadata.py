from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from random_cameras import random_cameras, turned

from geogen_hf.cameras.poses import camera_centre
from geogen_hf.errors import CameraError, MetadataError, UsageError
from geogen_hf.metadata.assembly import SubjectCameras
from geogen_hf.metadata.keys import CHOICES
from geogen_hf.metadata.reader import Document, Metadata, read_metadata
from geogen_hf.metadata.schema import load_camera_schema
from geogen_hf.metadata.stored_intrinsics import StoredIntrinsics, pixel_intrinsics
from geogen_hf.sample import subject_cameras

EXTRINSICS, INTRINSICS = random_cameras(seed=5, count=3)
Matrix = NDArray[np.float64]


def document(name: str = "subj_1", **changes: object) -> Document:
    cameras = [
        {"extrinsics": e.tolist(), "intrinsics": k.tolist()}
        for e, k in zip(EXTRINSICS, INTRINSICS, strict=True)
    ]
    value = {"name": name, "cameras": cameras, **changes}
    return Document(f"{name}.json", json.dumps(value).encode(), f"{name}.json")


def read_one(
    document: Document, name: str = "subj_1", views: Iterable[int] = (0,)
) -> SubjectCameras:
    """The cameras of the one identity that has images; a problem is raised."""
    found = read_metadata([document], {name: tuple(views)})
    if found.problems:
        raise MetadataError("\n".join(problem.detail for problem in found.problems))
    return found.cameras[name]


def test_matrices_and_text_come_back_exactly() -> None:
    text = document().text
    for start in (b"", b"\xef\xbb\xbf"):
        found = read_one(Document("a", start + text, "a"), views=range(3))
        assert (found.subject_id, found.view_ids) == ("subj_1", (0, 1, 2))
        np.testing.assert_array_equal(found.matrices, EXTRINSICS)
        np.testing.assert_array_equal(found.intrinsics.values, INTRINSICS)
        assert found.text == text.decode()


def test_json_may_be_utf_16_and_a_string_of_json() -> None:
    text = document().text.decode()
    said = [text.encode("utf-16"), text.encode("utf-32"), json.dumps(text).encode()]
    for name, data in zip(("a", "a.json", "a.json"), said, strict=True):
        found = read_one(Document(name, data, name), views=range(3))
        np.testing.assert_array_equal(found.matrices, EXTRINSICS)
        assert found.text == text
    with pytest.raises(MetadataError):  # once is enough
        read_one(Document("a", json.dumps(json.dumps(text)).encode(), "a.json"), views=range(3))


def test_a_camera_without_a_lens_gives_way_to_none_of_the_same_name() -> None:
    cameras = [
        {"view": view, "w2c": EXTRINSICS[view].tolist(), "K": INTRINSICS[view].tolist()}
        for view in (0, 1, 2, 2)
    ]
    cameras[3]["w2c"] = EXTRINSICS[0].tolist()
    del cameras[2]["K"]
    with pytest.raises(MetadataError, match="view 2; expected: K to be"):
        read_one(
            Document("subj_1.json", json.dumps(cameras).encode(), "subj_1.json"), views=range(3)
        )


def test_only_numbers_of_cameras_have_to_be_finite() -> None:
    camera = CAMERA | {"far": float("inf"), "depth": [[float("nan")] * 4] * 2}
    found = read_one(document(cameras=[camera] * 3, age=-float("inf")), views=range(3))
    assert found.view_ids == (0, 1, 2)
    bad = camera | {"skew": float("nan")}
    found_some = read_metadata([document(cameras=[bad, camera, camera])], {"subj_1": range(3)})
    assert found_some.cameras["subj_1"].view_ids == (1, 2)
    with pytest.raises(MetadataError, match="skew"):
        read_one(document(cameras=[bad] * 3), views=range(3))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"{", "Expecting"),
        (b"\xfe{}", "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "list"),
        (b'{"nom": 1}', "nom"),
        (b'{"name": 3, "cameras": [1]}', "cameras"),
        (b'{"name": "a", "cameras": []}', "cameras"),
        (b'{"name": "a", "cameras": [[]]}', "cameras"),
        (b'{"name": "a", "cameras": [{"K": 1}]}', "cameras"),
        (b'{"name": "a", "cameras": NaN}', "cameras"),
        (b"", "Expecting"),
    ],
)
def test_what_cannot_be_read_says_what_it_is(text: bytes, found: str) -> None:
    with pytest.raises(MetadataError) as caught:
        read_one(Document("P8: metadata_7.json", text, "metadata_7.json"))
    assert "metadata_7.json" in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 2], [3, 4]],
        "identity",
        [[float("inf")] * 4] * 4,
        [[1e999] * 4] * 4,
        [["x"] * 4] * 4,
        None,
    ],
)
def test_what_is_no_4x4_matrix_is_refused(matrix: object) -> None:
    camera = {"extrinsics": matrix, "intrinsics": INTRINSICS[0].tolist()}
    with pytest.raises(MetadataError, match="subj_1"):
        read_one(document(cameras=[camera]))
    found = read_metadata([document(cameras=[CAMERA, camera, CAMERA])], {"subj_1": range(3)})
    assert [p.kind for p in found.problems] == ["bad metadata"]
    if found.cameras:  # it is JSON
        assert found.cameras["subj_1"].view_ids == (0, 2)
        assert "subj_1 view 1" in found.problems[0].detail


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,0123eE.-NaInftyrul ', max_size=60))
def test_no_text_does_anything_but_parse_or_raise_metadata_error(text: bytes | str) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(MetadataError):
        read_one(Document("fuzz", data, "fuzz.json"))


def test_all_files_are_tried_and_every_problem_told() -> None:
    documents = [
        document("subj_1"),
        Document("broken.json", b"{", "broken.json"),
        document("subj_10"),
        document("subj_2"),
        Document("again", document("subj_1", seed=7).text, "again/subj_1.json"),
        Document("notes", b"hello", "notes.txt"),
    ]
    images = dict.fromkeys(("subj_1", "subj_2", "subj_10"), range(3))
    found = read_metadata(documents, images)
    assert sorted(found.cameras) == ["subj_1", "subj_10", "subj_2"]
    kinds = ["bad metadata", *["duplicate metadata"] * 3]
    assert [problem.kind for problem in found.problems] == kinds
    assert "broken.json" in found.problems[0].detail
    assert {problem.subject_id for problem in found.problems[1:]} == {"subj_1"}


def test_a_copy_of_a_document_counts_once() -> None:
    names = ("subj_1", "subj_2", "subj_10")
    copy = Document("copy", document("subj_1").text, "copies/subj_1.json")
    found = read_metadata([*map(document, names), copy], dict.fromkeys(names, range(3)))
    assert not found.problems
    assert found.cameras["subj_1"].view_ids == (0, 1, 2)


def test_other_files_are_left_alone_where_all_images_have_cameras() -> None:
    others = [Document("notes", b"hello", "notes.txt"), Document("poses", b"", "poses.npy")]
    documents = [document("subj_1"), *others]
    left = "'notes.txt', 'poses.npy'"
    found = read_metadata(documents, {"subj_1": range(3)})
    assert not found.problems
    assert found.description.endswith(f"; not read, since neither JSON nor rows of numbers: {left}")
    found = read_metadata(documents, {"subj_1": range(3), "subj_2": range(3)})
    assert [problem.kind for problem in found.problems] == ["unreadable name"] * 2
    with pytest.raises(MetadataError, match="of JSON files, one an identity") as caught:
        read_metadata(others, {"subj_1": range(3)})
    assert left in str(caught.value)
    with pytest.raises(MetadataError, match="of JSON files, one an identity"):
        read_metadata([Document("rows", b"1 2\n3 4\n", "subj_1.txt")], {"subj_1": range(3)})


# --- arrangements that no schema of the sample writer has


def read(
    value: object, path: str = "subj_1.json", name: str = "subj_1", views: Iterable[int] = (0,)
) -> SubjectCameras:
    return read_one(Document(path, json.dumps(value).encode(), path), name, views)


POSE, K = EXTRINSICS[0].tolist(), INTRINSICS[0].tolist()
CAMERA = {"extrinsics": POSE, "K": K}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("subj_x.json", "subj_x"),
        ("all/metadata_subj_x.json", "subj_x"),
        ("subj_x/cameras.json", "subj_x"),
        ("deep/subj_x/images/metadata.json", "subj_x"),
        ("metadata_0017_json", "17"),
        ("id-17.meta", "subj_017"),
        ("SUBJ-X.JSON", "subj_x"),
    ],
)
def test_a_subject_is_named_by_its_file_where_nothing_else_does(path: str, name: str) -> None:
    assert read([CAMERA], path, name).subject_id == name


@pytest.mark.parametrize("path", ["metadata.json", "subj_2.json"])
def test_cameras_of_nobody_are_refused_with_the_names_there_are(path: str) -> None:
    with pytest.raises(MetadataError) as caught:
        read([CAMERA], path)
    assert "subj_1/0.png" in str(caught.value)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("key", "view"),
    [("7", 7), ("007.PNG", 7), ("cam_7", 7), ("View 7", 7), ("./7.png", 7), ("frame-0012", 12)],
)
def test_names_of_views(key: str, view: int) -> None:
    found = read({"name": "b", "cameras": {key: CAMERA}}, "b.json", "b", [view])
    assert (found.subject_id, found.view_ids) == ("b", (view,))


def test_views_are_put_in_order_with_their_cameras() -> None:
    cameras = {
        str(view): {"R_T": extrinsics.tolist(), "K": K}
        for view, extrinsics in zip((10, 9, 2), EXTRINSICS, strict=True)
    }
    found = read({"name": "subj_1", "cameras": cameras}, "a.json", "a", [2, 9, 10])
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
    found = read({"name": "subj_1", "cameras": [{**camera, "K": K}]})
    assert (found.claims.direction, found.claims.axes) == (direction, axes)


def test_quaternions_may_be_objects() -> None:
    q = {"x": 0.1, "y": 0.7, "z": -0.1, "w": 0.7}
    found = read({"views": [{"quaternion": q, "t": [[1], [2], [3]], "K": K}]})
    # 1 - 2 (y² + z²), 2 (xy + wz), 2 (xz - wy), by hand.
    np.testing.assert_allclose(found.matrices[0, :3, 0], [0.0, 0.0, -1.0], atol=1e-12)
    assert found.matrices[0, :3, 3].tolist() == [1, 2, 3]


POSES, KS = EXTRINSICS.tolist(), INTRINSICS.tolist()


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"extrinsics": [np.ravel(pose).tolist() for pose in POSES], "K": KS}},
        {"a": {"poses": POSES, "files": None, "K": KS}, "b": {"poses": POSES, "K": KS}},
        {"a": [*POSES], "b": [*POSES], "K": K},
    ],
)
def test_one_array_a_quantity_is_taken_apart(value: dict[str, object]) -> None:
    images = {name: range(3) for name in ("a", "b") if name == "a" or "b" in value}
    found = read_metadata([Document("all.json", json.dumps(value).encode(), "all.json")], images)
    assert found.problems == []
    assert found.cameras["a"].view_ids == (0, 1, 2)
    np.testing.assert_array_equal(found.cameras["a"].matrices, EXTRINSICS)
    expected = INTRINSICS if value.get("K") is not K else INTRINSICS[[0, 0, 0]]
    np.testing.assert_array_equal(found.cameras["a"].intrinsics.values, expected)


def test_notes_beside_subjects_and_cameras_are_no_problem() -> None:
    value = {
        "version": 2,
        "info": {"made": "by hand"},
        "subj_1": {"cameras": {"0": CAMERA, "comment": {"by": "me"}}, "landmarks": [1, 2]},
        "subj_2": {"cameras": {"0": CAMERA}},
    }
    document = Document("all.json", json.dumps(value).encode(), "all.json")
    found = read_metadata([document], {"subj_1": [0], "subj_2": [0]})
    assert sorted(found.cameras) == ["subj_1", "subj_2"]
    assert found.problems == []


def test_one_file_an_image_is_gathered_by_subject() -> None:
    text = json.dumps({"camera": CAMERA, "pose": [[0.1] * 3] * 52}).encode()
    documents = [
        Document(f"P8: s{s}/{v}.json", text, f"s{s}/{v}.json") for v in (2, 0, 1) for s in (1, 2)
    ]
    images = {"s1": range(3), "s2": range(3)}
    found = read_metadata(documents, images)
    assert found.problems == []
    assert {key: each.view_ids for key, each in found.cameras.items()} == {
        "s1": (0, 1, 2),
        "s2": (0, 1, 2),
    }
    assert len(json.loads(found.cameras["s1"].text)) == 3
    again = read_metadata([*documents, Document("x", text + b" ", "s1/002.json")], images)
    assert [(p.kind, p.subject_id) for p in again.problems] == [("duplicate metadata", "s1")]
    assert "view 2" in again.problems[0].detail


def test_twelve_flat_numbers_are_read_the_way_that_has_rotations_in_it() -> None:
    rows = [{"pose": e[:3].ravel().tolist(), "K": K} for e in EXTRINSICS]
    columns = [{"pose": e[:3].T.ravel().tolist(), "K": K} for e in EXTRINSICS]
    one, other = (read({"cameras": each}, views=range(3)) for each in (rows, columns))
    np.testing.assert_array_equal(one.matrices, EXTRINSICS)
    np.testing.assert_array_equal(other.matrices, EXTRINSICS.swapaxes(1, 2))
    assert (one.claims.transposed, other.claims.transposed) == (False, True)


@pytest.mark.parametrize("order", CHOICES["euler_order"])
@pytest.mark.parametrize("unit", [1.0, 180 / np.pi])
def test_the_order_of_turns_is_told_by_where_cameras_look(order: str, unit: float) -> None:
    rng = np.random.default_rng(3)
    angles = rng.uniform(-1.5, 1.5, (4, 3))
    rotations = []
    for each in angles:
        turns = [turned(axis, each["XYZ".index(axis)]) for axis in order]
        rotations.append(turns[2] @ turns[1] @ turns[0])
    # Every camera sees the point (1, 2, 3) in the middle, as Blender's do: along -z.
    places = np.array([1, 2, 3]) + 4.0 * np.array(rotations)[:, :, 2]
    views = [
        {"location": place.tolist(), "rotation_euler": (unit * each).tolist(), "K": K}
        for place, each in zip(places, angles, strict=True)
    ]
    found = read({"cameras": views}, views=range(4))
    assert (found.claims.direction, found.claims.axes) == ("camera_to_world", "opengl")
    np.testing.assert_allclose(found.matrices[:, :3, :3], rotations, atol=1e-12)
    np.testing.assert_allclose(found.matrices[:, :3, 3], places, atol=1e-12)


@pytest.mark.parametrize(("key", "unit"), [("rotation_euler", 1.0), ("rotation_deg", 180 / np.pi)])
def test_cameras_by_blenders_angles_need_not_look_at_one_point(key: str, unit: float) -> None:
    z_up = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    documents, truth = [], {}
    for name in ("subj_00000", "subj_00001", "subj_00002"):
        poses = z_up @ np.linalg.inv(subject_cameras(name, size=96)[0]) @ np.diag([1, -1, -1, 1])
        truth[name] = poses
        views = [
            {
                "location": pose[:3, 3].tolist(),
                key: [unit * a for a in blender_angles(pose)],
                "K": K,
            }
            for pose in poses
        ]
        documents += files_of({f"{name}.json": {"cameras": views}})
    found = read_metadata(documents, dict.fromkeys(truth, range(7))).cameras
    for name, poses in truth.items():
        np.testing.assert_allclose(found[name].matrices, poses, atol=1e-9)


def blender_angles(pose: Matrix) -> list[float]:
    """Of `Rz Ry Rx`: Blender's XYZ."""
    x, z = np.arctan2(pose[2, 1], pose[2, 2]), np.arctan2(pose[1, 0], pose[0, 0])
    return [float(x), float(-np.arcsin(pose[2, 0])), float(z)]


def test_turns_of_a_single_camera_are_refused_and_can_be_stated() -> None:
    value = {"cameras": [{"position": [1, 2, 3], "rotation": [0.1, 0.2, 0.3], "K": K}]}
    with pytest.raises(MetadataError, match="look at one point") as caught:
        read(value)
    stated = {"euler_units": "radians", "euler_order": "YXZ", "direction": "camera_to_world"}
    for key in stated:
        assert f'"{key}"' in str(caught.value)
    documents = files_of({"subj_1.json": value})
    schema = load_camera_schema(stated)
    found = read_metadata(documents, {"subj_1": [0]}, schema=schema).cameras["subj_1"]
    expected = turned("Z", 0.3) @ turned("X", 0.1) @ turned("Y", 0.2)
    np.testing.assert_allclose(found.matrices[0, :3, :3], expected, atol=1e-12)


def test_intrinsics_by_columns_are_recognised_by_their_form() -> None:
    found = read({"cameras": [{"pose": POSE, "K": INTRINSICS[0].T.ravel().tolist()}]})
    np.testing.assert_array_equal(found.intrinsics.values[0], INTRINSICS[0])


# --- intrinsics, once the image is known


def lens_of(camera: dict[str, object], stated: dict[str, object] | None = None) -> StoredIntrinsics:
    documents = files_of({"subj_1.json": {"name": "subj_1", "cameras": [camera]}})
    schema = load_camera_schema(stated) if stated else None
    return read_metadata(documents, {"subj_1": [0]}, schema=schema).cameras["subj_1"].intrinsics


@pytest.mark.parametrize(
    "own", [{}, {"K": [[0.7, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]}, {"fov_x_deg": 40.0}]
)
def test_a_resize_of_the_images_has_to_be_said(own: dict[str, object]) -> None:
    camera = {"extrinsics": POSE, "resolution": [640, 360], **(own or {"K": K})}
    expected = pixel_intrinsics(lens_of(camera), 640, 360)
    for size in ((320, 180), (231, 130)):
        with pytest.raises(CameraError, match="images of another size") as caught:
            pixel_intrinsics(lens_of(camera), *size)
        assert '{"intrinsics_units": "resized"}' in str(caught.value)
        found = pixel_intrinsics(lens_of(camera, {"intrinsics_units": "resized"}), *size)
        scale = np.array([[size[0] / 640], [size[1] / 360], [1]])
        np.testing.assert_allclose(found, expected * scale, rtol=2e-3 if own else 1e-12)
    if own:  # in no pixels, and no head would fill so small a crop
        scale = np.array([[0.25], [0.25], [1]])
        np.testing.assert_allclose(pixel_intrinsics(lens_of(camera), 160, 90), expected * scale)


@pytest.mark.parametrize("units", ["resized", "pixels"])
def test_what_is_said_of_the_size_holds_for_intrinsics_in_a_document_of_their_own(
    units: str,
) -> None:
    documents = files_of(
        {
            "subj_1.json": {"name": "subj_1", "cameras": [{"extrinsics": POSE}]},
            "settings.json": {"fov_x_deg": 40.0, "resolution": [640, 640]},
        }
    )
    schema = load_camera_schema({"intrinsics_units": units})
    (plain, stated) = (
        read_metadata(documents, {"subj_1": [0]}, schema=said).cameras["subj_1"].intrinsics
        for said in (None, schema)
    )
    with pytest.raises(CameraError, match="images of another size"):
        pixel_intrinsics(plain, 320, 320)
    expected = pixel_intrinsics(plain, 640, 640) * [[0.5], [0.5], [1]]
    np.testing.assert_allclose(pixel_intrinsics(stated, 320, 320), expected)


def test_intrinsics_can_be_of_the_images_as_they_are() -> None:
    camera = {**CAMERA, "resolution": [1280, 720]}
    with pytest.raises(CameraError, match="images of another size") as caught:
        pixel_intrinsics(lens_of(camera), 640, 360)
    assert 'camera_schema={"intrinsics_units": "pixels"}' in str(caught.value)
    lens = lens_of(camera, {"intrinsics_units": "pixels"})
    np.testing.assert_array_equal(pixel_intrinsics(lens, 640, 360), INTRINSICS[:1])


def test_a_resize_from_no_size_is_refused() -> None:
    with pytest.raises(MetadataError, match="the size that images were resized from"):
        lens_of(dict(CAMERA), {"intrinsics_units": "resized"})


@pytest.mark.parametrize("stated", [None, {"intrinsics_units": "resized"}])
def test_images_of_another_aspect_are_refused_until_it_is_said_what_they_are(
    stated: dict[str, object] | None,
) -> None:
    camera = {**CAMERA, "resolution": [640, 360]}
    with pytest.raises(CameraError, match="images of another aspect") as caught:
        pixel_intrinsics(lens_of(camera, stated), 360, 360)
    assert '{"intrinsics_units": "cropped"}' in str(caught.value)
    lens = lens_of(camera, {"intrinsics": {"fx": 500, "fy": 501, "cx": 180, "cy": 181}})
    in_pixels = pixel_intrinsics(lens, 360, 360)
    np.testing.assert_array_equal(in_pixels[0], [[500, 0, 180], [0, 501, 181], [0, 0, 1]])
    crop = pixel_intrinsics(lens_of(camera, {"intrinsics_units": "cropped"}), 360, 360)
    np.testing.assert_array_equal(crop, INTRINSICS[:1] - [[0, 0, 140], [0, 0, 0], [0, 0, 0]])


FX, FY, CX, CY = 800.0, 800.0, 310.0, 190.0
OFF_CENTRE = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])


@pytest.mark.parametrize(
    "centre",
    [
        {"cx": CX, "cy": CY},
        {"principal_point": [CX, CY]},
        {"principal_point": [CX / 640, CY / 360]},
    ],
    ids=["cx cy", "a point", "a point, normalised"],
)
@pytest.mark.parametrize(
    ("lens", "stated"),
    [
        ({"lens": 50.0, "sensor_width": 40.0}, {"focal_mm": "lens", "sensor_mm": "sensor_width"}),
        ({"focal_length": 50.0, "sensor_width": 40.0}, None),
        ({"focal_length_px": FX}, {"focal_px": "focal_length_px"}),
        ({"fx": FX, "fy": FY}, {"fx": "fx", "fy": "fy"}),
        ({"fov_x": 2 * np.arctan(320 / FX)}, {"fov_x": "fov_x"}),
        ({"fov_y": np.degrees(2 * np.arctan(180 / FY))}, {"fov_y_deg": "fov_y"}),
    ],
    ids=["mm", "mm by its sensor", "pixels", "fx fy", "fov_x", "fov_y"],
)
def test_a_principal_point_beside_a_lens_counts(
    lens: dict[str, float], centre: dict[str, object], stated: dict[str, str] | None
) -> None:
    camera = {"extrinsics": POSE, **lens, **centre}
    if FX in lens.values() and "principal_point" in centre:
        camera["principal_point"] = [CX, CY]  # beside focal lengths in pixels
    found = pixel_intrinsics(lens_of(camera), 640, 360)
    np.testing.assert_allclose(found[0], OFF_CENTRE, rtol=1e-9)
    if stated is not None:
        point = {key: key for key in ("cx", "cy") if key in camera}
        point = point or {"principal": "principal_point"}
        said = lens_of(camera, {"intrinsics": {**stated, **point}})
        np.testing.assert_allclose(pixel_intrinsics(said, 640, 360)[0], OFF_CENTRE, rtol=1e-9)


@pytest.mark.parametrize(
    "own",
    [
        {"focal_length_px": 200.0, "px": 90.0, "py": 110.0},
        {"fx": 200.0, "fy": 200.0, "u0": 90.0, "v0": 110.0},
        {"focal_length": [200.0, 200.0], "optical_center": [90.0, 110.0]},
        {"focal_length_px": 200.0, "principal_point_px": [90.0, 110.0]},
        {"focal_length": [200.0, 200.0], "cx": 90.0, "cy": 110.0},
        {"fx": 1.0, "fy": 1.0, "principal_point": [0.45, 0.55]},
    ],
)
def test_principal_points_have_many_names(own: dict[str, object]) -> None:
    found = read({"cameras": [{"pose": POSE, **own}]})
    expected = [[200, 0, 90], [0, 200, 110], [0, 0, 1]]
    np.testing.assert_allclose(pixel_intrinsics(found.intrinsics, 200, 200)[0], expected)


@pytest.mark.parametrize("letter", ["p", "c"])
def test_a_place_by_letters_is_no_principal_point(letter: str) -> None:
    place = {f"{letter}{axis}": number for axis, number in zip("xyz", (1.0, 2.0, 3.0), strict=True)}
    view = {"target": [0, 0, 0], "up": [0, 1, 0], **place, "fov_deg": 40.0}
    found = read({"cameras": [view]})
    np.testing.assert_allclose(camera_centre(found.matrices), [[1, 2, 3]])
    kept = pixel_intrinsics(found.intrinsics, 200, 200)[0]
    assert kept[:2, 2].tolist() == [100, 100]


def test_a_camera_may_be_called_a_sensor() -> None:
    look = {"eye": [1, 2, 3], "target": [0, 0, 0], "up": [0, 1, 0]}
    found = read({"cameras": [{"sensor": {**look, "camera_intrinsic": K}}]})
    np.testing.assert_allclose(camera_centre(found.matrices), [[1, 2, 3]])
    assert found.intrinsics.values[0].tolist() == K


def test_a_sensor_is_not_the_size_of_the_image() -> None:
    sensor = {"name": "full frame", "width": 36.0, "height": 24.0, "pitch": 0.004}
    found = read({"cameras": [{"pose": POSE, "lens": 50.0, "sensor": sensor}]})
    kept = pixel_intrinsics(found.intrinsics, 360, 360)[0]
    np.testing.assert_allclose(kept, [[500, 0, 180], [0, 500, 180], [0, 0, 1]])


def test_half_a_principal_point_beside_a_lens_is_refused() -> None:
    with pytest.raises(MetadataError, match="cx and cy beside a lens, both or neither"):
        lens_of({"extrinsics": POSE, "fov_x": 0.7, "cx": CX})


def test_normalised_intrinsics_take_the_size_of_each_image() -> None:
    sides = np.array([[640.0], [360.0], [1.0]])
    cameras = [{"pose": POSE, "K": (k / sides).tolist()} for k in INTRINSICS]
    found = read({"cameras": cameras}, views=range(3))
    assert found.intrinsics.kind == "normalised"
    pixels = pixel_intrinsics(found.intrinsics, [640, 320, 640], [360, 180, 360])
    np.testing.assert_allclose(pixels[[0, 2]], INTRINSICS[[0, 2]], rtol=1e-12)
    np.testing.assert_allclose(pixels[1, :2], INTRINSICS[1, :2] / 2, rtol=1e-12)


def test_missing_intrinsics_are_the_publishers_only_if_asked_for() -> None:
    found = read({"name": "subj_1", "cameras": [{"pose": POSE}]})
    with pytest.raises(CameraError, match='default_intrinsics="upstream"'):
        pixel_intrinsics(found.intrinsics, 512, 512)
    (matrix,) = pixel_intrinsics(found.intrinsics, 512, 512, "upstream")
    np.testing.assert_allclose(matrix, [[711.1111, 0, 256], [0, 711.1111, 256], [0, 0, 1]])
    with pytest.raises(UsageError, match="default_intrinsics"):
        pixel_intrinsics(found.intrinsics, 512, 512, "guess")  # type: ignore[arg-type]


# --- what is refused, and how


def refusal(cameras: list[object] | dict[str, object]) -> str:
    views = map(int, cameras) if isinstance(cameras, dict) else range(len(cameras))
    with pytest.raises(MetadataError) as caught:
        read({"name": "subj_1", "cameras": cameras}, views=sorted({*views}))
    return str(caught.value)


TINY_K = [[6, 0, 1.1], [0, 6, 1.1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        (
            {"extrinsics": POSE, "pose": POSES[1], "K": K},
            ["extrinsics, pose", '{"extrinsics": "ex'],
        ),
        ({"w2c": POSE, "c2w": POSE, "K": K}, ["w2c, c2w", '{"extrinsics": "w2c"}']),
        (
            {"pose": POSE, "K": K, "intrinsics": TINY_K},
            ["keys K, intrinsics", '{"intrinsics": "K"}'],
        ),
        ({"q": [1, 0, 0, 0], "t": [1, 2, 3], "K": K}, ["quaternion_order"]),
        ({"q_wxyz": [1, 1, 0, 0], "t": [1, 2, 3], "K": K}, ["view 0", "length 1.414"]),
        ({"pose": POSE, "fx": 100, "cx": 50}, ["only fx", "camera_schema"]),
        ({"pose": POSE, "focal_length_mm": 50}, ["only focal_length_mm", '"sensor_mm": 36']),
        ({"pose": POSE, "K": TINY_K}, ["intrinsics_units", "either or neither"]),
        ({"pose": POSE, "K": K, "k1": 0.01}, ["k1", "pinhole"]),
        ({"pose": POSE, "camera_angle_x": 40}, ["180 degrees"]),
        ({"pose": POSE, "K": K, "w": -3, "h": 7}, ["w, h to be an image's size"]),
        ({"pose": POSE[:2], "K": K}, ["4×4 or 3×4", "(2, 4)"]),
        ({"pose": [[True, 0.5, 0.5, 0.5]] * 4, "K": K}, ["finite numbers", "[[True, 0.5"]),
        ({"pose": [[1e200] * 4] * 4, "K": K}, ["over 1e+09"]),
        ({"pose": [[10**400] * 4] * 4, "K": K}, ["finite numbers"]),
        ({"landmarks": [1], "K": K}, ["keys 'name', 'cameras'", '{"extrinsics": "<key']),
        ({"pose": POSE, "K": K, "layout": "diagonal"}, ["layout to be", "'diagonal'"]),
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
    assert "subj_1 view 1" in refusal([CAMERA, CAMERA, {**CAMERA, "extrinsics": POSE[:3]}][::2])


def two(cameras: object) -> Metadata:
    """A sound subject_0 with views 0 to 3, and subject_1 with these cameras."""
    values = {"subj_0": {str(n): CAMERA for n in range(4)}, "subj_1": cameras}
    document = Document("all.json", json.dumps(values).encode(), "all.json")
    return read_metadata([document], dict.fromkeys(values, range(4)))


def test_a_camera_without_a_pose_leaves_the_others_their_views() -> None:
    found = two({"0": CAMERA, "1": {"K": K}, "2": 7, "3": CAMERA})
    assert found.cameras["subj_1"].view_ids == (0, 3)


@pytest.mark.parametrize("first", ["c2w", "w2c"])
def test_a_pose_given_twice_may_have_other_axes_in_either_order(first: str) -> None:
    w2c, k = random_cameras(seed=8, count=7)
    poses = {"c2w": np.linalg.inv(w2c) @ np.diag([1, -1, -1, 1]), "w2c": w2c}
    names = sorted(poses, reverse=first == "w2c")
    cameras = [
        {**{name: poses[name][view].tolist() for name in names}, "K": k[view].tolist()}
        for view in range(7)
    ]
    found = read_one(document(cameras=cameras), views=range(7))
    np.testing.assert_array_equal(found.matrices, poses[first])


def test_the_same_view_or_key_twice_is_a_problem() -> None:
    found = two({"3": CAMERA, "03": CAMERA, "1": CAMERA, "0": CAMERA, "2": CAMERA})
    assert [(p.kind, p.subject_id) for p in found.problems] == [("bad metadata", "subj_1")]
    assert "view 3 twice" in found.problems[0].detail
    text = json.dumps({"name": "a", "cameras": {"3": CAMERA, "4": CAMERA}}).replace('"4"', '"3"')
    with pytest.raises(MetadataError, match="key '3' is there twice"):
        read_one(Document("a.json", text.encode(), "a.json"))


def test_one_camera_whose_names_contradict_each_other_spoils_its_identity_alone() -> None:
    documents = [document(f"subj_{n}") for n in range(4)]
    value = json.loads(documents[2].text)
    for view, camera in enumerate(value["cameras"]):
        camera["file"] = f"subj_{3 if view == 1 else 2}/{view}.png"
    value["cameras"][1]["name"] = "subj_2"
    swapped = [
        Document(f"subj_{a}.json", documents[b].text, f"subj_{a}.json") for a, b in ((0, 1), (1, 0))
    ]
    images = {f"subj_{n}": range(3) for n in range(6)}
    others = [document(f"subj_{n}") for n in range(2, 6)]
    found = read_metadata([*swapped, *others], images)
    assert {problem.subject_id for problem in found.problems} == {"subj_0", "subj_1"}
    assert {problem.kind for problem in found.problems} == {"bad metadata"}


def test_mixed_schemas_are_problems_of_the_few() -> None:
    odd = {"name": "odd", "cameras": [{"world_to_camera": POSE, "K": K}]}
    documents = [document(f"subj_{n}") for n in range(3)]
    images = {**{f"subj_{n}": range(3) for n in range(3)}, "odd": range(1)}
    odd_one = Document("odd.json", json.dumps(odd).encode(), "odd.json")
    found = read_metadata([*documents, odd_one], images)
    assert len(found.cameras) == 4
    assert [(p.kind, p.subject_id) for p in found.problems] == [("mixed metadata", "odd")]
    assert "worldtocamera" in found.problems[0].detail


def test_one_bad_subject_in_a_file_of_all_leaves_the_others() -> None:
    value = {"subj_1": {"0": CAMERA}, "subj_2": {"0": {"extrinsics": "?", "K": K}}, "subj_3": []}
    images = dict.fromkeys(value, range(1))
    found = read_metadata([Document("all.json", json.dumps(value).encode(), "all.json")], images)
    assert list(found.cameras) == ["subj_1"]
    assert [p.subject_id for p in found.problems] == ["subj_2"]


# --- names: which reading counts


def cameras_of(count: int = 7) -> list[dict[str, object]]:
    """Different cameras: the third number of the last column is the view's."""
    poses = np.tile(EXTRINSICS[0], (count, 1, 1))
    poses[:, 2, 3] = 5 + np.arange(count)
    return [{"extrinsics": pose.tolist(), "K": K} for pose in poses]


def by_key(first: int, numbers: Iterable[int]) -> dict[str, object]:
    return dict(zip((str(n + first) for n in numbers), cameras_of(), strict=False))


def views_of(found: Metadata, name: str) -> dict[int, float]:
    cameras = found.cameras[name]
    return dict(zip(cameras.view_ids, cameras.matrices[:, 2, 3] - 5, strict=True))


def files_of(values: Mapping[str, object]) -> list[Document]:
    return [Document(name, json.dumps(value).encode(), name) for name, value in values.items()]


def test_a_missing_camera_is_no_shift_by_one() -> None:
    values = {f"{n}.json": by_key(0, range(7)) for n in range(4)}
    values["2.json"] = by_key(0, range(1, 7))
    found = read_metadata(files_of(values), {str(n): range(7) for n in range(4)})
    assert found.cameras["2"].view_ids == (1, 2, 3, 4, 5, 6)
    assert set(views_of(found, "0")) == set(range(7))


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_from_one_are_told_where_all_images_are_there(first: int) -> None:
    files = files_of({f"{n}.json": by_key(first, range(7)) for n in (3, 5)})
    found = read_metadata(files, {"3": range(7), "5": range(7)})
    assert views_of(found, "3") == {view: view for view in range(7)}
    assert ("counted from 1" in found.description) == bool(first)


def test_numbers_from_one_are_doubtful_where_only_some_images_are_there() -> None:
    files = files_of({f"{n}.json": by_key(1, range(7)) for n in (3, 5)})
    images = {"3": [2], "5": [2]}
    with pytest.raises(MetadataError, match="several ways that disagree") as caught:
        read_metadata(files, images, complete=False)
    for remedy, camera in (("key of root", 1), ("key of root, counted from 1", 2)):
        stated = {"subject": "file", "view": remedy}
        assert json.dumps(stated) in str(caught.value)
        found = read_metadata(files, images, complete=False, schema=load_camera_schema(stated))
        assert views_of(found, "3")[2] == camera
    assert views_of(read_metadata(files, {"3": [0, 1]}, complete=False), "3") == {
        view: view for view in range(7)
    }


def test_identities_off_by_one_are_refused_and_can_be_stated() -> None:
    files = files_of({f"metadata_{n + 1}.json": by_key(0, range(7)) for n in range(5)})
    images = {f"subj_{n}": range(7) for n in range(5)}
    with pytest.raises(MetadataError, match="several ways that disagree") as caught:
        read_metadata(files, images)
    stated = {"subject": "file, counted from 1", "view": "key of root"}
    assert json.dumps(stated) in str(caught.value)
    found = read_metadata(files, images, schema=load_camera_schema(stated))
    assert found.cameras["subj_0"].source == "metadata_1.json"
    assert found.problems == []


def test_subjects_and_views_that_could_be_exchanged_are_refused() -> None:
    files = files_of({f"{a}_{b}.json": cameras_of()[b] for a in range(3) for b in range(3)})
    with pytest.raises(MetadataError, match="number 1 of file"):
        read_metadata(files, {str(n): range(3) for n in range(3)})


def test_order_counts_only_where_nothing_is_named() -> None:
    cameras = [{"view_id": 6 - n, **camera} for n, camera in enumerate(cameras_of())]
    found = read_metadata(files_of({"3.json": cameras}), {"3": range(7)})
    assert views_of(found, "3") == {view: 6 - view for view in range(7)}
    assert "order" not in found.description
    found = read_metadata(files_of({"3.json": cameras_of()}), {"3": range(7)})
    assert found.description.endswith("order is all that tells views")


def test_two_named_places_that_disagree_are_refused() -> None:
    cameras = [{"view_id": 6 - n, "file": f"{n}.png", **c} for n, c in enumerate(cameras_of())]
    with pytest.raises(MetadataError, match="several ways that disagree") as caught:
        read_metadata(files_of({"3.json": cameras}), {"3": range(7)})
    stated = {"subject": "file", "view": "*.file"}
    assert json.dumps(stated) in str(caught.value)
    schema = load_camera_schema(stated)
    found = read_metadata(files_of({"3.json": cameras}), {"3": range(7)}, schema=schema)
    assert views_of(found, "3") == {view: view for view in range(7)}


def test_keys_that_are_known_are_not_proposed_for_angles() -> None:
    value = {"focal_length": 50.0, "sensor_width": 36.0, "field_of_view": 0.7}
    with pytest.raises(MetadataError, match="no cameras that can be read") as caught:
        read({"cameras": [value]})
    assert "azimuth" not in str(caught.value)


def test_the_document_that_could_hold_cameras_is_the_one_that_is_shown() -> None:
    files = files_of({"a.json": {"version": 2}, "subj_1.json": {"views": [{"turn": 0.25}] * 3}})
    with pytest.raises(MetadataError, match="longest with keys 'views'") as caught:
        read_metadata(files, {"subj_1": range(3)})
    assert "where: subj_1.json" in str(caught.value)


def test_two_sets_of_cameras_are_refused_and_can_be_stated() -> None:
    value = {"cameras": cameras_of(), "frames": cameras_of()[::-1]}
    with pytest.raises(MetadataError, match="several sets of cameras") as caught:
        read_metadata(files_of({"3.json": value}), {"3": range(7)})
    assert '{"cameras": "frames"}' in str(caught.value)
    schema = load_camera_schema({"cameras": "frames"})
    found = read_metadata(files_of({"3.json": value}), {"3": range(7)}, schema=schema)
    assert views_of(found, "3") == {view: 6 - view for view in range(7)}


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


MATRIX = np.eye(4).tolist()


@settings(max_examples=600, deadline=None)
@example({"name": "s", "cameras": [{"pose": MATRIX, "K": MATRIX, "w": [1, 2, 3], "h": 3}]}, "")
@example({"extrinsics": [[]]}, "s/0.json")
@example({"name": "s", "cameras": [{"pose": MATRIX, "fov_x": 1e-313}] * 3}, "")
@example({"name": "s", "cameras": [{"pose": MATRIX, "lens": 50, "sensor": 1e-313}] * 3}, "")
@given(TREES | NEARLY, st.sampled_from(["s/0.json", "subj_1.json", "dataset.json", ""]))
def test_no_tree_does_anything_but_parse_or_become_a_problem(tree: object, path: str) -> None:
    images = {"s": (0, 1, 2), "subj_1": (0,)}
    try:
        read = read_metadata([Document("fuzz", json.dumps(tree).encode(), path)], images)
    except MetadataError:
        return
    for subject_id, found in read.cameras.items():
        assert subject_id == found.subject_id
        assert found.subject_id
        assert found.matrices.shape == (len(found.view_ids), 4, 4)
        assert np.isfinite(found.matrices).all()
        assert np.isfinite(found.intrinsics.values).all()
        assert list(found.view_ids) == sorted(set(found.view_ids))
        json.loads(found.text)


def test_a_height_of_several_numbers_is_refused() -> None:
    frames = [{"file_path": f"{view}.png", "transform_matrix": p} for view, p in enumerate(POSES)]
    value = {"fl_x": 9.0, "fl_y": 9.0, "cx": 4.0, "cy": 4.0, "w": 8, "h": [1, 2], "frames": frames}
    with pytest.raises(MetadataError, match="h to be a finite number"):
        read(value, views=range(3))


@pytest.mark.parametrize("depth", [60, 300, 900])
@pytest.mark.parametrize("key", ["cameras", "camera", "pose", "x"])
def test_deep_nesting_is_refused(key: str, depth: int) -> None:
    value: object = 1.0
    for _ in range(depth):
        value = [value] if key == "x" else {key: value}
    for tree in (value, {"name": "a", "cameras": [{"pose": value, "K": K}]}):
        with pytest.raises(MetadataError):
            read_one(Document("deep.json", deep_json(tree), "deep.json"))


def deep_json(tree: object) -> bytes:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return json.dumps(tree).encode()
    finally:
        sys.setrecursionlimit(limit)


def test_a_focal_length_beside_a_principal_point_may_be_in_mm() -> None:
    camera = {"extrinsics": POSE, "focal_length": 50.0, "cx": 320.0, "cy": 180.0}
    with pytest.raises(MetadataError, match="more than 90 degrees") as caught:
        lens_of(camera)
    centre = '"cx": "cx", "cy": "cy"'
    for said in ('"focal_px": "focal_length"', '"focal_mm": "focal_length", "sensor_mm": 36.0'):
        text = f'{{"intrinsics": {{{said}, {centre}}}}}'
        assert text in str(caught.value)
    found = pixel_intrinsics(lens_of(camera, json.loads(text)), 640, 360)
    expected = [[640 * 50 / 36, 0, 320], [0, 640 * 50 / 36, 180], [0, 0, 1]]
    np.testing.assert_allclose(found[0], expected)


def test_numbers_in_text_are_no_lists_of_characters() -> None:
    assert lens_of({"extrinsics": POSE, "params": [500, 320, 180]}).kind == "pixels"
    assert lens_of({"extrinsics": POSE, "params": "500 320 180"}).kind == "absent"
