"""Memory that images are decoded into, and that becomes the batch without a copy.

In a worker of a `DataLoader` this memory is shared with the process that trains: images are decoded
where they will be read, and rows that follow each other there are a batch already. A pool uses the
same memory again once no process holds the batch, because the kernel has to fill fresh pages with
zeros. The kernel also knows who holds a piece: each tensor has a shared `flock` on a file
description of its own, which ends with the last process that has it, killed or not.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from geogen_hf.compat import bytes_of_descriptor, maps_descriptors
from geogen_hf.images import Size

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MAX_PIECES = 16
"""Pieces of a pool: a worker has two batches waiting, makes one, and some are in use."""


class MemoryPool:
    """Up to `most` pieces of shared memory that are used again, on Linux."""

    def __init__(self, most: int = MAX_PIECES) -> None:
        self._most = most
        self._pieces: list[_Piece] = []
        self._mutex = threading.Lock()

    def take(self, size: int) -> tuple[torch.Tensor, NDArray[np.uint8]] | None:
        """Take memory of at least one byte and undefined content, or None if all pieces are held.

        Returns:
            `(size,)` uint8, to be handed on: PyTorch gives it to other processes without a copy;
            and the same memory, to be filled before that and let go.

        Raises:
            OSError: The system has no such memory, or no more of it.
        """
        with self._mutex:
            piece = next((piece for piece in self._pieces if piece.is_free()), None)
            if piece is None and len(self._pieces) < self._most:
                piece = _Piece()
                self._pieces.append(piece)
            return None if piece is None else piece.take(size)


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

    def take(self, size: int) -> tuple[torch.Tensor, NDArray[np.uint8]]:
        if len(self._memory) < size:
            os.ftruncate(self._file, size)
            self._memory = np.frombuffer(mmap.mmap(self._file, size), np.uint8)
        taken = os.open(f"/proc/self/fd/{self._file}", os.O_RDWR)  # a description of its own
        try:
            fcntl.flock(taken, fcntl.LOCK_SH | fcntl.LOCK_NB)
            images: Tensor = bytes_of_descriptor(taken, size)
        finally:
            os.close(taken)  # the tensor has a copy of this descriptor
        return images, self._memory[:size]


@cache
def process_pool() -> MemoryPool | None:
    """Get the pool of this process; None where the system or PyTorch's settings do not allow it."""
    if fcntl is None or not hasattr(os, "memfd_create") or not maps_descriptors():
        return None
    strategy = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    if strategy != "file_descriptor":
        return None
    pool = MemoryPool()
    try:
        pool.take(1)
    except OSError:  # no /proc, or a kernel that cannot lock such files
        return None
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process_pool.cache_clear)  # descriptors would be shared


def image_memory(shapes: Sequence[tuple[int, Size]]) -> Iterator[tuple[Tensor, NDArray[np.uint8]]]:
    """Allocate for rows of so many views of a size, side by side where all are of one size.

    Yields for each row, as `MemoryPool.take`, the same memory twice, `(V, H, W, 3)` uint8.
    """
    if len({size_wh for _, size_wh in shapes}) > 1:
        for views, (width, height) in shapes:
            images = torch.empty((views, height, width, 3), dtype=torch.uint8)
            yield images, images.numpy()
        return
    first, (width, height) = 0, shapes[0][1]
    images, pixels = _memory(sum(views for views, _ in shapes) * height * width * 3)
    images, pixels = images.view(-1, height, width, 3), pixels.reshape(-1, height, width, 3)
    for views, _ in shapes:
        yield images[first : first + views], pixels[first : first + views]
        first += views


def _memory(size: int) -> tuple[Tensor, NDArray[np.uint8]]:
    if get_worker_info() is None:
        pixels = np.empty(size, np.uint8)  # NumPy asks for huge pages
        return torch.from_numpy(pixels), pixels
    pool = process_pool()
    taken = None if pool is None else pool.take(size)
    if taken is not None:
        return taken
    images = torch.empty(size, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
    return images, images.numpy()


def as_batch(tensors: Sequence[Tensor]) -> Tensor | None:
    """View B rows `(V, H, W, C)` as `(B, V, H, W, C)`, or None.

    That is where they follow each other in shared memory.
    """
    first = tensors[0]
    storage = first.untyped_storage()
    if not storage.is_shared():
        return None
    for index, tensor in enumerate(tensors):
        if (
            tensor.untyped_storage().data_ptr() != storage.data_ptr()
            or tensor.storage_offset() != first.storage_offset() + index * first.numel()
            or tensor.shape != first.shape
            or not tensor.is_contiguous()
        ):
            return None
    return first.as_strided(
        (len(tensors), *first.shape), (first.numel(), *first.stride()), first.storage_offset()
    )
