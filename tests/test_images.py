"""Decoded pixels are those of Pillow, and nothing damaged or too large is decoded."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geogen_hf import images
from geogen_hf.errors import ImageError
from geogen_hf.images import decode_image, decode_rgb, read_header

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
    assert images._decode_png is not None


@pytest.fixture(params=["kornia_rs", "Pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "Pillow":
        monkeypatch.setattr(images, "_decode_png", None)
    return str(request.param)


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_pillow(name: str, decoder: str) -> None:
    pixels = decode_rgb(IMAGES[name])
    assert pixels.shape == (13, 17, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, by_pillow(IMAGES[name]))


@pytest.mark.parametrize("name", IMAGES)
def test_images_keep_their_mode(name: str) -> None:
    image, expected = decode_image(IMAGES[name]), Image.open(io.BytesIO(IMAGES[name]))
    assert image.mode == expected.mode
    assert image.convert("RGBA").tobytes() == expected.convert("RGBA").tobytes()


def test_texts_that_pillow_writes_again_are_kept() -> None:
    text = chunk(b"tEXt", b"comment\0rendered in June")
    data = IMAGES["rgb"][:33] + text + IMAGES["rgb"][33:]
    assert decode_image(data).info["comment"] == "rendered in June"


def test_plain_images_are_decoded_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_decode_by_pillow", lambda *_: pytest.fail("by Pillow"))
    with_text = IMAGES["rgb"][:33] + chunk(b"tEXt", b"a\0b") + IMAGES["rgb"][33:]
    for data in (IMAGES["rgb"], IMAGES["rgba"], IMAGES["rgb with gamma"], with_text):
        assert decode_rgb(data).shape == (13, 17, 3)


def test_sixteen_bits_of_grey_keep_the_upper_eight() -> None:
    pixels = decode_rgb(saved(Image.fromarray(GREY_16)))
    assert np.array_equal(pixels, np.repeat((GREY_16 >> 8)[..., None], 3, axis=-1))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 6]), st.randoms(use_true_random=False)
)
def test_every_filter_in_any_order(width: int, height: int, colour: int, chance: Any) -> None:
    length = width * (3 if colour == 2 else 4)
    rows = [bytes([chance.randrange(5)]) + chance.randbytes(length) for _ in range(height)]
    data = png(rows, width, 8, colour)
    assert np.array_equal(decode_rgb(data), by_pillow(data))


def test_bytes_after_the_end_do_not_matter() -> None:
    assert np.array_equal(decode_rgb(IMAGES["rgb"] + b"more" * 99), NOISE[..., :3])


ANCILLARY = {
    b"gAMA": struct.pack(">I", 30_000),
    b"tRNS": struct.pack(">HHH", 1, 2, 3),
    b"tEXt": b"Comment\0hello",
    b"iTXt": b"Comment\0\1\0\0\0" + zlib.compress(b"hello"),
    b"iCCP": b"profile\0\0" + zlib.compress(b"profile" * 9),
    b"acTL": struct.pack(">II", 1, 0),
    b"quux": b"unknown",
}


@pytest.mark.parametrize("kind", [None, *ANCILLARY])
def test_every_flipped_byte_is_noticed(kind: bytes | None, decoder: str) -> None:
    good = IMAGES["rgb"]
    if kind:
        extra = chunk(kind, ANCILLARY[kind])
        good = good[:33] + extra + good[33:-12] + extra + good[-12:]
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 0x10
        with pytest.raises(ImageError) as error:
            decode_rgb(bytes(bad), where="subj_00003, view 2")
        assert "subj_00003, view 2" in str(error.value)


def test_damaged_pixels_in_any_chunk_are_noticed(decoder: str) -> None:
    """Also in those that no decoder needs: behind the last pixel, or behind another chunk."""
    good = IMAGES["rgb"]
    (length,) = struct.unpack_from(">I", good, 33)
    packed, end = good[41 : 41 + length], good[-12:]
    pieces = [chunk(b"IDAT", each) for each in (packed[:9], packed[9:], b"", b"what follows")]
    behind = [chunk(b"tIME", bytes(7)), chunk(b"IDAT", b"far behind")]
    for pixels in (pieces, pieces[:2] + behind):
        split = good[:33] + b"".join(pixels) + end
        assert np.array_equal(decode_rgb(split), decode_rgb(good))
        for position in range(33, len(split)):
            bad = bytearray(split)
            bad[position] ^= 0x10
            with pytest.raises(ImageError):
                decode_rgb(bytes(bad))


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_cut_short_is_an_error(name: str, decoder: str) -> None:
    data = IMAGES[name]
    # The last two bytes of a JPEG mark its end, and the pixels are complete without them.
    for kept in range(len(data) - (2 if name == "jpeg" else 0)):
        with pytest.raises(ImageError, match="subj_00003, view 2"):
            decode_rgb(data[:kept], where="subj_00003, view 2")


def bombs() -> dict[str, bytes]:
    """Chunks whose CRC is right, and which no decoder should take."""
    large = zlib.compress(bytes(100_000_000), 9)
    return {
        "gAMA": chunk(b"gAMA", b"12"),
        "tRNS": chunk(b"tRNS", b"123"),
        "cHRM": chunk(b"cHRM", b"1234"),
        "pHYs": chunk(b"pHYs", b"1234"),
        "sRGB": chunk(b"sRGB", b""),
        "fcTL": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", b"1234"),
        "iCCP": chunk(b"iCCP", b"profile\0\0" + large),
        "zTXt": chunk(b"zTXt", b"Comment\0\0" + large),
        "iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + large),
    }


@pytest.mark.parametrize("decode", [decode_rgb, decode_image])
def test_short_chunks_and_chunks_that_unpack_to_much_are_errors(decode: Any, decoder: str) -> None:
    good = IMAGES["rgb"]
    for extra in bombs().values():
        for data in (good[:33] + extra + good[33:], good[:-12] + extra + good[-12:]):
            with pytest.raises(ImageError, match="subj_00003, view 2"):
                decode(data, where="subj_00003, view 2")


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(IMAGES)), st.data())
def test_random_damage_ends_in_an_image_or_an_image_error(name: str, data: st.DataObject) -> None:
    """Also where CRCs are right: what is wrong is inside of chunks, or in other formats."""
    bad = bytearray(IMAGES[name])
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(8, len(bad) - 1))] = data.draw(st.integers(0, 255))
    for decode in (decode_rgb, decode_image):
        with warnings.catch_warnings(), contextlib.suppress(ImageError):
            warnings.simplefilter("ignore")  # Pillow's, of animations and palettes
            decode(with_right_crcs(bytes(bad)))


def with_right_crcs(data: bytes) -> bytes:
    """The same chunks with their CRCs corrected, where it is a PNG."""
    if not data.startswith(b"\x89PNG"):
        return data
    found, position = data[:8], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found += chunk(data[position + 4 : position + 8], data[position + 8 :][:length])
        position += 12 + length
    return found


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31, 1), (10**9, 10**9), (2**31, 0), (0, 9)])
def test_impossible_sizes_are_refused_before_memory_is_allocated(size: tuple[int, int]) -> None:
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    good = IMAGES["rgb"]
    bomb = good[:8] + chunk(b"IHDR", header) + good[33:]
    for read in (decode_rgb, decode_image, read_header):
        with pytest.raises(ImageError, match=r"too large|no pixels") as error:
            read(bomb, where="subj_00003, view 2")
        assert f"{size[0]} x {size[1]}" in str(error.value)
        assert "subj_00003, view 2" in str(error.value)


def test_a_wrong_size_names_what_was_expected() -> None:
    for name in ("rgb", "webp", "jpeg"):
        with pytest.raises(ImageError) as error:
            read_header(IMAGES[name], where="subj_00003, view 2", expected_wh=(17, 14))
        text = str(error.value)
        assert all(part in text for part in ("subj_00003, view 2", "17 x 14", "17 x 13"))
