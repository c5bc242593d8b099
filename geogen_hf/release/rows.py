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
    if config == "metadata":
        columns = {"subject_id": subject.subject_id, "metadata": subject.metadata}
        yield subject.subject_id, columns
        return
    extrinsics = subject.extrinsics.astype(np.float32)
    intrinsics = subject.intrinsics.astype(np.float32)
    if config == "sequences":
        row: dict[str, Any] = {
            "subject_id": subject.subject_id,
            "images": [_encoded(image) for image in images],
            "view_ids": list(subject.view_ids),
            "extrinsics": extrinsics,
            "intrinsics": intrinsics,
        }
        yield subject.subject_id, row
        return
    for index, view_id in enumerate(subject.view_ids):
        row = {
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


def _encoded(image: bytes) -> dict[str, bytes | None]:
    # Without a path: datasets drops the bytes where a file of that name happens to exist.
    return {"bytes": image, "path": None}


class TableBuilder:
    """Gathers rows until they make a table.

    Args:
        schema: Arrow schema of their config.
        most_bytes: A table is full once its images have so many bytes …
        most_rows: … or once it has so many rows.

    Example:
        >>> builder = TableBuilder(pa.schema({"view_id": pa.int32()}), most_bytes=9, most_rows=2)
        >>> [table["view_id"].to_pylist() for table in builder.tables([{"view_id": 3}] * 3)]
        [[3, 3], [3]]
    """

    def __init__(self, schema: pa.Schema, *, most_bytes: int, most_rows: int) -> None:
        self._schema, self._most_bytes, self._most_rows = schema, most_bytes, most_rows
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def tables(self, rows: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
        """Put rows into tables, each as soon as it is full; the order is kept."""
        for row in rows:
            if (table := self.add([row])) is not None:
                yield table
        if (table := self.finish()) is not None:
            yield table

    def add(self, rows: Iterable[dict[str, Any]]) -> pa.Table | None:
        """Take rows of `subject_rows` that stay together; gives a table once it is full."""
        for row in rows:
            self._rows.append(row)
            images = row.get("images") or ([row["image"]] if "image" in row else [])
            self._bytes += sum(len(image["bytes"]) for image in images)
        full = self._bytes >= self._most_bytes or len(self._rows) >= self._most_rows
        return self.finish() if full else None

    def finish(self) -> pa.Table | None:
        """Make a table of what there is, of one chunk; None if that is nothing."""
        if not self._rows:
            return None
        columns = [_column(self._rows, field) for field in self._schema]
        self._rows, self._bytes = [], 0
        return pa.Table.from_arrays(columns, schema=self._schema)


def _column(rows: list[dict[str, Any]], field: pa.Field) -> pa.Array:
    values = [row[field.name] for row in rows]
    if isinstance(values[0], np.ndarray):
        values = [value.tolist() for value in values]
    if not isinstance(field.type, pa.ExtensionType):
        return pa.array(values, field.type)
    return pa.ExtensionArray.from_storage(field.type, pa.array(values, field.type.storage_type))
