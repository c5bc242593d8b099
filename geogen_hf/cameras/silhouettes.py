"""Silhouettes of heads before an even background, small enough to reason about.

The colour of the background is taken from the picture's own border: top edge, and the upper half
of the sides, because shoulders run out of the frame at the bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import UsageError, explain

Mask = NDArray[np.bool_]

LONG_SIDE_PX = 96
"""Pictures are made this long on their longer side, small ones enlarged: their soft edges say
where the outline is to a part of a pixel."""

_LEAST_CONTRAST = 6.0  # of 255: above the grain of 8-bit renders, below the lightest clothes
_MOST_CONTRAST = 40.0
_SMOOTHING_PX = 2
_USUAL_AREA = (0.03, 0.85)  # of the frame: less is a speck, more is no background


@dataclass(frozen=True, eq=False)
class Silhouette:
    """What of a picture is not background.

    Attributes:
        mask: `(h, w)` bool, the longer side `LONG_SIDE_PX`.
        scale: `(2,)` pixels of the mask per pixel of the picture, x and y.
    """

    mask: Mask
    scale: FloatArray

    def intrinsics(self, intrinsics: FloatArray) -> FloatArray:
        """The picture's `(3, 3)` pixel intrinsics as those of the mask."""
        return np.asarray(intrinsics * np.array([*self.scale, 1.0])[:, None])

    @property
    def plausible(self) -> bool:
        """Whether it can be a head: neither a speck nor all of the frame, and clear of the top."""
        low, high = _USUAL_AREA
        return bool(low < self.mask.mean() < high and self.mask[0].mean() < 0.5)


def silhouette(picture: NDArray[np.uint8]) -> Silhouette:
    """Tell a head from an even background.

    Pixels are background if they differ from the border's colour by no more than the border does
    from itself, and if background leads from them to the edge of the picture: light patches
    inside the outline stay inside.

    Args:
        picture: `(H, W, 3)` uint8.

    Returns:
        The silhouette, at the size of `LONG_SIDE_PX`.

    Raises:
        UsageError: The array is no such picture.

    Example:
        >>> picture = np.full((24, 48, 3), 213, np.uint8)
        >>> picture[6:, 10:20] = (90, 60, 40)
        >>> found = silhouette(picture)
        >>> found.mask.shape, found.scale.tolist(), bool(found.mask[40, 30])
        ((48, 96), [2.0, 2.0], True)
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        found = f"{picture.shape} {picture.dtype}"
        raise UsageError(explain("not a picture", expected="(H, W, 3) uint8", found=found))
    height, width = picture.shape[:2]
    factor = LONG_SIDE_PX / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # Averages where it shrinks, interpolates where it enlarges; either keeps pixels as areas.
    small = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(small, dtype=np.float64)
    upper = pixels[: max(1, size[1] // 2)]
    border = np.concatenate([pixels[0], upper[:, 0], upper[:, -1]])
    background = np.median(border, axis=0)
    grain = np.percentile(np.abs(border - background).max(axis=-1), 75)
    contrast = np.clip(3 * grain, _LEAST_CONTRAST, _MOST_CONTRAST)
    mask = filled(smoothed(np.abs(pixels - background).max(axis=-1) > contrast))
    return Silhouette(mask, np.array([size[0] / width, size[1] / height]))


def smoothed(mask: Mask) -> Mask:
    """Round off what is thinner than about two pixels, such as single strands of hair.

    Example:
        >>> strand = np.zeros((9, 9), bool)
        >>> strand[5:], strand[:, 4] = True, True
        >>> smoothed(strand)[:, 4].astype(int).tolist()
        [0, 0, 0, 0, 1, 1, 1, 1, 1]
    """
    padded = np.pad(mask, _SMOOTHING_PX, mode="edge").astype(np.float32)
    weights = np.array([1, 4, 6, 4, 1], dtype=np.float32) / 16  # binomial: nearly a Gaussian
    height, width = mask.shape
    rows = sum(weight * padded[i : i + height] for i, weight in enumerate(weights))
    share = sum(weight * np.asarray(rows)[:, i : i + width] for i, weight in enumerate(weights))
    return np.asarray(np.asarray(share) >= 0.5)


def filled(mask: Mask) -> Mask:
    """Close the holes of a mask: background from which no path of background leads to an edge.

    Example:
        >>> bool(filled(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)).all())
        True
    """
    outside = ~mask
    outside[1:-1, 1:-1] = False
    reached = np.count_nonzero(outside)
    while reached:
        outside = grown(outside) & ~mask
        before, reached = reached, np.count_nonzero(outside)
        if reached == before:
            break
    return np.asarray(~outside)


def grown(mask: Mask) -> Mask:
    """Add the four neighbours of every pixel.

    Example:
        >>> int(grown(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], bool)).sum())
        5
    """
    wider = mask.copy()
    wider[1:] |= mask[:-1]
    wider[:-1] |= mask[1:]
    wider[:, 1:] |= mask[:, :-1]
    wider[:, :-1] |= mask[:, 1:]
    return np.asarray(wider)


def outline(mask: Mask) -> Mask:
    """The pixels of a mask that touch background; the edge of the picture cuts, it outlines not.

    Example:
        >>> outline(np.array([[0, 0, 0], [1, 1, 1], [1, 1, 1]], bool)).astype(int).tolist()
        [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    """
    return np.asarray(mask & grown(~mask))
