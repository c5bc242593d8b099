"""Reading the next rows of a stream while those at hand are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from typing import Any

from datasets.iterable_dataset import _BaseExamplesIterable

from geogen_hf.readahead import read_ahead

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
