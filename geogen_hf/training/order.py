"""A shuffled order of a stream that a resumed run goes on with, row by row."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from datasets.iterable_dataset import BufferShuffledExamplesIterable

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
    if block is not None:
        stream = _shuffle_shards(stream, seed)
    # Skipping nothing makes datasets 3.6 count rows, where it would count row groups of Parquet and
    # leave out the rest of one on resuming.
    stream = stream.skip(0)
    if block is None:
        return stream
    return stream.map(BlockShuffle(seed, epoch), batched=True, batch_size=block)


def _shuffle_shards(stream: Any, seed: int) -> Any:
    if "max_buffer_input_shards" in inspect.signature(stream.shuffle).parameters:
        # One shard after the other: several at once cannot be resumed.
        return stream.shuffle(seed=seed, buffer_size=1, max_buffer_input_shards=1)
    stream = stream.shuffle(seed=seed, buffer_size=1)
    # datasets 3.6 reads a row ahead even into a buffer for one, and forgets it on resuming.
    if isinstance(stream._ex_iterable, BufferShuffledExamplesIterable):
        stream._ex_iterable = stream._ex_iterable.ex_iterable
    return stream
