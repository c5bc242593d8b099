"""The parts, downloaded into a folder: resumed, checked, and held to what they first were.

Beside the parts the folder then holds `parts.lock.json` (see `lockfile`) and one empty hidden file
a part, the lock that keeps two processes from fetching it at once; while a part is on its way, its
`.part` and `.part.json` (see `partial`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geogen_hf.durable import require_space
from geogen_hf.errors import FetchError, GeoGenError, UsageError, explain
from geogen_hf.source.http import RemoteInfo
from geogen_hf.source.lockfile import LOCK_FILE_NAME, LockEntry, LockPolicy
from geogen_hf.source.partial import drop_leftovers, hash_file, resumable_bytes, sidecar_path
from geogen_hf.source.parts import UPSTREAM_URL, Part, locate_parts
from geogen_hf.source.retry import TransferOptions, persist
from geogen_hf.source.streams import Source, open_source
from geogen_hf.source.transfer import Transfer
from geogen_hf.threads import Control, run_all

logger = logging.getLogger(__name__)


@dataclass
class _Job:
    """One part to be had."""

    part: Part
    source: Source
    target: Path
    info: RemoteInfo | None = None

    @property
    def label(self) -> str:
        return self.part.name


def fetch_parts(
    out: str | os.PathLike[str],
    parts: Sequence[Part],
    *,
    base_url: str = UPSTREAM_URL,
    jobs: int = 4,
    locked: bool = False,
    accept_changes: bool = False,
    verify: bool = False,
    lock_path: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    options: TransferOptions | None = None,
) -> dict[Part, Path]:
    """Download parts into a folder; what is there and unchanged is not transferred again.

    May be interrupted at any moment, by Ctrl-C or a power cut, and run again to go on. Two
    processes may do it at once: one fetches a part, the other waits for it.

    Args:
        out: The folder; made if not there.
        parts: Which ones.
        base_url: Where they are served: any URL fsspec opens, or a folder.
        jobs: Parts on their way at a time.
        locked: Refuse every part that the lock file does not know, or knows otherwise.
        accept_changes: Fetch parts that changed since they were first fetched, and note what
            they are now.
        verify: Hash the parts that are there already, and fetch again those that are damaged.
        lock_path: The lock file; None for `parts.lock.json` in `out`.
        progress: Called in this thread, ten times a second, with the bytes that are here and the
            bytes of all parts.
        options: Timeouts, retries and syncs; None for the defaults.

    Returns:
        The path of each part.

    Raises:
        FetchError: Some parts cannot be had: missing upstream, changed upstream, no space. The
            others are complete; the message names the part and URL of each failure.
        UsageError: Options do not go together, or the lock file is unreadable.
        PartsError: `base_url` is a folder and lacks parts.

    Example:
        >>> from geogen_hf.source.parts import select_parts
        >>> from geogen_hf.sample import write_release
        >>> served = write_release(tmp_path / "served", subjects=1, size=16)
        >>> paths = fetch_parts(tmp_path / "out", select_parts([1]), base_url=served.as_uri())
        >>> sorted(path.name for path in paths.values())
        ['images_batch_1.zip', 'metadata_files.zip']
    """
    if not parts or jobs < 1 or (locked and accept_changes):
        raise UsageError(
            explain(
                "options do not go together",
                expected="some parts, jobs of at least 1, not both locked and accept_changes",
                found=f"{len(parts)} parts, {jobs=}, {locked=}, {accept_changes=}",
            )
        )
    folder = Path(out).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    options = options or TransferOptions()
    lock = LockPolicy(lock_path or folder / LOCK_FILE_NAME, locked, accept_changes)
    lock.check_known([part.name for part in parts])
    work = [
        _Job(part, _open(part, location.address, folder, options), folder / part.name)
        for part, location in locate_parts(base_url, parts).items()
    ]
    return _Download(work, lock, options, jobs, verify, progress).run()


def _open(part: Part, url: str, folder: Path, options: TransferOptions) -> Source:
    if Path(url) == folder / part.name:
        raise UsageError(
            explain("the parts would be copied onto themselves", where=url, remedy="name another")
        )
    return open_source(url, part.name, connect_s=options.connect_s, read_s=options.read_s)


@dataclass
class _Download:
    """One call of `fetch_parts`."""

    work: Sequence[_Job]
    lock: LockPolicy
    options: TransferOptions
    jobs: int
    verify: bool
    progress: Callable[[int, int], None] | None

    def run(self) -> dict[Part, Path]:
        control = Control()
        probes = {job.label: partial(self._probe, job, control) for job in self.work}
        infos, failures = run_all(probes, jobs=self.jobs, control=control)
        wanted = {job.label: job for job in self.work if job.label in infos}
        for label, job in wanted.items():
            job.info = infos[label]
        self._check_space()
        sizes = {label: info.size or 0 for label, info in infos.items()}

        def show() -> None:
            if self.progress is not None:
                done = control.done()
                total = sum(max(size, done.get(label, 0)) for label, size in sizes.items())
                self.progress(sum(done.values()), total)

        tasks = {label: partial(self._obtain, job, control) for label, job in wanted.items()}
        paths, later = run_all(tasks, jobs=self.jobs, control=control, tick=show)
        _raise_failures({**failures, **later}, len(paths))
        return {job.part: paths[job.label] for job in self.work}

    def _probe(self, job: _Job, control: Control) -> RemoteInfo:
        info = persist(
            job.source.probe,
            label=job.label,
            url=job.source.url,
            control=control,
            options=self.options,
        )
        self.lock.entry(job.label, job.source.url, info)
        return info

    def _obtain(self, job: _Job, control: Control) -> Path:
        try:
            self._obtain_alone(job, control)
        except GeoGenError:
            raise
        except OSError as error:
            raise _unwritable(job.target, error) from error
        return job.target

    def _obtain_alone(self, job: _Job, control: Control) -> None:
        lock_path = job.target.with_name(f".{job.target.name}.lock")
        with control.exclusion(lock_path, job.label):
            if self._is_here(job, control):
                control.set_done(job.label, job.target.stat().st_size)
                logger.info("%s: already here", job.label)
                return
            Transfer(
                source=job.source,
                target=job.target,
                label=job.label,
                control=control,
                options=self.options,
                admit=partial(self.lock.entry, job.label, job.source.url),
                accept=partial(self.lock.accept, job.label),
            ).run()
        logger.info("%s: complete", job.label)

    def _is_here(self, job: _Job, control: Control) -> bool:
        """Tell whether the part is complete, sound as far as asked for, and the version offered."""
        entry = self._entry_of_whole(job)
        if entry is None:
            return False
        # A sidecar that is still there: killed on the last step, so the name may be the old one's.
        left_over = sidecar_path(job.target).exists()
        if self.verify or left_over:
            with open(job.target, "rb") as file:
                digest = hash_file(file, entry.size, control.check).hexdigest()
            if digest != entry.sha256:
                logger.warning("%s: not as it was when fetched; it is fetched again", job.label)
                return False
        if left_over:
            drop_leftovers(job.target)
        return True

    def _entry_of_whole(self, job: _Job) -> LockEntry | None:
        """Give the entry of a part that is here in its full length and as offered; else None."""
        entry = None if job.info is None else self.lock.entry(job.label, job.source.url, job.info)
        if entry is None or not job.target.is_file():
            return None
        return entry if job.target.stat().st_size == entry.size else None

    def _check_space(self) -> None:
        """Refuse to begin what the disk cannot hold."""
        missing = 0
        for job in self.work:
            size = None if job.info is None else job.info.size
            if job.info and size and self._entry_of_whole(job) is None:
                missing += size - resumable_bytes(job.target, job.source.url, job.info)
        require_space(self.work[0].target.parent, missing)


def _unwritable(path: Path, error: OSError) -> FetchError:
    return FetchError(
        explain(
            "cannot write where the parts are to go",
            where=path,
            found=error,
            remedy="name another folder, or mend its rights",
        )
    )


def _raise_failures(failures: Mapping[str, GeoGenError], complete: int) -> None:
    """Raise what happened to some parts, after all had their turn."""
    if not failures:
        return
    first = next(iter(failures.values()))
    kept = f"{complete} of {complete + len(failures)} parts are complete"
    text = "\n".join(str(failures[name]) for name in sorted(failures))
    raise FetchError(f"{text}\n{kept}; run again to fetch the rest") from first
