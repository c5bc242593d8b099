"""A shuffled order of a stream that a resumed run goes on with, row by row."""

from __future__ import annotations

import inspect
from copy import copy
from dataclasses import dataclass
from typing import Any

from datasets.iterable_dataset import BufferShuffledExamplesIterable, SkipExamplesIterable

from geogen_hf.training.chance import Epoch, draw


@dataclass(frozen=True)
class BlockShuffle:
    """Shuffles the rows of a batch, for `stream.map(..., batched=True, batch_size=block)`.

    The shuffle buffer of `datasets` is lost when a run is resumed, and its rows with it. A block
    holds nothing back beyond itself: `datasets` reads it again, and it is shuffled as before.

    Attributes:
        seed: Of the order.
        epoch: Another one gives another order.
    """

    seed: int
    epoch: Epoch

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """The same rows in another order."""
        first = f"{batch['subject_id'][0]} {batch.get('view_id', [''])[0]}"
        chance = draw(self.seed, int(self.epoch), first, "order")
        order = chance.permutation(len(batch["subject_id"]))
        return {name: [column[index] for index in order] for name, column in batch.items()}


def in_order(stream: Any, block: int | None, seed: int, epoch: Epoch) -> Any:
    """Put a stream into an order that it can be resumed in, row by row.

    Args:
        stream: An `IterableDataset`, images undecoded; split over nodes before, if at all.
        block: Shuffle the shards, and the rows in blocks of so many: held in memory by each worker,
            and read again on resuming. None for the stored order.
        seed: Of both orders.
        epoch: Of the blocks' order; the shards' follows the `set_epoch` of the stream.

    Returns:
        An `IterableDataset` of the same rows.
    """
    one_by_one = "max_buffer_input_shards" in inspect.signature(stream.shuffle).parameters
    if block is not None:
        # One shard after the other: several at once cannot be resumed.
        options = {"max_buffer_input_shards": 1} if one_by_one else {}
        stream = stream.shuffle(seed=seed, buffer_size=1, **options)
    if not one_by_one:
        stream = _counted_by_rows(stream)
    if block is None:
        return stream
    return stream.map(BlockShuffle(seed, epoch), batched=True, batch_size=block)


def _counted_by_rows(stream: Any) -> Any:
    """Make states exact in `datasets` 3.6, which forgets up to a row group of rows on resuming.

    It reads a row ahead into a shuffle buffer, even if that holds one; and it counts the row groups
    of Parquet instead of rows, except below a `skip`.
    """
    stream = copy(stream)
    rows = stream._ex_iterable
    if isinstance(rows, BufferShuffledExamplesIterable):
        rows = rows.ex_iterable
    stream._ex_iterable = SkipExamplesIterable(
        rows, 0, block_sources_order_when_shuffling=False, split_when_sharding=True
    )
    return stream
