"""Room for decoded images, which a batch takes as it lies.

In a worker of a `DataLoader` it is memory shared with the process that trains: images are decoded
into where they will be read, and rows that follow each other there are a batch without a copy.
The same memory serves again once nobody holds the batch (`geogen_hf.training.shared_memory`).
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from geogen_hf.images import Size

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


@dataclass(frozen=True, eq=False)
class Room:
    """Memory for the images of a row.

    Attributes:
        images: `(V, H, W, 3)` uint8, to be handed on.
        pixels: The same memory, to be filled before that and let go.
    """

    images: Tensor
    pixels: NDArray[np.uint8]


def make_room(shapes: Sequence[tuple[int, Size]]) -> Iterator[Room]:
    """Make room for the images of each row, one after the other where all are of one size.

    Args:
        shapes: Number of views, and width and height, of each row.

    Yields:
        Room for each row, whatever was in that memory.
    """
    if len({size_wh for _, size_wh in shapes}) > 1:
        for views, (width, height) in shapes:
            images = torch.empty((views, height, width, 3), dtype=torch.uint8)
            yield Room(images, images.numpy())
        return
    first, (width, height) = 0, shapes[0][1]
    images, pixels = _memory(sum(views for views, _ in shapes) * height * width * 3)
    images, pixels = images.view(-1, height, width, 3), pixels.reshape(-1, height, width, 3)
    for views, _ in shapes:
        yield Room(images[first : first + views], pixels[first : first + views])
        first += views


def _memory(size: int) -> tuple[Tensor, NDArray[np.uint8]]:
    if get_worker_info() is None:
        pixels = np.empty(size, np.uint8)  # NumPy asks for huge pages
        return torch.from_numpy(pixels), pixels
    lender = process_lender()
    lent = None if lender is None else lender.lend(size)
    if lent is not None:
        return lent
    # As default_collate makes it; share_memory_ would copy what is not there yet.
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    images = torch.empty(0, dtype=torch.uint8).set_(storage)
    return images, images.numpy()


def as_one(tensors: Sequence[Tensor]) -> Tensor | None:
    """View rows as a batch, where they follow each other in shared memory.

    Args:
        tensors: B times `(V, H, W, C)`.

    Returns:
        `(B, V, H, W, C)` over the same memory; None where that cannot be.

    Example:
        >>> whole = torch.arange(12).share_memory_().reshape(2, 2, 3, 1, 1)
        >>> as_one([whole[0], whole[1]]).flatten().tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
        >>> as_one([whole[1], whole[0]]) is None
        True
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
