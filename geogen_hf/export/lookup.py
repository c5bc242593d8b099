"""Read single identities, or runs of them, from the Parquet files of an exported folder.

`open_export` gives identities by name, as `open_release` does from the zips. `read_identities`
reads row groups one after the other, for conversions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from geogen_hf.errors import PartsError, ReleaseError, explain
from geogen_hf.export.exported import DataFile, ExportedFolder
from geogen_hf.release.release import Identities, Identity, UnknownSubjectError
from geogen_hf.release.splits import SPLITS, Split
from geogen_hf.report import some_of
from geogen_hf.source.parts import Place


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
    extrinsics = np.asarray(extrinsics, dtype=np.float64).reshape(-1, 4, 4)
    intrinsics = np.asarray(intrinsics, dtype=np.float64).reshape(-1, 3, 3)
    if not (np.isfinite(extrinsics).all() and np.isfinite(intrinsics).all()):
        raise ReleaseError(
            explain(
                "a camera has values that are not finite",
                where=f"{file.path}: {subject_id}",
                remedy="check the folder with geogen verify, then export again",
            )
        )
    return Identity(
        subject_id=subject_id,
        split=file.split,
        view_ids=tuple(view_ids),
        images=tuple(bytes(image["bytes"]) for image in images),
        extrinsics=extrinsics,
        intrinsics=intrinsics,
        metadata="",
    )


class ExportIdentities(Identities):
    """The identities of an export, see `Identities`; they are in the order of the rows."""

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
        super().__init__(self._splits)

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
            self._footers[file.path] = parquet.metadata
            count = parquet.num_row_groups
            # Statistics are not asked: pyarrow 26 ends the process where a footer is damaged.
            for group in sorted(range(count), key=lambda g: abs((g + 0.5) / count - place)):
                if subject_id not in ids_of(parquet, group):
                    continue
                # Rows of one image each may go on in the row groups beside it.
                first = last = group
                while first > 0 and subject_id in ids_of(parquet, first - 1):
                    first -= 1
                while last + 1 < count and subject_id in ids_of(parquet, last + 1):
                    last += 1
                groups = range(first, last + 1)
                return next(read_identities(parquet, groups, {subject_id}, file), None)
        return None


def open_export(
    place: Place, *, storage_options: Mapping[str, Any] | None = None
) -> ExportIdentities:
    """Open an exported folder to read single identities, without loading the rest.

    Args:
        place: Path or URL of the folder (`hf://datasets/me/geogen`).
        storage_options: Credentials by protocol, as for `open_release`.

    Returns:
        The identities by name. Their `extrinsics` and `intrinsics` have the precision of the files,
        float32; their `metadata` is empty: the config `metadata` holds it.

    Raises:
        PartsError: There is no complete export, or none with images.
        ReleaseError: The small files of the folder cannot be read.
        FetchError: The folder cannot be reached.
        UsageError: No installed package opens this kind of URL.

    Example:
        >>> from geogen_hf import export_release
        >>> from geogen_hf.sample import write_release
        >>> parts = write_release(tmp_path / "parts", subjects=3, size=32)
        >>> done = export_release(parts, tmp_path / "geogen", workers=1)
        >>> with open_export(tmp_path / "geogen") as export:
        ...     len(export), export["subj_00001"].split, export["subj_00001"].extrinsics.shape
        (3, 'validation', (7, 4, 4))
    """
    folder = ExportedFolder(place, storage_options)
    folder.require_complete()
    return ExportIdentities(folder)
