"""Tell heads from an even background: small masks for the proof, soft ones at full resolution.

The masks are an estimate, and not published with the data. Open this module to change how the head
is found, or when a picture is said to be doubtful.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import UsageError

Mask = NDArray[np.bool_]

LONG_SIDE_PX = 96
"""Pictures are made this long on their longer side, small ones enlarged: their soft edges say
where the outline is to a part of a pixel."""

_LEAST_CONTRAST = 6.0  # of 255: above the grain of 8-bit renders, below the lightest clothes
_MOST_CONTRAST = 40.0
_SMOOTHING_PX = 2
_USUAL_AREA = (0.03, 0.85)  # of the frame: less is a speck, more is no background
_MOST_GRAIN = 13.0  # of 255: a border that differs from itself by more is no even background
_MOST_FAINT = 0.1  # share of the outline that may be nearly as light as the background
_HOLE_PX = 3  # enclosed background is told from a light patch by a flat middle of this radius
_BAND_PIXELS = 2**18
_WINDOW_PX = 7  # the foreground's own colour is averaged over so many pixels beside the outline
_LEAST_LENGTH = 3 * 0.05**2  # squared, linear light: about 7 of 255 beside a light grey


@dataclass(frozen=True, eq=False)
class Silhouette:
    """What of a picture is not background."""

    mask: Mask  # (h, w), the longer side LONG_SIDE_PX
    scale: FloatArray  # (2,) pixels of the mask per pixel of the picture, x and y

    @property
    def plausible(self) -> bool:
        """Whether it can be a head: neither a speck nor all of the frame, and clear of the top."""
        return _fault(self.mask) is None


def silhouette(picture: NDArray[np.uint8]) -> Silhouette:
    """Tell a head from an even background, in a picture `(H, W, 3)` uint8.

    Pixels are background if they differ from the border's colour by no more than the border does
    from itself, and if background leads from them to the edge of the picture: light patches
    inside the outline stay inside.

    Raises:
        UsageError: The array is no such picture.
    """
    _require_picture(picture)
    height, width = picture.shape[:2]
    factor = LONG_SIDE_PX / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # Averages where it shrinks, interpolates where it enlarges; either keeps pixels as areas.
    small = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(small, dtype=np.float32)
    background, grain = _border(pixels)
    contrast = np.clip(3 * grain, _LEAST_CONTRAST, _MOST_CONTRAST)
    mask = filled(_smoothed(np.abs(pixels - background).max(axis=-1) > contrast))
    return Silhouette(mask, np.array([size[0] / width, size[1] / height]))


def _smoothed(mask: Mask) -> Mask:
    """Round off what is thinner than about two pixels, such as single strands of hair."""
    padded = np.pad(mask, _SMOOTHING_PX, mode="edge").astype(np.float32)
    weights = np.array([1, 4, 6, 4, 1], dtype=np.float32) / 16  # binomial: nearly a Gaussian
    height, width = mask.shape
    rows = sum(weight * padded[i : i + height] for i, weight in enumerate(weights))
    share = sum(weight * np.asarray(rows)[:, i : i + width] for i, weight in enumerate(weights))
    return np.asarray(np.asarray(share) >= 0.5)


def filled(mask: Mask) -> Mask:
    """Close the holes of a mask: background from which no path of background leads to an edge."""
    return np.asarray(~_connected(~mask, np.zeros_like(mask)))


def evenly_spread(count: int, most: int) -> NDArray[np.intp]:
    """Indices below `count`: all, or so many at even distances, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.intp))[:count]


def outline(mask: Mask) -> Mask:
    """Find the pixels of a mask that touch background. The edge of the picture is no background."""
    return np.asarray(mask & _grown(~mask))


def _grown(mask: Mask) -> Mask:
    """Add the four neighbours of every pixel."""
    wider = mask.copy()
    wider[1:] |= mask[:-1]
    wider[:-1] |= mask[1:]
    wider[:, 1:] |= mask[:, :-1]
    wider[:, :-1] |= mask[:, 1:]
    return np.asarray(wider)


@dataclass(frozen=True, eq=False)
class Foreground:
    """What of a picture is not background."""

    alpha: NDArray[np.uint8]  # (H, W), the covered share of each pixel times 255
    doubt: str | None  # why the outline cannot be told from the background

    @property
    def mask(self) -> Mask:
        """`(H, W)` bool: the pixels that are covered by half or more."""
        return np.asarray(self.alpha >= 128)


def foreground(picture: NDArray[np.uint8]) -> Foreground:
    """Tell a head from an even background, to a part of a pixel, in `(H, W, 3)` uint8 sRGB.

    Pixels are background if they differ from the border by no more than the border does from
    itself, and if background leads from them to the edge of the picture or to a patch that is as
    flat as the border: light patches inside the outline stay inside, and what shows between head
    and hair is background. On the outline, a pixel's colour is taken for a mixture, in linear
    light, of the background's and that of the foreground beside it: its share is the pixel's alpha.

    Raises:
        UsageError: The array is no such picture.
    """
    _require_picture(picture)
    background, grain = _border(picture)
    contrast = max(3 * grain, _LEAST_CONTRAST)
    light, flat = (np.empty(picture.shape[:2], dtype=np.bool_) for _ in range(2))
    for rows in _bands(picture):
        difference = np.abs(picture[rows].astype(np.float32) - background).max(axis=-1)
        light[rows], flat[rows] = difference <= contrast, difference <= max(2 * grain, 1.0)
    mask = ~_connected(light, _inner(flat, _HOLE_PX))
    alpha, faint = _outline_alpha(picture, background, mask)
    return Foreground(alpha, _doubt(mask, grain, faint))


def _bands(picture: NDArray[np.uint8]) -> Iterator[slice]:
    """Rows that are worked on at a time, which bounds the memory for a large picture."""
    height, width = picture.shape[:2]
    step = max(1, _BAND_PIXELS // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _doubt(mask: Mask, grain: float, faint: float) -> str | None:
    if grain > _MOST_GRAIN:
        return f"the border is not even: it differs from itself by {grain:.0f} of 255"
    fault = _fault(mask)
    if fault is None and faint > _MOST_FAINT:
        return f"{faint:.0%} of the outline are nearly as light as the background"
    return fault


def _fault(mask: Mask) -> str | None:
    """Why a mask cannot be a head; None if it can."""
    low, high = _USUAL_AREA
    if not low < mask.mean() < high:
        return f"the foreground would be {mask.mean():.0%} of the picture"
    if mask[0].mean() >= 0.5:
        return "the foreground would reach across the top of the picture"
    return None


def _border(pixels: NDArray[np.generic]) -> tuple[NDArray[np.float32], float]:
    """The colour of the background, and how much the border differs from it.

    Of the sides only the upper half: shoulders run out of the frame at the bottom.
    """
    upper = pixels[: max(1, len(pixels) // 2)]
    border = np.concatenate([pixels[0], upper[:, 0], upper[:, -1]]).astype(np.float32)
    background = np.median(border, axis=0)
    return background, float(np.percentile(np.abs(border - background).max(axis=-1), 75))


def _require_picture(picture: NDArray[np.uint8]) -> None:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        found = f"{picture.shape} {picture.dtype}"
        raise UsageError("not a picture", expected="(H, W, 3) uint8", found=found)


def _outline_alpha(
    picture: NDArray[np.uint8], background: NDArray[np.float32], mask: Mask
) -> tuple[NDArray[np.uint8], float]:
    """Covered share of every pixel times 255; share of the outline with too little contrast."""
    beside = _grown(~mask)
    near = _grown(beside)
    outer, second = mask & beside, mask & near & ~beside
    core = mask & ~near
    empty = _LINEAR[np.clip(background + 0.5, 0, 255).astype(np.uint8)]
    alpha, faint = np.empty(mask.shape, dtype=np.uint8), 0
    for rows in _bands(picture):
        above = min(rows.start, _WINDOW_PX // 2)
        around = slice(rows.start - above, rows.stop + _WINDOW_PX // 2)
        linear = _LINEAR[picture[around]]
        own = _mean_near(linear, core[around])[above:][: rows.stop - rows.start]
        towards = own - empty
        length = (towards**2).sum(axis=-1)
        offset = linear[above:][: len(own)] - empty
        share = (offset * towards).sum(axis=-1) / np.maximum(length, 1e-9)
        # Without a core nearby, as in thin strands, or without contrast, the mask is all there is.
        known = np.isfinite(share) & (length > _LEAST_LENGTH)
        covered = mask[rows].astype(np.float32)
        covered = np.where(outer[rows] & known, np.clip(share, 0, 1), covered)
        covered = np.where(second[rows] & known, np.clip(share, 0.5, 1), covered)
        alpha[rows] = (covered * 255 + 0.5).astype(np.uint8)
        faint += np.count_nonzero(outer[rows] & ~known)
    return alpha, faint / max(1, int(np.count_nonzero(outer)))


def _mean_near(values: NDArray[np.float32], where: Mask) -> NDArray[np.float32]:
    """Mean over a square window of the values at `where`; not a number without any."""
    weights = where.astype(np.float64)[..., None]
    sums = np.concatenate([values * weights, weights], axis=-1)
    half = _WINDOW_PX // 2
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (half + 1, half)
        total = np.cumsum(np.pad(sums, pad), axis=axis)
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -_WINDOW_PX), slice(_WINDOW_PX, None)
        sums = total[tuple(high)] - total[tuple(low)]
    count = np.rint(sums[..., 3:])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, sums[..., :3] / count, np.nan), dtype=np.float32)


def _inner(mask: Mask, radius_px: int) -> Mask:
    """The pixels of a mask that are further than so many steps from any other."""
    outside = ~mask
    for _ in range(radius_px):
        outside = _grown(outside)
    return np.asarray(~outside)


def _connected(background: Mask, seeds: Mask) -> Mask:
    """The part of a mask from which a path of its pixels leads to a seed or to the edge."""
    reached = background.copy()
    reached[1:-1, 1:-1] &= seeds[1:-1, 1:-1]
    count = -1
    while count != (count := int(np.count_nonzero(reached))):
        for _ in range(2):  # along rows, then along columns
            reached, background = _spread_along_rows(background, reached).T, background.T
    return np.asarray(reached)


def _spread_along_rows(background: Mask, reached: Mask) -> Mask:
    """Add to `reached` every run of background in a row that has a pixel in it."""
    starts = np.ones_like(background)
    starts[:, 1:] = background[:, 1:] != background[:, :-1]
    run = np.cumsum(starts.ravel())
    touched = np.zeros(run[-1] + 1, dtype=np.bool_)
    touched[run[reached.ravel()]] = True
    return np.asarray(touched[run].reshape(background.shape) & background)


def _linear_light() -> NDArray[np.float32]:
    """Linear light of each sRGB byte (IEC 61966-2-1)."""
    encoded = np.arange(256) / 255.0
    low, high = encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    return np.where(encoded <= 0.04045, low, high).astype(np.float32)


_LINEAR = _linear_light()
