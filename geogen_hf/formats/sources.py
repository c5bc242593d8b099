"""Where identities come from: the parts of a release, or an exported folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq

from geogen_hf._version import __version__
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import PartsError, UsageError, explain
from geogen_hf.export.provenance import directory_digest
from geogen_hf.formats.scene import Scene, make_scene
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import read_release
from geogen_hf.release.shards import Shard, read_images
from geogen_hf.release.splits import SPLITS, Split, split_of
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy
from geogen_hf.source.parts import ALL_PARTS, locate_parts, resolve_place

CHECKSUMS = "SHA256SUMS"
_SEQUENCES_FILE = re.compile(r"data/sequences/(\w+)-\d{5}-of-\d{5}\.parquet")


class Source(Protocol):
    """Identities by name, read one after the other."""

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that are equal only for equal images and cameras."""
        ...

    @property
    def splits(self) -> dict[str, Split]:
        """The split of each identity, in the source's order."""
        ...

    def scenes(self, wanted: AbstractSet[str]) -> Generator[Scene, None, None]:
        """Read these identities, in the source's order."""
        ...


def open_source(
    source: str,
    *,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    cameras: CameraOptions | None = None,
) -> Source:
    """Decide what a source is, and list it.

    Args:
        source: Folder with the eight zips, their base URL, or a folder made by `geogen export`,
            known by its `README.md` and `data`.
        split_seed: Seed of the split of a release; an export has its splits, and 0 here.
        on_bad_subject: What to do about problems of a release.
        cameras: How to read a release's cameras; None lets keys and evidence speak.

    Returns:
        The source, with no image read.

    Raises:
        PartsError: It is neither, or lacks files.
        UsageError: `split_seed` is given for an export.
        GeoGenError: As `open_release`.

    Example:
        >>> from geogen_hf.sample import write_release
        >>> parts = write_release(tmp_path / "source", subjects=3, size=32)
        >>> open_source(str(parts)).splits
        {'subj_00000': 'train', 'subj_00001': 'validation', 'subj_00002': 'train'}
    """
    folder = resolve_place(source)
    if (
        isinstance(folder, str)
        or not (folder / "README.md").is_file()
        or not (folder / "data").is_dir()
    ):
        return _open_parts(source, split_seed, on_bad_subject, cameras)
    if split_seed != 0:
        raise UsageError(
            explain(
                "an exported folder has its splits already",
                where=folder,
                expected="no split seed",
                found=split_seed,
                remedy="leave it out, or convert the parts themselves",
            )
        )
    return _open_export(folder)


def _is_export(folder: Path) -> bool:
    return (folder / "README.md").is_file() and (folder / "data").is_dir()


@dataclass(frozen=True)
class PartsSource:
    """A release."""

    identity: dict[str, Any]
    splits: dict[str, Split]
    subjects: tuple[Subject, ...]
    on_bad_subject: Policy

    def scenes(self, wanted: AbstractSet[str]) -> Generator[Scene, None, None]:
        """Read these identities, from archives behind URLs ahead of their use.

        Yields:
            Scenes in archive order.

        Raises:
            ArchiveError: An image is damaged, and is not to be skipped.
            FetchError: An archive cannot be read, or was replaced since it was listed.
        """
        subjects = tuple(s for s in self.subjects if s.subject_id in wanted)
        for subject, images in read_images(Shard(subjects, self.on_bad_subject)):
            yield make_scene(
                subject.subject_id,
                self.splits[subject.subject_id],
                subject.view_ids,
                images,
                subject.extrinsics,
                subject.intrinsics,
            )


def _open_parts(
    source: str, split_seed: int, on_bad_subject: Policy, cameras: CameraOptions | None
) -> PartsSource:
    release = read_release(locate_parts(source, ALL_PARTS), cameras)
    subjects = tuple(s.without_metadata() for s in release.sound_subjects(on_bad_subject))
    return PartsSource(
        identity={
            "geogen-hf": __version__,
            "parts": {d.label: directory_digest(d) for d in release.directories.values()},
            "split_seed": split_seed,
            "cameras": str(release.camera_convention.require()),
        },
        splits={s.subject_id: split_of(s.subject_id, split_seed) for s in subjects},
        subjects=subjects,
        on_bad_subject=on_bad_subject,
    )


@dataclass(frozen=True)
class ExportSource:
    """The `sequences` of an exported folder."""

    identity: dict[str, Any]
    splits: dict[str, Split]
    files: tuple[Path, ...]

    def scenes(self, wanted: AbstractSet[str]) -> Generator[Scene, None, None]:
        """Read these identities, a row at a time.

        Yields:
            Scenes, splits one after the other, each in the order of its files.
        """
        for path in self.files:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    ids = file.read_row_group(group, ["subject_id"])["subject_id"].to_pylist()
                    if (
                        wanted.isdisjoint(ids)
                        if isinstance(wanted, set)
                        else not (set(wanted) & set(ids))
                    ):
                        continue
                    for batch in file.iter_batches(batch_size=1, row_groups=[group]):
                        (row,) = batch.to_pylist()
                        if row["subject_id"] in wanted:
                            yield self._scene(row)

    def _scene(self, row: dict[str, Any]) -> Scene:
        return make_scene(
            row["subject_id"],
            self.splits[row["subject_id"]],
            row["view_ids"],
            [image["bytes"] for image in row["images"]],
            _matrices(row["extrinsics"], 4),
            _matrices(row["intrinsics"], 3),
        )


def _matrices(values: Any, side: int) -> FloatArray:
    return np.asarray(values, dtype=np.float64).reshape(-1, side, side)


def _open_export(folder: Path) -> ExportSource:
    sums = _read_bytes(folder / CHECKSUMS)
    names = [line.partition("  ")[2] for line in sums.decode().splitlines()]
    matched = {name: found for name in names if (found := _SEQUENCES_FILE.fullmatch(name))}
    ordered = sorted(matched, key=lambda name: (SPLITS.index(matched[name][1]), name))
    missing = [name for name in ordered if not (folder / name).is_file()]
    if missing or not ordered:
        raise PartsError(
            explain(
                "the exported folder lacks files of its sequences",
                where=folder,
                expected="every data/sequences/*.parquet of SHA256SUMS, one at least",
                found=f"{', '.join(missing[:5])} missing" if missing else "none listed",
                remedy="geogen export again: with sequences among its configs",
            )
        )
    splits: dict[str, Split] = {}
    for name in ordered:
        column = pq.read_table(folder / name, columns=["subject_id"])["subject_id"]
        split = next(s for s in SPLITS if s == matched[name][1])
        splits.update(dict.fromkeys(column.to_pylist(), split))
    identity = {"geogen-hf": __version__, "export_sha256": hashlib.sha256(sums).hexdigest()}
    return ExportSource(identity, splits, tuple(folder / name for name in ordered))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        message = explain(
            "not a complete export",
            where=path.parent,
            expected=os.fspath(path.name),
            remedy="run geogen export again: it continues",
        )
        raise PartsError(message) from error
