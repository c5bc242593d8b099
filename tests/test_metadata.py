from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cameras import random_cameras

from geogen_hf.errors import MetadataError
from geogen_hf.metadata import Document, parse_document, read_metadata

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
    np.testing.assert_array_equal(found.extrinsics, EXTRINSICS)
    np.testing.assert_array_equal(found.intrinsics, INTRINSICS)


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
