"""Signed distances of simple solids, written so that a ray may safely step by them.

A point set is three arrays (x, y, z) and not one `(..., 3)` array, because numpy works several
times faster on contiguous coordinates. Everything keeps the dtype it is given: float32 draws
pictures, float64 answers questions about geometry. Every function here changes by at most the
distance between two points (Lipschitz constant 1), so a distance never promises more room than
there is.

Formulas: the textbook ones for sphere, torus and segment; the ellipsoid is deliberately the crude
lower bound `(|p / r| - 1) * min(r)`, as the usual closer approximation overshoots near its centre.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Points = tuple[Array, Array, Array]
Vector = tuple[float, float, float]


def ellipsoid(points: Points, centre: Vector, radii: Vector) -> Array:
    """Lower bound on the distance to an axis-aligned ellipsoid; exact where it is a sphere.

    Example:
        >>> ellipsoid((np.array([3.0]), np.array([0.0]), np.array([0.0])), (0, 0, 0), (2, 2, 2))
        array([1.])
    """
    x, y, z = points
    u = (x - centre[0]) * (1.0 / radii[0])
    v = (y - centre[1]) * (1.0 / radii[1])
    w = (z - centre[2]) * (1.0 / radii[2])
    u *= u
    v *= v
    w *= w
    u += v
    u += w
    np.sqrt(u, out=u)
    u -= 1.0
    u *= min(radii)
    return u


def taper(
    points: Points, start: Vector, end: Vector, start_radius: float, end_radius: float
) -> Array:
    """Distance bound of a limb: a segment whose thickness changes evenly from end to end."""
    x, y, z = (p - s for p, s in zip(points, start, strict=True))
    ax, ay, az = (e - s for e, s in zip(end, start, strict=True))
    length_squared = ax * ax + ay * ay + az * az
    along = x * (ax / length_squared)
    along += y * (ay / length_squared)
    along += z * (az / length_squared)
    np.clip(along, 0.0, 1.0, out=along)
    x -= along * ax
    y -= along * ay
    z -= along * az
    x *= x
    y *= y
    z *= z
    x += y
    x += z
    np.sqrt(x, out=x)
    growth = end_radius - start_radius
    x -= start_radius + along * growth
    # The radius changes along the limb too, which adds to the slope: divided out again here.
    x *= 1.0 / float(np.hypot(1.0, growth / length_squared**0.5))
    return x


def torus(points: Points, centre: Vector, tilt: float, ring: float, tube: float) -> Array:
    """Distance to a ring about the y axis, its front lowered by `tilt` radians."""
    x, y, z = (p - c for p, c in zip(points, centre, strict=True))
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    across, above = z * cos - y * sin, z * sin + y * cos
    radial = np.sqrt(x * x + across * across) - ring
    return np.asarray(np.sqrt(radial * radial + above * above) - tube)


def half_space(points: Points, through: Vector, normal: Vector) -> Array:
    """Distance to a plane, negative on the side that `normal` (any length) points away from."""
    length = float(np.sqrt(sum(n * n for n in normal)))
    a, b, c = (n / length for n in normal)
    offset = a * through[0] + b * through[1] + c * through[2]
    return np.asarray(points[0] * a + points[1] * b + points[2] * c - offset)


def blend(first: Array, second: Array, width: float) -> Array:
    """Union of two solids with a fillet of about `width`: the polynomial smooth minimum."""
    overlap = np.abs(first - second)
    np.subtract(width, overlap, out=overlap)
    np.maximum(overlap, 0.0, out=overlap)
    overlap *= overlap
    overlap *= 0.25 / width
    return np.asarray(np.minimum(first, second) - overlap)


def carve(solid: Array, cutter: Array, width: float) -> Array:
    """`solid` without `cutter`, with an edge rounded by about `width`."""
    return np.asarray(-blend(-solid, cutter, width))


def mirrored(points: Points) -> Points:
    """Fold the x < 0 half onto the other, so that one solid stands for a pair."""
    return np.abs(points[0]), points[1], points[2]


def rotated(points: Points, rows: tuple[Vector, Vector, Vector]) -> Points:
    """Apply a 3x3 rotation written as rows, term by term.

    A matrix product would hand this to BLAS, whose rounding may depend on its threads.
    """
    x, y, z = points
    first, second, third = (x * row[0] + y * row[1] + z * row[2] for row in rows)
    return first, second, third
