"""Subjects to rows: what `schema.FEATURES` describes, one function a config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from geogen_hf.shards import Shard, read_image_sizes, read_images
from geogen_hf.subjects import Subject

Row = tuple[str, dict[str, Any]]
"""A unique key, and the columns of `schema.FEATURES`."""

Size = tuple[int, int]
"""Width and height in pixels."""


def shard_rows(config: str, shard: Shard) -> Iterator[Row]:
    """Read a shard and yield its rows.

    Args:
        config: `sequences`, `views` or `cameras`; the last reads no more of an image than its
            header.
        shard: The subjects.

    Yields:
        Keys and rows.

    Raises:
        ArchiveError: A member is damaged, and is not to be skipped.
    """
    if config == "cameras":
        for subject, sizes in read_image_sizes(shard):
            yield from subject_rows(config, subject, (), sizes)
    else:
        for subject, images in read_images(shard):
            yield from subject_rows(config, subject, images, ())


def subject_rows(
    config: str, subject: Subject, images: Sequence[bytes], sizes: Sequence[Size]
) -> Iterator[Row]:
    """Yield the rows of one identity.

    Args:
        config: `sequences`, `views` or `cameras`.
        subject: The identity, V views.
        images: V encoded images; not looked at for `cameras`.
        sizes: V sizes; looked at for `cameras` only.

    Yields:
        Keys and rows.
    """
    if config == "sequences":
        yield subject.subject_id, _sequence_row(subject, images)
        return
    extrinsics = subject.extrinsics.astype(np.float32)
    intrinsics = subject.intrinsics.astype(np.float32)
    for index, view_id in enumerate(subject.view_ids):
        row: dict[str, Any] = {
            "subject_id": subject.subject_id,
            "view_id": view_id,
            "extrinsics": extrinsics[index],
            "intrinsics": intrinsics[index],
        }
        if config == "views":
            row["image"] = _encoded(images[index])
        else:
            row["width"], row["height"] = sizes[index]
            row["metadata"] = subject.metadata
        yield f"{subject.subject_id}/{view_id}", row


def _sequence_row(subject: Subject, images: Sequence[bytes]) -> dict[str, Any]:
    return {
        "subject_id": subject.subject_id,
        "images": [_encoded(image) for image in images],
        "view_ids": list(subject.view_ids),
        "extrinsics": subject.extrinsics.astype(np.float32),
        "intrinsics": subject.intrinsics.astype(np.float32),
    }


def _encoded(image: bytes) -> dict[str, bytes | None]:
    # Without a path: datasets drops the bytes where a file of that name happens to exist.
    return {"bytes": image, "path": None}
