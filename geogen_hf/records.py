"""Members' bytes, as they lie in an archive, unpacked and checked."""

from __future__ import annotations

import struct

from geogen_hf.archive import Member
from geogen_hf.errors import ArchiveError, explain
from geogen_hf.inflate import InflateError, crc32, inflate_raw

Record = bytes | bytearray | memoryview
"""A member as it lies in the archive: local header, packed bytes, perhaps a data descriptor."""

MAX_PIXELS = 8192 * 8192
"""An image that claims more is not decoded."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_LOCAL_HEADER = struct.Struct("<4s5HLLLHH")
_PNG_HEADER_BYTES = 24


def unpack_png(member: Member, record: Record) -> bytes:
    """As `unpack_member`, and raise `ArchiveError` too if it is not a PNG."""
    data = unpack_member(member, record)
    png_size(member, data)
    return data


def unpack_member(member: Member, record: Record) -> bytes:
    """Take a member's uncompressed bytes out of its record, as `[start, stop)` of the archive.

    Raises:
        ArchiveError: The record is cut short, or size or CRC-32 are not as the directory says.
    """
    packed = packed_bytes(member, record)
    if len(packed) < member.compressed_size:
        raise _damaged(member, f"{member.compressed_size:,} bytes", f"{len(packed):,}: cut short")
    data = _decompress(member, packed, member.size + 1)
    if len(data) != member.size:
        raise _damaged(member, f"{member.size:,} bytes when unpacked", f"{len(data):,} or more")
    if crc32(data) != member.crc:
        raise _damaged(member, f"CRC-32 {member.crc:08x}", f"{crc32(data):08x}")
    return data


def packed_bytes(member: Member, record: Record) -> memoryview:
    """Skip the local header, whose extra field may differ from the directory's.

    Raises:
        ArchiveError: There is no such header.
    """
    if len(record) < _LOCAL_HEADER.size:
        raise _damaged(member, "a local file header", f"{len(record)} bytes: cut short")
    signature, *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(record)
    if signature != b"PK\x03\x04":
        raise _damaged(member, "a local file header", repr(signature))
    data_start = _LOCAL_HEADER.size + name_length + extra_length
    return memoryview(record)[data_start : data_start + member.compressed_size]


def _decompress(member: Member, packed: memoryview, max_size: int) -> bytes:
    if not member.deflated:
        return bytes(packed[:max_size])
    try:
        return inflate_raw(packed, max_size)
    except InflateError as error:
        raise _damaged(member, "a deflate stream", str(error)) from error


def _damaged(member: Member, expected: str, found: str) -> ArchiveError:
    return ArchiveError(
        explain(
            "a member is damaged",
            where=member,
            expected=expected,
            found=found,
            remedy="download this part again, or leave the subject out with on_bad_subject='skip'",
        )
    )


def png_size(member: Member, data: bytes) -> tuple[int, int]:
    """Read width and height, in pixels, from a PNG's header.

    Args:
        member: Where the bytes are from, for the message.
        data: The file, or at least its first 24 bytes.

    Raises:
        ArchiveError: It is not a PNG.
    """
    if data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR" or len(data) < _PNG_HEADER_BYTES:
        raise _damaged(member, "a PNG file", f"a file beginning {data[:16]!r}")
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)


def packed_png_size(member: Member, packed: memoryview) -> tuple[int, int]:
    """As `png_size`, of packed bytes, of which the first hundred or so are enough."""
    return png_size(member, _decompress(member, packed, _PNG_HEADER_BYTES))
