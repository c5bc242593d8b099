"""Read members of zip archives in place, decompress and check them.

Nothing is extracted to disk. `unpack_member` says what is checked. `Archives` reads members on disk
with one positioned read each, and fetches those of archives behind URLs ahead of their use, in few
large requests (`stream_records`): subjects come in windows, and the records of a window, whichever
archives they are in, are merged into ranges, so that by-subject and by-view releases both need few
requests. Requests for the windows to come are under way while the present one is used, within
bounds of number and bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from geogen_hf.errors import ArchiveError
from geogen_hf.images import MAX_PIXELS, PNG_HEADER_BYTES, png_header
from geogen_hf.source.files import ArchiveFile, open_file
from geogen_hf.source.parts import Location
from geogen_hf.source.zip_directory import LOCAL_HEADER_BYTES, Member, decode_name

MAX_GAP = 8 * 2**10
"""Bytes that may be fetched for nothing to spare a request: 4 % of a render of 200 KB."""
MAX_RANGE = 3 * 2**19
"""A range larger than this is cut at the next member, so that several requests share the work."""

Run = Sequence[Member]
"""Members that are used together, such as the images of one subject."""
Record = bytes | bytearray | memoryview
"""A member as it lies in the archive: local header, packed bytes, perhaps a data descriptor."""

# APPNOTE 4.3.7: signature, version, flags, method, time, date, CRC-32, packed size, size, lengths
# of name and extra field.
_LOCAL_HEADER = struct.Struct("<4s5HLLLHH")
_DESCRIPTOR = 0x8  # CRC-32 and sizes may be zero in the local header: they follow the data.
_EFFORT = 0x6  # How hard the packer tried: reading does not depend on it.
_IN_ZIP64 = 0xFFFFFFFF
_HEAD_BYTES = 512  # Local headers are about 80, and a PNG's header is in the first few packed ones.


def unpack_png(member: Member, record: Record) -> bytes:
    """As `unpack_member`, and raise `ArchiveError` too if it is not a PNG."""
    data = unpack_member(member, record)
    png_size(member, data)
    return data


def unpack_member(member: Member, record: Record) -> bytes:
    """Take a member's uncompressed bytes out of its record, as `[start, stop)` of the archive.

    Raises `ArchiveError` if the record is cut short, or local header, size or CRC-32 are not as the
    directory says.
    """
    data_start = _check_header(member, record)
    packed = memoryview(record)[data_start : data_start + member.compressed_size]
    if len(packed) < member.compressed_size:
        raise _damaged(member, f"{member.compressed_size:,} bytes", f"{len(packed):,}: cut short")
    # One byte more than the directory says, so that a member that lies about its size stops early.
    data = _decompress(member, packed, member.size + 1)
    if len(data) != member.size:
        raise _damaged(member, f"{member.size:,} bytes when unpacked", f"{len(data):,} or more")
    crc = zlib.crc32(data)
    if crc != member.crc:
        raise _damaged(member, f"CRC-32 {member.crc:08x}", f"{crc:08x}")
    return data


def _check_header(member: Member, record: Record) -> int:
    """Compare a record's local header with the directory (APPNOTE 4.3.7, 4.4).

    An archive whose directory names one member's record as another's shows in nothing else: size
    and CRC-32 are then those of the wrong file. Returns where the packed bytes begin in the record:
    the local extra field may differ from the directory's.
    """
    data_start = _header_bytes(member, record)
    if len(record) < data_start:
        raise _damaged(member, f"a header of {data_start:,} bytes", f"{len(record):,}: cut short")
    _, _, flags, method, _, _, *checks, name_length, _ = _LOCAL_HEADER.unpack_from(record)
    name_stop = LOCAL_HEADER_BYTES + name_length
    name = decode_name(bytes(record[LOCAL_HEADER_BYTES:name_stop]), flags)
    if _IN_ZIP64 in checks[1:]:
        extra = bytes(record[name_stop:data_start])
        checks[1:] = _zip64_sizes(checks[1], checks[2], extra)
    if flags & _DESCRIPTOR:
        checks = [told or wanted for told, wanted in zip(checks, _checks(member), strict=True)]
    method_wanted = zlib.DEFLATED if member.deflated else 0
    for what, wanted, found in (
        ("the name", member.name, name),
        ("flags", member.flags & ~_EFFORT, flags & ~_EFFORT),
        ("method", method_wanted, method),
        *zip(("CRC-32", "packed size", "size"), _checks(member), checks, strict=True),
    ):
        if found != wanted:
            form = "#x" if what in ("flags", "CRC-32") else ","
            one, other = (
                ascii(value[:100]) if isinstance(value, str) else format(value, form)
                for value in (wanted, found)
            )
            expected = f"{what} {one} in the local header, as in the directory"
            raise _damaged(member, expected, other)
    return data_start


def _header_bytes(member: Member, record: Record) -> int:
    """Read the length of a local header with its name and its extra field."""
    if len(record) < LOCAL_HEADER_BYTES:
        raise _damaged(member, "a local file header", f"{len(record)} bytes: cut short")
    signature, *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(record)
    if signature != b"PK\x03\x04":
        raise _damaged(member, "a local file header", repr(signature))
    return LOCAL_HEADER_BYTES + int(name_length) + int(extra_length)


def _checks(member: Member) -> tuple[int, int, int]:
    """What a data descriptor holds (APPNOTE 4.3.9)."""
    return member.crc, member.compressed_size, member.size


def _zip64_sizes(packed_size: int, size: int, extra: bytes) -> tuple[int, int]:
    """Look sizes up in a local header's zip64 field (APPNOTE 4.5.3), if it has one."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        if kind == 1 and place + 20 <= len(extra):
            long_size, long_packed = struct.unpack_from("<QQ", extra, place + 4)
            packed_size = long_packed if packed_size == _IN_ZIP64 else packed_size
            return packed_size, long_size if size == _IN_ZIP64 else size
        place += 4 + length
    return packed_size, size


def _decompress(member: Member, packed: memoryview, max_size: int) -> bytes:
    if not member.deflated:
        return bytes(packed[:max_size])
    try:
        # Negative: a raw stream without zlib's header, as zip members hold it (APPNOTE 4.4.5).
        return zlib.decompressobj(wbits=-15).decompress(packed, max_size)
    except zlib.error as error:
        raise _damaged(member, "a deflate stream", str(error)) from error


def _damaged(member: Member, expected: str, found: str) -> ArchiveError:
    return ArchiveError(
        "a member is damaged",
        where=member,
        expected=expected,
        found=found,
        remedy="download this part again, or leave the subject out with on_bad_subject='skip'",
    )


def png_size(member: Member, data: bytes) -> tuple[int, int]:
    """Read width and height, in pixels, from a PNG, or at least its first `PNG_HEADER_BYTES`."""
    header = png_header(data)
    if header is None:
        raise _damaged(member, "a PNG file", f"a file beginning {data[:16]!r}")
    width, height = header.size_wh
    if not 0 < width * height <= MAX_PIXELS:
        raise _damaged(member, f"1 to {MAX_PIXELS:,} pixels", f"{width:,} x {height:,}")
    return header.size_wh


@dataclass
class Range:
    """One request: the bytes `[start, stop)` of an archive, and the members that they hold.

    `future` has the bytes, once they are asked for, as long as `uses` of them are still to come.
    """

    archive: Location
    start: int
    stop: int
    members: tuple[Member, ...]
    uses: int = 0
    future: Future[bytes | bytearray] | None = None

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Limits:
    """How far ahead of its use a stream may fetch."""

    requests: int = 12  # at a time
    held_bytes: int = 16 * 2**20
    """Fetched, or being fetched, and not used yet; only a single range may be larger."""
    first_bytes: int = 2**19
    window_bytes: int = 8 * 2**20
    """Subjects are gathered into windows: until they have `first_bytes` in the first, which the
    first row waits for, and twice as many in each next one, up to `window_bytes`."""


def plan_ranges(
    members: Iterable[Member], *, max_gap: int = MAX_GAP, max_range: int = MAX_RANGE
) -> tuple[Range, ...]:
    """Merge members' records into ranges, in the order of first use; each member is in one of them.

    Records at most `max_gap` bytes apart are fetched together with what is between, unless the
    range would then have more than `max_range` bytes.
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
    """Gather runs into windows that grow, in their order, as `Limits` says."""
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


def stream_records(
    runs: Iterable[Run],
    fetch: Callable[[Range], bytes | bytearray],
    executor: Executor,
    limits: Limits,
) -> Iterator[list[memoryview]]:
    """Yield the records of each run, as far as the archive has them, fetched ahead of their use.

    `fetch` reads one range in a thread of the executor, which has `limits.requests` of them and
    stays open. What it raises is raised when its turn comes.
    """
    windows = plan_windows(runs, limits.first_bytes, limits.window_bytes)
    planned: deque[list[tuple[Member, Range]]] = deque()
    waiting: deque[Range] = deque()
    under_way: set[Future[bytes | bytearray]] = set()
    held_bytes = 0

    def plan() -> bool:
        """Plan one more window, if there is one."""
        for window in windows:
            ranges = plan_ranges(member for run in window for member in run)
            waiting.extend(ranges)
            where = {member: found for found in ranges for member in found.members}
            planned.extend([(member, where[member]) for member in run] for run in window)
            for member in (member for run in window for member in run):
                where[member].uses += 1
            return True
        return False

    def start() -> None:
        nonlocal held_bytes
        wanted = waiting.popleft()
        held_bytes += wanted.size
        wanted.future = executor.submit(fetch, wanted)
        under_way.add(wanted.future)
        wanted.future.add_done_callback(under_way.discard)

    def started(wanted: Range) -> Future[bytes | bytearray]:
        while wanted.future is None:  # needed now, whatever the limits say
            start()
        return wanted.future

    try:
        while planned or plan():
            run, records = planned.popleft(), []
            futures = [started(found) for _, found in run]
            for (member, found), future in zip(run, futures, strict=True):
                first = member.start - found.start
                last = first + member.stop - member.start
                records.append(memoryview(future.result())[first:last])
            # Only now, so that the first run shares the connection with nothing else. A queue twice
            # as long as the workers keeps them busy; further requests may as well wait. A window of
            # runs without members has nothing to start.
            while len(under_way) < 2 * limits.requests and (waiting or plan()):
                if waiting:
                    if held_bytes and held_bytes + waiting[0].size > limits.held_bytes:
                        break
                    start()
            yield records
            records = []
            for _, found in run:
                found.uses -= 1
                if found.uses == 0:
                    held_bytes -= found.size
                    found.future = None
    finally:
        for future in list(under_way):
            future.cancel()


class Archives(AbstractContextManager["Archives"]):
    """Archives opened when first needed, closed together; a context manager, for one process."""

    def __init__(self) -> None:
        self._limits = Limits()
        self._open: dict[Location, ArchiveFile] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; reads under way for `records` give up."""
        for reader in self._open.values():
            reader.close()
        if self._pool is not None:
            # Not waiting: the readers, closed, give up by themselves.
            self._pool.shutdown(wait=False, cancel_futures=True)

    def abort(self) -> None:
        """End reads that another thread is waiting in; those of files on disk do not wait."""
        for location, reader in list(self._open.items()):
            if location.remote:
                reader.close()

    def records(self, runs: Sequence[Run]) -> Iterator[Sequence[Record]]:
        """Read the records of each run, unchecked: those behind URLs ahead of their use.

        They are shorter where an archive ends early. Raises `FetchError` where a remote archive
        cannot be read, or was replaced since it was listed.
        """
        readers = {member.archive: self._reader(member) for run in runs for member in run}
        if not any(location.remote for location in readers):
            for run in runs:
                yield [readers[m.archive].read_range(m.start, m.stop) for m in run]
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._limits.requests, "geogen-fetch")
        yield from stream_records(
            runs,
            lambda wanted: readers[wanted.archive].read_range(wanted.start, wanted.stop),
            self._pool,
            self._limits,
        )

    def heads(self, runs: Sequence[Run]) -> Iterator[Sequence[Record]]:
        """As `records`, but only the first bytes of each, enough for `png_size_from`."""
        return self.records(
            [[replace(m, stop=min(m.stop, m.start + _HEAD_BYTES)) for m in run] for run in runs]
        )

    def png_size_from(self, member: Member, head: Record) -> tuple[int, int]:
        """Tell width and height, in pixels, from the first bytes of a member, as of `heads`.

        Should its local header be so long that these do not suffice, the rest is read.
        """
        if len(head) < _header_bytes(member, head) + min(member.compressed_size, 128):
            head = self._reader(member).read_range(member.start, member.stop)
        packed = memoryview(head)[_check_header(member, head) :][: member.compressed_size]
        return png_size(member, _decompress(member, packed, PNG_HEADER_BYTES))

    def _reader(self, member: Member) -> ArchiveFile:
        archive = member.archive
        if archive not in self._open:
            self._open[archive] = open_file(archive)
        return self._open[archive]
