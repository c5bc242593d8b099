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


def shuffled(stream: Any, block: int, seed: int, epoch: Epoch) -> Any:
    """Shuffle a stream: its shards by `datasets`, and the rows in blocks.

    Args:
        stream: An `IterableDataset`, images undecoded; split over nodes before, if at all.
        block: Rows of a block: held in memory by each worker, and read again on resuming.
        seed: Of both orders.
        epoch: Of the blocks' order; the shards' follows the `set_epoch` of the stream.

    Returns:
        An `IterableDataset` of the same rows.
    """
    if "max_buffer_input_shards" in inspect.signature(stream.shuffle).parameters:
        # One shard after the other: several at once cannot be resumed.
        stream = stream.shuffle(seed=seed, buffer_size=1, max_buffer_input_shards=1)
    else:
        stream = _without_buffer(stream.shuffle(seed=seed, buffer_size=1))
    return stream.map(BlockShuffle(seed, epoch), batched=True, batch_size=block)


def _without_buffer(stream: Any) -> Any:
    # datasets 3.6 reads a row ahead even into a buffer for one, and forgets it on resuming.
    if isinstance(stream._ex_iterable, BufferShuffledExamplesIterable):
        stream._ex_iterable = stream._ex_iterable.ex_iterable
    return stream
