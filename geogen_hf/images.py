"""Read the headers of encoded images, and decode them: the only module that does either.

PNGs with 8 bits a channel, RGB or RGBA, are decoded by `kornia_rs` where it is installed (the extra
`fast`), in a third of Pillow's time. Pillow decodes everything else: WebP, JPEG, and PNGs that are
grey, of 16 bits, interlaced, or have a palette or unusual chunks. Both give the same pixels.

Open this module to change which images are accepted, how large they may be, or which library
decodes them.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.errors import ImageError

if TYPE_CHECKING:
    _decode_png: Callable[[bytes, tuple[int, int], str], NDArray[np.uint8]] | None
else:
    try:
        from kornia_rs.io import decode_image_png_u8 as _decode_png
    except ImportError:
        _decode_png = None

LONGEST_PX = 2048
"""Images are rendered and scaled to at most so many pixels on the longer side."""
MAX_PIXELS = LONGEST_PX * LONGEST_PX
"""An image whose header claims more pixels is refused before any memory is allocated for it."""
_MOST_SHOWN_PX = 1024  # of the longer side: what the proof looks at, and a drawing shows
PNG_HEADER_BYTES = 29
"""So many bytes from the beginning of a PNG are enough for `png_header`."""

Size = tuple[int, int]
"""Width and height in pixels."""
Pixels = NDArray[np.uint8]
"""`(H, W, 3)` uint8 RGB."""
Format = Literal["PNG", "WEBP", "JPEG"]
T = TypeVar("T")

_FORMATS: tuple[Format, ...] = ("PNG", "WEBP", "JPEG")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD = struct.Struct(">8sI4sIIBBBBB")
_MODES: dict[int, Literal["rgb", "rgba"]] = {2: "rgb", 6: "rgba"}
"""By the PNG's colour type."""

# Pillow refuses other lengths of these chunks, kornia_rs ignores the chunks. So PNGs with any other
# chunk, or another length, are left to Pillow, and both accept the same files.
_COMMON_CHUNKS = {b"IHDR": 13, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"tIME": 7}
_CHUNKS_OF_ANY_LENGTH = {b"IDAT", b"IEND"}

# What Pillow's parsers raise on damaged files; the last three as found by damaging files at random.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    struct.error,
    IndexError,
    AssertionError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of an encoded image say."""

    format: Format
    size_wh: Size
    plain_mode: Literal["rgb", "rgba"] | None = None
    """Of a PNG of 8 bits a channel that is not interlaced; None for any other image."""


def read_header(
    data: bytes, *, where: object = None, expected_wh: Size | None = None
) -> ImageHeader:
    """Read and check the header of a PNG, WebP or JPEG; nothing is decoded.

    Raises `ImageError` if these bytes are not an image, or if it has no pixels, more than
    `MAX_PIXELS` or another width and height than expected. `where` is for the message: subject and
    view, or part and member.
    """
    header = png_header(data) or _other_header(data, where)
    width, height = header.size_wh
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageError(
            "an image is too large to decode" if width * height else "an image has no pixels",
            where=where,
            expected=f"1 to {MAX_PIXELS:,} pixels",
            found=f"{width} x {height}",
        )
    if expected_wh is not None and header.size_wh != expected_wh:
        raise ImageError(
            "an image has the wrong size",
            where=where,
            expected=f"{expected_wh[0]} x {expected_wh[1]} pixels",
            found=f"{width} x {height}",
        )
    return header


def png_header(data: bytes) -> ImageHeader | None:
    """Read the header from a PNG, or at least its first `PNG_HEADER_BYTES`; None if it is not one.

    The size that it claims is not checked.
    """
    if len(data) < PNG_HEADER_BYTES:
        return None
    signature, length, kind, width, height, depth, colour, *methods = _PNG_HEAD.unpack_from(data)
    if signature != _PNG_SIGNATURE or kind != b"IHDR" or length != 13:
        return None
    plain = depth == 8 and methods == [0, 0, 0]
    return ImageHeader("PNG", (width, height), _MODES.get(colour) if plain else None)


def _other_header(data: bytes, where: object) -> ImageHeader:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            found = next(name for name in _FORMATS if name == image.format)
            return ImageHeader(found, image.size)
    except _PILLOW_ERRORS as error:
        raise ImageError(
            "these bytes are not an image",
            where=where,
            expected="a PNG, WebP or JPEG file",
            found=f"{len(data):,} bytes beginning {bytes(data[:12])!r}",
        ) from error


def decode_rgb(data: bytes, *, where: object = None, header: ImageHeader | None = None) -> Pixels:
    """Decode a PNG, WebP or JPEG to RGB.

    Alpha is dropped, grey and palettes become RGB, and of 16 bits the upper 8 are kept.

    Args:
        data: The encoded image.
        where: Subject and view, or part and member, for the message.
        header: What `read_header` returned for it, to spare reading it again.

    Returns:
        `(H, W, 3)` uint8; it may be a view of an array with alpha, and may be read-only.

    Raises:
        ImageError: The image is damaged, too large, or not an image.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("RGB", (5, 3), (10, 20, 30)).save(buffer, "PNG")
        >>> decode_rgb(buffer.getvalue())[2, 4].tolist()
        [10, 20, 30]
    """
    header = header or read_header(data, where=where)
    pixels = _decode_plain(data, header, where, ignored={b"tEXt"})
    if pixels is not None:
        return pixels[..., :3]
    return _decode_by_pillow(data, where, _rgb_of)


def decode_small(
    data: bytes, *, where: object = None, header: ImageHeader | None = None
) -> tuple[Pixels, int]:
    """Decode to RGB what is to be looked at; an image longer than 1,024 pixels is reduced.

    As `decode_rgb`; returns also the whole factor by which the picture is smaller.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("RGB", (1030, 3), (10, 20, 30)).save(buffer, "PNG")
        >>> pixels, factor = decode_small(buffer.getvalue())
        >>> pixels.shape, factor
        ((2, 515, 3), 2)
    """
    header = header or read_header(data, where=where)
    factor = -(-max(header.size_wh) // _MOST_SHOWN_PX)
    with pixels_at_a_time(header.size_wh):
        pixels = decode_rgb(data, where=where, header=header)
        return np.asarray(Image.fromarray(pixels).reduce(factor)) if factor > 1 else pixels, factor


_worked_on: list[int] = []  # pixels, one entry a thread
_changed = threading.Condition()


@contextmanager
def pixels_at_a_time(size_wh: Size) -> Iterator[None]:
    """Wait until the threads of this process work on at most `MAX_PIXELS` at a time, this included.

    So memory is bounded by the largest image that is accepted, however many threads there are.
    Nothing that waits for another such block may be in the block.
    """
    pixels = size_wh[0] * size_wh[1]
    with _changed:
        _changed.wait_for(lambda: not _worked_on or sum(_worked_on) + pixels <= MAX_PIXELS)
        _worked_on.append(pixels)
    try:
        yield
    finally:
        with _changed:
            _worked_on.remove(pixels)
            _changed.notify_all()


def _rgb_of(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):  # Pillow's own conversion would clip 16 bits of grey at 255
        grey = np.asarray(image).astype(np.uint32) >> 8
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    return np.asarray(image.convert("RGB"))


def decode_image(
    data: bytes, *, where: object = None, header: ImageHeader | None = None
) -> Image.Image:
    """Decode a PNG, WebP or JPEG, keeping its mode (alpha, grey, 16 bits, palette) and its texts.

    Takes and raises what `decode_rgb` does; the image is loaded.
    """
    header = header or read_header(data, where=where)
    # Pillow writes some texts into the files that it saves, so those are for it to read.
    pixels = _decode_plain(data, header, where, ignored=set())
    if pixels is not None:
        return Image.fromarray(pixels)
    return _decode_by_pillow(data, where, lambda image: image)


def _decode_plain(
    data: bytes, header: ImageHeader, where: object, ignored: set[bytes]
) -> NDArray[np.uint8] | None:
    """Decode what `kornia_rs` is sure to decode as Pillow does; None for anything else.

    The chunks of a PNG are checked in any case; those of the kinds `ignored` may be ignored.
    """
    if header.format != "PNG":
        return None
    if _decode_png is not None and header.plain_mode is not None:
        width, height = header.size_wh
        # It checks the CRCs of pixels itself.
        if not _check_chunks(data, where, unchecked=b"IDAT") - ignored:
            try:
                return _decode_png(data, (height, width), header.plain_mode)
            except Exception:  # noqa: BLE001 (no subclass; the check or Pillow says what is wrong)
                pass
    _check_chunks(data, where)
    return None


def _decode_by_pillow(data: bytes, where: object, convert: Callable[[Image.Image], T]) -> T:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            return convert(image)
    except _PILLOW_ERRORS as error:
        raise _damaged(where, error) from error


def _check_chunks(data: bytes, where: object, unchecked: bytes | None = None) -> set[bytes]:
    """Check the CRC-32 of a PNG's chunks, but for those of one kind; what follows IEND is ignored.

    `kornia_rs` does not look at chunks that do not change pixels, nor at the end of the file;
    Pillow does not look at the CRCs of pixels. So both would return images from damaged files.
    Returns the kinds of chunks that are not common, or not of their common length, and pixels that
    do not come in one run.
    """
    view, position, kind = memoryview(data), len(_PNG_SIGNATURE), b""
    unusual, runs = set(), 0
    while kind != b"IEND":
        if position + 12 > len(data):
            raise _damaged(where, "the file is cut short")
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            raise _damaged(where, "the file is cut short")
        before, kind = kind, bytes(view[position + 4 : position + 8])
        crc = int.from_bytes(view[end : end + 4], "big")
        if kind != unchecked and zlib.crc32(view[position + 4 : end]) != crc:
            raise _damaged(where, f"wrong CRC-32 of chunk {kind!r} at byte {position:,}")
        if kind not in _CHUNKS_OF_ANY_LENGTH and _COMMON_CHUNKS.get(kind) != length:
            unusual.add(kind)
        runs += kind == b"IDAT" != before
        position = end + 4
    return unusual | {b"IDAT"} if runs > 1 else unusual


def _damaged(where: object, reason: object) -> ImageError:
    return ImageError(
        "an image does not decode",
        where=where,
        found=reason,
        remedy="check the folder with geogen verify, or the zips with geogen inspect",
    )
