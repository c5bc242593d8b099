"""Fetch members of remote archives ahead of their use, in few large requests.

`plan_ranges` and `plan_windows` decide what is requested together, and `stream_records` fetches it
in threads. Subjects come in windows. The records of a window, whichever archives they are in, are
merged into ranges, so that by-subject and by-view releases both need few requests. Requests for the
windows to come are under way while the present one is used, within bounds of number and bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from geogen_hf.source.location import Location
from geogen_hf.source.zip_directory import Member

MAX_GAP = 8 * 2**10
"""Bytes that may be fetched for nothing to spare a request: 4 % of a render of 200 KB."""
MAX_RANGE = 3 * 2**19
"""A range larger than this is cut at the next member, so that several requests share the work."""

Run = Sequence[Member]
"""Members that are used together: the images of one subject."""


@dataclass(frozen=True, slots=True)
class Range:
    """One request: the bytes `[start, stop)` of an archive, and the members that they hold."""

    archive: Location
    start: int
    stop: int
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Limits:
    """How far ahead of its use a stream may fetch.

    Attributes:
        requests: At most so many at a time.
        held_bytes: Fetched, or being fetched, and not used yet; only a single range may be larger.
        first_bytes: Subjects are gathered into a window until they have so many bytes: this many in
            the first, which the first row waits for, and twice as many in each next one …
        window_bytes: … up to so many.
    """

    requests: int = 12
    held_bytes: int = 16 * 2**20
    first_bytes: int = 2**19
    window_bytes: int = 8 * 2**20


def plan_ranges(
    members: Iterable[Member], *, max_gap: int = MAX_GAP, max_range: int = MAX_RANGE
) -> tuple[Range, ...]:
    """Merge members' records into ranges, in the order of first use; each member is in one of them.

    Args:
        members: In the order in which they will be used; one asked for twice is fetched once.
        max_gap: Records so many bytes apart, or fewer, are fetched together with what is between.
        max_range: Nothing is merged into a range of more bytes than this.

    Example:
        >>> zipped = Location("a.zip")
        >>> at = lambda start, stop: Member(zipped, str(start), start, stop, 1, 1, 0, False)
        >>> ranges = plan_ranges([at(500, 600), at(0, 100), at(110, 200)], max_gap=10)
        >>> [(r.start, r.stop, len(r.members)) for r in ranges]
        [(500, 600, 1), (0, 200, 2)]
    """
    first_use: dict[Member, int] = {}
    for member in members:
        first_use.setdefault(member, len(first_use))
    groups: list[list[Member]] = []
    stop = 0
    for member in sorted(first_use, key=lambda m: (m.archive.address, m.start, m.stop)):
        group = groups[-1] if groups else []
        if (
            group
            and group[0].archive == member.archive
            and member.start - stop <= max_gap
            and max(stop, member.stop) - group[0].start <= max_range
        ):
            group.append(member)
            stop = max(stop, member.stop)
        else:
            groups.append([member])
            stop = member.stop
    groups.sort(key=lambda group: min(first_use[member] for member in group))
    return tuple(
        Range(group[0].archive, group[0].start, max(m.stop for m in group), tuple(group))
        for group in groups
    )


def plan_windows(runs: Iterable[Run], first_bytes: int, window_bytes: int) -> Iterator[list[Run]]:
    """Gather runs into windows that grow, in their order.

    The first window is full when its records have `first_bytes`, each next one when they have twice
    as many as the last was to have, but at most `window_bytes`.
    """
    window: list[Run] = []
    gathered, enough = 0, first_bytes
    for run in runs:
        window.append(run)
        gathered += sum(member.stop - member.start for member in run)
        if gathered >= enough:
            yield window
            window, gathered, enough = [], 0, min(2 * enough, window_bytes)
    if window:
        yield window


@dataclass
class _Fetch:
    """A range, and its bytes when they are there."""

    range: Range
    uses: int
    future: Future[bytes | bytearray] | None = None


@dataclass
class _Ahead:
    """What is planned, what is under way and what is held."""

    fetch: Callable[[Range], bytes | bytearray]
    executor: Executor
    limits: Limits
    windows: Iterator[list[Run]]
    runs: deque[list[tuple[Member, _Fetch]]] = field(default_factory=deque)
    waiting: deque[_Fetch] = field(default_factory=deque)
    under_way: set[Future[bytes | bytearray]] = field(default_factory=set)
    held_bytes: int = 0

    def plan(self) -> bool:
        """Plan one more window, if there is one."""
        window = next(self.windows, None)
        if window is None:
            return False
        where: dict[Member, _Fetch] = {}
        for planned in plan_ranges(member for run in window for member in run):
            fetch = _Fetch(planned, uses=0)
            self.waiting.append(fetch)
            where.update(dict.fromkeys(planned.members, fetch))
        for run in window:
            for member in run:
                where[member].uses += 1
            self.runs.append([(member, where[member]) for member in run])
        return True

    def start_next(self) -> None:
        fetch = self.waiting.popleft()
        self.held_bytes += fetch.range.size
        fetch.future = self.executor.submit(self.fetch, fetch.range)
        self.under_way.add(fetch.future)
        fetch.future.add_done_callback(self.under_way.discard)

    def top_up(self) -> None:
        """Start what the limits allow, planning further windows as needed."""
        # A queue twice as long as the workers keeps them busy; further requests may as well wait.
        while len(self.under_way) < 2 * self.limits.requests and (self.waiting or self.plan()):
            if not self.waiting:
                continue  # a window of runs without members
            size = self.waiting[0].range.size
            if self.held_bytes and self.held_bytes + size > self.limits.held_bytes:
                return
            self.start_next()

    def bytes_of(self, fetch: _Fetch) -> bytes | bytearray:
        """Wait for a range; what is needed now is started whatever the limits say."""
        while fetch.future is None:
            self.start_next()
        return fetch.future.result()

    def release(self, run: list[tuple[Member, _Fetch]]) -> None:
        """Let go of ranges that nothing needs any more."""
        for _, fetch in run:
            fetch.uses -= 1
            if fetch.uses == 0:
                self.held_bytes -= fetch.range.size
                fetch.future = None


def stream_records(
    runs: Iterable[Run],
    fetch: Callable[[Range], bytes | bytearray],
    executor: Executor,
    limits: Limits,
) -> Iterator[list[memoryview]]:
    """Yield the records of each run, as far as the archive has them, fetched ahead of their use.

    Args:
        runs: Members used together, in the order of their use.
        fetch: Reads one range; called in the executor's threads. What it raises is raised when its
            turn comes.
        executor: Has `limits.requests` threads; stays open.
        limits: How far ahead to fetch.
    """
    windows = plan_windows(runs, limits.first_bytes, limits.window_bytes)
    ahead = _Ahead(fetch, executor, limits, windows)
    try:
        while True:
            ahead.top_up()
            if not ahead.runs and not ahead.plan():
                return
            run = ahead.runs.popleft()
            records = []
            for member, fetching in run:
                data = memoryview(ahead.bytes_of(fetching))
                start = member.start - fetching.range.start
                records.append(data[start : start + member.stop - member.start])
            yield records
            del records
            ahead.release(run)
    finally:
        for future in list(ahead.under_way):
            future.cancel()
