"""Read an exported folder, on disk or behind any URL that fsspec opens.

`ExportedFolder` knows what an exported folder is: its small files, its Parquet files, and whether a
place holds an export at all. `open_export` reads single identities. All that a damaged or foreign
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
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geogen_hf.errors import (
    FetchError,
    GeoGenError,
    PartsError,
    ReleaseError,
    UsageError,
    explain,
    one_line,
)
from geogen_hf.export.card import split_front_matter
from geogen_hf.release.features import FEATURES
from geogen_hf.release.identities import Identity, UnknownSubjectError
from geogen_hf.release.splits import SPLITS, Split
from geogen_hf.report import some_of
from geogen_hf.source.location import Credentials
from geogen_hf.source.parts import Place, resolve_place

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
        options = Credentials(storage_options or {}).for_url(self.place)
        try:
            self._filesystem, root = fsspec.url_to_fs(self.place, **options)
        except (ValueError, ImportError) as error:
            message = explain("no package opens this URL", where=self.place, found=error)
            raise UsageError(message) from error
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
                raise PartsError(explain("no such folder", where=self.place))
        raise PartsError(
            explain(
                "not a complete export",
                where=self.place,
                expected=f"{CARD} and {SUMS}",
                found=", ".join(self.names[:8]) or "nothing",
                remedy="run geogen export again: it resumes",
            )
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

    @contextmanager
    def parquet(self, name: str, footer: pq.FileMetaData = None) -> Iterator[pq.ParquetFile]:
        """Open a Parquet file. Only the ranges that are used are read.

        Args:
            name: Path of the file.
            footer: The footer, if it was read before.

        Raises:
            ReleaseError: The file is damaged, or is not what an export holds; also if what the
                block does with it fails for this reason.
            PartsError: The file does not exist.
        """
        # Row groups are far apart: what fsspec reads ahead between them would be wasted.
        options = {} if self.local else {"cache_type": "none"}
        try:
            with (
                self._open(name, options) as file,
                pq.ParquetFile(file, metadata=footer) as parquet,
            ):
                yield parquet
        except GeoGenError:
            raise
        except UNREADABLE as error:
            raise ReleaseError(
                explain(
                    "a Parquet file of the export cannot be read",
                    where=f"{self.place}/{name}",
                    found=one_line(error) or repr(error),
                    remedy="check the folder with geogen verify, then export again",
                )
            ) from error

    def _open(self, name: str, options: dict[str, Any]) -> BinaryIO:
        with self._reading(name):
            file: BinaryIO = self._filesystem.open(f"{self._root}/{name}", "rb", **options)
            return file

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except GeoGenError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            message = explain(
                "a file of the export is missing",
                where=self.place,
                expected=name,
                remedy="run geogen export again",
            )
            raise PartsError(message) from error
        except (OSError, asyncio.TimeoutError) as error:
            message = explain(
                "the exported folder cannot be read", where=f"{self.place}: {name}", found=error
            )
            raise FetchError(message) from error

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
    return ReleaseError(
        explain(f"{name} cannot be read", found="; ".join(faults[:5]), remedy=remedy)
    )


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


# --- Identities ---


def read_identities(
    parquet: pq.ParquetFile, groups: Collection[int], wanted: Collection[str], file: DataFile
) -> Iterator[Identity]:
    """Read the wanted identities of some row groups of a Parquet file with images.

    Args:
        parquet: The opened file, of the config `sequences` or `views`.
        groups: Numbers of the row groups to read.
        wanted: Ids of the identities.
        file: Describes the file.

    Yields:
        The identities in the order of the rows. The rows of an identity are adjacent.

    Raises:
        ReleaseError: The views, images and cameras of an identity do not match.
    """
    subject_id, rows = "", list[dict[str, Any]]()
    for group in groups:
        for batch in parquet.iter_batches(batch_size=1, row_groups=[group]):
            for row in batch.to_pylist():
                if rows and row["subject_id"] != subject_id:
                    yield _identity(rows, file)
                    rows = []
                if row["subject_id"] in wanted:
                    subject_id = row["subject_id"]
                    rows.append(row)
    if rows:
        yield _identity(rows, file)


def ids_of(parquet: pq.ParquetFile, group: int) -> list[str]:
    """Read the ids of the identities of a row group."""
    ids: list[str] = parquet.read_row_group(group, ["subject_id"])["subject_id"].to_pylist()
    return ids


def _identity(rows: list[dict[str, Any]], file: DataFile) -> Identity:
    subject_id = rows[0]["subject_id"]
    if file.config == "sequences":
        row = rows[0]
        view_ids, images = row["view_ids"], row["images"]
        extrinsics, intrinsics = row["extrinsics"], row["intrinsics"]
    else:
        view_ids, images, extrinsics, intrinsics = (
            [row[name] for row in rows] for name in ("view_id", "image", "extrinsics", "intrinsics")
        )
    counts = [len(view_ids), len(images), len(extrinsics), len(intrinsics)]
    if len(set(counts)) != 1:
        raise ReleaseError(
            explain(
                "views, images and cameras do not match",
                where=f"{file.path}: {subject_id}",
                expected="as many view numbers, images, extrinsics and intrinsics",
                found=counts,
                remedy="check the folder with geogen verify",
            )
        )
    return Identity(
        subject_id=subject_id,
        split=file.split,
        view_ids=tuple(view_ids),
        images=tuple(bytes(image["bytes"]) for image in images),
        extrinsics=np.asarray(extrinsics, dtype=np.float64).reshape(-1, 4, 4),
        intrinsics=np.asarray(intrinsics, dtype=np.float64).reshape(-1, 3, 3),
        metadata="",
    )


class ExportIdentities(Mapping[str, Identity]):
    """The identities of an export by name; each is read when it is asked for.

    A context manager, as the identities of a release are.

    Attributes:
        subject_ids: All names, in the order of the rows.
    """

    def __init__(self, folder: ExportedFolder) -> None:
        self._folder = folder
        self._files = next(filter(None, map(folder.data_files, ("sequences", "views"))), [])
        if not self._files:
            raise PartsError(
                explain(
                    "an export without images",
                    where=folder.place,
                    expected="Parquet files of the config sequences or views",
                )
            )
        self._splits = folder.splits
        self._order: dict[Split, dict[str, int]] = {split: {} for split in SPLITS}
        for subject_id, split in self._splits.items():
            self._order[split][subject_id] = len(self._order[split])
        self._footers: dict[str, pq.FileMetaData] = {}
        self.subject_ids = tuple(self._splits)

    def __getitem__(self, subject_id: str) -> Identity:
        """Read one identity: the footer of its file and the row group that holds it.

        Raises:
            UnknownSubjectError: No identity has this name.
            ReleaseError: The files are damaged, or do not hold an identity of `splits.csv`.
            FetchError: A file cannot be read.
        """
        split = self._splits.get(subject_id)
        if split is None:
            raise UnknownSubjectError(
                explain(
                    f"no subject {subject_id!r} in this export",
                    expected=f"one of {some_of(self._splits)}",
                )
            )
        order = self._order[split]
        files = [file for file in self._files if file.split == split]
        # Rows are in the order of splits.csv, and the files share them evenly. So the first guess
        # is nearly always right; the other files are tried where identities were left out.
        place = (order[subject_id] + 0.5) / len(order) * len(files)
        for number in sorted(range(len(files)), key=lambda n: abs(n + 0.5 - place)):
            found = self._find(files[number], subject_id, place - number)
            if found is not None:
                return found
        raise ReleaseError(
            explain(
                "an identity of splits.csv is not in the files",
                where=self._folder.place,
                found=subject_id,
                remedy="check the folder with geogen verify",
            )
        )

    def _find(self, file: DataFile, subject_id: str, place: float) -> Identity | None:
        """Look for an identity in a file, first at a place between 0 (start) and 1 (end)."""
        with self._folder.parquet(file.path, self._footers.get(file.path)) as parquet:
            footer = self._footers[file.path] = parquet.metadata
            count = footer.num_row_groups
            likely = [g for g in range(count) if _may_hold(footer.row_group(g), subject_id)]
            for group in sorted(likely, key=lambda g: abs((g + 0.5) / count - place)):
                if subject_id not in ids_of(parquet, group):
                    continue
                # Rows of one image each may go on in the row groups beside it.
                first = last = group
                while first - 1 in likely and subject_id in ids_of(parquet, first - 1):
                    first -= 1
                while last + 1 in likely and subject_id in ids_of(parquet, last + 1):
                    last += 1
                groups = range(first, last + 1)
                return next(read_identities(parquet, groups, {subject_id}, file), None)
        return None

    def __contains__(self, subject_id: object) -> bool:
        return subject_id in self._splits

    def __iter__(self) -> Iterator[str]:
        return iter(self.subject_ids)

    def __len__(self) -> int:
        return len(self.subject_ids)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def __enter__(self) -> ExportIdentities:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _may_hold(group: pq.RowGroupMetaData, subject_id: str) -> bool:
    """Whether the statistics of a row group allow it to hold an identity."""
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == "subject_id" and column.is_stats_set:
            statistics = column.statistics
            if statistics.has_min_max:
                return bool(statistics.min <= subject_id <= statistics.max)
    return True


def open_export(
    place: Place, *, storage_options: Mapping[str, Any] | None = None
) -> ExportIdentities:
    """Open an exported folder to read single identities, without loading the rest.

    Args:
        place: Path or URL of the folder (`hf://datasets/me/geogen`).
        storage_options: Credentials by protocol, as for `open_release`.

    Returns:
        The identities by name. Their `extrinsics` and `intrinsics` have the precision of the files,
        float32; their `metadata` is empty: the config `cameras` holds it.

    Raises:
        PartsError: There is no complete export, or none with images.
        ReleaseError: The small files of the folder cannot be read.
        FetchError: The folder cannot be reached.
        UsageError: No installed package opens this kind of URL.

    Example:
        >>> from geogen_hf import export_release
        >>> from geogen_hf.sample import write_release
        >>> parts = write_release(tmp_path / "parts", subjects=3, size=16)
        >>> done = export_release(parts, tmp_path / "geogen", workers=1)
        >>> with open_export(tmp_path / "geogen") as export:
        ...     len(export), export["subj_00001"].split, export["subj_00001"].extrinsics.shape
        (3, 'validation', (7, 4, 4))
    """
    folder = ExportedFolder(place, storage_options)
    folder.require_complete()
    return ExportIdentities(folder)
