"""Read single identities from the Parquet files of an exported folder.

`open_export` gives identities by name, as `open_release` does from the zips.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from geogen_hf.errors import PartsError, ReleaseError
from geogen_hf.export.exported import VERIFY_AND_EXPORT, DataFile, ExportedFolder
from geogen_hf.release.release import Identities, Identity, unknown_subject
from geogen_hf.release.shards import SPLITS
from geogen_hf.source.files import open_parquet
from geogen_hf.source.parts import Place


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
    where = f"{file.path}: {subject_id}"
    counts = [len(view_ids), len(images), len(extrinsics), len(intrinsics)]
    if len(set(counts)) != 1:
        raise ReleaseError(
            "views, images and cameras do not match",
            where=where,
            expected="as many view numbers, images, extrinsics and intrinsics",
            found=counts,
            remedy="check the folder with geogen verify",
        )
    extrinsics = np.asarray(extrinsics, dtype=np.float64).reshape(-1, 4, 4)
    intrinsics = np.asarray(intrinsics, dtype=np.float64).reshape(-1, 3, 3)
    if not (np.isfinite(extrinsics).all() and np.isfinite(intrinsics).all()):
        raise ReleaseError(
            "a camera has values that are not finite", where=where, remedy=VERIFY_AND_EXPORT
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
    """The identities of an export, see `Identities`; they are in the order of the rows.

    Use it in one process only: the file that was read last stays open.
    """

    def __init__(self, folder: ExportedFolder) -> None:
        self._folder = folder
        self._files = next(filter(None, map(folder.data_files, ("sequences", "views"))), [])
        if not (self._files and folder.splits):
            expected = "Parquet files of the config sequences or views, identities in splits.csv"
            raise PartsError("an export without images", where=folder.place, expected=expected)
        self._splits = folder.splits
        self._order: dict[str, int] = {}
        self._count = dict.fromkeys(SPLITS, 0)
        for subject_id, split in self._splits.items():
            self._order[subject_id] = self._count[split]
            self._count[split] += 1
        self._open = ExitStack()
        self._parquet: tuple[str, pq.ParquetFile] | None = None
        super().__init__(self._splits)

    def __getitem__(self, subject_id: str) -> Identity:
        """Read one identity: the footer of its file and the row group that holds it."""
        split = self._splits.get(subject_id)
        if split is None:
            raise unknown_subject(subject_id, self._splits)
        # Rows are in the order of splits.csv, and the files share them evenly. So the first guess
        # is nearly always right; the other files are tried where identities were left out.
        files = [file for file in self._files if file.split == split]
        order, total, count = self._order[subject_id], self._count[split], len(files) or 1
        guess = ((order + 1) * count - 1) // total
        start, stop = (total * n // count for n in (guess, guess + 1))
        for file in sorted(files, key=lambda file: abs(file.index - guess)):
            with self._folder.reading_parquet(file.path):
                found = self._find(file, subject_id, (order - start + 0.5) / (stop - start))
            if found is not None:
                return found
        raise ReleaseError(
            "an identity of splits.csv is not in the files",
            where=self._folder.place,
            found=subject_id,
            remedy="check the folder with geogen verify",
        )

    def _find(self, file: DataFile, subject_id: str, place: float) -> Identity | None:
        """Look for an identity in a file, first at a place between 0 (start) and 1 (end)."""
        parquet = self._opened(file.path)
        low, high = 0, parquet.num_row_groups
        group = int(place * high)
        # Statistics are not asked: pyarrow 26 ends the process where a footer is damaged.
        while low < high:
            ids = parquet.read_row_group(group, ["subject_id"])["subject_id"].to_pylist()
            if subject_id in ids:  # all its rows: a row group ends with an identity
                rows = parquet.read_row_group(group).to_pylist()
                return _identity([row for row in rows if row["subject_id"] == subject_id], file)
            if self._order[ids[0]] < self._order[subject_id]:
                low = group + 1
            else:
                high = group
            group = (low + high) // 2
        return None

    def _opened(self, path: str) -> pq.ParquetFile:
        if self._parquet is None or self._parquet[0] != path:
            self.close()
            parquet = self._open.enter_context(open_parquet(self._folder.location(path)))
            self._parquet = (path, parquet)
        return self._parquet[1]

    def close(self) -> None:
        """Close the file that was read last; the next read opens its file anew."""
        self._parquet = None
        self._open.close()


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
        >>> done = export_release("parts", "geogen", workers=1)
        >>> with open_export("geogen") as export:
        ...     len(export), export["subj_00001"].split, export["subj_00001"].extrinsics.shape
        (3, 'validation', (7, 4, 4))
    """
    folder = ExportedFolder(place, storage_options)
    folder.require_complete()
    return ExportIdentities(folder)
