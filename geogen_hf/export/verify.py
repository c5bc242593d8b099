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
from typing import Any

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
    parse_card_rows,
    parse_manifest,
    parse_provenance,
    parse_sums,
    sha256_of,
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
from geogen_hf.threads import Control, stoppable_threads

MOST_NEAR = 1000
"""At most so many pairs of near-duplicates are listed: even backgrounds may all look alike."""


@dataclass(frozen=True)
class Statements:
    """What a folder says of itself in its small files.

    Attributes:
        sums: SHA-256 by file.
        manifest: Split by identity.
        card_rows: Number of rows by the YAML of the card; None if that cannot be read.
        provenance_rows: Number of rows by `provenance.json`; None if that cannot be read.
        split_seed: Seed of the split; None if it cannot be read.
        failures: What cannot be understood in these files.
    """

    sums: dict[str, str]
    manifest: dict[str, Split]
    card_rows: Rows | None
    provenance_rows: Rows | None
    split_seed: int | None
    failures: tuple[str, ...]


def read_statements(folder: ExportedFolder) -> Statements:
    """Read the small files. What cannot be understood becomes a failure, not an error."""
    failures: Faults = []

    def parse(name: str, parser: Callable[[bytes], tuple[Any, Faults]], missing: Any) -> Any:
        if name not in folder.names:
            failures.append(f"{name}: missing")
            return missing
        value, faults = parser(folder.read(name))
        failures.extend(faults)
        return value

    sums = parse(SUMS, parse_sums, {})
    manifest = parse(MANIFEST, parse_manifest, {})
    card_rows = parse(CARD, parse_card_rows, None)
    provenance = parse(PROVENANCE, parse_provenance, None)
    rows, seed = (provenance.rows, provenance.split_seed) if provenance else (None, None)
    return Statements(sums, manifest, card_rows, rows, seed, tuple(failures))


def count_rows(findings: Iterable[FileFindings]) -> Rows:
    """Add up the rows of the files."""
    rows: Rows = {}
    for finding in findings:
        if finding.config:
            of_config = rows.setdefault(finding.config, {})
            of_config[finding.split] = of_config.get(finding.split, 0) + finding.rows
    return rows


def check_rows(said: Statements, findings: Sequence[FileFindings]) -> Iterator[str]:
    """Compare the numbers of rows with those that the card and the provenance state."""
    found = count_rows(findings)
    for name, rows in ((CARD, said.card_rows), (PROVENANCE, said.provenance_rows)):
        if rows is None:
            continue
        for config in sorted({*rows, *found}):
            if rows.get(config) != found.get(config):
                yield (
                    f"{name}: {config} has {rows.get(config, 'no rows')} according to it, "
                    f"{found.get(config, 'no rows')} in the files"
                )


def check_shard_numbers(findings: Iterable[FileFindings]) -> Iterator[str]:
    """Check that the files of every split are numbered from 0 to the count in their names."""
    groups: dict[tuple[str, str], list[DataFile]] = {}
    for file in map(DataFile.of_path, (finding.path for finding in findings)):
        if file is not None:
            groups.setdefault((file.config, file.split), []).append(file)
    for (config, split), files in groups.items():
        count = files[0].count
        if sorted((f.index, f.count) for f in files) != [(i, count) for i in range(count)]:
            yield f"data/{config}/{split}-*: the shards are not 0 to {count - 1} of {count}"


def check_hashes(said: Statements) -> Iterator[str]:
    """Check that every identity is in the split that its id and the seed decide."""
    if said.split_seed is None:
        return
    for subject_id, split in said.manifest.items():
        right = split_of(subject_id, said.split_seed)
        if split != right:
            yield f"{MANIFEST}: {subject_id} is in {split}; by its hash it belongs to {right}"


def check_manifest(findings: Sequence[FileFindings], manifest: Mapping[str, str]) -> Iterator[str]:
    """Check that every config holds the identities of the manifest, each in its split only."""
    for config in sorted({finding.config for finding in findings if finding.config}):
        placed: dict[str, str] = {}
        for finding in findings:
            for subject_id in finding.subject_ids if finding.config == config else ():
                first = placed.setdefault(subject_id, finding.split)
                if first != finding.split:
                    yield f"{config}: {subject_id} is in {first} and in {finding.split}"
        odd = {subject for subject, _ in set(placed.items()) ^ set(manifest.items())}
        if odd:
            yield f"{config}: identities or splits are not those of splits.csv: {some_of(odd)}"


def check_agreement(findings: Sequence[FileFindings]) -> Iterator[str]:
    """Check that all configs agree on every view, and hold it once."""
    told: dict[tuple[str, int], list[tuple[str, View]]] = {}
    seen: dict[str, set[tuple[str, int]]] = {
        f.config: set() for f in findings if f.config not in ("", "metadata")
    }
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
    """List split, view and fingerprints of the decoded images of one config."""
    configs = [f.config for f in findings if any(view.picture for view in f.views)]
    return [
        (f.split, view, view.picture)
        for f in findings
        if configs and f.config == configs[0]
        for view in f.views
        if view.picture is not None
    ]


def check_disjoint(findings: Sequence[FileFindings]) -> Iterator[str]:
    """Check that no picture is in two splits."""
    places: dict[bytes, tuple[str, View]] = {}
    for split, view, picture in _placed_pictures(findings):
        other_split, other = places.setdefault(picture.pixels, (split, view))
        if other_split != split:
            yield (
                f"the same picture is in {other_split} ({other.subject_id} view {other.view_id}) "
                f"and in {split} ({view.subject_id} view {view.view_id})"
            )


def near_duplicates(findings: Sequence[FileFindings]) -> Iterator[str]:
    """List pictures of different splits that look alike, at most `MOST_NEAR` pairs."""
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
    """Count the identities by their number of views, in one config."""
    config = next((f.config for f in findings if f.views), None)
    views = Counter(v.subject_id for f in findings if f.config == config for v in f.views)
    return dict(sorted(Counter(views.values()).items()))


USUAL_VIEWS = 7

Progress = Callable[[int, int], None]
"""Called with the number of files done and of all."""


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
    rows: dict[str, dict[str, int]]
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
    said = read_statements(folder)
    failures = [*said.failures, *_check_listing(folder, said.sums)]
    findings = _check_files(folder, said.sums, not quick, workers, executor, progress)
    failures.extend(failure for finding in findings for failure in finding.failures)
    failures.extend(check_rows(said, findings))
    failures.extend(check_shard_numbers(findings))
    failures.extend(check_hashes(said))
    warnings: list[str] = []
    if not quick:
        failures.extend(check_manifest(findings, said.manifest))
        failures.extend(check_agreement(findings))
        failures.extend(check_disjoint(findings))
        warnings.extend(near_duplicates(findings))
    return Verification(
        folder=folder.place,
        subjects={s: sum(split == s for split in said.manifest.values()) for s in SPLITS},
        rows=count_rows(findings),
        images=sum(view.picture is not None for f in findings for view in f.views),
        other_view_counts={n: c for n, c in view_counts(findings).items() if n != USUAL_VIEWS},
        failures=tuple(failures),
        warnings=tuple(warnings),
    )


def _check_listing(folder: ExportedFolder, sums: dict[str, str]) -> Iterator[str]:
    """Find files that are missing or not listed, and other files than data with a wrong digest."""
    for name in sums:
        if name not in folder.names:
            yield f"{name}: listed in {SUMS}, but missing"
    for name in folder.names:
        if name.startswith("data/") or name == SUMS:
            continue
        if name not in sums:
            yield f"{name}: not in {SUMS}"
            continue
        with folder.localised(name) as path:
            if sha256_of(path) != sums[name]:
                yield f"{name}: its SHA-256 is not the one in {SUMS}"


def _check_files(
    folder: ExportedFolder,
    sums: dict[str, str],
    decode: bool,
    workers: int | None,
    executor: Executor | None,
    progress: Progress | None,
) -> list[FileFindings]:
    names = [name for name in folder.names if name.startswith("data/")]
    control = None
    with ExitStack() as stack:
        if executor is None:
            count = max(1, min(workers or os.cpu_count() or 1, len(names)))
            executor, control = stack.enter_context(stoppable_threads(count))
        futures = [
            executor.submit(_check_one, folder, name, sums.get(name), decode, control)
            for name in names
        ]
        for done, _ in enumerate(as_completed(futures), start=1):
            if progress is not None:
                progress(done, len(names))
        return [future.result() for future in futures]


def _check_one(
    folder: ExportedFolder, name: str, sha256: str | None, decode: bool, control: Control | None
) -> FileFindings:
    file = DataFile.of_path(name)
    if file is None:
        failure = f"{name}: not data/<config>/<split>-00000-of-00000.parquet"
        return FileFindings(name, "", "", failures=(failure,))
    with folder.localised(name) as local:
        return check_file(local, file, sha256, decode, control)
