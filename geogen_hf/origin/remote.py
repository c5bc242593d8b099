"""Archives behind URLs: byte ranges of them, and their directories out of their last bytes.

Nothing here is picklable or survives a fork: what travels between processes is the URL and the
version (`headers.RemoteInfo`), and each process connects for itself.
"""

from __future__ import annotations

import io
import os
from typing import Protocol

from geogen_hf.errors import ArchiveError, explain
from geogen_hf.origin.credentials import Credentials
from geogen_hf.origin.headers import RemoteInfo

TAIL_BYTES = 128 * 2**10
"""Fetched at first contact: room for the directory of 1,500 members, and for zip64's records."""
MAX_DIRECTORY_BYTES = 256 * 2**20
"""No zip of this release has a directory near this size; a larger one is refused unread."""


class RemoteFile(Protocol):
    """A file behind a URL, read at any place, by any thread."""

    url: str
    info: RemoteInfo | None

    def read_range(self, start: int, stop: int) -> bytes | bytearray:
        """Read `[start, stop)`; fewer bytes where the file ends earlier."""
        ...

    def read_tail(self, length: int) -> tuple[int, bytes | bytearray]:
        """Read the last bytes: the offset of the first, and the bytes."""
        ...

    def close(self) -> None:
        """Make reads under way in other threads give up."""
        ...


def open_remote(
    url: str, info: RemoteInfo | None = None, credentials: Credentials | None = None
) -> RemoteFile:
    """Make a reader for a URL; nothing is connected to yet.

    Args:
        url: `https://`, `hf://`, or any URL fsspec opens.
        info: The version to insist on; None for the one first seen.
        credentials: What its host wants to be shown.
    """
    options = (credentials or Credentials()).for_url(url)
    # Imported here, since a local release needs no client.
    if url.startswith(("http://", "https://")) and options.keys() <= {"headers"}:
        from geogen_hf.origin.http_file import HttpFile

        return HttpFile(url, info, headers=options.get("headers"))
    if url.startswith("hf://") and not url.startswith("hf://buckets/"):
        from geogen_hf.origin.http_file import HttpFile
        from geogen_hf.origin.sources import hub_address

        address, headers = hub_address(url, options)
        return HttpFile(url, info, address=address, headers=headers)
    from geogen_hf.origin.fsspec_file import FsspecFile

    return FsspecFile(url, info, storage_options=options)


class TailFile(io.RawIOBase):
    """A remote file as `zipfile` wants it, seekable, with its last bytes at hand.

    `zipfile` looks for the end record in the last 64 KB and then reads the directory before it in
    one go: one request for most archives, two where the directory is longer than the tail.
    """

    def __init__(self, remote: RemoteFile, tail_bytes: int = TAIL_BYTES) -> None:
        super().__init__()
        self._remote = remote
        self._tail_start, self._tail = remote.read_tail(tail_bytes)
        self._size = self._tail_start + len(self._tail)
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The offset of the next byte to be read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; before the first byte is an `OSError`, as for a file on disk."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"offset {base + offset} of {self._remote.url}")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read from here, at most `size` bytes, to the end for -1."""
        start = min(self._position, self._size)
        stop = self._size if size is None or size < 0 else min(start + size, self._size)
        if stop - start > MAX_DIRECTORY_BYTES:
            raise ArchiveError(
                explain(
                    "not a zip archive of this release",
                    where=self._remote.url,
                    expected=f"a directory of at most {MAX_DIRECTORY_BYTES:,} bytes",
                    found=f"{stop - start:,} bytes",
                )
            )
        self._position = stop
        before: bytes | bytearray = b""
        if start < self._tail_start:
            before = self._remote.read_range(start, min(stop, self._tail_start))
        first, end = max(0, start - self._tail_start), max(0, stop - self._tail_start)
        return b"".join((before, self._tail[first:end]))
