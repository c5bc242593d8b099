"""Checking a whole exported folder, on disk or on the Hub."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from geogen_hf.errors import PartsError, explain
from geogen_hf.export.card import split_front_matter
from geogen_hf.processes import process_pool
from geogen_hf.schema import FEATURES
from geogen_hf.splits import SPLITS
from geogen_hf.verify.files import FileFindings, View, check_file, sha256_of
from geogen_hf.verify.fingerprints import near_pairs

_SHARD = re.compile(r"data/(\w+)/(\w+)-(\d{5})-of-(\d{5})\.parquet")
USUAL_VIEWS = 7

Progress = Callable[[int, int], None]
"""Called with the number of files done and of all."""


@dataclass(frozen=True)
class Verification:
    """What checking found.

    Attributes:
        folder: Path or URL.
        subjects: Identities in each split.
        rows: By config and split.
        images: Decoded.
        other_view_counts: How many identities have so many views, where it is not seven.
        failures: Promises broken.
        warnings: Worth a look.
    """

    folder: str
    subjects: dict[str, int]
    rows: dict[str, dict[str, int]]
    images: int
    other_view_counts: dict[int, int]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "folder": self.folder,
            "ok": not self.failures,
            "subjects": self.subjects,
            "rows": self.rows,
            "images": self.images,
            "other_view_counts": {str(k): v for k, v in self.other_view_counts.items()},
            "failures": list(self.failures),
            "warnings": list(self.warnings),
        }


def verify_export(
    folder: str,
    *,
    quick: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check everything an exported folder promises.

    Args:
        folder: Path, or URL such as `hf://datasets/me/geogen`.
        quick: Only manifest, checksums and schema: no image is decoded.
        workers: Processes; None for one a core.
        progress: Told how far it is.

    Returns:
        What was found.

    Raises:
        PartsError: There is no export at that place.
    """
    source = _Source(folder)
    sums = _read_sums(source)
    failures: list[str] = []
    failures.extend(_check_small_files(source, sums))
    failures.extend(f"{name}: listed in SHA256SUMS, but missing" for name in sums
                    if name not in source.names)  # fmt: skip
    findings = _check_files(source, sums, not quick, workers, progress)
    failures.extend(failure for finding in findings for failure in finding.failures)
    manifest = _read_manifest(source, failures)
    failures.extend(_check_counts(source, findings))
    failures.extend(_check_shard_numbers(findings))
    warnings: list[str] = []
    if not quick:
        failures.extend(_check_manifest(findings, manifest))
        failures.extend(_check_agreement(findings))
        failures.extend(_check_disjoint(findings))
        warnings.extend(_near_duplicates(findings))
    views = Counter(Counter((v.subject_id) for v in _views_of_one_config(findings)).values())
    return Verification(
        folder=folder,
        subjects={s: sum(split == s for split in manifest.values()) for s in SPLITS},
        rows=_rows(findings),
        images=sum(view.picture is not None for f in findings for view in f.views),
        other_view_counts={n: c for n, c in sorted(views.items()) if n != USUAL_VIEWS},
        failures=tuple(failures),
        warnings=tuple(warnings),
    )


class _Source:
    """The folder's files, wherever they are."""

    def __init__(self, folder: str) -> None:
        self.filesystem, self.root = fsspec.url_to_fs(folder)
        self.local = "file" in self.filesystem.protocol
        if not self.filesystem.isdir(self.root):
            raise PartsError(explain("no such folder", where=folder))
        prefix = self.root.rstrip("/") + "/"
        self.names = sorted(path.removeprefix(prefix) for path in self.filesystem.find(self.root))
        self.names = [n for n in self.names if not n.startswith((".git", ".cache"))]
        if "README.md" not in self.names or "SHA256SUMS" not in self.names:
            raise PartsError(
                explain(
                    "not a complete export",
                    where=folder,
                    expected="README.md and SHA256SUMS",
                    found=", ".join(self.names[:8]) or "nothing",
                    remedy="run geogen export again: it continues",
                )
            )

    def read(self, name: str) -> bytes:
        return bytes(self.filesystem.cat_file(f"{self.root}/{name}"))

    @contextmanager
    def localised(self, name: str) -> Iterator[Path]:
        """Give a local path to a file, downloaded for the time being where it is remote."""
        if self.local:
            yield Path(self.root) / name
            return
        with tempfile.TemporaryDirectory(prefix="geogen-verify-") as temporary:
            path = Path(temporary) / "shard.parquet"
            self.filesystem.get_file(f"{self.root}/{name}", str(path))
            yield path


def _read_sums(source: _Source) -> dict[str, str]:
    lines = source.read("SHA256SUMS").decode().splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _check_small_files(source: _Source, sums: dict[str, str]) -> Iterator[str]:
    for name in source.names:
        if name.startswith("data/") or name in ("SHA256SUMS", ".gitattributes"):
            continue
        if name not in sums:
            yield f"{name}: not in SHA256SUMS"
            continue
        with source.localised(name) as path:
            if sha256_of(path) != sums[name]:
                yield f"{name}: its SHA-256 is not the one in SHA256SUMS"


def _check_files(
    source: _Source,
    sums: dict[str, str],
    decode: bool,
    workers: int | None,
    progress: Progress | None,
) -> list[FileFindings]:
    names = [name for name in source.names if name.startswith("data/")]
    count = min(workers or os.cpu_count() or 1, len(names))
    findings: list[FileFindings] = []
    if count <= 1:
        for name in names:
            findings.append(_check_one(source, name, sums.get(name), decode))
            if progress is not None:
                progress(len(findings), len(names))
        return findings
    with process_pool(count) as pool:
        futures: list[Future[FileFindings]] = [
            pool.submit(_check_one, source, name, sums.get(name), decode) for name in names
        ]
        for done, _ in enumerate(as_completed(futures), start=1):
            if progress is not None:
                progress(done, len(names))
        return [future.result() for future in futures]


def _check_one(source: _Source, name: str, sha256: str | None, decode: bool) -> FileFindings:
    matched = _SHARD.fullmatch(name)
    if matched is None or matched[1] not in FEATURES or matched[2] not in SPLITS:
        failure = f"{name}: not data/<config>/<split>-00000-of-00000.parquet"
        return FileFindings(name, "", "", failures=(failure,))
    with source.localised(name) as local:
        return check_file(local, name, matched[1], matched[2], sha256, decode)


def _read_manifest(source: _Source, failures: list[str]) -> dict[str, str]:
    if "splits.csv" not in source.names:
        failures.append("splits.csv: missing")
        return {}
    rows = csv.DictReader(io.StringIO(source.read("splits.csv").decode()))
    manifest: dict[str, str] = {}
    for row in rows:
        if manifest.setdefault(row["subject_id"], row["split"]) != row["split"]:
            failures.append(f"splits.csv: {row['subject_id']} is in two splits")
    return manifest


def _rows(findings: Iterable[FileFindings]) -> dict[str, dict[str, int]]:
    rows: dict[str, dict[str, int]] = {}
    for finding in findings:
        of_config = rows.setdefault(finding.config, {})
        of_config[finding.split] = of_config.get(finding.split, 0) + finding.rows
    return rows


def _check_counts(source: _Source, findings: list[FileFindings]) -> Iterator[str]:
    front, _ = split_front_matter(source.read("README.md").decode())
    rows = _rows(findings)
    for info in front.get("dataset_info", []):
        said = {split["name"]: split["num_examples"] for split in info["splits"]}
        found = rows.get(info["config_name"], {})
        if said != found:
            config = info["config_name"]
            yield f"README.md: {config} has {said} rows by the card, {found} by the files"


def _check_shard_numbers(findings: list[FileFindings]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for finding in findings:
        matched = _SHARD.fullmatch(finding.path)
        if matched:
            place = (finding.config, finding.split)
            groups.setdefault(place, []).append((int(matched[3]), int(matched[4])))
    for (config, split), numbers in groups.items():
        count = numbers[0][1]
        if sorted(numbers) != [(index, count) for index in range(count)]:
            yield f"data/{config}/{split}-*: the shards are not 0 to {count - 1} of {count}"


def _check_manifest(findings: list[FileFindings], manifest: dict[str, str]) -> Iterator[str]:
    """Identities of every config: those of the manifest, each in its split and in no other."""
    for config in sorted({finding.config for finding in findings if finding.config}):
        placed: dict[str, str] = {}
        for finding in findings:
            for view in finding.views if finding.config == config else ():
                first = placed.setdefault(view.subject_id, finding.split)
                if first != finding.split:
                    yield f"{config}: {view.subject_id} is in {first} and in {finding.split}"
        if placed != manifest:
            odd = sorted(set(placed.items()) ^ set(manifest.items()))[:3]
            yield f"{config}: identities and splits are not those of splits.csv, for example {odd}"


def _check_agreement(findings: list[FileFindings]) -> Iterator[str]:
    """Every config tells the same of every view."""
    told: dict[tuple[str, int], tuple[str, View]] = {}
    counts: dict[str, set[tuple[str, int]]] = {}
    for finding in findings:
        for view in finding.views:
            key = (view.subject_id, view.view_id)
            seen = counts.setdefault(finding.config, set())
            if key in seen:
                yield f"{finding.path}: {view.subject_id} view {view.view_id} is there twice"
            seen.add(key)
            config, first = told.setdefault(key, (finding.config, view))
            if first.cameras != view.cameras or (
                first.size and view.size and first.size != view.size
            ):
                yield (
                    f"{finding.path}: {view.subject_id} view {view.view_id}: camera or size differ "
                    f"from those in {config}"
                )
    if len({frozenset(keys) for keys in counts.values()}) > 1:
        sizes = {config: len(keys) for config, keys in counts.items()}
        yield f"the configs do not hold the same views: {sizes}"


def _pictures(findings: list[FileFindings]) -> list[tuple[str, View]]:
    """Split and view of every decoded image, of one config that has images."""
    configs = [f.config for f in findings if any(view.picture for view in f.views)]
    return [(f.split, v) for f in findings if configs and f.config == configs[0] for v in f.views
            if v.picture is not None]  # fmt: skip


def _check_disjoint(findings: list[FileFindings]) -> Iterator[str]:
    """No picture is in two splits."""
    places: dict[bytes, tuple[str, View]] = {}
    for split, view in _pictures(findings):
        assert view.picture is not None
        other_split, other = places.setdefault(view.picture.pixels, (split, view))
        if other_split != split:
            yield (
                f"the same picture is in {other_split} ({other.subject_id} view {other.view_id}) "
                f"and in {split} ({view.subject_id} view {view.view_id})"
            )


def _near_duplicates(findings: list[FileFindings]) -> Iterator[str]:
    placed = _pictures(findings)
    if not placed:
        return
    looks = np.array([list(view.picture.look) for _, view in placed if view.picture], np.uint8)
    groups = np.array([SPLITS.index(split) for split, _ in placed])
    for one, other in near_pairs(looks, groups):
        (split, a), (other_split, b) = placed[one], placed[other]
        if a.picture and b.picture and a.picture.pixels != b.picture.pixels:
            yield (
                f"{a.subject_id} view {a.view_id} ({split}) looks like {b.subject_id} view "
                f"{b.view_id} ({other_split})"
            )


def _views_of_one_config(findings: list[FileFindings]) -> list[View]:
    config = next((f.config for f in findings if f.views), None)
    return [view for f in findings if f.config == config for view in f.views]
