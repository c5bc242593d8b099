"""A stream of rows that knows which shards follow and which rows come first.

`datasets` hands a generator one shard at a time, and resumes by throwing away the rows before.
Behind URLs that means to wait at the start of each shard, and to download for nothing. The iterable
here reads on across shards and starts at the row; its states are those of `datasets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from typing import Any

from datasets.iterable_dataset import ExamplesIterable

from geogen_hf.release.shards import Shard, split_shard
from geogen_hf.release.subjects import Subject

RowCount = Callable[[Subject], int]
"""Tells how many rows a subject has, when sound."""


class ShardExamples(ExamplesIterable):  # type: ignore[misc]
    """Rows of shards, in the shards' order."""

    def __init__(
        self, generate: Callable[..., Iterator[Any]], kwargs: dict[str, Any], row_count: RowCount
    ) -> None:
        """Wrap a builder's generator.

        Args:
            generate: `_generate_examples`; its rows have a `subject_id`.
            kwargs: `{"shards": [Shard, …]}`.
            row_count: See there.
        """
        super().__init__(generate, kwargs)
        self.row_count = row_count

    def __iter__(self) -> Iterator[Any]:
        shards: list[Shard] = self.kwargs["shards"]
        state: dict[str, Any] = self._state_dict or {"shard_idx": 0, "shard_example_idx": 0}
        index, skip = state["shard_idx"], state["shard_example_idx"]
        shard_of = {s.subject_id: i for i, shard in enumerate(shards) for s in shard.subjects}
        rest, discard = skip_rows(shards[index:], skip, self.row_count)
        rows = self.generate_examples_fn(shards=[rest] if rest.subjects else [])
        for key, row in islice(rows, discard, None):
            if shard_of[row["subject_id"]] != index:
                index = shard_of[row["subject_id"]]
                state["shard_idx"], state["shard_example_idx"] = index, 0
            state["shard_example_idx"] += 1
            yield key, row
        state["shard_idx"], state["shard_example_idx"] = len(shards), 0

    def shuffle_data_sources(self, generator: Any) -> ShardExamples:
        """The shards in another order."""
        shards = list(self.kwargs["shards"])
        order = list(range(len(shards)))
        deepcopy(generator).shuffle(order)
        return self._with({"shards": [shards[index] for index in order]})

    def shard_data_sources(self, *args: Any, **kwargs: Any) -> ShardExamples:
        """One worker's share of the shards."""
        return self._with(super().shard_data_sources(*args, **kwargs).kwargs)

    def reshard_data_sources(self) -> ShardExamples:
        """Smaller shards."""
        return self._with({"shards": [p for s in self.kwargs["shards"] for p in split_shard(s)]})

    def _with(self, kwargs: dict[str, Any]) -> ShardExamples:
        return ShardExamples(self.generate_examples_fn, kwargs, self.row_count)


def skip_rows(shards: list[Shard], rows: int, row_count: RowCount) -> tuple[Shard, int]:
    """Join shards, without the subjects that come before a row of the first.

    Args:
        shards: In order.
        rows: How many rows of the first shard have been seen.
        row_count: See there.

    Returns:
        The shards as one, and how many of its rows to discard. Where damaged subjects are left out,
        only reading tells how many rows a subject had: then none is dropped.
    """
    if not shards:
        return Shard(()), 0
    policy = shards[0].on_bad_subject
    subjects = [subject for shard in shards for subject in shard.subjects]
    first = 0
    while policy == "raise" and first < len(subjects) and rows >= row_count(subjects[first]):
        rows -= row_count(subjects[first])
        first += 1
    return Shard(tuple(subjects[first:]), policy), rows
