"""Encoded images to RGB pixels: by `pyspng` where it is sure to give what Pillow gives, sooner.

`pyspng` (libspng) reads plain PNGs in 0.6 of Pillow's time, but does not look at checksums; so
those of every chunk are checked here first, whoever decodes. Anything else is Pillow's: other
formats, palettes, grey, 16 bits, interlacing; and everything where `pyspng` is not installed (extra
`fast`).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.errors import ImageError, explain

if TYPE_CHECKING:
    _load_png: Callable[[bytes], NDArray[np.uint8]] | None = None
else:
    try:
        from pyspng import load as _load_png
    except ImportError:
        _load_png = None


MAX_PIXELS = 8192 * 8192
"""An image that claims more is not decoded."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Size = tuple[int, int]
"""Height and width in pixels."""

_PNG_HEAD = struct.Struct(">8sI4sIIBBBBB")


@dataclass(frozen=True)
class ImageHeader:
    """The first facts about an encoded image.

    Attributes:
        size_wh: Width and height in pixels, as the file claims.
        plain_png: Whether it is a PNG of 8 bits a channel, RGB or RGBA, not interlaced: what every
            decoder reads alike.
    """

    size_wh: tuple[int, int]
    plain_png: bool


def read_header(
    data: bytes, *, where: str | None = None, expected_wh: tuple[int, int] | None = None
) -> ImageHeader:
    """Read and check the header of a PNG, WebP or JPEG; nothing is decoded.

    Args:
        data: The encoded image.
        where: Subject and view, for the message.
        expected_wh: Width and height that it must have; None for any.

    Returns:
        What it says.

    Raises:
        ImageError: It is no image, claims more than `MAX_PIXELS` pixels, or another size than
            expected.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("RGB", (5, 3)).save(buffer, "PNG")
        >>> read_header(buffer.getvalue())
        ImageHeader(size_wh=(5, 3), plain_png=True)
    """
    header = _png_header(data) or _other_header(data, where)
    width, height = header.size_wh
    if width * height > MAX_PIXELS:
        raise ImageError(
            explain(
                "an image is too large to decode",
                where=where,
                expected=f"at most {MAX_PIXELS:,} pixels",
                found=f"{width} x {height}",
            )
        )
    if expected_wh is not None and header.size_wh != expected_wh:
        raise ImageError(
            explain(
                "an image has the wrong size",
                where=where,
                expected=f"{expected_wh[0]} x {expected_wh[1]} pixels",
                found=f"{width} x {height}",
            )
        )
    return header


def _png_header(data: bytes) -> ImageHeader | None:
    if len(data) < _PNG_HEAD.size:
        return None
    signature, length, kind, width, height, depth, colour, *methods = _PNG_HEAD.unpack_from(data)
    if signature != PNG_SIGNATURE or kind != b"IHDR" or length != 13:
        return None
    plain = depth == 8 and colour in (2, 6) and methods == [0, 0, 0]
    return ImageHeader((width, height), plain)


def _other_header(data: bytes, where: str | None) -> ImageHeader:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG")) as image:
            return ImageHeader(image.size, plain_png=False)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(
            explain(
                "these bytes are no image",
                where=where,
                expected="a PNG, WebP or JPEG file",
                found=f"{len(data):,} bytes beginning {data[:12]!r}",
            )
        ) from error


Pixels = NDArray[np.uint8]
"""`(H, W, 3)` uint8 RGB."""

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
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
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
