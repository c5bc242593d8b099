"""Rows to Parquet made for streaming: small row groups, images as they are, any `datasets`."""

from __future__ import annotations

import inspect
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geogen_hf.durable import move_durably
from geogen_hf.outfile import OutFile
from geogen_hf.release.features import FEATURES
from geogen_hf.release.rows import TableBuilder

ROW_GROUP_BYTES = 4 * 2**20
"""A reader fetches at least one row group before its first row."""
ROW_GROUP_ROWS = 512
CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}
"""Pages end where the content says (pyarrow >= 21), so that equal rows give equal pages wherever
they stand, and a store that keeps each chunk once uploads only what changed."""

_IMAGE_COLUMNS = ("image", "images")


@dataclass(frozen=True)
class FileRecord:
    """A finished Parquet file.

    Attributes:
        path: Relative to the folder.
        config: Config it belongs to.
        split: Split it belongs to.
        rows: Number of rows.
        size: Bytes on disk.
        arrow_bytes: Bytes of the same rows as Arrow.
        sha256: Of the file.
    """

    path: str
    config: str
    split: str
    rows: int
    size: int
    arrow_bytes: int
    sha256: str


def portable_schema(config: str) -> pa.Schema:
    """Arrow schema of a config, with the features in a spelling that every `datasets` reads.

    `datasets` 4 writes lists as type `List`, which 3.6 does not know; it reads 3.6's `Sequence`.
    """
    features = FEATURES[config]
    described = {"info": {"features": _spell_lists_as_sequences(features.to_dict())}}
    return features.arrow_schema.with_metadata({"huggingface": json.dumps(described)})


def _spell_lists_as_sequences(value: Any) -> Any:
    if isinstance(value, list):  # how 3.6 may write a list feature
        return {"feature": _spell_lists_as_sequences(value[0]), "_type": "Sequence"}
    if not isinstance(value, dict):
        return value
    if value.get("_type") in ("List", "Sequence"):
        return {"feature": _spell_lists_as_sequences(value["feature"]), "_type": "Sequence"}
    is_feature = "_type" in value
    return {k: v if is_feature else _spell_lists_as_sequences(v) for k, v in value.items()}


class ShardWriter:
    """Writes one Parquet file: whole under its name when closed, or not at all.

    A context manager; leaving it by an exception leaves no file.
    """

    def __init__(self, folder: Path, path: str, config: str, split: str) -> None:
        self._target = folder / path
        self._temporary = self._target.with_name(f".{self._target.name}.{uuid.uuid4().hex}")
        self._place = (path, config, split)
        self._schema = portable_schema(config)
        self._builder = TableBuilder(
            self._schema, most_bytes=ROW_GROUP_BYTES, most_rows=ROW_GROUP_ROWS
        )
        self._count = 0
        self._arrow_bytes = 0

    def __enter__(self) -> ShardWriter:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._file = OutFile(self._temporary)
        options = writer_options(self._schema)
        self._writer = pq.ParquetWriter(pa.PythonFile(self._file, "w"), self._schema, **options)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write(self._builder.finish())
                self._writer.close()
                self._file.finish()
                move_durably(self._temporary, self._target)
        finally:
            if self._writer.is_open:  # it would write once more when it is collected
                self._file.abandon()
                self._writer.close()
            self._file.release()
            self._temporary.unlink(missing_ok=True)  # not there any more if all went well

    def add(self, row: dict[str, Any]) -> None:
        """Take one row; its images as `{"bytes": …, "path": …}`."""
        self._count += 1
        self._write(self._builder.add(row))

    def record(self) -> FileRecord:
        """Describe the closed file."""
        path, config, split = self._place
        return FileRecord(
            path, config, split, self._count, self._file.size, self._arrow_bytes,
            self._file.sha256.hexdigest(),
        )  # fmt: skip

    def _write(self, row_group: pa.Table | None) -> None:
        if row_group is not None:
            self._writer.write_table(row_group, row_group_size=len(row_group))
            self._arrow_bytes += row_group.nbytes


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Options of `pyarrow.parquet.ParquetWriter` for a schema.

    Images are compressed already: only the other columns are. Rows are found by the page index and
    the statistics of their ids.
    """
    leaves = [leaf for field in schema for leaf in leaf_paths(field)]
    images = [leaf for leaf in leaves if leaf.split(".")[0] in _IMAGE_COLUMNS]
    texts = [name for name in ("subject_id", "metadata") if name in leaves]
    options: dict[str, Any] = {
        "compression": {leaf: "NONE" if leaf in images else "ZSTD" for leaf in leaves},
        "use_dictionary": texts,
        "write_statistics": [leaf for leaf in leaves if leaf in ("subject_id", "view_id")],
        "write_page_index": True,
    }
    if "use_content_defined_chunking" in inspect.signature(pq.ParquetWriter).parameters:
        options["use_content_defined_chunking"] = CHUNKING
    return options


def leaf_paths(field: pa.Field) -> list[str]:
    """Name the Parquet columns of an Arrow field.

    Example:
        >>> leaf_paths(pa.field("a", pa.list_(pa.struct({"b": pa.int32(), "c": pa.string()}))))
        ['a.list.element.b', 'a.list.element.c']
    """
    kind = field.type.storage_type if isinstance(field.type, pa.ExtensionType) else field.type
    if pa.types.is_list(kind):
        below = [pa.field("list.element", kind.value_type)]
    elif pa.types.is_struct(kind):
        below = [kind.field(index) for index in range(kind.num_fields)]
    else:
        return [field.name]
    return [f"{field.name}.{leaf}" for child in below for leaf in leaf_paths(child)]
