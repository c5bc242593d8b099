from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geogen_hf.errors import FetchError
from geogen_hf.source.parts import Location
from geogen_hf.source.zip_directory import Member
from geogen_hf.source.zip_reader import Limits, Range, plan_ranges, plan_windows, stream_records


def content(archive: str, start: int, stop: int) -> bytes:
    """Bytes of an endless archive, each known from where it is."""
    salt = sum(archive.encode())
    return bytes((i * 31 + (i >> 8) * 7 + salt) % 251 for i in range(start, stop))


def member(archive: str, start: int, stop: int) -> Member:
    return Member(Location(archive), f"{start}.png", start, stop, 1, 1, 0, False)


@st.composite
def archives(draw: st.DrawFn) -> list[Member]:
    """Members of a few archives, with and without gaps, in any order."""
    members: list[Member] = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        place = draw(st.integers(0, 100))
        for gap, size in draw(
            st.lists(st.tuples(st.sampled_from([0, 0, 1, 30, 500]), st.integers(1, 900)))
        ):
            members.append(member(f"{name}.zip", place + gap, place + gap + size))
            place += gap + size
    return draw(st.permutations(members))


@given(archives(), st.integers(0, 600), st.integers(1, 3000))
def test_ranges_hold_every_member_once_and_keep_the_bounds(
    members: list[Member], max_gap: int, max_range: int
) -> None:
    ranges = plan_ranges(members, max_gap=max_gap, max_range=max_range)
    placed = [m for r in ranges for m in r.members]
    assert len(placed) == len(members)
    assert set(placed) == set(members)
    for planned in ranges:
        assert {m.archive for m in planned.members} == {planned.archive}
        assert planned.start == planned.members[0].start
        assert planned.stop == planned.members[-1].stop
        assert planned.size <= max_range or len(planned.members) == 1
        assert all(b.start - a.stop <= max_gap for a, b in pairwise(planned.members))
    in_place = sorted(ranges, key=lambda r: (r.archive.address, r.start))
    for left, right in pairwise(in_place):
        if left.archive == right.archive:  # nothing is left that could have been merged
            wide = right.members[0].stop - left.start > max_range
            assert right.start - left.stop > max_gap or wide
    first_use = [min(map(members.index, r.members)) for r in ranges]
    assert first_use == sorted(first_use)


def test_members_asked_for_twice_or_one_over_the_other_are_fetched_once() -> None:
    first, second = member("a", 0, 100), member("a", 50, 120)
    (planned,) = plan_ranges([first, second, first], max_gap=0, max_range=1000)
    assert (planned.start, planned.stop, planned.members) == (0, 120, (first, second))


def test_by_view_windows_take_one_range_an_archive() -> None:
    runs = [[member(f"{v}.zip", i * 100, i * 100 + 100) for v in range(7)] for i in range(5)]
    ranges = plan_ranges([m for run in runs for m in run])
    assert [(r.archive.address, r.size) for r in ranges] == [(f"{v}.zip", 500) for v in range(7)]


@given(
    st.lists(st.lists(st.integers(1, 50), max_size=4), max_size=40),
    st.integers(1, 100),
    st.integers(1, 300),
)
def test_windows_keep_all_runs_in_order(
    sizes: list[list[int]], first_bytes: int, window_bytes: int
) -> None:
    runs = [[member("a", 0, size) for size in run] for run in sizes]
    windows = list(plan_windows(runs, first_bytes, window_bytes))
    assert [run for window in windows for run in window] == runs
    enough = first_bytes
    for window in windows[:-1]:
        assert sum(m.stop for run in window for m in run) >= enough
        assert sum(m.stop for run in window[:-1] for m in run) < enough
        enough = min(2 * enough, window_bytes)


@settings(max_examples=60, deadline=None)
@given(archives(), st.data())
def test_records_come_in_order_and_the_bounds_are_kept(
    members: list[Member], data: st.DataObject
) -> None:
    runs: list[list[Member]] = []
    rest = list(members)
    while rest:
        count = data.draw(st.integers(1, 7))
        runs.append(rest[:count])
        rest = rest[count:]
    limits = Limits(requests=3, held_bytes=60_000, first_bytes=500, window_bytes=5_000)
    lock = threading.Lock()
    running, most_running, fetched = 0, 0, 0

    def fetch(wanted: Range) -> bytes:
        nonlocal running, most_running, fetched
        with lock:
            running += 1
            fetched += wanted.size
            most_running = max(most_running, running)
        found = content(wanted.archive.address, wanted.start, wanted.stop)
        with lock:
            running -= 1
        return found

    used, delivered = 0, []
    with ThreadPoolExecutor(limits.requests) as pool:
        for records in stream_records(runs, fetch, pool, limits):
            delivered.append([bytes(record) for record in records])
            # At most the window in use is held beyond what the limit allows ahead of it.
            assert fetched - used <= limits.held_bytes + 2 * limits.window_bytes
            used += sum(map(len, records))
    expected = [[content(m.archive.address, m.start, m.stop) for m in run] for run in runs]
    assert delivered == expected
    assert most_running <= limits.requests


def test_little_is_fetched_ahead_of_a_slow_reader() -> None:
    runs = [[member("a", i * 1000, (i + 1) * 1000)] for i in range(500)]
    limits = Limits(requests=2, held_bytes=20_000, first_bytes=1000, window_bytes=4000)
    fetched = 0

    def fetch(wanted: Range) -> bytes:
        nonlocal fetched
        fetched += wanted.size
        return bytes(wanted.size)

    with ThreadPoolExecutor(1) as pool:
        stream = stream_records(runs, fetch, pool, limits)
        next(stream)
        pool.submit(int).result()  # behind everything that was asked for
        assert 4000 < fetched <= 20_000
        stream.close()


def test_the_first_run_comes_before_anything_is_fetched_ahead() -> None:
    runs = [[member("a", i * 1000, (i + 1) * 1000)] for i in range(9)]
    another = threading.Event()

    def fetch(wanted: Range) -> bytes:
        if wanted.start:
            another.set()
        elif another.wait(0.3):
            raise FetchError("the first is not fetched alone")
        return bytes(wanted.size)

    with ThreadPoolExecutor(4) as pool:
        found = list(stream_records(runs, fetch, pool, Limits(first_bytes=1, window_bytes=1)))
    assert len(found) == len(runs)


def test_a_range_larger_than_the_limit_still_comes() -> None:
    runs = [[member("a", 0, 5000), member("b", 0, 5000)], [member("a", 5000, 9000)]]
    limits = Limits(requests=2, held_bytes=1000, first_bytes=1, window_bytes=1)
    with ThreadPoolExecutor(2) as pool:
        found = list(
            stream_records(
                runs, lambda r: content(r.archive.address, r.start, r.stop), pool, limits
            )
        )
    assert [[len(record) for record in records] for records in found] == [[5000, 5000], [4000]]


def test_a_failure_comes_when_its_turn_comes() -> None:
    runs = [[member("a", i * 1000, (i + 1) * 1000)] for i in range(10)]

    def fetch(wanted: Range) -> bytes:
        if wanted.start <= 4000 < wanted.stop:
            raise FetchError("gone")
        return bytes(wanted.size)

    limits = Limits(first_bytes=1, window_bytes=1)
    with ThreadPoolExecutor(4) as pool:
        stream = stream_records(runs, fetch, pool, limits)
        assert [len(record) for _, (record,) in zip(range(4), stream)] == [1000] * 4  # noqa: B905
        with pytest.raises(FetchError, match="gone"):
            next(stream)


def test_a_reader_that_leaves_cancels_what_was_not_begun() -> None:
    runs = [[member("a", i * 1000, (i + 1) * 1000)] for i in range(100)]
    begun: list[Range] = []
    leave = threading.Event()

    def fetch(wanted: Range) -> bytes:
        begun.append(wanted)
        if len(begun) > 1:
            leave.wait(30)
        return bytes(wanted.size)

    with ThreadPoolExecutor(1) as pool:
        stream = stream_records(runs, fetch, pool, Limits(first_bytes=1, window_bytes=1))
        next(stream)
        while len(begun) < 2:
            time.sleep(0.001)
        stream.close()
        leave.set()
    assert len(begun) == 2


def test_runs_without_members_and_no_runs() -> None:
    with ThreadPoolExecutor(1) as pool:
        fetch = lambda wanted: bytes(wanted.size)  # noqa: E731
        assert list(stream_records([], fetch, pool, Limits())) == []
        found = list(stream_records([[], [member("a", 0, 9)], []], fetch, pool, Limits()))
    assert [len(records) for records in found] == [0, 1, 0]
