"""Room for decoded images, which a batch takes as it lies.

In a worker of a `DataLoader` it is memory shared with the process that trains: images are decoded
into where they will be read, and rows that follow each other there are a batch without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from geogen_hf.training.pixels import Size


def make_room(shapes: Sequence[tuple[int, Size]]) -> Iterator[Tensor]:
    """Make room for the images of each row, one after the other where all are of one size.

    Args:
        shapes: Number of views, and width and height, of each row.

    Yields:
        `(V, H, W, 3)` uint8 for each row, whatever was in that memory.
    """
    if len({size_wh for _, size_wh in shapes}) > 1:
        for views, (width, height) in shapes:
            yield torch.empty((views, height, width, 3), dtype=torch.uint8)
        return
    first, (width, height) = 0, shapes[0][1]
    whole = _memory(sum(views for views, _ in shapes) * height * width * 3)
    whole = whole.reshape(-1, height, width, 3)
    for views, _ in shapes:
        yield whole[first : first + views]
        first += views


def _memory(count: int) -> Tensor:
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(count, np.uint8))  # NumPy asks for huge pages
    # As default_collate makes it; share_memory_ would copy what is not there yet.
    storage = torch.UntypedStorage._new_shared(count)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage)


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
