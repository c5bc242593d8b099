"""Two fingerprints of a picture: one of its exact pixels, one of what it looks like."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from PIL import Image

GRID = 16
"""The look of a picture is 16 x 16 comparisons of neighbouring cells."""
NEAR_BITS = 6
"""Pictures whose looks differ in at most so many of the 256 bits count as near-duplicates."""
UNDECODABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on damaged files, one or another by where the damage is."""


@dataclass(frozen=True)
class Picture:
    """What is kept of a decoded image.

    Attributes:
        size: Width and height, pixels.
        pixels: 128-bit digest of mode, size and decoded pixels.
        look: 32 bytes, 256 bits of difference hash.
    """

    size: tuple[int, int]
    pixels: bytes
    look: bytes


def fingerprint(data: bytes) -> Picture:
    """Decode an image and take its fingerprints.

    Args:
        data: The encoded file: PNG, WebP or JPEG.

    Returns:
        Its fingerprints.

    Raises:
        Exception: One of `UNDECODABLE`: it does not decode.
    """
    image = Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG"))
    image.load()
    digest = xxhash.xxh3_128(f"{image.mode}{image.size}".encode())
    digest.update(_memory(image))
    return Picture(image.size, digest.digest(), _look(image))


def _memory(image: Image.Image) -> bytes | pa.Buffer:
    """The decoded pixels: where Pillow lends its memory (11.3 and later), without copying them."""
    if hasattr(image, "__arrow_c_array__"):
        try:
            return pa.array(image).buffers()[-1]
        except ValueError:  # a mode that it does not lend, or an image in several blocks
            pass
    return image.tobytes()


def _look(image: Image.Image) -> bytes:
    """Difference hash: is each cell clearly brighter than its left neighbour?

    N. Krawetz, "Kind of like that" (2013), with a margin, so that noise on an even background sets
    no bits.
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    # Made small before it is made grey: that is less to do.
    small = image.resize((GRID + 1, GRID), Image.Resampling.BOX, reducing_gap=2.0)
    cells = np.asarray(small.convert("L")).astype(np.int16)
    return np.packbits(cells[:, 1:] > cells[:, :-1] + 2).tobytes()


def near_pairs(
    looks: NDArray[np.uint8], groups: NDArray[np.int64], most_bits: int = NEAR_BITS
) -> Iterator[tuple[int, int]]:
    """Find pictures of different groups that look alike.

    All pairs are compared, in blocks: with bits as ±1, the dot product of two looks is the number
    of bits minus twice the number that differ.

    Args:
        looks: `(N, 32)` uint8.
        groups: `(N,)` group of each, such as its split.
        most_bits: How many bits may differ.

    Yields:
        Pairs of indices, the smaller first.
    """
    bits = np.unpackbits(looks, axis=1).astype(np.float32) * 2 - 1
    block = 2048
    for group in np.unique(groups):
        ours, others = np.flatnonzero(groups == group), np.flatnonzero(groups > group)
        for a in range(0, len(ours), block):
            for b in range(0, len(others), block):
                left, right = ours[a : a + block], others[b : b + block]
                alike = bits[left] @ bits[right].T >= bits.shape[1] - 2 * most_bits
                for i, j in np.argwhere(alike):
                    one, other = int(left[i]), int(right[j])
                    yield min(one, other), max(one, other)
