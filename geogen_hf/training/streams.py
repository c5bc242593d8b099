"""What `datasets` is told so that rows come out as tensors, whichever kind of data set it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import datasets
from datasets.iterable_dataset import (
    BufferShuffledExamplesIterable,
    SkipExamplesIterable,
    _BaseExamplesIterable,
)

from geogen_hf.errors import UsageError, explain
from geogen_hf.threads import read_ahead
from geogen_hf.training.chance import Epoch, draw
from geogen_hf.training.transform import ToTensors


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


AHEAD_BYTES = 24 * 2**20
"""Roughly what each worker holds of what is next; always one table or row."""
MOST_AHEAD = 4
Items = Iterator[tuple[Any, Any]]
"""Keys, each with a row or a table."""


def reading_ahead(stream: Any) -> Any:
    """Let a thread of each worker read what comes next: `datasets` reads only when asked.

    Where bytes come from afar, a worker would wait for them, then decode, then wait again.

    Args:
        stream: An `IterableDataset`.

    Returns:
        One of the same rows, whose states are those of the rows that have been given out.
    """
    stream = copy(stream)
    stream._ex_iterable = _ReadAhead(stream._ex_iterable)
    return stream


class _ReadAhead(_BaseExamplesIterable):  # type: ignore[misc]
    """Keeps the state that the rows below it had when they yielded, with what they yielded."""

    def __init__(self, ex_iterable: Any) -> None:
        super().__init__()
        self.ex_iterable = ex_iterable  # `datasets` looks for the rows below by this name

    def __iter__(self) -> Items:
        return self._ahead(self.ex_iterable.__iter__)

    @property
    def iter_arrow(self) -> Callable[[], Items] | None:
        return None if self.ex_iterable.iter_arrow is None else self._iter_arrow

    def _iter_arrow(self) -> Items:
        return self._ahead(self.ex_iterable.iter_arrow)

    def _ahead(self, read: Callable[[], Items]) -> Items:
        state, below = self._state_dict, self.ex_iterable
        if state is not None:
            below._init_state_dict()
            below.load_state_dict(state["examples_iterable"])
        with_states = ((item, below.state_dict() if state is not None else None) for item in read())
        for item, state_below in read_ahead(with_states, lambda found: _depth(found[0][1])):
            if state is not None:
                state["examples_iterable"] = state_below
            yield item

    def _init_state_dict(self) -> dict[str, Any]:
        # A copy, since the thread moves the state below on before its rows are given out.
        below = deepcopy(self.ex_iterable._init_state_dict())
        self._state_dict = {"examples_iterable": below, "type": type(self).__name__}
        return self._state_dict

    @property
    def is_typed(self) -> bool:
        return bool(self.ex_iterable.is_typed)

    @property
    def features(self) -> Any:
        return self.ex_iterable.features

    @property
    def num_shards(self) -> int:
        return int(self.ex_iterable.num_shards)

    def shuffle_data_sources(self, *args: Any, **options: Any) -> _ReadAhead:
        return _ReadAhead(self.ex_iterable.shuffle_data_sources(*args, **options))

    def shard_data_sources(self, *args: Any, **options: Any) -> _ReadAhead:
        return _ReadAhead(self.ex_iterable.shard_data_sources(*args, **options))

    def reshard_data_sources(self) -> _ReadAhead:
        return _ReadAhead(self.ex_iterable.reshard_data_sources())


def _depth(row_or_table: Any) -> int:
    size = getattr(row_or_table, "nbytes", 0)  # rows are small
    return max(1, min(MOST_AHEAD, AHEAD_BYTES // max(size, 1)))


def undecoded(dataset: Any) -> Any:
    """Leave images encoded: `{"bytes": …, "path": …}` where `datasets` would give pictures.

    Costs nothing: no row is read, copied or cached anew.

    Args:
        dataset: A `Dataset`, an `IterableDataset`, or a dictionary of them.

    Returns:
        The same kind.

    Raises:
        UsageError: It does not know its features, as after `map`.

    Example:
        >>> pictures = {"image": [{"bytes": b"x", "path": None}]}
        >>> features = datasets.Features({"image": datasets.Image()})
        >>> undecoded(datasets.Dataset.from_dict(pictures, features))[0]
        {'image': {'bytes': b'x', 'path': None}}
    """
    if isinstance(dataset, dict):
        return type(dataset)({name: undecoded(part) for name, part in dataset.items()})
    if dataset.features is None:
        raise UsageError(
            explain("a data set does not know its features", remedy="call undecoded before map")
        )
    features = datasets.Features(
        {name: _encoded(feature) for name, feature in dataset.features.items()}
    )
    if isinstance(dataset, datasets.IterableDataset):
        return dataset.cast(features)
    # Dataset.cast would write all images to disk once more, to arrive at the same Arrow table.
    info = dataset.info.copy()
    info.features = features
    return datasets.Dataset(
        dataset.data, info=info, split=dataset.split, indices_table=dataset._indices
    )


def _encoded(feature: Any) -> Any:
    if isinstance(feature, datasets.Image):
        return datasets.Image(mode=feature.mode, decode=False)
    below = getattr(feature, "feature", None)  # of Sequence, and of List in later versions
    if isinstance(below, datasets.Image):
        return type(feature)(_encoded(below), length=feature.length)
    return feature


def as_tensors(
    dataset: Any, transform: ToTensors, *, shuffle_block: int | None = None, batch_size: int = 8
) -> Any:
    """Rows of `dataset` through `transform`, lazily; images are not decoded before that.

    A stream is read ahead in a thread, by some 24 MiB, so that waiting for bytes and decoding take
    place at the same time.

    Args:
        dataset: As for `undecoded`; of the config `sequences` or `views`. Split over nodes before,
            if at all.
        transform: What to do with the rows.
        shuffle_block: Shuffle a stream: the order of its shards, and the rows within blocks of so
            many, which each worker holds encoded in memory. None for the stored order. Depends on
            the transform's seed and epoch; the shards' order follows `set_epoch` of the stream too.
        batch_size: Rows transformed at a time, of a stream; resuming does a batch again.

    Returns:
        The same kind, whose rows are what `ToTensors` returns. It goes on from its `state_dict`
        with exactly the rows that are missing.

    Raises:
        UsageError: `shuffle_block` for a `Dataset`, which a sampler shuffles.

    Example:
        See `ToTensors`.
    """
    if isinstance(dataset, dict):
        parts = {
            name: as_tensors(part, transform, shuffle_block=shuffle_block, batch_size=batch_size)
            for name, part in dataset.items()
        }
        return type(dataset)(parts)
    dataset = undecoded(dataset)
    if isinstance(dataset, datasets.IterableDataset):
        columns = dataset.column_names
        rows = in_order(reading_ahead(dataset), shuffle_block, transform.seed, transform.epoch)
        return rows.map(transform, batched=True, batch_size=batch_size, remove_columns=columns)
    if shuffle_block is not None:
        raise UsageError(
            explain(
                "shuffle_block is for streams",
                remedy="pass a sampler, or shuffle=True, to the DataLoader",
            )
        )
    return dataset.with_transform(transform)
