"""Streams that read ahead of the rows they give out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.iterable_dataset import ExamplesIterable

from geogen_hf.training import streams as ahead
from geogen_hf.training.chance import Epoch
from geogen_hf.training.streams import in_order, reading_ahead

pytestmark = pytest.mark.datasets

FEATURES = datasets.Features({"number": datasets.Value("int64")})
FILES, GROUPS, ROWS = 3, 4, 2


def counted(stop: int, reached: dict[int, threading.Event]) -> Iterator[dict[str, int]]:
    for number in range(stop):
        if number in reached:
            reached[number].set()
        yield {"number": number}


def rows_of(stop: int, reached: dict[int, threading.Event]) -> Any:
    """A stream in this process, whose generator says how far it has come."""

    def generate() -> Iterator[tuple[int, dict[str, int]]]:
        yield from enumerate(counted(stop, reached))

    return datasets.IterableDataset(
        ExamplesIterable(generate, {}), info=datasets.DatasetInfo(features=FEATURES)
    )


@pytest.fixture
def tables(tmp_path: Path) -> Any:
    """A stream of Parquet files with several row groups each."""
    names = []
    for file in range(FILES):
        first = file * GROUPS * ROWS
        numbers = pa.table({"number": range(first, first + GROUPS * ROWS)})
        names.append(str(tmp_path / f"{file}.parquet"))
        pq.write_table(numbers, names[-1], row_group_size=ROWS)
    return datasets.load_dataset("parquet", data_files=names, split="train", streaming=True)


def numbers(stream: Any) -> list[int]:
    return [row["number"] for row in stream]


def test_rows_are_read_before_they_are_asked_for() -> None:
    reached = {number: threading.Event() for number in (ahead.MOST_AHEAD, ahead.MOST_AHEAD + 1)}
    rows = iter(reading_ahead(rows_of(100, reached)))
    assert next(rows) == {"number": 0}
    assert reached[ahead.MOST_AHEAD].wait(timeout=30)
    assert not reached[ahead.MOST_AHEAD + 1].wait(timeout=0.1)
    assert numbers(rows) == list(range(1, 100))


@pytest.mark.parametrize("size", [1, ahead.AHEAD_BYTES // 3, ahead.AHEAD_BYTES * 5])
def test_large_tables_are_not_piled_up(size: int) -> None:
    table = pa.table({"image": [bytes(size)]})
    held = ahead._depth(table) * table.nbytes
    assert held <= max(ahead.AHEAD_BYTES, table.nbytes)
    assert held + table.nbytes > min(ahead.AHEAD_BYTES, ahead.MOST_AHEAD * table.nbytes)


@pytest.mark.parametrize("by_table", [False, True])
def test_resumed_twice_every_row_comes_once(tables: Any, by_table: bool) -> None:
    stream = in_order(reading_ahead(tables), None, 0, Epoch())
    if by_table:  # where the rows below can give tables, and count rows
        stream = stream.map(lambda rows: rows, batched=True, batch_size=3)
    everything = list(range(FILES * GROUPS * ROWS))
    assert numbers(stream) == everything
    seen = []
    for stop in (5, 17, len(everything)):
        for row in stream:
            seen.append(row["number"])
            state = stream.state_dict()
            if len(seen) == stop:
                break
        stream.load_state_dict(state)
    assert seen == everything
    assert numbers(stream) == []


def place(stream: Any) -> tuple[int, int]:
    """The shard, and the rows read of it, in the state of a stream."""
    state = stream.state_dict()
    while "shard_idx" not in state:
        state = state["examples_iterable"]
    return state["shard_idx"], state["shard_example_idx"]


def test_states_do_not_run_ahead(tables: Any) -> None:
    expected = [(row, place(tables)) for row in tables]
    reading = reading_ahead(tables)
    assert [(row, place(reading)) for row in reading] == expected
    assert len({found for _, found in expected}) >= FILES


def test_a_bad_row_is_an_error_in_its_place() -> None:
    def broken() -> Iterator[dict[str, int]]:
        yield from counted(3, {})
        raise ZeroDivisionError("the fourth")

    rows = datasets.IterableDataset(ExamplesIterable(lambda: enumerate(broken()), {}))
    given = iter(reading_ahead(rows))
    assert [next(given)["number"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="fourth"):
        next(given)
