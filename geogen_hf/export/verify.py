"""Checking a whole exported folder, on disk or on the Hub."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from geogen_hf.export.exported import SUMS, Source
from geogen_hf.export.promises import (
    SHARD_NAME,
    check_hashes,
    check_rows,
    check_shard_numbers,
    count_rows,
    read_promises,
)
from geogen_hf.export.verify_rows import (
    FileFindings,
    Picture,
    View,
    check_file,
    near_pairs,
    sha256_of,
)
from geogen_hf.release.features import FEATURES
from geogen_hf.release.splits import SPLITS
from geogen_hf.report import some_of
from geogen_hf.threads import Control, stoppable_threads

MOST_NEAR = 1000
"""So many pairs of near-duplicates are named at most: even backgrounds may all look alike."""


def check_manifest(findings: Sequence[FileFindings], manifest: Mapping[str, str]) -> Iterator[str]:
    """Identities of every config: those of the manifest, each in its split and in no other."""
    for config in sorted({finding.config for finding in findings if finding.config}):
        placed: dict[str, str] = {}
        for finding in findings:
            for view in finding.views if finding.config == config else ():
                first = placed.setdefault(view.subject_id, finding.split)
                if first != finding.split:
                    yield f"{config}: {view.subject_id} is in {first} and in {finding.split}"
        odd = {subject for subject, _ in set(placed.items()) ^ set(manifest.items())}
        if odd:
            yield f"{config}: identities or splits are not those of splits.csv: {some_of(odd)}"


def check_agreement(findings: Sequence[FileFindings]) -> Iterator[str]:
    """Every config tells the same of every view, and once."""
    told: dict[tuple[str, int], list[tuple[str, View]]] = {}
    seen: dict[str, set[tuple[str, int]]] = {f.config: set() for f in findings if f.config}
    for finding in findings:
        for view in finding.views:
            key = (view.subject_id, view.view_id)
            place = f"{finding.path}: {view.subject_id} view {view.view_id}"
            if key in seen[finding.config]:
                yield f"{place} is there twice"
                continue
            seen[finding.config].add(key)
            for config, other in told.setdefault(key, []):
                yield from (
                    f"{place}: its {what} in {config}" for what in _differences(view, other)
                )
            told[key].append((finding.config, view))
    if len({frozenset(keys) for keys in seen.values()}) > 1:
        sizes = {config: len(keys) for config, keys in seen.items()}
        yield f"the configs do not hold the same views; they have {sizes}"


def _differences(view: View, other: View) -> Iterator[str]:
    if view.cameras != other.cameras:
        yield "camera is not the one"
    if view.size and other.size and view.size != other.size:
        found, said = (f"{width} x {height}" for width, height in (view.size, other.size))
        yield f"size, {found}, is not {said} as"
    if view.picture and other.picture and view.picture.pixels != other.picture.pixels:
        yield "picture is not the one"


def _placed_pictures(findings: Sequence[FileFindings]) -> list[tuple[str, View, Picture]]:
    """Split, view and fingerprints of every decoded image, of one config that has images."""
    configs = [f.config for f in findings if any(view.picture for view in f.views)]
    return [
        (f.split, view, view.picture)
        for f in findings
        if configs and f.config == configs[0]
        for view in f.views
        if view.picture is not None
    ]


def check_disjoint(findings: Sequence[FileFindings]) -> Iterator[str]:
    """No picture is in two splits."""
    places: dict[bytes, tuple[str, View]] = {}
    for split, view, picture in _placed_pictures(findings):
        other_split, other = places.setdefault(picture.pixels, (split, view))
        if other_split != split:
            yield (
                f"the same picture is in {other_split} ({other.subject_id} view {other.view_id}) "
                f"and in {split} ({view.subject_id} view {view.view_id})"
            )


def near_duplicates(findings: Sequence[FileFindings]) -> Iterator[str]:
    """Name pictures of different splits that look alike, at most `MOST_NEAR` pairs."""
    placed = _placed_pictures(findings)
    if not placed:
        return
    looks = np.frombuffer(b"".join(picture.look for *_, picture in placed), np.uint8)
    groups = np.array([SPLITS.index(split) for split, *_ in placed])
    pairs = near_pairs(looks.reshape(len(placed), -1), groups)
    alike = ((placed[one], placed[other]) for one, other in pairs)
    unequal = ((a, b) for a, b in alike if a[2].pixels != b[2].pixels)
    for (split, a, _), (other_split, b, _) in islice(unequal, MOST_NEAR):
        yield (
            f"{a.subject_id} view {a.view_id} ({split}) looks like {b.subject_id} view "
            f"{b.view_id} ({other_split})"
        )


def view_counts(findings: Sequence[FileFindings]) -> dict[int, int]:
    """Count the identities that have so many views, by one config."""
    config = next((f.config for f in findings if f.views), None)
    views = Counter(v.subject_id for f in findings if f.config == config for v in f.views)
    return dict(sorted(Counter(views.values()).items()))


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
    folder: str | os.PathLike[str],
    *,
    quick: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check everything an exported folder promises.

    Args:
        folder: Path, or URL such as `hf://datasets/me/geogen`.
        quick: Only manifest, checksums, counts and schema: no row is read, no image decoded.
        workers: How many files to check at a time; None for one a core.
        progress: Told how far it is.

    Returns:
        What was found; damage of any kind is a failure in it and never an error.

    Raises:
        PartsError: There is no complete export at that place.

    Example:
        >>> from geogen_hf.export.folder import export_release
        >>> from geogen_hf.source.parts import locate_parts
        >>> from geogen_hf.release.release import read_release
        >>> from geogen_hf.sample import write_release
        >>> parts = write_release(tmp_path / "parts", subjects=3, size=16)
        >>> release = read_release(locate_parts(parts))
        >>> exported = export_release(release, tmp_path / "geogen", workers=1)
        >>> verify_export(exported.folder, workers=1).failures
        ()
    """
    source = Source(os.fspath(folder))
    promises = read_promises(source)
    failures = [*promises.failures, *_check_listing(source, promises.sums)]
    findings = _check_files(source, promises.sums, not quick, workers, progress)
    failures.extend(failure for finding in findings for failure in finding.failures)
    failures.extend(check_rows(promises, findings))
    failures.extend(check_shard_numbers(findings))
    failures.extend(check_hashes(promises))
    warnings: list[str] = []
    if not quick:
        failures.extend(check_manifest(findings, promises.manifest))
        failures.extend(check_agreement(findings))
        failures.extend(check_disjoint(findings))
        warnings.extend(near_duplicates(findings))
    return Verification(
        folder=os.fspath(folder),
        subjects={s: sum(split == s for split in promises.manifest.values()) for s in SPLITS},
        rows=count_rows(findings),
        images=sum(view.picture is not None for f in findings for view in f.views),
        other_view_counts={n: c for n, c in view_counts(findings).items() if n != USUAL_VIEWS},
        failures=tuple(failures),
        warnings=tuple(warnings),
    )


def _check_listing(source: Source, sums: dict[str, str]) -> Iterator[str]:
    """Files that are missing or too many, and digests of all that are not data."""
    for name in sums:
        if name not in source.names:
            yield f"{name}: listed in {SUMS}, but missing"
    for name in source.names:
        if name.startswith("data/") or name == SUMS:
            continue
        if name not in sums:
            yield f"{name}: not in {SUMS}"
            continue
        with source.localised(name) as path:
            if sha256_of(path) != sums[name]:
                yield f"{name}: its SHA-256 is not the one in {SUMS}"


def _check_files(
    source: Source,
    sums: dict[str, str],
    decode: bool,
    workers: int | None,
    progress: Progress | None,
) -> list[FileFindings]:
    names = [name for name in source.names if name.startswith("data/")]
    count = max(1, min(workers or os.cpu_count() or 1, len(names)))
    with stoppable_threads(count) as (threads, control):
        futures = [
            threads.submit(_check_one, source, name, sums.get(name), decode, control)
            for name in names
        ]
        for done, _ in enumerate(as_completed(futures), start=1):
            if progress is not None:
                progress(done, len(names))
        return [future.result() for future in futures]


def _check_one(
    source: Source, name: str, sha256: str | None, decode: bool, control: Control
) -> FileFindings:
    matched = SHARD_NAME.fullmatch(name)
    if matched is None or matched[1] not in FEATURES or matched[2] not in SPLITS:
        failure = f"{name}: not data/<config>/<split>-00000-of-00000.parquet"
        return FileFindings(name, "", "", failures=(failure,))
    with source.localised(name) as local:
        return check_file(local, name, matched[1], matched[2], sha256, decode, control.check)
