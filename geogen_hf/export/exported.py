"""Single identities out of an exported folder, on disk or behind a URL."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from geogen_hf.errors import PartsError, ReleaseError, UsageError, explain
from geogen_hf.release.preview import Views, decode_views
from geogen_hf.report import some_of

CARD, SUMS, MANIFEST, PROVENANCE = "README.md", "SHA256SUMS", "splits.csv", "provenance.json"
_NOT_PART_OF_IT = (".git/", ".gitattributes", ".gitignore", ".cache/", ".export/")
"""What git, the Hub's client and an unfinished clearing up leave beside the files."""


class Source:
    """An exported folder: on disk, or behind any URL that fsspec can list.

    Attributes:
        local: Whether it is on disk.
        names: Paths of all files relative to the folder, sorted.

    Raises:
        PartsError: There is no such folder, or no complete export in it.
    """

    def __init__(self, folder: str) -> None:
        self._filesystem, root = fsspec.url_to_fs(folder)
        self._root = root.rstrip("/")
        protocol = self._filesystem.protocol
        self.local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        if not self._filesystem.isdir(root):
            raise PartsError(explain("no such folder", where=folder))
        prefix = self._root + "/"
        paths = sorted(path.removeprefix(prefix) for path in self._filesystem.find(root))
        self.names = [name for name in paths if not name.startswith(_NOT_PART_OF_IT)]
        if CARD not in self.names or SUMS not in self.names:
            raise PartsError(
                explain(
                    "not a complete export",
                    where=folder,
                    expected=f"{CARD} and {SUMS}",
                    found=", ".join(self.names[:8]) or "nothing",
                    remedy="run geogen export again: it continues",
                )
            )

    def read(self, name: str) -> bytes:
        """Read a small file whole."""
        return bytes(self._filesystem.cat_file(f"{self._root}/{name}"))

    @contextmanager
    def localised(self, name: str) -> Iterator[Path]:
        """Give a local path to a file, downloaded for the time being where it is remote."""
        if self.local:
            yield Path(self._root) / name
            return
        with tempfile.TemporaryDirectory(prefix="geogen-verify-") as temporary:
            path = Path(temporary) / "file"
            self._filesystem.get_file(f"{self._root}/{name}", str(path))
            yield path


def is_export(source: str | os.PathLike[str]) -> bool:
    """Whether there is a finished export at a path or URL.

    Example:
        >>> is_export(tmp_path)
        False
    """
    filesystem, root = fsspec.url_to_fs(os.fspath(source))
    return all(filesystem.exists(f"{root.rstrip('/')}/{n}") for n in ("SHA256SUMS", "splits.csv"))


def read_views(
    source: str | os.PathLike[str], subject_ids: Sequence[str] | None, most: int
) -> list[Views]:
    """Read identities with their images and cameras.

    Args:
        source: Path or URL of an exported folder.
        subject_ids: Which ones; None for the first ones of the manifest.
        most: How many of the manifest's.

    Returns:
        The identities, in the order asked for.

    Raises:
        PartsError: The folder has no config with images.
        UsageError: An identity is not in it.
        ReleaseError: An identity is in the manifest, but not in the files.
    """
    filesystem, root = fsspec.url_to_fs(os.fspath(source))
    root = root.rstrip("/")
    text = filesystem.cat_file(f"{root}/splits.csv").decode()
    split_of_subject = {
        row["subject_id"]: row["split"] for row in csv.DictReader(io.StringIO(text))
    }
    wanted = list(subject_ids or list(split_of_subject)[:most])
    unknown = sorted(set(wanted) - set(split_of_subject))
    if unknown:
        what = f"no such subject in this export: {', '.join(unknown)}"
        raise UsageError(explain(what, expected=f"some of {some_of(split_of_subject)}"))
    config = _config_with_images(filesystem, root)
    found: dict[str, Views] = {}
    for split in sorted({split_of_subject[subject_id] for subject_id in wanted}):
        for path in sorted(filesystem.glob(f"{root}/data/{config}/{split}-*.parquet")):
            missing = [s for s in wanted if split_of_subject[s] == split and s not in found]
            if missing:
                with filesystem.open(path, "rb") as file:
                    found |= {views.subject_id: views for views in _read(file, config, missing)}
    lost = sorted(set(wanted) - set(found))
    if lost:
        raise ReleaseError(explain("subjects of splits.csv are not in the files", found=lost))
    return [found[subject_id] for subject_id in wanted]


def _config_with_images(filesystem: Any, root: str) -> str:
    for config in ("sequences", "views"):
        if filesystem.exists(f"{root}/data/{config}"):
            return config
    raise PartsError(
        explain("an export without images", where=root, expected="data/sequences or data/views")
    )


def _read(file: Any, config: str, wanted: Sequence[str]) -> Iterator[Views]:
    """Yield those of the wanted that are in a file; only their row groups' images are read."""
    parquet = pq.ParquetFile(file)
    rows: dict[str, list[dict[str, Any]]] = {}
    for group in range(parquet.num_row_groups):
        ids = parquet.read_row_group(group, columns=["subject_id"])["subject_id"]
        mask = pc.is_in(ids, pa.array(wanted, pa.string()))
        if pc.any(mask).as_py():
            for row in parquet.read_row_group(group).filter(mask).to_pylist():
                rows.setdefault(row["subject_id"], []).append(row)
    for subject_id, of_subject in rows.items():
        sequence = config == "sequences"
        images = of_subject[0]["images"] if sequence else [row["image"] for row in of_subject]
        extrinsics, intrinsics = (
            np.asarray(of_subject[0][name] if sequence else [row[name] for row in of_subject],
                       dtype=np.float64)
            for name in ("extrinsics", "intrinsics")
        )  # fmt: skip
        yield decode_views(subject_id, [i["bytes"] for i in images], extrinsics, intrinsics)
