"""Shards to rows: one generator a config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from geogen_hf.shards import Shard, read_image_sizes, read_images

Row = tuple[str, dict[str, Any]]
"""A unique key, and the columns of `schema.FEATURES`."""


def sequence_rows(shard: Shard) -> Iterator[Row]:
    """Yield one identity a row (config `sequences`)."""
    for subject, images in read_images(shard):
        yield (
            subject.subject_id,
            {
                "subject_id": subject.subject_id,
                "images": [_encoded(image) for image in images],
                "view_ids": list(subject.view_ids),
                "extrinsics": subject.extrinsics.astype(np.float32),
                "intrinsics": subject.intrinsics.astype(np.float32),
            },
        )


def view_rows(shard: Shard) -> Iterator[Row]:
    """Yield one image a row (config `views`)."""
    for subject, images in read_images(shard):
        extrinsics = subject.extrinsics.astype(np.float32)
        intrinsics = subject.intrinsics.astype(np.float32)
        for index, view_id in enumerate(subject.view_ids):
            yield (
                f"{subject.subject_id}/{view_id}",
                {
                    "subject_id": subject.subject_id,
                    "view_id": view_id,
                    "image": _encoded(images[index]),
                    "extrinsics": extrinsics[index],
                    "intrinsics": intrinsics[index],
                },
            )


def camera_rows(shard: Shard) -> Iterator[Row]:
    """Yield one image a row without its pixels (config `cameras`)."""
    for subject, sizes in read_image_sizes(shard):
        extrinsics = subject.extrinsics.astype(np.float32)
        intrinsics = subject.intrinsics.astype(np.float32)
        for index, view_id in enumerate(subject.view_ids):
            width, height = sizes[index]
            yield (
                f"{subject.subject_id}/{view_id}",
                {
                    "subject_id": subject.subject_id,
                    "view_id": view_id,
                    "extrinsics": extrinsics[index],
                    "intrinsics": intrinsics[index],
                    "width": width,
                    "height": height,
                    "metadata": subject.metadata,
                },
            )


def _encoded(image: bytes) -> dict[str, bytes | None]:
    # Without a path: datasets drops the bytes where a file of that name happens to exist.
    return {"bytes": image, "path": None}
