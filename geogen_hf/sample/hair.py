"""Hair and beards as signed distances, in the head's own frame, metres.

Every style has a part that leans to `head.side`, so that no outline is its own mirror image.
"""

from __future__ import annotations

import numpy as np

from geogen_hf.sample.heads import Head
from geogen_hf.sample.primitives import (
    Array,
    Points,
    Vector,
    blend,
    carve,
    ellipsoid,
    half_space,
    mirrored,
    taper,
)

_SKULL: Vector = (0.0, 0.03, -0.015)
_TUFT_WAVES_PER_M = 210.0  # radians a metre: a tuft every 3 cm


def hair_distance(head: Head, points: Points) -> Array:
    """Signed distance to the hair of a head, `points` in the head's frame."""
    bulk = {
        "cropped": _cropped,
        "short": _short,
        "swept": _swept,
        "bob": _bob,
        "long": _long,
        "mohawk": _mohawk,
        "bun": _bun,
        "ponytail": _ponytail,
        "balding": _balding,
        "curly": _curly,
    }[head.hair_style](head, points)
    return _tufted(bulk, points, 0.003 if head.hair_style == "curly" else 0.0012)


def beard_distance(head: Head, points: Points) -> Array:
    """Signed distance to a full beard: round the jaw, open at the mouth."""
    chin = (0.0, -0.08 - head.chin_length, 0.045)
    width = head.jaw_width + 0.008
    solid = ellipsoid(points, chin, (width, 0.05, 0.057))
    mouth = ellipsoid(points, (0.0, head.mouth_y + 0.002, 0.1), (head.mouth_width, 0.011, 0.04))
    solid = carve(solid, mouth, 0.004)
    return carve(solid, -half_space(points, (0.0, -0.05, 0.08), (0.0, 1.0, 0.35)), 0.006)


def _tufted(solid: Array, points: Points, depth: float) -> Array:
    """Waves in the surface; their slope is divided out so that distances stay safe to step by."""
    x, y, z = points
    waves = np.sin(x * _TUFT_WAVES_PER_M + y * 60.0) * np.sin(z * _TUFT_WAVES_PER_M - y * 60.0)
    steepest = depth * float(np.hypot(_TUFT_WAVES_PER_M, 60.0))
    return np.asarray((solid + depth * waves) / (1.0 + steepest))


def _cap(head: Head, points: Points, thickness: float, nape: float = -0.06) -> Array:
    """Hair that follows the skull, cut along the face, over the ears and at the nape."""
    thick = thickness * head.hair_thickness
    a, b, c = head.skull_radii
    cap = ellipsoid(points, _SKULL, (a + thick, b + thick, c + thick))
    face = ellipsoid(
        points, (-0.01 * head.side, -0.045, 0.085), (0.07, 0.045 + head.hairline + thick, 0.08)
    )
    # The cut rises from the nape to the temples and so leaves the ears half free.
    edge = half_space(points, (0.0, nape, -0.075), (0.0, -0.8, 0.6))
    return carve(carve(cap, face, 0.01), -edge, 0.008)


def _cropped(head: Head, points: Points) -> Array:
    top = ellipsoid(points, (head.side * 0.02, 0.09, 0.005), (0.048, 0.036, 0.075))
    return blend(_cap(head, points, 0.005), top, 0.02)


def _short(head: Head, points: Points) -> Array:
    top = ellipsoid(points, (head.side * 0.024, 0.098, 0.012), (0.055, 0.04, 0.082))
    return blend(_cap(head, points, 0.011), top, 0.02)


def _swept(head: Head, points: Points) -> Array:
    side = head.side
    cap = blend(
        _cap(head, points, 0.014, -0.07),
        ellipsoid(points, (side * 0.03, 0.085, 0.0), (0.06, 0.055, 0.09)),
        0.02,
    )
    fringe = taper(points, (-side * 0.03, 0.1, 0.06), (side * 0.068, 0.048, 0.055), 0.02, 0.017)
    lock = taper(points, (side * 0.068, 0.048, 0.05), (side * 0.086, -0.02, 0.025), 0.018, 0.006)
    return blend(cap, blend(fringe, lock, 0.015), 0.015)


def _bob(head: Head, points: Points) -> Array:
    return _curtains(head, points, reach=-0.07, longer=0.05, back=-0.1)


def _long(head: Head, points: Points) -> Array:
    return _curtains(head, points, reach=-0.13, longer=0.08, back=-0.2)


def _curtains(head: Head, points: Points, reach: float, longer: float, back: float) -> Array:
    """Parted hair that hangs down at the sides (further on one) and behind."""
    hair = _cap(head, points, 0.014, nape=-0.08)
    middle = 0.5 * (0.06 + back)
    fall = ellipsoid(points, (head.side * 0.015, middle, -0.07), (0.085, 0.06 - middle, 0.048))
    hair = blend(hair, fall, 0.03)
    for sign in (1.0, -1.0):
        more = longer if sign == head.side else 0.0
        knee = (sign * 0.087, -0.02, -0.012)
        foot = (sign * (0.09 + 0.25 * more), reach - more, -0.02 + 0.3 * more)
        upper = taper(points, (sign * 0.056, 0.075, 0.016), knee, 0.026, 0.027)
        hair = blend(hair, blend(upper, taper(points, knee, foot, 0.025, 0.017), 0.01), 0.02)
    return hair


def _mohawk(head: Head, points: Points) -> Array:
    lean = head.side * 0.026
    foot = ellipsoid(points, (0.3 * lean, 0.1, -0.01), (0.024, 0.045, 0.085))
    crest = ellipsoid(points, (lean, 0.128, 0.005), (0.026, 0.04, 0.078))
    return blend(_cap(head, points, 0.003), blend(foot, crest, 0.02), 0.01)


def _bun(head: Head, points: Points) -> Array:
    knot = ellipsoid(points, (head.side * 0.062, 0.118, -0.055), (0.04, 0.036, 0.04))
    return blend(_cap(head, points, 0.007, -0.05), knot, 0.008)


def _ponytail(head: Head, points: Points) -> Array:
    side = head.side
    root = (side * 0.06, 0.055, -0.085)
    bend = (side * 0.115, 0.03, -0.095)
    tail = taper(points, bend, (side * 0.125, -0.14, -0.075), 0.03, 0.01)
    tail = blend(tail, taper(points, root, bend, 0.016, 0.022), 0.012)
    return blend(_cap(head, points, 0.008, -0.055), tail, 0.008)


def _balding(head: Head, points: Points) -> Array:
    ring = _cap(head, points, 0.009, -0.065)
    ring = carve(ring, ellipsoid(points, (0.0, 0.135, 0.03), (0.078, 0.075, 0.105)), 0.01)
    tufts = ellipsoid(mirrored(points), (0.078, 0.03, -0.02), (0.014, 0.028, 0.035))
    side_points = (points[0] * head.side, points[1], points[2])
    larger = ellipsoid(side_points, (0.08, 0.035, -0.025), (0.024, 0.036, 0.048))
    return blend(ring, blend(tufts, larger, 0.01), 0.012)


def _curly(head: Head, points: Points) -> Array:
    cloud = ellipsoid(points, (head.side * 0.022, 0.068, -0.03), (0.104, 0.092, 0.105))
    face = ellipsoid(points, (0.0, -0.05, 0.1), (0.072, 0.05 + head.hairline, 0.092))
    return blend(_cap(head, points, 0.012), carve(cloud, face, 0.015), 0.02)
