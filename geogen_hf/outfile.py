"""A large file written from front to back, past the system's page cache where it can be.

What is written once and not read back soon only pushes out of memory what others use; and since the
file is synced before it gets its name, the disk is waited for in any case. Writing directly
(`O_DIRECT`) costs no copy into the cache and no page of memory for each page of the file.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 2**20
_ALIGNMENT = 4096
"""What direct writes begin and end at; a multiple of every usual sector and block size."""
_DIRECT = getattr(os, "O_DIRECT", 0)
_REFUSED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What file systems say that take no direct writes."""


class OutFile:
    """A new file that keeps the digest of what is written to it; never closed by who writes.

    Libraries that are handed a file close it when they are done, before it is synced. So `close`
    does nothing here; `finish` or `release` ends it.

    Example:
        >>> file = OutFile(tmp_path / "a")
        >>> file.write(b"new")
        3
        >>> file.finish()
        >>> (tmp_path / "a").read_bytes(), file.size, file.sha256.hexdigest()[:8]
        (b'new', 3, '11507a0e')
    """

    closed = False  # asked by pyarrow

    def __init__(self, path: Path) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._abandoned = False
        self._filled = 0
        self._block = mmap.mmap(-1, _BLOCK_BYTES)  # begins at a page, as direct writes must
        self._view = memoryview(self._block)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(path, flags | _DIRECT, 0o666)
        except OSError as error:
            if not _DIRECT or error.errno not in _REFUSED:
                raise
            path.unlink(missing_ok=True)  # some systems create it before they refuse
            self._descriptor = os.open(path, flags, 0o666)
        self._open = True

    def write(self, data: Any) -> int:
        """Add bytes at the end.

        Raises:
            OSError: The disk is full or broken.
        """
        rest = memoryview(data).cast("B")
        if self._abandoned:
            return len(rest)
        self.sha256.update(rest)
        self.size += len(rest)
        taken = 0
        while taken < len(rest):
            step = min(len(rest) - taken, _BLOCK_BYTES - self._filled)
            self._view[self._filled : self._filled + step] = rest[taken : taken + step]
            self._filled += step
            taken += step
            if self._filled == _BLOCK_BYTES:
                self._send(_BLOCK_BYTES)
        return len(rest)

    def flush(self) -> None:
        """Nothing: what is held back is less than a block."""

    def close(self) -> None:
        """Nothing: see `finish`."""

    def finish(self) -> None:
        """Put everything on disk, and close the file.

        Raises:
            OSError: The disk is full or broken.
        """
        if self._filled:
            padded = -(-self._filled // _ALIGNMENT) * _ALIGNMENT
            self._view[self._filled : padded] = bytes(padded - self._filled)
            self._send(padded)
        os.ftruncate(self._descriptor, self.size)
        os.fsync(self._descriptor)
        self.release()

    def abandon(self) -> None:
        """Write nothing more, whatever arrives."""
        self._abandoned = True

    def release(self) -> None:
        """Close the file as it is; again does nothing."""
        if self._open:
            self._open = False
            os.close(self._descriptor)
            self._view.release()
            self._block.close()

    def _send(self, count: int) -> None:
        sent = 0
        while sent < count:
            try:
                sent += os.write(self._descriptor, self._view[sent:count])
            except OSError as error:
                if error.errno not in _REFUSED or not self._write_through_the_cache():
                    raise
            if sent % _ALIGNMENT:
                self._write_through_the_cache()  # after a short write: the rest begins anywhere
        self._filled = 0

    def _write_through_the_cache(self) -> bool:
        """Give up direct writing; False where it was given up already."""
        if not _DIRECT:
            return False
        import fcntl

        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
        return bool(flags & _DIRECT)
