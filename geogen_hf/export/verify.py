"""Check a whole exported folder, on disk or on the Hub.

`verify_export` is the function behind `geogen verify`. The checks below compare what the files hold
with what the folder says of itself; `verify_rows` checks each Parquet file by itself.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from geogen_hf.export.exported import (
    CARD,
    MANIFEST,
    PROVENANCE,
    SUMS,
    DataFile,
    ExportedFolder,
    Faults,
    Rows,
    count_rows,
    parse_card_rows,
    parse_manifest,
    parse_provenance,
    parse_sums,
)
from geogen_hf.export.verify_rows import (
    FileFindings,
    Picture,
    View,
    check_file,
    near_pairs,
)
from geogen_hf.release.shards import SPLITS, Split, split_of
from geogen_hf.report import some_of
from geogen_hf.source.parts import Place
from geogen_hf.threads import stoppable_threads

USUAL_VIEWS = 7
MOST_NEAR = 1000
"""At most so many pairs of near-duplicates are listed: even backgrounds may all look alike."""


Progress = Callable[[int, int], None]
"""Called with the number of files done and of all."""
T = TypeVar("T")


def _check_rows(name: str, rows: Rows, found: Rows) -> Iterator[str]:
    """Compare the numbers of rows with those that a small file states."""
    for config in sorted({*rows, *found}):
        if rows.get(config) != found.get(config):
            yield (
                f"{name}: {config} has {rows.get(config, 'no rows')} according to it, "
                f"{found.get(config, 'no rows')} in the files"
            )


def _check_shard_numbers(files: Iterable[DataFile]) -> Iterator[str]:
    """Check that the files of every split are numbered from 0 to the count in their names."""
    groups: dict[tuple[str, str], list[DataFile]] = {}
    for file in files:
        groups.setdefault((file.config, file.split), []).append(file)
    for (config, split), group in groups.items():
        count = group[0].count
        if sorted((f.index, f.count) for f in group) != [(i, count) for i in range(count)]:
            yield f"data/{config}/{split}-*: the shards are not 0 to {count - 1} of {count}"


def _check_hashes(manifest: Mapping[str, Split], split_seed: int) -> Iterator[str]:
    """Check that every identity is in the split that its id and the seed decide."""
    for subject_id, split in manifest.items():
        right = split_of(subject_id, split_seed)
        if split != right:
            yield f"{MANIFEST}: {subject_id} is in {split}; by its hash it belongs to {right}"


def _check_manifest(
    findings: Sequence[FileFindings], manifest: Mapping[str, Split]
) -> Iterator[str]:
    """Check that every config holds the identities of the manifest, each in its split only."""
    for config in sorted({finding.file.config for finding in findings}):
        placed: dict[str, Split] = {}
        for finding in findings:
            split = finding.file.split
            for subject_id in dict.fromkeys(finding.subject_ids):
                if finding.file.config == config and placed.setdefault(subject_id, split) != split:
                    yield f"{config}: {subject_id} is in {placed[subject_id]} and in {split}"
        odd = {subject for subject, _ in set(placed.items()) ^ set(manifest.items())}
        if odd:
            yield f"{config}: identities or splits are not those of splits.csv: {some_of(odd)}"


def _check_agreement(findings: Sequence[FileFindings]) -> Iterator[str]:
    """Check that all configs agree on every view, and hold it once."""
    told: dict[tuple[str, int], list[tuple[str, View]]] = {}
    seen: dict[str, set[tuple[str, int]]] = {
        f.file.config: set() for f in findings if f.file.config != "metadata"
    }
    for finding in findings:
        own = finding.file.config
        for view in finding.views:
            key = (view.subject_id, view.view_id)
            place = f"{finding.file.path}: {view.subject_id} view {view.view_id}"
            if key in seen[own]:
                yield f"{place} is there twice"
                continue
            seen[own].add(key)
            for config, other in told.setdefault(key, []):
                yield from (
                    f"{place}: its {what} in {config}" for what in _differences(view, other)
                )
            told[key].append((own, view))
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


Placed = list[tuple[Split, View, Picture]]
"""Split, view and fingerprints of the decoded images of one config."""


def _placed_pictures(findings: Sequence[FileFindings]) -> Placed:
    configs = [f.file.config for f in findings if any(view.picture for view in f.views)]
    return [
        (f.file.split, view, view.picture)
        for f in findings
        if f.file.config in configs[:1]
        for view in f.views
        if view.picture is not None
    ]


def _check_disjoint(placed: Placed) -> Iterator[str]:
    """Check that no picture is in two splits."""
    places: dict[bytes, tuple[str, View]] = {}
    for split, view, picture in placed:
        other_split, other = places.setdefault(picture.pixels, (split, view))
        if other_split != split:
            yield (
                f"the same picture is in {other_split} ({other.subject_id} view {other.view_id}) "
                f"and in {split} ({view.subject_id} view {view.view_id})"
            )


def _near_duplicates(placed: Placed) -> Iterator[str]:
    """List pictures of different splits that look alike, at most `MOST_NEAR` pairs."""
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


def _unusual_view_counts(findings: Sequence[FileFindings]) -> dict[int, int]:
    """Count the identities by their number of views, where that is not seven, in one config."""
    config = next((f.file.config for f in findings if f.views), None)
    views = Counter(v.subject_id for f in findings if f.file.config == config for v in f.views)
    counts = Counter(views.values())
    return {views: counts[views] for views in sorted(counts) if views != USUAL_VIEWS}


@dataclass(frozen=True)
class Verification:
    """What `verify_export` found.

    Attributes:
        folder: Path or URL.
        subjects: Number of identities by split.
        rows: Number of rows by config and split.
        images: Number of images that were decoded.
        other_view_counts: Number of identities by number of views, where that is not seven.
        failures: What is wrong, a message each.
        warnings: What may be wrong, a message each.
    """

    folder: str
    subjects: dict[str, int]
    rows: Rows
    images: int
    other_view_counts: dict[int, int]
    failures: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {"ok": not self.failures, **asdict(self)}


def verify_export(
    place: Place,
    *,
    quick: bool = False,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Verification:
    """Check everything that an exported folder promises: files, rows, images, cameras, splits.

    Args:
        place: Path of the folder, or a URL such as `hf://datasets/me/geogen`.
        quick: Check manifest, checksums, counts and schema only: read no row, decode no image.
        workers: Number of threads; None for one a core.
        executor: Runs the checks instead of threads of this process. The fast decoder lets no other
            thread run, so processes check large folders faster.
        progress: Called with the number of files done and of all.
        storage_options: Credentials by protocol, as for `open_release`.

    Returns:
        What was found. Damage of any kind is a failure in it, not an error.

    Raises:
        PartsError: There is no complete export at this place.
        FetchError: The folder cannot be read.
        UsageError: No installed package opens this kind of URL.

    Example:
        >>> from geogen_hf import export_release
        >>> exported = export_release("parts", "geogen", workers=1)
        >>> verify_export(exported.folder, workers=1).failures
        ()
    """
    folder = ExportedFolder(place, storage_options)
    folder.require_complete()
    failures: Faults = []

    def said(name: str, parse: Callable[[bytes, Faults], T]) -> T | None:
        if name in folder.names:
            return parse(folder.read(name), failures)
        failures.append(f"{name}: missing")
        return None

    sums, manifest = said(SUMS, parse_sums) or {}, said(MANIFEST, parse_manifest) or {}
    card_rows, provenance = said(CARD, parse_card_rows), said(PROVENANCE, parse_provenance)
    failures.extend(_check_names(folder, sums))
    files = [file for file in map(DataFile.of_path, folder.names) if file is not None]
    findings = _check_files(folder, files, sums, not quick, workers, executor, progress)
    failures.extend(failure for finding in findings for failure in finding.failures)
    rows = count_rows((f.file.config, f.file.split, f.rows) for f in findings)
    if card_rows is not None:
        failures.extend(_check_rows(CARD, card_rows, rows))
    failures.extend(_check_shard_numbers(files))
    if provenance is not None:
        failures.extend(_check_rows(PROVENANCE, provenance.rows, rows))
        failures.extend(_check_hashes(manifest, provenance.split_seed))
    warnings: list[str] = []
    if not quick:
        placed = _placed_pictures(findings)
        failures.extend(_check_manifest(findings, manifest))
        failures.extend(_check_agreement(findings))
        failures.extend(_check_disjoint(placed))
        warnings.extend(_near_duplicates(placed))
    return Verification(
        folder=folder.place,
        subjects={s: sum(split == s for split in manifest.values()) for s in SPLITS},
        rows=rows,
        images=sum(view.picture is not None for f in findings for view in f.views),
        other_view_counts=_unusual_view_counts(findings),
        failures=tuple(failures),
        warnings=tuple(warnings),
    )


def _check_names(folder: ExportedFolder, sums: dict[str, str]) -> Iterator[str]:
    """Find files that are missing, foreign or not listed, and small files with a wrong digest."""
    for name in sums:
        if name not in folder.names:
            yield f"{name}: listed in {SUMS}, but missing"
    for name in folder.names:
        if name.startswith("data/"):
            if DataFile.of_path(name) is None:
                yield f"{name}: not data/<config>/<split>-00000-of-00000.parquet"
        elif name != SUMS and name not in sums:
            yield f"{name}: not in {SUMS}"
        elif name != SUMS and not folder.has_content(name, sums[name]):
            yield f"{name}: its SHA-256 is not the one in {SUMS}"


def _check_files(
    folder: ExportedFolder,
    files: Sequence[DataFile],
    sums: dict[str, str],
    decode: bool,
    workers: int | None,
    executor: Executor | None,
    progress: Progress | None,
) -> list[FileFindings]:
    control = None
    with ExitStack() as stack:
        if executor is None:
            count = max(1, min(workers or os.cpu_count() or 1, len(files)))
            executor, control = stack.enter_context(stoppable_threads(count))
        futures = [
            executor.submit(check_file, folder, file, sums.get(file.path), decode, control)
            for file in files
        ]
        for done, _ in enumerate(as_completed(futures), start=1):
            if progress is not None:
                progress(done, len(files))
        return [future.result() for future in futures]
