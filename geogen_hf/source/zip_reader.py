"""Read members of zip archives in place, decompress and check them.

Nothing is extracted to disk. Members of archives behind URLs are fetched ahead of their use in few
large requests (`prefetch`), those on disk with one positioned read each.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from geogen_hf.errors import ArchiveError
from geogen_hf.images import MAX_PIXELS, PNG_HEADER_BYTES, png_header
from geogen_hf.source.location import ArchiveFile, Location
from geogen_hf.source.prefetch import Limits, Run, stream_records
from geogen_hf.source.zip_directory import LOCAL_HEADER_BYTES, Member, decode_name

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

    Raises:
        ArchiveError: The record is cut short, or local header, size or CRC-32 are not as the
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
    """Read width and height, in pixels, from a PNG, or at least its first `PNG_HEADER_BYTES`.

    Raises:
        ArchiveError: It is not a PNG.
    """
    header = png_header(data)
    if header is None:
        raise _damaged(member, "a PNG file", f"a file beginning {data[:16]!r}")
    width, height = header.size_wh
    if not 0 < width * height <= MAX_PIXELS:
        raise _damaged(member, f"1 to {MAX_PIXELS:,} pixels", f"{width:,} x {height:,}")
    return header.size_wh


class Archives:
    """Archives opened when first needed, closed together; a context manager, for one process."""

    def __init__(self) -> None:
        self._limits = Limits()
        self._open: dict[Location, ArchiveFile] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Archives:
        return self

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
        """Read members' records, unchecked: those behind URLs ahead of their use.

        Args:
            runs: Members used together, such as the images of a subject, in the order of their use.

        Yields:
            The records of each run, in its order; shorter where an archive ends early.

        Raises:
            FetchError: A remote archive cannot be read, or was replaced since it was listed.
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

        Raises:
            ArchiveError: The member is damaged or not a PNG.
        """
        if len(head) < _header_bytes(member, head) + min(member.compressed_size, 128):
            head = self._reader(member).read_range(member.start, member.stop)
        packed = memoryview(head)[_check_header(member, head) :][: member.compressed_size]
        return png_size(member, _decompress(member, packed, PNG_HEADER_BYTES))

    def _reader(self, member: Member) -> ArchiveFile:
        archive = member.archive
        if archive not in self._open:
            self._open[archive] = archive.open()
        return self._open[archive]
