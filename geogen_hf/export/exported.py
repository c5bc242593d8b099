"""Read an exported folder, on disk or behind any URL that fsspec opens.

`ExportedFolder` knows what an exported folder is: its small files, its Parquet files, and whether a
place holds an export at all. Single identities are read in `lookup`. All that a damaged or foreign
folder can do wrong becomes a `GeoGenError` here, once for each kind of file.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

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
SHARD_NAME = re.compile(r"data/(\w+)/(\w+)-(\d{5})-of-(\d{5})\.parquet", re.ASCII)
UNREADABLE = (
    pa.ArrowException,
    OSError,
    asyncio.TimeoutError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
)
"""What pyarrow and the array types of `datasets` raise on damaged or foreign Parquet files."""
_NOT_PART_OF_IT = (".git/", ".gitattributes", ".gitignore", ".cache/", ".export/")
"""What git, the Hub's client and an interrupted clean-up leave beside the files."""
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)", re.ASCII)

Rows = dict[str, dict[str, int]]
"""Number of rows by config and split."""
Faults = list[str]
"""What cannot be understood in a file, a message each."""


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of an export, described by its name.

    Attributes:
        path: Path relative to the folder.
        config: Config of its rows.
        split: Split of its rows.
        index: Number of the file within config and split, from 0.
        count: Number of files of this config and split.
    """

    path: str
    config: str
    split: Split
    index: int
    count: int

    @staticmethod
    def of_path(path: str) -> DataFile | None:
        """Read a file name; None if it is not that of a Parquet file of an export."""
        matched = SHARD_NAME.fullmatch(path)
        split = next((s for s in SPLITS if matched and s == matched[2]), None)
        if matched is None or split is None or matched[1] not in FEATURES:
            return None
        return DataFile(path, matched[1], split, int(matched[3]), int(matched[4]))


@dataclass(frozen=True)
class Provenance:
    """What is read from `provenance.json`.

    Attributes:
        rows: Number of rows by config and split.
        split_seed: Seed of the split.
        package_version: Version of this package that wrote the export.
        sample: Whether the data is rendered sample heads.
    """

    rows: Rows
    split_seed: int
    package_version: str
    sample: bool


class ExportedFolder:
    """An exported folder: on disk, or behind any URL that fsspec opens.

    Nothing is read before it is asked for.

    Args:
        place: Path or URL of the folder.
        storage_options: Credentials by protocol, as for `open_release`.

    Attributes:
        place: Path or URL.
        local: Whether the folder is on disk.

    Raises:
        UsageError: No installed package opens this kind of URL.
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
        """Check that an export was written here to its end.

        Raises:
            PartsError: There is no folder, or no complete export in it.
        """
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
        """Read a small file.

        Raises:
            PartsError: The file does not exist.
            FetchError: The file cannot be read.
        """
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
        """Say which file it is if what the block does with a Parquet file fails.

        Raises:
            ReleaseError: The file is damaged, or is not what an export holds.
        """
        try:
            yield
        except GeoGenError:
            raise
        except UNREADABLE as error:
            raise ReleaseError(
                "a Parquet file of the export cannot be read",
                where=f"{self.place}/{name}",
                found=one_line(error) or repr(error),
                remedy="check the folder with geogen verify, then export again",
            ) from error

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except GeoGenError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PartsError(
                "a file of the export is missing",
                where=self.place,
                expected=name,
                remedy="run geogen export again",
            ) from error
        except Exception as error:  # of the libraries below a file system, of any class
            raise FetchError(
                "the exported folder cannot be read", where=f"{self.place}: {name}", found=error
            ) from error

    @cached_property
    def sums(self) -> dict[str, str]:
        """SHA-256 by file, from `SHA256SUMS`."""
        return _require(SUMS, *parse_sums(self.read(SUMS)))

    @cached_property
    def splits(self) -> dict[str, Split]:
        """Split by identity in the order of the rows, from `splits.csv`."""
        return _require(MANIFEST, *parse_manifest(self.read(MANIFEST)))

    @cached_property
    def provenance(self) -> Provenance:
        """What `provenance.json` says."""
        found, faults = parse_provenance(self.read(PROVENANCE))
        if found is None:
            raise _unreadable(PROVENANCE, faults)
        return found

    def data_files(self, config: str) -> list[DataFile]:
        """The Parquet files of a config that `SHA256SUMS` lists, in the order of their rows."""
        files = [file for file in map(DataFile.of_path, self.sums) if file is not None]
        wanted = [file for file in files if file.config == config]
        return sorted(wanted, key=lambda file: (SPLITS.index(file.split), file.index))

    def damaged_files(self) -> list[str]:
        """Compare all files with `SHA256SUMS`; return the names of those missing or different."""
        return [name for name, sha256 in self.sums.items() if not self._has_content(name, sha256)]

    def _has_content(self, name: str, sha256: str) -> bool:
        if not self.has(name):
            return False
        with self.localised(name) as path:
            return sha256_of(path) == sha256


def sha256_of(path: Path) -> str:
    """Hash a file.

    Example:
        >>> path = tmp_path / "a"
        >>> _ = path.write_bytes(b"new")
        >>> sha256_of(path)[:8]
        '11507a0e'
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def is_export(place: Place) -> bool:
    """Whether an export was written to a path or URL.

    Example:
        >>> is_export(tmp_path)
        False
    """
    return ExportedFolder(place).is_export()


# --- The small files. Each parser returns what it understood, and what it did not understand. ---


def _require(name: str, value: dict[str, Any], faults: Faults) -> dict[str, Any]:
    if faults:
        raise _unreadable(name, faults)
    return value


def _unreadable(name: str, faults: Faults) -> ReleaseError:
    remedy = "check the folder with geogen verify, then export again"
    return ReleaseError(f"{name} cannot be read", found="; ".join(faults[:5]), remedy=remedy)


def _decode(name: str, content: bytes) -> tuple[str, Faults]:
    try:
        return content.decode(), []
    except UnicodeDecodeError as error:
        return "", [f"{name}: not UTF-8: {error}"]


def parse_sums(content: bytes) -> tuple[dict[str, str], Faults]:
    """Parse `SHA256SUMS` into the SHA-256 by file."""
    text, faults = _decode(SUMS, content)
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        matched = _SUM_LINE.fullmatch(line)
        if matched is None or matched[2] in sums:
            faults.append(f"{SUMS}: line {number} is not a digest and a new name")
        else:
            sums[matched[2]] = matched[1]
    return sums, faults


def parse_manifest(content: bytes) -> tuple[dict[str, Split], Faults]:
    """Parse `splits.csv` into the split by identity."""
    text, faults = _decode(MANIFEST, content)
    manifest: dict[str, Split] = {}
    if faults:
        return manifest, faults
    try:
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        return manifest, [f"{MANIFEST}: not CSV: {error}"]
    if lines[:1] != [["subject_id", "split"]]:
        return manifest, [f"{MANIFEST}: its first line is not subject_id,split"]
    for number, row in enumerate(lines[1:], start=2):
        split = next((split for split in SPLITS if row[1:] == [split]), None)
        if split is None:
            faults.append(f"{MANIFEST}: line {number} is not an identity and a split")
        elif row[0] in manifest:
            faults.append(f"{MANIFEST}: {row[0]} is there twice")
        else:
            manifest[row[0]] = split
    return manifest, faults


def parse_card_rows(content: bytes) -> tuple[Rows | None, Faults]:
    """Parse the YAML of `README.md` into the number of rows that it states."""
    text, faults = _decode(CARD, content)
    if faults:
        return None, faults
    try:
        front, _ = split_front_matter(text)
        rows = {
            info["config_name"]: {s["name"]: s["num_examples"] for s in info["splits"]}
            for info in front["dataset_info"]
        }
        return _checked_rows(rows), []
    except ReleaseError as error:
        return None, [f"{CARD}: its YAML cannot be read: {one_line(error)}"]
    except (KeyError, TypeError, ValueError) as error:
        return None, [f"{CARD}: its YAML lacks the rows of every split: {error!r}"]


def parse_provenance(content: bytes) -> tuple[Provenance | None, Faults]:
    """Parse `provenance.json`."""
    try:
        value = json.loads(content)
        source = value["source"]
        seed, version = source["options"]["split_seed"], source["versions"]["geogen-hf"]
        if type(seed) is not int or not isinstance(version, str):
            raise TypeError("split_seed is no integer, or the version is no text")
        rows = _checked_rows(value["rows"])
        return Provenance(rows, seed, version, source.get("sample") is True), []
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        return None, [f"{PROVENANCE}: cannot be understood: {error!r}"]


def _checked_rows(rows: Any) -> Rows:
    if not isinstance(rows, dict) or not all(isinstance(n, dict) for n in rows.values()):
        raise TypeError("the rows are not given by config and split")
    keys = [*rows, *(split for counts in rows.values() for split in counts)]
    counts = [count for of_config in rows.values() for count in of_config.values()]
    if not all(isinstance(key, str) for key in keys) or any(type(n) is not int for n in counts):
        raise TypeError("the numbers of rows are not integers by name")
    return rows
