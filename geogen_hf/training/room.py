"""Room for decoded images, which a batch takes as it lies.

In a worker of a `DataLoader` it is memory shared with the process that trains: images are decoded
into where they will be read, and rows that follow each other there are a batch without a copy.
The same memory serves again once nobody holds the batch (`geogen_hf.training.lending`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from geogen_hf.training.lending import process_lender
from geogen_hf.training.pixels import Size


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
