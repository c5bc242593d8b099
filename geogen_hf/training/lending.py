"""Shared memory that is used again once nobody holds it any more.

The kernel has to find and clear fresh memory page by page, which for decoded images takes a fifth
of a core's time. So a process lends the same memory again, as soon as what it was lent for is gone:
here, in the process that trains, and in any other that has got hold of it.

The kernel knows when. Each time, the memory is lent through an open file description of its own,
with a shared `flock` on it. Such a lock lasts until the last descriptor and the last mapping of
that description are gone, wherever they are and however they end (flock(2), mmap(2)); until then
the file cannot be locked exclusively.
"""

from __future__ import annotations

import mmap
import os
import threading
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MOST_PIECES = 16
"""More than a worker has under way: two batches for the loader, one it makes, some in use."""


class Lender:
    """Lends pieces of shared memory, on Linux.

    Args:
        most: How many pieces it keeps.

    Example:
        >>> lender = Lender()
        >>> images, bytes_ = lender.lend(8)
        >>> bytes_[:] = range(8)
        >>> images[3:].tolist()
        [3, 4, 5, 6, 7]
    """

    def __init__(self, most: int = MOST_PIECES) -> None:
        self._most = most
        self._pieces: list[_Piece] = []
        self._mutex = threading.Lock()

    def lend(self, size: int) -> tuple[torch.Tensor, NDArray[np.uint8]] | None:
        """Lend memory, whatever was in it.

        Args:
            size: Bytes; at least 1.

        Returns:
            `(size,)` uint8, to be handed on: PyTorch gives it to other processes without a copy;
            and the same memory, to be filled before that and let go. None if somebody still holds
            every piece that is kept.

        Raises:
            OSError: The system has no such memory, or no more of it.
        """
        with self._mutex:
            piece = next((piece for piece in self._pieces if piece.is_free()), None)
            if piece is None and len(self._pieces) < self._most:
                piece = _Piece()
                self._pieces.append(piece)
            return None if piece is None else piece.lend(size)


class _Piece:
    """A file in memory, which grows to what is asked for."""

    def __init__(self) -> None:
        self._file = os.memfd_create("geogen-images")
        # This mapping stays: one made anew is filled in by the kernel at the first touch of a page.
        self._memory = np.empty(0, np.uint8)

    def is_free(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return True

    def lend(self, size: int) -> tuple[torch.Tensor, NDArray[np.uint8]]:
        if len(self._memory) < size:
            os.ftruncate(self._file, size)
            self._memory = np.frombuffer(mmap.mmap(self._file, size), np.uint8)
        lent = os.open(f"/proc/self/fd/{self._file}", os.O_RDWR)  # a description of its own
        try:
            fcntl.flock(lent, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # What PyTorch itself calls for shared memory that arrives from another process.
            storage = torch.UntypedStorage._new_shared_fd_cpu(lent, size)  # type: ignore[attr-defined]
        finally:
            os.close(lent)  # the storage has a copy of this descriptor
        return torch.empty(0, dtype=torch.uint8).set_(storage), self._memory[:size]


@cache
def process_lender() -> Lender | None:
    """The lender of this process; None where the system or PyTorch's settings do not allow it."""
    if fcntl is None or not hasattr(os, "memfd_create"):
        return None
    if not hasattr(torch.UntypedStorage, "_new_shared_fd_cpu"):
        return None
    strategy = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    if strategy != "file_descriptor":
        return None
    lender = Lender()
    try:
        lender.lend(1)
    except OSError:  # no /proc, or a kernel that cannot lock such files
        return None
    return lender


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process_lender.cache_clear)  # descriptors would be shared
