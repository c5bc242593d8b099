"""Decoded pixels are Pillow's, and nothing damaged or oversized is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geogen_hf import images as decode
from geogen_hf.errors import ImageError
from geogen_hf.images import read_header

pytestmark = pytest.mark.datasets

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (13, 17, 4), dtype=np.uint8)
GREY_16 = RNG.integers(0, 2**16, (13, 17), dtype=np.uint16)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(
    rows: list[bytes], width: int, depth: int, colour: int, interlace: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG of rows that are filtered already."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
        + chunk(b"IDAT", pixels[:40]) + chunk(b"IDAT", pixels[40:]) + chunk(b"IEND", b"")
    )  # fmt: skip


def interlaced(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The same in the seven passes of Adam7."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)]  # fmt: skip
    rows = [
        b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size
    ]
    height, width, _ = pixels.shape
    data = zlib.compress(b"".join(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


RGB = Image.fromarray(NOISE[..., :3])
IMAGES = {
    "rgb": saved(RGB),
    "rgba": saved(Image.fromarray(NOISE)),
    "grey": saved(RGB.convert("L")),
    "grey and alpha": saved(Image.fromarray(NOISE).convert("LA")),
    "one bit": saved(RGB.convert("1")),
    "palette": saved(RGB.quantize(60)),
    "palette of 4": saved(RGB.quantize(4)),
    "palette with alpha": saved(RGB.quantize(60), transparency=3),
    "rgb with a transparent colour": saved(RGB, transparency=(1, 2, 3)),
    "rgb of 16 bits": png([b"\0" + RNG.bytes(17 * 6) for _ in range(13)], 17, 16, 2),
    "rgb with gamma": png([b"\0" + RNG.bytes(51) for _ in range(13)], 17, 8, 2,
                          extra=chunk(b"gAMA", struct.pack(">I", 30_000))),
    "interlaced": interlaced(np.ascontiguousarray(NOISE[..., :3])),
    "webp": saved(RGB, "WEBP", lossless=True),
    "jpeg": saved(RGB, "JPEG", quality=90),
}  # fmt: skip


def by_pillow(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_fast_decoder_is_there() -> None:
    assert decode.FAST


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_pillow(name: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(decode, "_load_png", None)
    pixels = decode.decode_rgb(IMAGES[name])
    assert pixels.shape == (13, 17, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, by_pillow(IMAGES[name]))


def test_plain_is_what_all_decoders_read_alike() -> None:
    plain = {name for name, data in IMAGES.items() if read_header(data).plain_png}
    assert plain == {"rgb", "rgba", "rgb with a transparent colour", "rgb with gamma"}


def test_sixteen_bits_of_grey_keep_the_upper_eight() -> None:
    pixels = decode.decode_rgb(saved(Image.fromarray(GREY_16)))
    assert np.array_equal(pixels, np.repeat((GREY_16 >> 8)[..., None], 3, axis=-1))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 6]), st.randoms(use_true_random=False)
)
def test_every_filter_in_any_order(width: int, height: int, colour: int, chance: Any) -> None:
    length = width * (3 if colour == 2 else 4)
    rows = [bytes([chance.randrange(5)]) + chance.randbytes(length) for _ in range(height)]
    data = png(rows, width, 8, colour)
    assert np.array_equal(decode.decode_rgb(data), by_pillow(data))


def test_bytes_after_the_end_do_not_matter() -> None:
    assert np.array_equal(decode.decode_rgb(IMAGES["rgb"] + b"more" * 99), NOISE[..., :3])


@pytest.mark.parametrize("name", ["rgb", "rgba"])
def test_every_flipped_byte_of_the_pixels_is_noticed(name: str) -> None:
    good = IMAGES[name]
    for position in range(33, len(good)):
        bad = bytearray(good)
        bad[position] ^= 0x10
        with pytest.raises(ImageError, match="does not decode") as error:
            decode.decode_rgb(bytes(bad), where="subj_00003, view 2")
        assert "subj_00003, view 2" in str(error.value)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_what_is_cut_short_is_an_error(name: str, kept: float) -> None:
    data = IMAGES[name]
    with pytest.raises(ImageError):
        decode.decode_rgb(data[: int(len(data) * kept)])


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1)])
def test_a_bomb_is_not_decoded(size: tuple[int, int]) -> None:
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    good = IMAGES["rgb"]
    bomb = good[:8] + chunk(b"IHDR", header) + good[33:]
    with pytest.raises(ImageError, match="too large") as error:
        decode.decode_rgb(bomb, where="subj_00003, view 2")
    assert f"{size[0]} x {size[1]}" in str(error.value)


def test_a_wrong_size_names_what_was_expected() -> None:
    for name in ("rgb", "webp", "jpeg"):
        with pytest.raises(ImageError) as error:
            read_header(IMAGES[name], where="subj_00003, view 2", expected_wh=(17, 14))
        text = str(error.value)
        assert all(part in text for part in ("subj_00003, view 2", "17 x 14", "17 x 13"))
