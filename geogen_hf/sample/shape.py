"""The solid of a head: skin, hair, clothes and collar as signed distances.

A ray may safely step by a distance: every function here changes by at most the distance between two
points (Lipschitz constant 1), so it never promises more room than there is. Points are `(3, N)`,
because numpy works several times faster on contiguous coordinates. Everything keeps the dtype it is
given: float32 draws pictures, float64 answers questions about geometry.

Lengths below are metres, in the head's own frame for skin and hair (axes as the world's, turned
and tilted with the head) and in the world frame for clothes. The numbers were fitted by eye to a
head of 23 cm, chin to crown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.errors import UsageError
from geogen_hf.sample.heads import Head, Vector, head_of

Array = NDArray[np.floating[Any]]

# Everything a subject consists of lies within this sphere.
BOUND_CENTRE: Vector = (0.0, -0.16, 0.0)
BOUND_RADIUS = 0.4

_SKULL: Vector = (0.0, 0.03, -0.015)
_TUFT_WAVES_PER_M = 210.0  # radians a metre: a tuft every 3 cm


def signed_distance(subject_id: str, points: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """Signed distance to a subject's surface: negative inside, zero on it.

    Outside it is a lower bound on the true distance that never changes faster than the point moves,
    so a ray that steps by it cannot jump through a surface.

    Args:
        subject_id: `subj_<5 digits>`; any number is a subject, whether or not a release has it.
        points: `(..., 3)` world frame, metres.
        seed: Seed of the release.

    Returns:
        `(...)` float64 metres.

    Raises:
        UsageError: Unknown form of the id, or points without three coordinates.

    Example:
        >>> signed_distance("subj_00000", [[0, 0, 0], [0, 0, 1]]) < 0
        array([ True, False])
    """
    xyz = np.asarray(points, dtype=np.float64)
    if xyz.shape[-1:] != (3,):
        raise UsageError("points are not 3-D", expected="(..., 3)", found=xyz.shape)
    flat = np.ascontiguousarray(xyz.reshape(-1, 3).T)
    distance = surface_distance(head_of(subject_id, seed), flat)
    return np.asarray(distance, dtype=np.float64).reshape(xyz.shape[:-1])


def surface_distance(head: Head, points: Array) -> Array:
    """Signed distance of `(3, N)` world points to the whole subject: `(N,)`."""
    return np.asarray(layer_distances(head, points).min(axis=0))


def layer_distances(head: Head, points: Array) -> Array:
    """Signed distances to skin, hair, cloth and collar, `(4, N)`; the smallest is the surface."""
    head_points = to_head_frame(head, points)
    hair = _hair(head, head_points)
    if head.full_beard:
        hair = np.minimum(hair, _beard(head, head_points))
    skin = _skin(head, points, head_points)
    return np.stack([skin, hair, _cloth(head, points), _collar(head, points)])


def to_head_frame(head: Head, points: Array) -> Array:
    """World points in the frame that turns and tilts with the head; the origin is shared.

    Written out, as a matrix product's rounding may depend on BLAS and its threads.
    """
    x, y, z = points
    return np.stack([x * row[0] + y * row[1] + z * row[2] for row in head.head_rows])


def nose_tip(head: Head) -> NDArray[np.float64]:
    """The most forward point of the nose: `(3,)` float64, world frame, metres."""
    x, y, z = _nose_tip_head(head)
    tip = np.array([x, y, z + head.nose_width])
    return np.asarray((np.array(head.head_rows) * tip[:, None]).sum(axis=0))


def _nose_tip_head(head: Head) -> Vector:
    return 0.0, -0.036, 0.086 + head.nose_length


def _skin(head: Head, points: Array, head_points: Array) -> Array:
    pair = mirrored(head_points)
    skull = ellipsoid(head_points, _SKULL, head.skull_radii)
    face = ellipsoid(head_points, (0.0, -0.02, 0.022), (0.062, 0.088, 0.068))
    solid = blend(skull, face, 0.03)
    jaw = (0.0, -0.066, 0.03)
    chin = -0.094 - head.chin_length
    solid = blend(solid, ellipsoid(head_points, jaw, (head.jaw_width, 0.042, 0.052)), 0.03)
    solid = blend(solid, ellipsoid(head_points, (0.0, chin, 0.066), (0.02, 0.018, 0.02)), 0.025)
    socket = ellipsoid(pair, (head.eye_spacing, 0.0, 0.1), (0.017, 0.013, 0.019))
    solid = carve(solid, socket, 0.016)
    brow = taper(pair, (0.0, 0.016, 0.082), (0.04, 0.019, 0.068), 0.009, 0.006)
    solid = blend(solid, brow, 0.016)
    eye = ellipsoid(pair, (head.eye_spacing, 0.0, 0.069), (0.0135, 0.0135, 0.0135))
    solid = blend(solid, eye, 0.003)
    tip = _nose_tip_head(head)
    wide = head.nose_width
    nose = taper(head_points, (0.0, 0.008, 0.082), tip, 0.55 * wide, wide)
    wings = taper(pair, (0.0, -0.039, tip[2] - 0.012), (wide, -0.041, 0.085), 0.008, 0.007)
    solid = blend(solid, blend(nose, wings, 0.008), 0.01)
    corner = (head.mouth_width, head.mouth_y, 0.074)
    solid = blend(solid, taper(pair, (0.0, head.mouth_y, 0.086), corner, 0.007, 0.004), 0.008)
    size = head.ear_size
    ear = taper(pair, (0.075, -0.022, -0.006), (0.083, 0.014 * size, -0.016), 0.009, 0.0135 * size)
    solid = blend(solid, ear, 0.01)
    top, foot, wide = (0.0, -0.06, -0.022), (0.0, -0.21, -0.045), head.neck_radius
    return blend(solid, taper(points, top, foot, wide, wide + 0.006), 0.022)


def _cloth(head: Head, points: Array) -> Array:
    """In the world frame, as the body does not turn with the head."""
    body = ellipsoid(points, (0.0, -0.36, -0.025), (head.shoulder_width + 0.01, 0.165, 0.12))
    base = (0.0, -0.2, -0.05)
    for sign in (1.0, -1.0):
        height = sign * head.shoulder_raise - head.shoulder_drop
        shoulder = (sign * head.shoulder_width, height, -0.045)
        body = blend(body, taper(points, base, shoulder, 0.068, 0.055), 0.045)
        arm = (sign * (head.shoulder_width + 0.012), height - 0.13, -0.03)
        body = blend(body, taper(points, shoulder, arm, 0.053, 0.05), 0.02)
    return body


def _collar(head: Head, points: Array) -> Array:
    neck = head.neck_radius
    if head.collar == "turtleneck":
        foot, rim = (0.0, -0.2, -0.044), (0.0, -0.142, -0.034)
        return blend(
            taper(points, foot, rim, neck + 0.022, neck + 0.012),
            torus(points, (0.0, -0.128, -0.032), 0.25, neck + 0.004, 0.009),
            0.008,
        )
    if head.collar == "crew":
        return torus(points, (0.0, -0.166, -0.03), 0.38, neck + 0.024, 0.011)
    band = taper(points, (0.0, -0.185, -0.024), (0.0, -0.125, -0.036), neck + 0.036, neck + 0.006)
    band = carve(band, -half_space(points, (0.0, -0.133, -0.036), (0.0, 1.0, 0.4)), 0.004)
    notch = ellipsoid(points, (0.0, -0.14, 0.05), (0.016, 0.05, 0.05))
    return carve(band, notch, 0.004)


def _hair(head: Head, points: Array) -> Array:
    x, y, z = points
    bulk = _HAIR[head.hair_style](head, np.stack([head.side * x, y, z]))
    # Waves in the surface; their slope is divided out so that distances stay safe to step by.
    depth = 0.003 if head.hair_style == "curly" else 0.0012
    waves = np.sin(x * _TUFT_WAVES_PER_M + y * 60.0) * np.sin(z * _TUFT_WAVES_PER_M - y * 60.0)
    steepest = depth * float(np.hypot(_TUFT_WAVES_PER_M, 60.0))
    return np.asarray((bulk + depth * waves) / (1.0 + steepest))


def _beard(head: Head, points: Array) -> Array:
    """A full beard: round the jaw, open at the mouth."""
    chin = (0.0, -0.08 - head.chin_length, 0.045)
    width = head.jaw_width + 0.008
    solid = ellipsoid(points, chin, (width, 0.05, 0.057))
    mouth = ellipsoid(points, (0.0, head.mouth_y + 0.002, 0.1), (head.mouth_width, 0.011, 0.04))
    solid = carve(solid, mouth, 0.004)
    return carve(solid, -half_space(points, (0.0, -0.05, 0.08), (0.0, 1.0, 0.35)), 0.006)


# Styles of hair, made as if all of them leaned towards +x.


def _cap(head: Head, points: Array, thickness: float, nape: float = -0.06) -> Array:
    """Hair that follows the skull, cut along the face, over the ears and at the nape."""
    thick = thickness * head.hair_thickness
    a, b, c = head.skull_radii
    cap = ellipsoid(points, _SKULL, (a + thick, b + thick, c + thick))
    face = ellipsoid(points, (-0.01, -0.045, 0.085), (0.07, 0.045 + head.hairline + thick, 0.08))
    # The cut rises from the nape to the temples and so leaves the ears half free.
    edge = half_space(points, (0.0, nape, -0.075), (0.0, -0.8, 0.6))
    return carve(carve(cap, face, 0.01), -edge, 0.008)


def _topped(
    head: Head, points: Array, cap: tuple[float, float], top: tuple[Vector, Vector]
) -> Array:
    return blend(_cap(head, points, *cap), ellipsoid(points, *top), 0.02)


def _bun(head: Head, points: Array) -> Array:
    knot = ellipsoid(points, (0.062, 0.118, -0.055), (0.04, 0.036, 0.04))
    return blend(_cap(head, points, 0.007, -0.05), knot, 0.008)


def _swept(head: Head, points: Array) -> Array:
    cap = _topped(head, points, (0.014, -0.07), ((0.03, 0.085, 0.0), (0.06, 0.055, 0.09)))
    fringe = taper(points, (-0.03, 0.1, 0.06), (0.068, 0.048, 0.055), 0.02, 0.017)
    lock = taper(points, (0.068, 0.048, 0.05), (0.086, -0.02, 0.025), 0.018, 0.006)
    return blend(cap, blend(fringe, lock, 0.015), 0.015)


def _curtains(head: Head, points: Array, reach: float, longer: float, back: float) -> Array:
    """Parted hair that hangs down at the sides (further on one) and behind."""
    middle = 0.5 * (0.06 + back)
    fall = ellipsoid(points, (0.015, middle, -0.07), (0.085, 0.06 - middle, 0.048))
    hair = blend(_cap(head, points, 0.014, -0.08), fall, 0.03)
    for sign in (head.side, -head.side):
        more = longer if sign > 0 else 0.0
        knee = (sign * 0.087, -0.02, -0.012)
        foot = (sign * (0.09 + 0.25 * more), reach - more, -0.02 + 0.3 * more)
        upper = taper(points, (sign * 0.056, 0.075, 0.016), knee, 0.026, 0.027)
        hair = blend(hair, blend(upper, taper(points, knee, foot, 0.025, 0.017), 0.01), 0.02)
    return hair


def _mohawk(head: Head, points: Array) -> Array:
    foot = ellipsoid(points, (0.3 * 0.026, 0.1, -0.01), (0.024, 0.045, 0.085))
    crest = ellipsoid(points, (0.026, 0.128, 0.005), (0.026, 0.04, 0.078))
    return blend(_cap(head, points, 0.003), blend(foot, crest, 0.02), 0.01)


def _ponytail(head: Head, points: Array) -> Array:
    bend = (0.115, 0.03, -0.095)
    tail = taper(points, bend, (0.125, -0.14, -0.075), 0.03, 0.01)
    tail = blend(tail, taper(points, (0.06, 0.055, -0.085), bend, 0.016, 0.022), 0.012)
    return blend(_cap(head, points, 0.008, -0.055), tail, 0.008)


def _balding(head: Head, points: Array) -> Array:
    ring = _cap(head, points, 0.009, -0.065)
    ring = carve(ring, ellipsoid(points, (0.0, 0.135, 0.03), (0.078, 0.075, 0.105)), 0.01)
    tufts = ellipsoid(mirrored(points), (0.078, 0.03, -0.02), (0.014, 0.028, 0.035))
    larger = ellipsoid(points, (0.08, 0.035, -0.025), (0.024, 0.036, 0.048))
    return blend(ring, blend(tufts, larger, 0.01), 0.012)


def _curly(head: Head, points: Array) -> Array:
    cloud = ellipsoid(points, (0.022, 0.068, -0.03), (0.104, 0.092, 0.105))
    face = ellipsoid(points, (0.0, -0.05, 0.1), (0.072, 0.05 + head.hairline, 0.092))
    return blend(_cap(head, points, 0.012), carve(cloud, face, 0.015), 0.02)


_HAIR: dict[str, Callable[[Head, Array], Array]] = {
    "cropped": partial(
        _topped, cap=(0.005, -0.06), top=((0.02, 0.09, 0.005), (0.048, 0.036, 0.075))
    ),
    "short": partial(
        _topped, cap=(0.011, -0.06), top=((0.024, 0.098, 0.012), (0.055, 0.04, 0.082))
    ),
    "swept": _swept,
    "bob": partial(_curtains, reach=-0.07, longer=0.05, back=-0.1),
    "long": partial(_curtains, reach=-0.13, longer=0.08, back=-0.2),
    "mohawk": _mohawk,
    "bun": _bun,
    "ponytail": _ponytail,
    "balding": _balding,
    "curly": _curly,
}


def ellipsoid(points: Array, centre: Vector, radii: Vector) -> Array:
    """Lower bound on the distance to an axis-aligned ellipsoid; exact where it is a sphere.

    Deliberately the crude bound `(|p / r| - 1) * min(r)`: the usual closer approximation overshoots
    near the centre.
    """
    x, y, z = (((p - c) * (1.0 / r)) ** 2 for p, c, r in zip(points, centre, radii, strict=True))
    return np.asarray((np.sqrt(x + y + z) - 1.0) * min(radii))


def taper(
    points: Array, start: Vector, end: Vector, start_radius: float, end_radius: float
) -> Array:
    """Distance bound of a limb: a segment whose thickness changes evenly from end to end."""
    axis = [e - s for s, e in zip(start, end, strict=True)]
    length_squared = sum(a * a for a in axis)
    offset = [p - s for p, s in zip(points, start, strict=True)]
    x, y, z = (o * (a / length_squared) for o, a in zip(offset, axis, strict=True))
    along = np.clip(x + y + z, 0.0, 1.0)
    x, y, z = ((o - along * a) ** 2 for o, a in zip(offset, axis, strict=True))
    growth = end_radius - start_radius
    distance = np.sqrt(x + y + z) - (start_radius + along * growth)
    # The radius changes along the limb too, which adds to the slope: divided out again here.
    return np.asarray(distance * (1.0 / float(np.hypot(1.0, growth / length_squared**0.5))))


def torus(points: Array, centre: Vector, tilt: float, ring: float, tube: float) -> Array:
    """Distance to a ring about the y axis, its front lowered by `tilt` radians."""
    x, y, z = (p - c for p, c in zip(points, centre, strict=True))
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    across, above = z * cos - y * sin, z * sin + y * cos
    radial = np.sqrt(x * x + across * across) - ring
    return np.asarray(np.sqrt(radial * radial + above * above) - tube)


def half_space(points: Array, through: Vector, normal: Vector) -> Array:
    """Distance to a plane, negative on the side that `normal` (any length) points away from."""
    length = float(np.sqrt(sum(n * n for n in normal)))
    a, b, c = (n / length for n in normal)
    offset = a * through[0] + b * through[1] + c * through[2]
    return np.asarray(points[0] * a + points[1] * b + points[2] * c - offset)


def blend(first: Array, second: Array, width: float) -> Array:
    """Union of two solids with a fillet of about `width`: the polynomial smooth minimum."""
    overlap = np.maximum(width - np.abs(first - second), 0.0)
    return np.asarray(np.minimum(first, second) - overlap * overlap * (0.25 / width))


def carve(solid: Array, cutter: Array, width: float) -> Array:
    """`solid` without `cutter`, with an edge rounded by about `width`."""
    return np.asarray(-blend(-solid, cutter, width))


def mirrored(points: Array) -> Array:
    """Fold the x < 0 half onto the other, so that one solid stands for a pair."""
    return np.stack([np.abs(points[0]), points[1], points[2]])
