"""Decompression and checksums, by ISA-L where it is installed: the same bytes, sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zlib as backend
else:
    try:
        from isal import isal_zlib as backend
    except ImportError:  # no wheel for this platform
        import zlib as backend

InflateError: type[Exception] = backend.error
"""What a damaged stream raises."""


def inflate_raw(data: bytes | memoryview, max_size: int) -> bytes:
    """Decompress a raw deflate stream, as zip members hold it.

    Args:
        data: The compressed bytes.
        max_size: Stop after so many bytes, however many more the stream would give.

    Returns:
        At most `max_size` bytes; fewer where the stream ends or breaks off earlier.

    Raises:
        InflateError: The stream is damaged.
    """
    inflater = backend.decompressobj(wbits=-15)
    return inflater.decompress(data, max_size)


def crc32(data: bytes | memoryview) -> int:
    """Checksum as zip directories hold it (ISO 3309)."""
    return backend.crc32(data)
