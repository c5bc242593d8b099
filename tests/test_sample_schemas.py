"""Every schema in every convention it can hold is written, read, and gives the same cameras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_cameras import to_canonical

import geogen
from geogen_hf.cameras.conventions import CANDIDATES, Convention
from geogen_hf.errors import CameraError, UsageError
from geogen_hf.metadata.reader import Document, SubjectCameras, read_metadata
from geogen_hf.sample import subject_cameras, write_release
from geogen_hf.sample.schemas import SCHEMAS, CamerasOf

SIZE = 48
CAMERAS = [
    CamerasOf(f"subj_{index:05d}", *subject_cameras(f"subj_{index:05d}", views=4, size=SIZE), SIZE)
    for index in (3, 11)
]
IMAGES = {true.subject_id: range(4) for true in CAMERAS}
EDGES = [Convention("camera_to_world", "opengl_mirrored_y", transposed=True), *CANDIDATES[:4]]


def allowed(name: str) -> list[Convention]:
    """The usual convention of a schema, and the first of those that stretch it."""
    more = [convention for convention in EDGES if SCHEMAS[name].allows(convention)]
    return list(dict.fromkeys([SCHEMAS[name].usual, *more[:2]]))


#: Every schema in a few conventions, and every convention in one schema.
COMBINATIONS = [
    pytest.param(name, convention, id=f"{name} {convention}")
    for name, convention in dict.fromkeys(
        [(name, convention) for name in SCHEMAS for convention in allowed(name)]
        + [("list", convention) for convention in CANDIDATES]
    )
]


def documents(
    name: str, convention: Convention | None = None, cameras: list[CamerasOf] = CAMERAS
) -> list[Document]:
    members = SCHEMAS[name].members(cameras, convention)
    return [Document(f"P8: {path}", text.encode(), path) for path, text in members]


def parsed(name: str, convention: Convention | None = None) -> dict[str, SubjectCameras]:
    found = read_metadata(documents(name, convention), IMAGES)
    assert found.problems == []
    return found.cameras


def comes_back(name: str, convention: Convention, true: list[CamerasOf]) -> None:
    views = range(len(true[0].extrinsics))
    images = {each.subject_id: views for each in true}
    found = read_metadata(documents(name, convention, true), images)
    assert found.problems == []
    assert found.cameras.keys() == images.keys()
    for each in true:
        cameras = found.cameras[each.subject_id]
        assert cameras.view_ids == tuple(views)
        assert cameras.claims.allow(convention)
        size = (each.size, each.size)
        extrinsics, intrinsics = to_canonical(cameras, convention, size, "upstream")
        np.testing.assert_allclose(extrinsics, each.extrinsics, atol=1e-9)
        np.testing.assert_allclose(intrinsics, each.intrinsics, atol=1e-9)


@pytest.mark.parametrize(("name", "convention"), COMBINATIONS)
def test_what_is_written_comes_back(name: str, convention: Convention) -> None:
    comes_back(name, convention, CAMERAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_claims_are_those_of_the_keys(name: str) -> None:
    schema = SCHEMAS[name]
    for cameras in parsed(name).values():
        assert (cameras.claims.direction, cameras.claims.axes) == (schema.direction, schema.axes)
        if not schema.transposable:
            assert cameras.claims.transposed is False


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_convention_that_the_keys_deny_is_not_written_and_not_read(name: str) -> None:
    denied = [convention for convention in CANDIDATES if not SCHEMAS[name].allows(convention)]
    for convention in denied:
        with pytest.raises(UsageError, match="claim another camera convention"):
            documents(name, convention)
        with pytest.raises(CameraError, match="contradicts the keys"):
            to_canonical(parsed(name)["subj_00003"], convention, (SIZE, SIZE), "upstream")


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_text_of_each_subject_is_its_own_and_as_written(name: str) -> None:
    files = documents(name)
    texts = [document.text.decode() for document in files]
    joined = "\n".join(texts) if name in ("image-files", "synthmocap") else None
    stripped = [
        {line.strip(" ,[]{}") for line in text.splitlines()}
        for text in ([joined] if joined else texts)
    ]
    for subject_id, cameras in parsed(name).items():
        other = next(c.subject_id for c in CAMERAS if c.subject_id != subject_id)
        json.loads(cameras.text)
        assert other not in cameras.text
        lines = {line.strip(" ,[]{}") for line in cameras.text.splitlines()}
        assert len(lines) > 10
        assert any(lines <= each for each in stripped)
        assert len(cameras.text) < 0.6 * sum(map(len, texts))


def test_the_usual_schema_is_what_it_was() -> None:
    (name, text), _ = SCHEMAS["list"].members(CAMERAS)
    true = CAMERAS[0]
    value = {
        "name": "subj_00003",
        "cameras": [
            {"extrinsics": e.tolist(), "intrinsics": k.tolist()}
            for e, k in zip(true.extrinsics, true.intrinsics, strict=True)
        ],
    }
    assert (name, text) == ("metadata_00003.json", json.dumps(value, indent=1) + "\n")


def test_a_release_in_another_schema_loads(tmp_path: Path) -> None:
    folder = write_release(tmp_path, subjects=3, size=48, schema="all-by-path")
    rows = [row for split in geogen.load("cameras", data_dir=str(folder)).values() for row in split]
    assert len(rows) == 21
    extrinsics, _ = subject_cameras(rows[0]["subject_id"], size=48)
    np.testing.assert_allclose(rows[0]["extrinsics"], extrinsics[rows[0]["view_id"]], atol=1e-6)
    for texts in geogen.load("metadata", data_dir=str(folder)).values():
        for row in texts:
            views = [f"{row['subject_id']}/{view}.png" for view in range(7)]
            assert list(json.loads(row["metadata"])) == views


def test_write_release_refuses_what_does_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown schema"):
        write_release(tmp_path, schema="lists")
    with pytest.raises(UsageError, match="no such camera convention"):
        write_release(tmp_path, convention="opencv")
    with pytest.raises(UsageError, match="claim another"):
        write_release(tmp_path, schema="eg3d", convention="w2c opencv")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(COMBINATIONS), st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_any_rig_comes_back(combination: Any, seed: int, views: int) -> None:
    exact = subject_cameras("subj_00042", views=views, size=33, seed=seed)
    comes_back(*combination.values, [CamerasOf("subj_00042", *exact, 33)])
