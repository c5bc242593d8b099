"""Keep a download that is not complete yet, so that a later run can resume it.

`<name>.part` holds the bytes. `<name>.part.json`, the sidecar, says from which URL and which
version they came, and how many of them were synced to disk when it was written. Bytes beyond that
count are not trusted: after a power cut a file may have its full length and hold zeros. The sidecar
is one JSON object: `version` (1), `url`, `size`, `etag`, `last_modified` and `synced`.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from geogen_hf.durable import move_durably, read_json, sync_folder, write_durably
from geogen_hf.errors import redact
from geogen_hf.source.location import RemoteInfo
from geogen_hf.source.retry import TransferOptions

logger = logging.getLogger(__name__)

_FORMAT = 1
_READ_BYTES = 2**20


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


def resumable_bytes(target: Path, url: str, info: RemoteInfo) -> int:
    """Count the bytes at the beginning of a file that need not be fetched again."""
    try:
        state = read_json(sidecar_path(target)) or {}
        here = part_path(target).stat().st_size
    except OSError:
        return 0
    size, etag, date, synced = (state.get(k) for k in ("size", "etag", "last_modified", "synced"))
    if (
        state.get("version") != _FORMAT
        or state.get("url") != redact(url)
        or type(synced) is not int
        or synced < 0
        or not isinstance(size, (int, type(None)))
        or not all(isinstance(text, (str, type(None))) for text in (etag, date))
        or not info.continues(RemoteInfo(size, etag, date))
    ):
        return 0  # nothing here, another version, or not written by this version of the package
    return min(synced, here)


class PartialFile:
    """The bytes of one version of one file, as far as they have arrived; a context manager.

    Only one process and thread at a time may hold one for the same target (`Control.exclusion`).

    Args:
        target: Where the file will be when complete.
        options: When to sync, and whether to hash what comes.
        check: Called now and then during long reads; may raise to stop them.
    """

    def __init__(self, target: Path, options: TransferOptions, check: Callable[[], None]) -> None:
        self.target, self.path = target, part_path(target)
        self.offset = 0
        self._options, self._check = options, check
        self._origin: tuple[str, RemoteInfo] | None = None
        self._hash: Any = None
        self._synced, self._synced_at = 0, time.monotonic()
        # What a process left that was killed while it wrote the sidecar (`write_durably`).
        for left in target.parent.glob(f".{glob.escape(sidecar_path(target).name)}.*"):
            left.unlink(missing_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
        self._file: BinaryIO = open(descriptor, "r+b", buffering=0)  # noqa: SIM115

    def resume(self, url: str, info: RemoteInfo) -> int:
        """Keep what is here of this version, and return the offset from which on bytes are missing.

        What cannot be kept stays on disk until `begin`.
        """
        if self._origin is not None:
            kept_url, kept = self._origin
            return self.offset if kept_url == url and info.continues(kept) else 0
        here = resumable_bytes(self.target, url, info)
        if here:
            self._file.truncate(here)
            self._origin = (url, info)
            self.offset = self._synced = here
        return here

    def begin(self, url: str, info: RemoteInfo) -> None:
        """Start with an empty file: what was here is dropped."""
        # The sidecar goes first, and durably: it must never describe bytes of another version.
        sidecar_path(self.target).unlink(missing_ok=True)
        sync_folder(self.target.parent)
        self._file.truncate(0)
        self.offset = 0
        self._origin = (url, info)
        self._hash = hashlib.sha256()
        self._synced, self._synced_at = 0, time.monotonic()

    def append(self, data: bytes) -> None:
        """Add bytes at the end, syncing them to disk every now and then.

        Raises:
            OSError: The disk is full or broken; `offset` tells how far it came.
        """
        digest = self._digest() if self._options.digest else None
        self._file.seek(self.offset)
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            if digest is not None:
                digest.update(rest[:written])
            self.offset += written
            rest = rest[written:]
        due = self.offset >= self._synced + self._options.sync_bytes
        if due or time.monotonic() >= self._synced_at + self._options.sync_s:
            self.sync()

    def sync(self) -> None:
        """Put on disk what has arrived, then the sidecar that says so."""
        if self._origin is None:
            return
        self.sync_bytes_alone()
        url, info = self._origin
        state = {
            "version": _FORMAT,
            "url": redact(url),
            "size": info.size,
            "etag": info.etag,
            "last_modified": info.last_modified,
            "synced": self.offset,
        }
        write_durably(sidecar_path(self.target), json.dumps(state, indent=1).encode())
        self._synced, self._synced_at = self.offset, time.monotonic()

    def sync_bytes_alone(self) -> None:
        """Put on disk what has arrived, without a sidecar: the file is about to get its name."""
        os.fsync(self._file.fileno())

    def sha256(self) -> str:
        """Hash what has arrived: hexadecimal; empty where nothing is hashed."""
        return str(self._digest().hexdigest()) if self._options.digest else ""

    def _digest(self) -> Any:
        """Hash the bytes of an earlier run, once."""
        if self._hash is None:
            self._hash = hash_file(self._file, self.offset, self._check)
        return self._hash

    def finish(self) -> None:
        """Give the file its name, replacing what had it; the bytes must be synced."""
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
        if self._origin is None and self.path.stat().st_size == 0:
            self.path.unlink()

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


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
