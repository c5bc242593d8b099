"""Read an exported folder, on disk or behind any URL that fsspec opens.

`ExportedFolder` knows what an exported folder is: its small files, its Parquet files, and whether a
place holds an export at all. Single identities are read in `lookup`. All that a damaged or foreign
folder can do wrong becomes a `GeoGenError` here, once for each kind of file.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pyarrow as pa

from geogen_hf.durable import sha256_of
from geogen_hf.errors import (
    FetchError,
    GeoGenError,
    PartsError,
    ReleaseError,
    UsageError,
    one_line,
)
from geogen_hf.export.card import split_front_matter
from geogen_hf.release.features import FEATURES
from geogen_hf.release.shards import SPLITS, Split
from geogen_hf.source.parts import METADATA_PART, Location, Place, options_for, resolve_place

CARD, SUMS, MANIFEST, PROVENANCE = "README.md", "SHA256SUMS", "splits.csv", "provenance.json"
_SHARD_NAME = re.compile(r"data/(\w+)/(\w+)-(\d{5})-of-(\d{5})\.parquet", re.ASCII)
UNREADABLE = (
    pa.ArrowException, OSError, asyncio.TimeoutError, ValueError, KeyError, TypeError,
    AttributeError, IndexError, RecursionError,
)  # fmt: skip
"""What pyarrow and the array types of `datasets` raise on damaged or foreign Parquet files."""
_NOT_PART_OF_IT = (".git/", ".gitattributes", ".gitignore", ".cache/", ".export/")
"""What git, the Hub's client and an interrupted clean-up leave beside the files."""
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)", re.ASCII)

Rows = dict[str, dict[str, int]]
"""Number of rows by config and split."""
Faults = list[str]
"""What cannot be understood in a file, a message each."""
T = TypeVar("T")

VERIFY_AND_EXPORT = "check the folder with geogen verify, then export again"


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of an export: file `index` of `count` of a config and split."""

    path: str
    config: str
    split: Split
    index: int
    count: int

    @staticmethod
    def of_path(path: str) -> DataFile | None:
        """Read a file name; None if it is not that of a Parquet file of an export."""
        matched = _SHARD_NAME.fullmatch(path)
        split = next((s for s in SPLITS if matched and s == matched[2]), None)
        if matched is None or split is None or matched[1] not in FEATURES:
            return None
        return DataFile(path, matched[1], split, int(matched[3]), int(matched[4]))


@dataclass(frozen=True)
class Provenance:
    """What is read from `provenance.json`."""

    rows: Rows
    split_seed: int
    package_version: str
    sample: bool
    """Whether the data is rendered sample heads."""


class ExportedFolder:
    """An exported folder: on disk, or behind any URL that fsspec opens.

    Nothing is read before it is asked for. A file that is missing raises `PartsError`, one that
    cannot be read `FetchError`, and one that cannot be understood `ReleaseError`.
    """

    def __init__(self, place: Place, storage_options: Mapping[str, Any] | None = None) -> None:
        self.place = os.fspath(resolve_place(place))
        self._storage_options = storage_options or {}
        options = options_for(self.place, self._storage_options)
        try:
            self._filesystem, root = fsspec.url_to_fs(self.place, **options)
        except Exception as error:  # file systems raise what they like
            raise UsageError("no package opens this URL", where=self.place, found=error) from error
        self._root = root.rstrip("/")
        protocol = self._filesystem.protocol
        self.local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def is_export(self) -> bool:
        """Whether an export was written here, complete or not."""
        return self.has(SUMS) or self.has(MANIFEST)

    def require_complete(self) -> None:
        """Check that an export was written here to its end; `PartsError` says what is there."""
        if self.has(CARD) and self.has(SUMS):
            return
        with self._reading("the folder"):
            if not self._filesystem.isdir(self._root):
                raise PartsError("no such folder", where=self.place)
        zips = METADATA_PART.name in self.names
        raise PartsError(
            "these are the zips, and no export of them" if zips else "not a complete export",
            where=self.place,
            expected=f"{CARD} and {SUMS}",
            found=", ".join(self.names[:8]) or "nothing",
            remedy="write one first: geogen export SRC OUT; geogen push --raw mirrors the zips"
            if zips
            else "run geogen export again: it resumes",
        )

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with self._reading(name):
            return bool(self._filesystem.exists(f"{self._root}/{name}"))

    @cached_property
    def names(self) -> list[str]:
        """Paths of all files relative to the folder, sorted."""
        prefix = self._root + "/"
        with self._reading("the folder"):
            found = self._filesystem.find(self._root)
        paths = sorted(path.removeprefix(prefix) for path in found)
        return [name for name in paths if not name.startswith(_NOT_PART_OF_IT)]

    def read(self, name: str) -> bytes:
        """Read a small file."""
        with self._reading(name):
            return bytes(self._filesystem.cat_file(f"{self._root}/{name}"))

    @contextmanager
    def localised(self, name: str) -> Iterator[Path]:
        """Give a local path to a file. A remote file is downloaded while the block runs."""
        with self._reading(name), tempfile.TemporaryDirectory(prefix="geogen-") as temporary:
            if self.local:
                yield Path(self._root) / name
                return
            path = Path(temporary) / "file"
            self._filesystem.get_file(f"{self._root}/{name}", str(path))
            yield path

    def location(self, name: str) -> Location:
        """Where a file is, to be opened and read by ranges."""
        root = self._root if self.local else self.place.rstrip("/")
        return Location(f"{root}/{name}", storage_options=self._storage_options)

    @contextmanager
    def reading_parquet(self, name: str) -> Iterator[None]:
        """Turn what the block raises on a damaged or foreign Parquet file into `ReleaseError`."""
        try:
            yield
        except GeoGenError:
            raise
        except UNREADABLE as error:
            raise ReleaseError(
                "a Parquet file of the export cannot be read",
                where=f"{self.place}/{name}",
                found=one_line(error) or repr(error),
                remedy=VERIFY_AND_EXPORT,
            ) from error

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except GeoGenError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            what, remedy = "a file of the export is missing", "run geogen export again"
            raise PartsError(what, where=self.place, expected=name, remedy=remedy) from error
        except Exception as error:  # of the libraries below a file system, of any class
            what, where = "the exported folder cannot be read", f"{self.place}: {name}"
            raise FetchError(what, where=where, found=error) from error

    @cached_property
    def sums(self) -> dict[str, str]:
        """SHA-256 by file, from `SHA256SUMS`."""
        return self._parsed(SUMS, parse_sums)

    @cached_property
    def splits(self) -> dict[str, Split]:
        """Split by identity in the order of the rows, from `splits.csv`."""
        return self._parsed(MANIFEST, parse_manifest)

    @cached_property
    def provenance(self) -> Provenance:
        """What `provenance.json` says."""
        found = self._parsed(PROVENANCE, parse_provenance)
        assert found is not None
        return found

    def _parsed(self, name: str, parse: Callable[[bytes, Faults], T]) -> T:
        faults: Faults = []
        value = parse(self.read(name), faults)
        if faults:
            found = "; ".join(faults[:5])
            raise ReleaseError(f"{name} cannot be read", found=found, remedy=VERIFY_AND_EXPORT)
        return value

    def data_files(self, config: str) -> list[DataFile]:
        """The Parquet files of a config that `SHA256SUMS` lists, in the order of their rows."""
        files = [file for file in map(DataFile.of_path, self.sums) if file is not None]
        wanted = [file for file in files if file.config == config]
        return sorted(wanted, key=lambda file: (SPLITS.index(file.split), file.index))

    def damaged_files(self) -> list[str]:
        """Compare all files with `SHA256SUMS`; return the names of those missing or different."""
        return [
            name
            for name, sha256 in self.sums.items()
            if not (self.has(name) and self.has_content(name, sha256))
        ]

    def has_content(self, name: str, sha256: str) -> bool:
        """Whether a file that is there has this digest."""
        with self.localised(name) as path:
            return sha256_of(path) == sha256


def shard_name(config: str, split: str, index: int, count: int) -> str:
    """Return the path of a Parquet file in the folder, as `DataFile.of_path` reads it.

    Example:
        >>> shard_name("views", "train", 3, 64)
        'data/views/train-00003-of-00064.parquet'
    """
    return f"data/{config}/{split}-{index:05d}-of-{count:05d}.parquet"


def count_rows(files: Iterable[tuple[str, str, int]]) -> Rows:
    """Add up the rows of files, given config, split and number of rows of each."""
    counts: Rows = {}
    for config, split, rows in files:
        of_config = counts.setdefault(config, {})
        of_config[split] = of_config.get(split, 0) + rows
    return counts


# --- The small files. Each parser returns what it understood, and adds what it did not to `faults`.


def parse_sums(content: bytes, faults: Faults) -> dict[str, str]:
    """Parse `SHA256SUMS` into the SHA-256 by file."""
    sums: dict[str, str] = {}
    for number, line in enumerate((_decode(SUMS, content, faults) or "").splitlines(), start=1):
        matched = _SUM_LINE.fullmatch(line)
        if matched is None or matched[2] in sums:
            faults.append(f"{SUMS}: line {number} is not a digest and a new name")
        else:
            sums[matched[2]] = matched[1]
    return sums


def parse_manifest(content: bytes, faults: Faults) -> dict[str, Split]:
    """Parse `splits.csv` into the split by identity."""
    manifest: dict[str, Split] = {}
    if (text := _decode(MANIFEST, content, faults)) is None:
        return manifest
    try:
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        faults.append(f"{MANIFEST}: not CSV: {error}")
        return manifest
    if lines[:1] != [["subject_id", "split"]]:
        faults.append(f"{MANIFEST}: its first line is not subject_id,split")
        return manifest
    for number, row in enumerate(lines[1:], start=2):
        split = next((split for split in SPLITS if row[1:] == [split]), None)
        if split is None:
            faults.append(f"{MANIFEST}: line {number} is not an identity and a split")
        elif row[0] in manifest:
            faults.append(f"{MANIFEST}: {row[0]} is there twice")
        else:
            manifest[row[0]] = split
    return manifest


def parse_card_rows(content: bytes, faults: Faults) -> Rows | None:
    """Parse the YAML of `README.md` into the number of rows that it states."""
    if (text := _decode(CARD, content, faults)) is None:
        return None
    try:
        front, _ = split_front_matter(text)
        rows = {
            info["config_name"]: {s["name"]: s["num_examples"] for s in info["splits"]}
            for info in front["dataset_info"]
        }
        return _checked_rows(rows)
    except ReleaseError as error:
        faults.append(f"{CARD}: its YAML cannot be read: {one_line(error)}")
    except (KeyError, TypeError, ValueError) as error:
        faults.append(f"{CARD}: its YAML lacks the rows of every split: {error!r}")
    return None


def parse_provenance(content: bytes, faults: Faults) -> Provenance | None:
    """Parse `provenance.json`."""
    try:
        value = json.loads(content)
        source = value["source"]
        seed, version = source["options"]["split_seed"], source["versions"]["geogen-hf"]
        if type(seed) is not int or not isinstance(version, str):
            raise TypeError("split_seed is no integer, or the version is no text")
        rows = _checked_rows(value["rows"])
        return Provenance(rows, seed, version, source.get("sample") is True)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        faults.append(f"{PROVENANCE}: cannot be understood: {error!r}")
        return None


def _decode(name: str, content: bytes, faults: Faults) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        faults.append(f"{name}: not UTF-8: {error}")
        return None


def _checked_rows(rows: Any) -> Rows:
    if not isinstance(rows, dict) or not all(isinstance(n, dict) for n in rows.values()):
        raise TypeError("the rows are not given by config and split")
    keys = [*rows, *(split for counts in rows.values() for split in counts)]
    counts = [count for of_config in rows.values() for count in of_config.values()]
    if not all(isinstance(key, str) for key in keys) or any(type(n) is not int for n in counts):
        raise TypeError("the numbers of rows are not integers by name")
    return rows
