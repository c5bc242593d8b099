"""Make rows of subjects, and Arrow tables of rows, for Parquet files and prepared Arrow files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from geogen_hf.release.shards import Shard, read_image_sizes, read_images
from geogen_hf.release.subjects import Subject

Row = tuple[str, dict[str, Any]]
"""A unique key, and the columns of `features.FEATURES`."""

Size = tuple[int, int]
"""Width and height in pixels."""


def shard_rows(config: str, shard: Shard) -> Iterator[Row]:
    """Read a shard and yield its rows.

    Args:
        config: A config. `cameras` reads no more of an image than its header, `metadata` nothing.
        shard: The subjects.

    Yields:
        Keys and rows.

    Raises:
        ArchiveError: A member is damaged, and is not to be skipped.
    """
    if config == "cameras":
        for subject, sizes in read_image_sizes(shard):
            yield from subject_rows(config, subject, (), sizes)
    elif config == "metadata":
        for subject in shard.subjects:
            yield from subject_rows(config, subject, (), ())
    else:
        for subject, images in read_images(shard):
            yield from subject_rows(config, subject, images, ())


def subject_rows(
    config: str, subject: Subject, images: Sequence[bytes], sizes: Sequence[Size]
) -> Iterator[Row]:
    """Yield the rows of one identity.

    Args:
        config: The config of the rows.
        subject: The identity, V views.
        images: V encoded images; looked at for `sequences` and `views` only.
        sizes: V sizes; looked at for `cameras` only.

    Yields:
        Keys and rows.
    """
    if config == "sequences":
        yield subject.subject_id, _sequence_row(subject, images)
        return
    if config == "metadata":
        columns = {"subject_id": subject.subject_id, "metadata": subject.metadata}
        yield subject.subject_id, columns
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


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Put rows into one table.

    Args:
        rows: One or more rows of `subject_rows`, without their keys.
        schema: Arrow schema of their config.

    Returns:
        The table, of one chunk.

    Example:
        >>> schema = pa.schema({"view_id": pa.int32()})
        >>> table_of([{"view_id": 3}, {"view_id": 4}], schema)["view_id"].to_pylist()
        [3, 4]
    """
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if isinstance(values[0], np.ndarray):
            values = [value.tolist() for value in values]
        if isinstance(field.type, pa.ExtensionType):
            storage = pa.array(values, field.type.storage_type)
            columns.append(pa.ExtensionArray.from_storage(field.type, storage))
        else:
            columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


class TableBuilder:
    """Gathers rows until they make a table.

    Args:
        schema: Arrow schema of their config.
        most_bytes: A table is full once its images have so many bytes …
        most_rows: … or once it has so many rows.

    Example:
        >>> builder = TableBuilder(pa.schema({"view_id": pa.int32()}), most_bytes=9, most_rows=2)
        >>> builder.add({"view_id": 3}) is None, builder.add({"view_id": 4})["view_id"].to_pylist()
        (True, [3, 4])
        >>> builder.finish() is None
        True
    """

    def __init__(self, schema: pa.Schema, *, most_bytes: int, most_rows: int) -> None:
        self._schema, self._most_bytes, self._most_rows = schema, most_bytes, most_rows
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any]) -> pa.Table | None:
        """Take a row; gives a table once it is full."""
        self._rows.append(row)
        self._bytes += image_bytes(row)
        full = self._bytes >= self._most_bytes or len(self._rows) >= self._most_rows
        return self.finish() if full else None

    def finish(self) -> pa.Table | None:
        """Make a table of what there is; None if that is nothing."""
        if not self._rows:
            return None
        table = table_of(self._rows, self._schema)
        self._rows, self._bytes = [], 0
        return table


def batched_tables(rows: Iterable[dict[str, Any]], builder: TableBuilder) -> Iterator[pa.Table]:
    """Put rows into tables, each as soon as it is full.

    Args:
        rows: In order, which is kept.
        builder: Says when a table is full.

    Yields:
        Tables of at least one row.
    """
    for row in rows:
        table = builder.add(row)
        if table is not None:
            yield table
    rest = builder.finish()
    if rest is not None:
        yield rest


def image_bytes(row: dict[str, Any]) -> int:
    """Sum of the sizes of a row's encoded images.

    Example:
        >>> image_bytes({"images": [{"bytes": b"12"}, {"bytes": b"345"}]}), image_bytes({})
        (5, 0)
    """
    images = row.get("images") or ([row["image"]] if "image" in row else [])
    return sum(len(image["bytes"]) for image in images)
