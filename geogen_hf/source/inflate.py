"""Decompression and checksums, by ISA-L where it is installed: the same bytes, sooner.

ISA-L may return with the upper halves of the vector registers in use. Until something clears them,
what else the thread does in older vector instructions may take longer: decoding a PNG by libspng a
quarter. NumPy's loops clear them, so a tiny one follows each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import zlib as backend
else:
    try:
        from isal import isal_zlib as backend
    except ImportError:  # no wheel for this platform
        import zlib as backend

_FEW = np.ones(64, np.uint8)

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
    inflated = inflater.decompress(data, max_size)
    np.add(_FEW, _FEW)
    return inflated


def crc32(data: bytes | memoryview) -> int:
    """Checksum as zip directories hold it (ISO 3309)."""
    checksum = backend.crc32(data)
    np.add(_FEW, _FEW)
    return checksum
