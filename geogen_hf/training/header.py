"""What an encoded image says of itself, read before anything is decoded."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from PIL import Image

from geogen_hf.errors import ImageError, explain
from geogen_hf.records import MAX_PIXELS, PNG_SIGNATURE

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
