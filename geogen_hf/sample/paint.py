"""Colour the surface of a head: skin with its features, hair, cloth and collar.

Open this to change what a surface looks like before light falls on it. Lengths are metres, in the
head's own frame for skin and hair and in the world frame for clothes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geogen_hf.sample.heads import Head, Vector
from geogen_hf.sample.shape import Array, to_head_frame

Colour = NDArray[np.float32]


def linear_from_srgb(colour: Vector) -> Colour:
    """Linear light, `(3,)` float32, of an sRGB colour 0..255 (IEC 61966-2-1)."""
    encoded = np.asarray(colour, dtype=np.float64) / 255.0
    low = encoded / 12.92
    return np.where(encoded <= 0.04045, low, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _rgb(linear: Vector) -> Colour:
    return np.array(linear, dtype=np.float32)


def albedo(head: Head, layer: NDArray[np.intp], points: Array) -> Colour:
    """Colour of surface points before light falls on them: `(N, 3)` float32 linear light.

    `layer` is `(N,)` indices of `shape.layer_distances`; points are in the world frame.
    """
    colours = np.empty((len(layer), 3), dtype=np.float32)
    for kind, paint in enumerate((_skin, _hair, _cloth, _collar)):
        chosen = np.flatnonzero(layer == kind)
        if len(chosen):
            colours[chosen] = paint(head, points.take(chosen, axis=1))
    return colours


def _skin(head: Head, points: Array) -> Colour:
    x, y, z = in_head = to_head_frame(head, points)
    aside = np.abs(x)
    colour = np.tile(linear_from_srgb(head.skin_rgb), (len(x), 1))
    colour *= (1.0 + 0.05 * _noise(points, 260.0))[:, None]
    flush = 0.5 * _spot((aside - 0.042) / 0.02, (y + 0.035) / 0.018) * (z > 0.0)
    flush += 0.5 * _spot(aside / 0.014, (y + 0.036) / 0.014) * (z > 0.06)
    flush += 0.5 * (aside > 0.08)
    inner_ear = _spot((y - 0.002) / 0.013, (z + 0.008) / 0.008) * (aside > 0.078)
    _mix(colour, colour * _rgb((0.6, 0.42, 0.38)), inner_ear)
    _mix(colour, colour * _rgb((1.05, 0.72, 0.66)), flush)
    _stubble(head, colour, in_head)
    front = z > 0.045
    across = aside / head.mouth_width
    lip = front * _inside(np.abs(y - head.mouth_y), 0.0085 * (1.0 - across**2))
    _mix(colour, linear_from_srgb(head.skin_rgb) * _rgb((0.72, 0.38, 0.36)), 0.85 * lip)
    seam = front * _inside(np.abs(y - head.mouth_y), 0.0016 - 0.0016 * (across > 1))
    _mix(colour, _rgb((0.05, 0.012, 0.01)), 0.85 * seam * (across < 1))
    nostril = _spot((aside - 0.0075) / 0.004, (y + 0.0475) / 0.0028) * (z > 0.08)
    _mix(colour, colour * 0.12, nostril)
    _eyes(head, colour, aside - head.eye_spacing, y, front)
    return colour


def _eyes(head: Head, colour: Colour, across: Array, y: Array, front: NDArray[np.bool_]) -> None:
    lid = 0.0058 * (1.0 - (across / 0.0145) ** 2)
    opening = front * _inside(np.abs(y), lid)
    _mix(colour, _rgb((0.62, 0.58, 0.55)), opening)
    radius = np.hypot(across, y)
    _mix(colour, linear_from_srgb(head.eye_rgb), opening * _inside(radius, 0.0062))
    _mix(colour, _rgb((0.008, 0.007, 0.006)), opening * _inside(radius, 0.0032))
    lash = front * _inside(np.abs(y - np.maximum(lid, 0.0)), 0.0017) * (np.abs(across) < 0.0155)
    dark = linear_from_srgb(head.hair_rgb) * 0.25
    _mix(colour, dark, 0.9 * lash)
    arch = across - 0.002
    line = 0.0205 - 9.0 * arch**2
    brow = front * _inside(np.abs(y - line), head.brow_weight * (1.0 - (arch / 0.021) ** 2))
    _mix(colour, linear_from_srgb(head.hair_rgb) * 0.55, 0.9 * brow)


def _stubble(head: Head, colour: Colour, head_points: Array) -> None:
    if not head.stubble:
        return
    _, y, z = head_points
    jaw = np.clip((-0.04 - 0.25 * (z - 0.08) - y) / 0.012, 0.0, 1.0) * np.clip(
        (z + 0.005) / 0.025, 0.0, 1.0
    )
    jaw = jaw * np.clip((0.125 + head.chin_length + y) / 0.01, 0.0, 1.0)
    grain = 0.75 + 0.25 * _noise(head_points, 900.0)
    amount = jaw * grain * head.stubble
    _mix(colour, linear_from_srgb(head.hair_rgb) * 0.8, amount)


def _hair(head: Head, points: Array) -> Colour:
    x, y, z = in_head = to_head_frame(head, points)
    # Strands run from the crown outwards and then down: lines of constant angle about it.
    angle = np.arctan2(x - 0.012 * head.side, z + 0.035)
    wander = _noise(in_head, 45.0)
    fine = np.sin(angle * 110.0 + 3.5 * wander)
    coarse = np.sin(angle * 23.0 + 2.0 * wander + 20.0 * y)
    if head.hair_style == "curly":
        fine, coarse = _noise(in_head, 650.0), _noise(in_head, 300.0)
    shade = 1.0 + 0.24 * fine + 0.2 * coarse
    if head.hair_style in ("cropped", "mohawk", "balding"):
        shade = 1.0 + 0.22 * _noise(in_head, 800.0)
    colour = np.outer(shade, linear_from_srgb(head.hair_rgb)).astype(np.float32)
    # Roots are darker: hair reads as a mass with depth.
    colour *= np.clip(0.75 + 2.2 * np.abs(x) + 1.0 * np.maximum(y, 0.0), 0.6, 1.1)[:, None]
    return colour


def _cloth(head: Head, points: Array) -> Colour:
    x, y, z = points
    # Rings round the neck and spokes from it, as in a knitted yoke: neither is stretched where the
    # shoulders turn from upright to level.
    along = np.sqrt(x * x + (y + 0.1) ** 2 + (z + 0.04) ** 2) / (0.028 * head.pattern_scale)
    around = np.arctan2(x, z + 0.04) * (5.0 / head.pattern_scale)
    weave = 1.0 + 0.06 * np.sin(around * 45.0) * np.sin(along * 40.0)
    colour = np.outer(weave, linear_from_srgb(head.cloth_rgb)).astype(np.float32)
    if head.pattern != "plain":
        _mix(colour, linear_from_srgb(head.accent_rgb), _pattern(head, along, around))
    return colour


def _pattern(head: Head, along: Array, around: Array) -> Array:
    """Share of the second colour, 0..1, at pattern coordinates that repeat with period 1."""
    if head.pattern == "stripes":
        return _inside(np.abs(along % 1.0 - 0.5), 0.17, 0.05)
    if head.pattern == "zigzag":
        fold = np.abs(around % 1.0 - 0.5)
        return _inside(np.abs((along + fold) % 1.0 - 0.5), 0.15, 0.05)
    if head.pattern == "dots":
        across = (around + 0.5 * (np.floor(along) % 2)) % 1.0 - 0.5
        return _inside(np.hypot(across, along % 1.0 - 0.5), 0.24, 0.08)
    return np.asarray(0.35 * (0.5 + 0.5 * np.sin(around * 16.0)))


def _collar(head: Head, points: Array) -> Colour:
    x, _, z = points
    ribs = np.sin(np.arctan2(x, z + 0.035) * 60.0)
    plain = head.collar == "shirt"
    tone = head.collar_rgb if head.collar != "turtleneck" else head.cloth_rgb
    return np.outer(1.0 + (0.03 if plain else 0.16) * ribs, linear_from_srgb(tone)).astype(
        np.float32
    )


def _noise(points: Array, waves_per_m: float) -> Array:
    """Smooth, irregular, within -1..1: sines whose directions and lengths share no period."""
    x, y, z = (p * waves_per_m for p in points)
    mixed = np.sin(x + 0.6 * y + 1.3 * np.sin(0.7 * z - 0.4 * x))
    return np.asarray(mixed * np.sin(0.8 * z - 0.9 * y + 1.1 * np.sin(0.9 * y + 0.5 * x)))


def _inside(value: Array, limit: Array | float, soft: float = 0.0012) -> Array:
    """1 where `value` is well below `limit`, 0 well above, a ramp of width `soft` between."""
    return np.clip((limit - value) / soft + 0.5, 0.0, 1.0)


def _spot(u: Array, v: Array) -> Array:
    return np.asarray(np.exp(-(u * u + v * v)))


def _mix(colour: Colour, other: Colour, amount: Array) -> None:
    colour += (other - colour) * np.clip(amount, 0.0, 1.0)[:, None].astype(np.float32)
