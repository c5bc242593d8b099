"""Rows to Arrow tables, for Parquet and for prepared Arrow files alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Put rows into one table.

    Args:
        rows: As `rows.subject_rows` gives them, without their keys.
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
        if isinstance(field.type, pa.ExtensionType):
            storage = pa.array([value.tolist() for value in values], field.type.storage_type)
            columns.append(pa.ExtensionArray.from_storage(field.type, storage))
        else:
            columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def batched_tables(
    rows: Iterable[dict[str, Any]], schema: pa.Schema, *, most_bytes: int, most_rows: int
) -> Iterator[pa.Table]:
    """Put rows into tables, each as soon as it is large enough.

    Args:
        rows: In order, which is kept.
        schema: Arrow schema of their config.
        most_bytes: A table is full once its images have so many bytes …
        most_rows: … or once it has so many rows.

    Yields:
        Tables of at least one row.
    """
    gathered: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        gathered.append(row)
        size += image_bytes(row)
        if size >= most_bytes or len(gathered) >= most_rows:
            yield table_of(gathered, schema)
            gathered, size = [], 0
    if gathered:
        yield table_of(gathered, schema)


def image_bytes(row: dict[str, Any]) -> int:
    """Sum of the sizes of a row's encoded images.

    Example:
        >>> image_bytes({"images": [{"bytes": b"12"}, {"bytes": b"345"}]}), image_bytes({})
        (5, 0)
    """
    images = row.get("images") or ([row["image"]] if "image" in row else [])
    return sum(len(image["bytes"]) for image in images)
