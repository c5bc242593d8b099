"""The metadata part: JSON to raw cameras, with the text kept as it was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from geogen_hf.cameras import FloatArray
from geogen_hf.errors import MetadataError, explain, one_line
from geogen_hf.report import Problem


@dataclass(frozen=True)
class Document:
    """One metadata file.

    Attributes:
        name: Where it is, for messages.
        text: Its bytes, unpacked.
    """

    name: str
    text: bytes


@dataclass(frozen=True)
class SubjectCameras:
    """The cameras of one identity as its metadata gives them.

    Attributes:
        subject_id: The identity's name, exactly as written.
        view_ids: V view numbers, ascending.
        extrinsics: `(V, 4, 4)` float64.
        intrinsics: `(V, 3, 3)` float64.
        text: The JSON, untouched.
        source: Where it is, for messages.
    """

    subject_id: str
    view_ids: tuple[int, ...]
    extrinsics: FloatArray
    intrinsics: FloatArray
    text: str
    source: str


def read_metadata(
    documents: Iterable[Document],
) -> tuple[dict[str, SubjectCameras], list[Problem]]:
    """Read every metadata file.

    Args:
        documents: The files of the metadata part.

    Returns:
        The cameras by identity, and a problem for every file that could not be read or that names
        an identity again.
    """
    cameras: dict[str, SubjectCameras] = {}
    problems: list[Problem] = []
    for document in documents:
        try:
            found = parse_document(document)
        except MetadataError as error:
            problems.append(Problem("bad metadata", None, one_line(error)))
            continue
        first = cameras.setdefault(found.subject_id, found)
        if first is not found:
            detail = f"{found.subject_id}: in {first.source} and again in {found.source}"
            problems.append(Problem("duplicate metadata", found.subject_id, detail))
    return cameras, problems


def parse_document(document: Document) -> SubjectCameras:
    """Read one file: `{"name": …, "cameras": [{"extrinsics": 4×4, "intrinsics": 3×3}, …]}`.

    Args:
        document: The file; camera k of the list belongs to image `k.png`.

    Returns:
        The cameras of the identity it names.

    Raises:
        MetadataError: It is not JSON, not of this schema, or holds a number that is not finite.
    """
    try:
        text = document.text.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _unreadable(document, "JSON in UTF-8 with finite numbers", str(error)) from error
    if not isinstance(value, dict) or not {"name", "cameras"} <= value.keys():
        found = f"keys {sorted(value)[:8]}" if isinstance(value, dict) else type(value).__name__
        raise _unreadable(document, "an object with name and cameras", found)
    name, cameras = value["name"], value["cameras"]
    if not isinstance(name, str) or not name:
        raise _unreadable(document, "name to be a string", repr(name)[:80])
    if not isinstance(cameras, list) or not cameras:
        raise _unreadable(document, "cameras to be a list", repr(cameras)[:80])
    return SubjectCameras(
        subject_id=name,
        view_ids=tuple(range(len(cameras))),
        extrinsics=_stack(document, cameras, "extrinsics", (4, 4)),
        intrinsics=_stack(document, cameras, "intrinsics", (3, 3)),
        text=text,
        source=document.name,
    )


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not a finite number")


def _stack(
    document: Document, cameras: list[object], key: str, shape: tuple[int, int]
) -> FloatArray:
    """Read one matrix of every camera as `(V, *shape)` float64."""
    matrices: list[object] = []
    for index, camera in enumerate(cameras):
        if not isinstance(camera, dict) or key not in camera:
            found = f"keys {sorted(camera)}" if isinstance(camera, dict) else repr(camera)[:80]
            raise _unreadable(document, f"camera {index} to have {key}", found)
        matrices.append(camera[key])
    expected = f"{key} to be {shape[0]}×{shape[1]} finite numbers"
    try:
        stack = np.array(matrices, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _unreadable(document, expected, str(error)) from error
    if stack.shape != (len(cameras), *shape):
        raise _unreadable(document, expected, f"an array of shape {stack.shape[1:]}")
    if not np.isfinite(stack).all():
        raise _unreadable(document, expected, "a number that is not finite")
    return stack


def _unreadable(document: Document, expected: str, found: str) -> MetadataError:
    return MetadataError(
        explain(
            f"{document.name}: cannot be read as camera metadata", expected=expected, found=found
        )
    )
