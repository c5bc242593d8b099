"""Batches for tests, made in processes that import this module by its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset

from geogen_hf.training.shared_memory import MAX_PIECES, image_memory

BATCHES = 3 * MAX_PIECES
SIZE_WH = (40, 30)


class Numbered(IterableDataset[Any]):
    """Batches whose pixels are all of the number of the batch, in memory for decoded images."""

    def __iter__(self) -> Iterator[Any]:
        for number in range(BATCHES):
            rooms = list(image_memory([(2, SIZE_WH), (2, SIZE_WH)]))
            for _, pixels in rooms:
                pixels[...] = number
            yield number, rooms[0][0].permute(0, 3, 1, 2), rooms[1][0]
