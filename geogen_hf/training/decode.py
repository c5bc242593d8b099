"""Encoded images to RGB pixels: by `pyspng` where it is sure to give what Pillow gives, sooner.

`pyspng` (libspng) reads plain PNGs in 0.6 of Pillow's time, but does not look at checksums; so
those of every chunk are checked here first, whoever decodes. Anything else is Pillow's: other
formats, palettes, grey, 16 bits, interlacing; and everything where `pyspng` is not installed (extra
`fast`).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.errors import ImageError, explain
from geogen_hf.inflate import crc32
from geogen_hf.records import PNG_SIGNATURE
from geogen_hf.training.header import ImageHeader, read_header

Pixels = NDArray[np.uint8]
"""`(H, W, 3)` uint8 RGB."""

_load_png: Callable[[bytes], Pixels] | None

if TYPE_CHECKING:
    _load_png = None
else:
    try:
        from pyspng import load as _load_png
    except ImportError:
        _load_png = None

FAST = _load_png is not None
"""Whether `pyspng` is there."""


def decode_rgb(
    data: bytes, *, where: str | None = None, header: ImageHeader | None = None
) -> Pixels:
    """Decode a PNG, WebP or JPEG.

    Alpha is dropped, grey and palettes become RGB, and of 16 bits the upper 8 are kept.

    Args:
        data: The encoded image.
        where: Subject and view, for the message.
        header: What `read_header` said of it; None to read it here.

    Returns:
        `(H, W, 3)` uint8; perhaps a view of an array with alpha, perhaps read-only.

    Raises:
        ImageError: The image is damaged, too large, or none.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("RGB", (5, 3), (10, 20, 30)).save(buffer, "PNG")
        >>> decode_rgb(buffer.getvalue())[2, 4].tolist()
        [10, 20, 30]
    """
    header = header or read_header(data, where=where)
    if data.startswith(PNG_SIGNATURE):
        _check_chunks(data, where)
    if _load_png is not None and header.plain_png:
        try:
            return _load_png(data)[..., :3]  # naming a format makes it convert, which takes longer
        except (RuntimeError, ValueError) as error:
            raise _damaged(where, error) from error
    return _decode_by_pillow(data, where)


def _decode_by_pillow(data: bytes, where: str | None) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG")) as image:
            if image.mode.startswith("I"):  # Pillow would clip 16 bits of grey at 255
                grey = np.asarray(image).astype(np.uint32) >> 8
                return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(where, error) from error


def _check_chunks(data: bytes, where: str | None) -> None:
    """Check the CRC of every chunk of a PNG up to its end; what follows that is ignored."""
    view, position, kind = memoryview(data), 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise _damaged(where, "the file is cut short")
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise _damaged(where, "the file is cut short")
        kind = data[position + 4 : position + 8]
        if crc32(view[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise _damaged(where, f"wrong CRC-32 of chunk {kind!r} at byte {position:,}")
        position = end + 4


def _damaged(where: str | None, reason: object) -> ImageError:
    return ImageError(
        explain(
            "an image does not decode",
            where=where,
            found=reason,
            remedy="check the folder with geogen verify, or the zips with geogen inspect",
        )
    )
