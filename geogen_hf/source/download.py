"""Download files: resumed, retried, checked, and only then given their names.

This is the one pipeline. `fetch` (into a folder) and `hf_cache` (into the cache of `datasets`)
say as `Job`s where a file goes and which version is accepted.

Bytes of two versions are never mixed. A resumed transfer asks for the version it began with
(If-Range), looks at the version of the response, and asks again at the end; without an ETag or a
date it starts anew. A file is accepted once it has the length the server announced, its zip
directory can be read, and the job agrees.

Until then `<name>.part` holds the bytes. `<name>.part.json`, the sidecar, says from which URL and
which version they came, and how many of them were synced to disk when it was written. Bytes beyond
that count are not trusted: after a power cut a file may have its full length and hold zeros. The
sidecar is one JSON object: `version` (1), `url`, `size`, `etag`, `last_modified` and `synced`.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from geogen_hf.durable import move_durably, read_json, sync_folder, write_durably, writing
from geogen_hf.errors import ArchiveError, FetchError, join_failures, one_line, redact
from geogen_hf.source.files import (
    PAGE_REMEDY,
    RemoteFile,
    TransientError,
    open_file,
)
from geogen_hf.source.parts import Location, Part, RemoteInfo
from geogen_hf.source.zip_directory import read_directory
from geogen_hf.threads import Control, run_all

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called ten times a second with the bytes that are here and the bytes of all files."""

_READ_BYTES = 2**20


def download(
    jobs: Mapping[Part, Job],
    folder: Path,
    control: Control,
    *,
    threads: int,
    progress: Progress | None = None,
) -> dict[Part, Path]:
    """Run jobs, so many at a time; return the paths. One that fails leaves the others alone.

    `folder` exists, and `control` is that of the jobs' files. `progress` is called in this thread.

    Raises:
        FetchError: Some files could not be fetched, or the disk has too little space for what is
            missing. The other files are complete, and what has arrived of these is kept.
    """
    labels = {part.name: job for part, job in jobs.items()}
    probes = {label: job.probe for label, job in labels.items()}
    # All at a time, so that an unreachable host is given up once, and not once for each thread.
    infos, failures = run_all(probes, jobs=len(jobs), control=control)
    missing = sum(labels[label].missing_bytes(info) for label, info in infos.items())
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise FetchError(
            "not enough space on the disk",
            where=folder,
            expected=f"{missing:,} bytes free, for what is missing of the parts",
            found=f"{free:,} bytes free",
            remedy="free some space, choose another folder, or fewer parts",
        )

    def tick() -> None:
        if progress is not None:
            done = {label: labels[label].done for label in infos}
            total = sum(max(info.size or 0, done[label]) for label, info in infos.items())
            progress(sum(done.values()), total)

    tasks = {label: partial(labels[label].run, info) for label, info in infos.items()}
    paths, later = run_all(tasks, jobs=threads, control=control, tick=tick)
    failures |= later
    if failures:
        text = join_failures({label: failures[label] for label in sorted(failures)})
        kept = f"{len(paths)} of {len(jobs)} parts are complete; run again to fetch the rest"
        raise FetchError(f"{text}\n{kept}")  # the causes of eight failures would fill a screen
    return {part: paths[part.name] for part in jobs}


@dataclass
class Job(ABC):
    """One file to download: where it comes from and goes, and which version is accepted."""

    file: RemoteFile
    done = 0  # bytes that are here

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

        `sha256` is hexadecimal, and empty where the options ask for none.
        """

    def probe(self) -> RemoteInfo:
        """Ask which version is there, and whether it is to be fetched."""
        info = self.file.retry(self.file.probe)
        self.admit(info)
        return info

    def missing_bytes(self, info: RemoteInfo) -> int:
        """Count the bytes that are still to come."""
        if not info.size or self.is_complete(info):
            return 0
        return info.size - resumable_bytes(self.target(info), self.file.location.address, info)

    def run(self, info: RemoteInfo) -> Path:
        """Download the file, unless it is here or another process does it meanwhile.

        Where that fails, bytes that may be of use are kept.
        """
        target, label, control = self.target(info), self.file.location.label, self.file.control
        with writing(target), _locked(self.lock_path(target), label, control):
            if self.is_complete(info) and self.is_sound(control.check):
                self.done = target.stat().st_size
                logger.info("%s: already here", label)
                return target
            with closing(PartialFile(target, self.file)) as part:
                self.file.retry(lambda: self._attempt(part), lambda: part.offset)
        logger.info("%s: complete", label)
        return target

    def _attempt(self, part: PartialFile) -> None:
        self.file.control.check()
        info = self.file.probe()
        self.admit(info)
        self.done = here = part.resume(info)
        if here == 0 or here != info.size:
            self._transfer(part, here, info)
            if not self.file.probe().same_version(info):
                raise self._changed("right after its last byte was sent")
        try:
            with closing(open_file(Location(str(part.path)))) as file:
                read_directory(file)
            self.accept(replace(info, size=part.offset), part.sha256())
        except ArchiveError as error:
            part.discard()
            raise self.file.failure(
                "the server did not send a whole zip archive",
                expected=f"a zip archive of {info.size} bytes, as the server announced",
                found=one_line(error),
                remedy="run again; if it stays like this, choose another source with base_url",
            ) from error
        except FetchError:
            part.discard()
            raise
        part.finish()

    def _transfer(self, part: PartialFile, here: int, info: RemoteInfo) -> None:
        """Request what is missing, and check what comes before anything is dropped for it."""
        location, control = self.file.location, self.file.control
        stream = self.file.open(here, info)
        with closing(stream), control.watching(stream.abort):
            if not stream.info.same_version(info):
                raise self._changed("between two requests")
            if stream.start not in (0, here):
                raise self._unexpected(f"bytes from {stream.start:,} on", here)
            data = stream.read()
            if stream.start == 0:
                if data[:2] != b"PK"[: len(data)] or not (data or info.size == 0):
                    raise self.file.transient(
                        "the server sent something else than the file",
                        expected="a zip archive",
                        found=f"{info.size} bytes beginning {data[:32]!r}",
                        remedy=PAGE_REMEDY,
                    )
                if part.offset:
                    logger.warning("%s: starts anew, as it cannot be resumed", location.label)
                part.begin(info)
            while data:
                control.check()
                part.append(data)
                self.done = part.offset
                data = stream.read()
            control.check()
        if info.size is not None and part.offset != info.size:
            raise self._unexpected(f"{part.offset:,} bytes", info.size)

    def _changed(self, when: str) -> TransientError:
        remedy = "it is fetched from the start again"
        return self.file.transient(f"changed upstream {when}", remedy=remedy)

    def _unexpected(self, found: str, expected: int) -> TransientError:
        return self.file.transient(
            "the transfer did not bring the bytes that were requested",
            expected=f"{expected:,} bytes",
            found=found,
        )


@contextmanager
def _locked(path: Path, label: str, control: Control) -> Iterator[None]:
    """Hold a file lock, waiting for other threads and processes that do.

    The lock's file stays behind, empty, since deleting it is a race.
    """
    lock, waiting = FileLock(str(path)), False
    while not lock.is_locked:
        control.check()
        try:
            lock.acquire(timeout=0.2, poll_interval=0.05)
        except Timeout:
            if not waiting:
                logger.info("%s: waiting for another process that fetches it", label)
            waiting = True
    try:
        yield
    finally:
        lock.release()


def part_path(target: Path) -> Path:
    """Name the file that holds the bytes of a download until it is complete."""
    return target.with_name(f"{target.name}.part")


def sidecar_path(target: Path) -> Path:
    """Name the file that describes an incomplete download."""
    return target.with_name(f"{target.name}.part.json")


def drop_leftovers(target: Path) -> None:
    """Delete the incomplete download of a file that turns out to be complete."""
    sidecar_path(target).unlink(missing_ok=True)
    part_path(target).unlink(missing_ok=True)


def _origin(url: str, info: RemoteInfo) -> dict[str, Any] | None:
    """Give what a sidecar says of a version; None where nothing proves that bytes are of it."""
    return {"version": 1, "url": redact(url)} | asdict(info) if info.if_range() else None


def resumable_bytes(target: Path, url: str, info: RemoteInfo) -> int:
    """Count the bytes at the beginning of a file that need not be fetched again."""
    try:
        state = read_json(sidecar_path(target)) or {}
        here = part_path(target).stat().st_size
    except OSError:
        return 0
    synced = state.pop("synced", None)
    if type(synced) is not int or synced < 0 or state != _origin(url, info):
        return 0  # nothing here, another version, or not written by this version of the package
    return min(synced, here)


class PartialFile:
    """The bytes of one version of one file, as far as they have arrived; to be closed.

    Only one process and thread at a time may hold one for the same target.
    """

    def __init__(self, target: Path, source: RemoteFile) -> None:
        self.target, self.path = target, part_path(target)
        self.offset = 0
        self._url, self._options = source.location.address, source.options
        self._check = source.control.check
        self._origin: dict[str, Any] | None = None
        self._hash: Any = None
        self._synced, self._synced_at = 0, time.monotonic()
        # What a process left that was killed while it wrote the sidecar (`write_durably`).
        for left in target.parent.glob(f".{glob.escape(sidecar_path(target).name)}.*"):
            left.unlink(missing_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
        self._file: BinaryIO = open(descriptor, "r+b", buffering=0)  # noqa: SIM115

    def resume(self, info: RemoteInfo) -> int:
        """Keep what is here of this version, and return the offset from which on bytes are missing.

        What cannot be kept stays on disk until `begin`.
        """
        origin = _origin(self._url, info)
        if not self.offset and (here := resumable_bytes(self.target, self._url, info)):
            self._file.truncate(here)
            self._origin = origin
            self.offset = self._synced = here
        return self.offset if origin is not None and origin == self._origin else 0

    def begin(self, info: RemoteInfo) -> None:
        """Start with an empty file: what was here is dropped."""
        # The sidecar goes first, and durably: it must never describe bytes of another version.
        sidecar_path(self.target).unlink(missing_ok=True)
        sync_folder(self.target.parent)
        self._file.truncate(0)
        self.offset = 0
        self._origin = _origin(self._url, info)
        self._hash = hashlib.sha256()
        self._synced, self._synced_at = 0, time.monotonic()

    def append(self, data: bytes) -> None:
        """Add bytes at the end, syncing them every now and then; `offset` tells how far it came."""
        digest = self._digest() if self._options.digest else None
        self._file.seek(self.offset)
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            if digest is not None:
                digest.update(rest[:written])
            self.offset += written
            rest = rest[written:]
        if time.monotonic() >= self._synced_at + self._options.sync_s:
            self.sync()

    def sync(self) -> None:
        """Put on disk what has arrived, then the sidecar that says so."""
        if self._origin is None:
            return
        os.fsync(self._file.fileno())
        state = self._origin | {"synced": self.offset}
        write_durably(sidecar_path(self.target), json.dumps(state, indent=1).encode())
        self._synced, self._synced_at = self.offset, time.monotonic()

    def sha256(self) -> str:
        """Hash what has arrived: hexadecimal; empty where nothing is hashed."""
        return str(self._digest().hexdigest()) if self._options.digest else ""

    def _digest(self) -> Any:
        """Hash the bytes of an earlier run, once."""
        if self._hash is None:
            self._hash = hash_file(self._file, self.offset, self._check)
        return self._hash

    def finish(self) -> None:
        """Give the file its name, replacing what had it."""
        os.fsync(self._file.fileno())
        self._file.close()
        move_durably(self.path, self.target)
        sidecar_path(self.target).unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete what has arrived."""
        self._file.close()
        drop_leftovers(self.target)

    def close(self) -> None:
        """Sync and close, keeping what has arrived for the next time."""
        if self._file.closed:
            return
        try:
            if self.offset > self._synced:
                self.sync()
        except OSError as error:
            logger.warning("%s: the last bytes may be lost: %s", self.target.name, error)
        finally:
            self._file.close()
        if self.path.stat().st_size == 0:
            self.path.unlink()


def hash_file(file: BinaryIO, size: int, check: Callable[[], None]) -> Any:
    """Hash the first `size` bytes of a file; `check`, called for every MiB, may raise to stop."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0:
        check()
        data = file.read(min(size, _READ_BYTES))
        if not data:
            break
        digest.update(data)
        size -= len(data)
    return digest
