"""Write rows to Parquet files that are made for streaming.

Row groups are small, images are stored as they are, and the features in the schema are spelt so
that every supported version of `datasets` reads them. Change the file format here.
"""

from __future__ import annotations

import inspect
import json
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geogen_hf.durable import OutputFolder, move_durably, sha256_of
from geogen_hf.release.features import FEATURES, TableBuilder

ROW_GROUP_BYTES = 128 * 2**10
"""A row group ends with the identity that reaches this: with images of usual sizes, each identity
has its own, so that a reader of one fetches little else. Readers of all fetch many at a time."""
ROW_GROUP_ROWS = 512
CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}
"""The content decides where pages end (pyarrow >= 21). So equal rows give equal pages in any place
of any file, and a store that keeps each chunk once transfers only what has changed."""
CHUNKING_KEYS = ("content_defined_chunking", "use_content_defined_chunking")
"""Keys of the file's metadata that tell of it: the one that `datasets` writes, and the one by which
the Hub's viewer recognises files that it can read in pieces."""
_BLOOM_FILTER = {"ndv": ROW_GROUP_ROWS, "fpp": 0.01}
"""Of the ids in each row group (pyarrow >= 24): in the order of a hash, minima and maxima of row
groups with several ids say little. It takes about 1 kB."""
_OPTIONS = inspect.signature(pq.ParquetWriter).parameters

_IMAGE_COLUMNS = ("image", "images")


@dataclass(frozen=True)
class FileRecord:
    """A finished Parquet file; `path` is relative to the folder, sizes are in bytes."""

    path: str
    config: str
    split: str
    rows: int
    size: int
    arrow_bytes: int
    """Of the same rows as Arrow tables."""
    sha256: str


def portable_schema(config: str) -> pa.Schema:
    """Return the Arrow schema of a config as every reader of Parquet files understands it.

    Matrices are nested lists. Only the features for `datasets`, in the metadata, say `Array2D` and
    `Array3D`: other readers take the Arrow types of these for opaque extensions. `datasets` 4
    writes lists as type `List`, which 3.6 does not know, but reads `Sequence` too.
    """
    features = FEATURES[config]
    described = {"info": {"features": _spell_lists_as_sequences(features.to_dict())}}
    metadata = {"huggingface": json.dumps(described)}
    if "use_content_defined_chunking" in _OPTIONS:
        metadata |= dict.fromkeys(CHUNKING_KEYS, json.dumps(CHUNKING))
    fields = [
        pa.field(f.name, f.type.storage_type if isinstance(f.type, pa.ExtensionType) else f.type)
        for f in features.arrow_schema
    ]
    return pa.schema(fields, metadata)


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
    """Writes one Parquet file, which gets its name `path` when it is complete.

    A context manager. If the block ends with an exception, no file is left.
    """

    def __init__(self, output: OutputFolder, path: str, config: str, split: str) -> None:
        self._target = output.path / path
        self._temporary = output.work / f"{config}-{self._target.name}.{uuid.uuid4().hex}"
        self._place = (path, config, split)
        self._schema = portable_schema(config)
        self._builder = TableBuilder(
            self._schema, most_bytes=ROW_GROUP_BYTES, most_rows=ROW_GROUP_ROWS
        )
        self._rows = 0
        self._arrow_bytes = 0

    def __enter__(self) -> ShardWriter:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        options = _writer_options(self._schema)
        self._writer = pq.ParquetWriter(self._temporary, self._schema, **options)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write(self._builder.finish())
                self._writer.close()
                self._sha256 = sha256_of(self._temporary)
                with self._temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                move_durably(self._temporary, self._target)
        finally:
            if self._writer.is_open:  # else it writes the footer when it is garbage-collected
                with suppress(OSError):  # the disk is full
                    self._writer.close()
            self._temporary.unlink(missing_ok=True)

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add the rows of one identity, whose images are `{"bytes": …, "path": …}`."""
        self._write(self._builder.add(rows))

    def add_table(self, table: pa.Table) -> None:
        """Add rows that are in a table of this schema already."""
        for start in range(0, len(table), ROW_GROUP_ROWS):
            self._write(table.slice(start, ROW_GROUP_ROWS))

    def record(self) -> FileRecord:
        """Describe the file, once the block has ended."""
        size = self._target.stat().st_size
        return FileRecord(*self._place, self._rows, size, self._arrow_bytes, self._sha256)

    def _write(self, row_group: pa.Table | None) -> None:
        if row_group is not None:
            self._writer.write_table(row_group, row_group_size=len(row_group))
            self._rows += len(row_group)
            self._arrow_bytes += row_group.nbytes


def _writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Choose what `pyarrow.parquet.ParquetWriter` does with the columns of a schema.

    Images are compressed already, so only the other columns are compressed. The page index, the
    statistics and the Bloom filter of the ids let readers find rows.
    """
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    columns = pq.read_metadata(pa.BufferReader(empty.getvalue())).schema
    leaves = [columns.column(index).path for index in range(len(columns))]
    images = [leaf for leaf in leaves if leaf.split(".")[0] in _IMAGE_COLUMNS]
    options: dict[str, Any] = {
        "compression": {leaf: "NONE" if leaf in images else "ZSTD" for leaf in leaves},
        "use_dictionary": [leaf for leaf in leaves if leaf in ("subject_id", "metadata")],
        "write_statistics": [leaf for leaf in leaves if leaf in ("subject_id", "view_id")],
        "write_page_index": True,
    }
    if "use_content_defined_chunking" in _OPTIONS:
        options["use_content_defined_chunking"] = CHUNKING
    if "bloom_filter_options" in _OPTIONS:
        options["bloom_filter_options"] = {"subject_id": _BLOOM_FILTER}
    return options
