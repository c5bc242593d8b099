"""Checking a whole exported folder, on disk or on the Hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from geogen_hf.processes import process_pool
from geogen_hf.schema import FEATURES
from geogen_hf.splits import SPLITS
from geogen_hf.verify.agreement import (
    check_agreement,
    check_disjoint,
    check_manifest,
    near_duplicates,
    view_counts,
)
from geogen_hf.verify.files import FileFindings, check_file, sha256_of
from geogen_hf.verify.promises import (
    SHARD_NAME,
    check_hashes,
    check_rows,
    check_shard_numbers,
    count_rows,
    read_promises,
)
from geogen_hf.verify.source import SUMS, Source

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
        >>> from geogen_hf.parts import ALL_PARTS, parts_in_folder
        >>> from geogen_hf.release import read_release
        >>> from geogen_hf.sample import write_release
        >>> parts = write_release(tmp_path / "parts", subjects=3, size=16)
        >>> release = read_release(parts_in_folder(parts, ALL_PARTS))
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
    count = min(workers or os.cpu_count() or 1, len(names))
    findings: list[FileFindings] = []
    if count <= 1:
        for name in names:
            findings.append(_check_one(source, name, sums.get(name), decode))
            if progress is not None:
                progress(len(findings), len(names))
        return findings
    with _pool(count, processes=source.local and decode) as pool:
        futures: list[Future[FileFindings]] = [
            pool.submit(_check_one, source, name, sums.get(name), decode) for name in names
        ]
        for done, _ in enumerate(as_completed(futures), start=1):
            if progress is not None:
                progress(done, len(names))
        return [future.result() for future in futures]


@contextmanager
def _pool(count: int, *, processes: bool) -> Iterator[Executor]:
    if processes:
        with process_pool(count) as pool:
            yield pool
        return
    # Threads do where files are hashed (without the interpreter's lock) or waited for; and an open
    # file system need not work in another process.
    with ThreadPoolExecutor(count) as threads:
        try:
            yield threads
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _check_one(source: Source, name: str, sha256: str | None, decode: bool) -> FileFindings:
    matched = SHARD_NAME.fullmatch(name)
    if matched is None or matched[1] not in FEATURES or matched[2] not in SPLITS:
        failure = f"{name}: not data/<config>/<split>-00000-of-00000.parquet"
        return FileFindings(name, "", "", failures=(failure,))
    with source.localised(name) as local:
        return check_file(local, name, matched[1], matched[2], sha256, decode)
