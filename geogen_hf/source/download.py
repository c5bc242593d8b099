"""Download files: resumed, retried, checked, and only then given their names.

This is the one pipeline. `fetch` (into a folder) and `hf_cache` (into the cache of `datasets`)
say as `Job`s where a file goes and which version is accepted.

Bytes of two versions are never mixed. A resumed transfer asks for the version it began with
(If-Range), looks at the version of the response, and asks again at the end; without an ETag or a
date it starts anew. A file is accepted once it has the length the server announced, its zip
directory can be read, and the job agrees.
"""

from __future__ import annotations

import errno
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from geogen_hf.errors import ArchiveError, FetchError, GeoGenError, explain, one_line
from geogen_hf.source.location import Location, RemoteFile, RemoteInfo, Stream
from geogen_hf.source.partial import PartialFile, resumable_bytes
from geogen_hf.source.responses import ResponseChecks, TransientError
from geogen_hf.source.retry import TransferOptions, retry
from geogen_hf.source.zip_directory import read_directory
from geogen_hf.threads import Control, run_all

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called ten times a second with the bytes that are here and the bytes of all files."""

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass
class Job(ABC):
    """One file to download: where it comes from and goes, and which version is accepted.

    Attributes:
        file: Where it comes from.
    """

    file: RemoteFile

    @abstractmethod
    def admit(self, info: RemoteInfo) -> None:
        """Raise `FetchError` to refuse a version, before anything is fetched of it."""

    @abstractmethod
    def target(self, info: RemoteInfo) -> Path:
        """Say where the complete file goes; what is there is replaced."""

    @abstractmethod
    def lock_path(self, target: Path) -> Path:
        """Name the file lock that whoever writes the target holds."""

    @abstractmethod
    def is_complete(self, info: RemoteInfo) -> bool:
        """Tell whether the version is at the target in its full length."""

    def is_sound(self, check: Callable[[], None]) -> bool:
        """Check the bytes of a complete file, as far as asked for; `check` may raise to stop."""
        return True

    @abstractmethod
    def accept(self, info: RemoteInfo, sha256: str) -> None:
        """Called when all bytes are here; raises `FetchError` to refuse and drop them.

        Args:
            info: The version, with its size.
            sha256: Hexadecimal; empty where the options ask for none.
        """


def download(
    jobs: Sequence[Job],
    folder: Path,
    *,
    threads: int,
    options: TransferOptions,
    progress: Progress | None = None,
) -> list[Path]:
    """Run jobs in threads; one that fails leaves the others alone.

    Args:
        jobs: What to download; none twice.
        folder: Where it goes; exists.
        threads: Files at a time.
        options: Timeouts, retries and syncs.
        progress: Called in this thread.

    Returns:
        The path of each file.

    Raises:
        FetchError: Some files could not be fetched, or the disk has too little space for what is
            missing. The other files are complete, and what has arrived of these is kept.
    """
    control = Control()
    labels = {job.file.location.label: job for job in jobs}
    probes = {label: partial(_probe, job, control, options) for label, job in labels.items()}
    infos, failures = run_all(probes, jobs=threads, control=control)
    _require_space(folder, sum(_missing_bytes(labels[label], infos[label]) for label in infos))

    def tick() -> None:
        if progress is not None:
            done = control.done()
            sizes = {label: info.size or 0 for label, info in infos.items()}
            total = sum(max(size, done.get(label, 0)) for label, size in sizes.items())
            progress(sum(done.values()), total)

    tasks = {
        label: partial(_obtain, labels[label], info, control, options)
        for label, info in infos.items()
    }
    paths, later = run_all(tasks, jobs=threads, control=control, tick=tick)
    failures |= later
    if failures:
        text = join_failures({label: failures[label] for label in sorted(failures)})
        kept = f"{len(paths)} of {len(jobs)} parts are complete; run again to fetch the rest"
        raise FetchError(f"{text}\n{kept}") from next(iter(failures.values()))
    return list(paths.values())


def _require_space(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise FetchError(
            explain(
                "not enough space on the disk",
                where=folder,
                expected=f"{missing:,} bytes free, for what is missing of the parts",
                found=f"{free:,} bytes free",
                remedy="free some space, choose another folder, or fewer parts",
            )
        )


def _probe(job: Job, control: Control, options: TransferOptions) -> RemoteInfo:
    info = retry(job.file.probe, job.file.location, control, options)
    job.admit(info)
    return info


def _missing_bytes(job: Job, info: RemoteInfo) -> int:
    if not info.size or job.is_complete(info):
        return 0
    return info.size - resumable_bytes(job.target(info), job.file.location.address, info)


def _obtain(job: Job, info: RemoteInfo, control: Control, options: TransferOptions) -> Path:
    """Download one file, unless it is here or another process does it meanwhile."""
    target, label = job.target(info), job.file.location.label
    try:
        with control.exclusion(job.lock_path(target), label):
            if job.is_complete(info) and job.is_sound(control.check):
                control.set_done(label, target.stat().st_size)
                logger.info("%s: already here", label)
            else:
                _Transfer(job, target, control, options).run()
                logger.info("%s: complete", label)
    except GeoGenError:
        raise
    except OSError as error:
        raise unwritable(target, error) from error
    return target


def unwritable(where: Path, error: OSError, label: str | None = None) -> FetchError:
    """Describe a folder or, given the label of a part, a file that cannot be written."""
    full = error.errno in _DISK_FULL
    what = "the disk is full" if full else "cannot be written"
    remedy = "name another folder, or fix its permissions; then run again"
    return FetchError(
        explain(
            f"{label}: {what}" if label else "cannot write where the parts are to go",
            where=where,
            found=error,
            remedy="free some space and run again: what has arrived is kept" if full else remedy,
        )
    )


class _Transfer:
    """Fetches one file, or what is missing of it."""

    def __init__(self, job: Job, target: Path, control: Control, options: TransferOptions) -> None:
        self._job, self._target = job, target
        self._control, self._options = control, options
        self._location = job.file.location
        self._label, self._url = self._location.label, self._location.address
        self._checks = ResponseChecks(self._location)

    def run(self) -> None:
        """Fetch it; only one thread and process at a time may do this for a target.

        Raises:
            FetchError: It cannot be fetched, or is refused; bytes that may be of use are kept.
        """
        control, options = self._control, self._options
        try:
            with PartialFile(self._target, options, control.check) as part:
                attempt = partial(self._attempt, part)
                retry(attempt, self._location, control, options, lambda: part.offset)
        except FetchError:
            raise
        except OSError as error:
            raise unwritable(self._target, error, self._label) from error

    def _attempt(self, part: PartialFile) -> None:
        self._control.check()
        info = self._job.file.probe()
        self._job.admit(info)
        here = part.resume(self._url, info)
        self._control.set_done(self._label, here)
        if here == 0 or here != info.size:
            self._fetch(part, here, info)
            if not self._job.file.probe().same_version(info):
                raise self._changed("right after its last byte was sent")
        self._conclude(part, info)

    def _fetch(self, part: PartialFile, here: int, info: RemoteInfo) -> None:
        """Request what is missing, and check what comes before anything is dropped for it."""
        with self._job.file.open(here, info) as stream, self._control.watching(stream):
            if not stream.info.same_version(info):
                raise self._changed("between two requests")
            if stream.start not in (0, here):
                raise self._unexpected(f"bytes from {stream.start:,} on", here)
            data = stream.read()
            if stream.start == 0:
                self._check_head(data, info)
                if part.offset:
                    logger.warning("%s: starts anew, as it cannot be resumed", self._label)
                part.begin(self._url, info)
            self._copy(stream, part, data)
        if info.size is not None and part.offset != info.size:
            raise self._unexpected(f"{part.offset:,} bytes", info.size)

    def _check_head(self, data: bytes, info: RemoteInfo) -> None:
        if data[:2] == b"PK"[: len(data)] and (data or info.size == 0):
            return
        raise self._checks.transient(
            "the server sent something else than the file",
            expected="a zip archive",
            found=f"{info.size} bytes beginning {data[:32]!r}",
            remedy="open the URL in a browser: a login, a proxy or an outage may answer",
        )

    def _copy(self, stream: Stream, part: PartialFile, data: bytes) -> None:
        while data:
            self._control.check()
            part.append(data)
            self._control.set_done(self._label, part.offset)
            data = stream.read()
        self._control.check()

    def _conclude(self, part: PartialFile, info: RemoteInfo) -> None:
        """Check what is here, and give it its name."""
        part.sync_bytes_alone()
        try:
            with closing(Location(str(part.path)).open()) as file:
                read_directory(file)
            self._job.accept(replace(info, size=part.offset), part.sha256())
        except ArchiveError as error:
            part.discard()
            raise FetchError(
                explain(
                    f"{self._label}: the server did not send a whole zip archive",
                    where=self._location,
                    expected=f"a zip archive of {info.size} bytes, as the server announced",
                    found=one_line(error),
                    remedy="run again; if it stays like this, choose another source with base_url",
                )
            ) from error
        except FetchError:
            part.discard()
            raise
        part.finish()

    def _changed(self, when: str) -> TransientError:
        return self._checks.transient(
            f"changed upstream {when}", remedy="it is fetched from the start again"
        )

    def _unexpected(self, found: str, expected: int) -> TransientError:
        return self._checks.transient(
            "the transfer did not bring the bytes that were requested",
            expected=f"{expected:,} bytes",
            found=found,
        )


def join_failures(failures: Mapping[str, Exception]) -> str:
    r"""Put the messages of several parts together, by label, each distinct message once.

    Messages that differ only in the label become one that lists the parts: their labels in the
    first line, and lines with a label (such as their URLs) one after the other.

    Example:
        >>> where = "the connection failed\n  where: http://h/"
        >>> print(join_failures({n: FetchError(f"{n}: {where}{n}") for n in ("a.zip", "b.zip")}))
        a.zip, b.zip: the connection failed
          where: http://h/a.zip
          where: http://h/b.zip
    """
    groups: dict[str, list[str]] = {}
    for label, error in failures.items():
        groups.setdefault(str(error).replace(label, "\0"), []).append(label)
    lines: list[str] = []
    for text, labels in groups.items():
        first, *rest = text.splitlines()
        lines.append(first.replace("\0", ", ".join(labels)))
        for line in rest:
            lines += [line.replace("\0", label) for label in labels] if "\0" in line else [line]
    return "\n".join(lines)
