"""The solid of a head: skin, hair, clothes and collar as signed distances.

Lengths below are metres, in the head's own frame for skin and hair (axes as the world's, turned
and tilted with the head) and in the world frame for clothes. The numbers were fitted by eye to a
head of 23 cm, chin to crown.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.errors import UsageError, explain
from geogen_hf.sample.hair import beard_distance, hair_distance
from geogen_hf.sample.heads import Head, head_of
from geogen_hf.sample.primitives import (
    Array,
    Points,
    Vector,
    blend,
    carve,
    ellipsoid,
    half_space,
    mirrored,
    rotated,
    taper,
    torus,
)

# Everything a subject consists of lies within this sphere.
BOUND_CENTRE: Vector = (0.0, -0.16, 0.0)
BOUND_RADIUS = 0.4


class Layer(IntEnum):
    """What a surface is made of; also the row of `layer_distances`."""

    SKIN = 0
    HAIR = 1
    CLOTH = 2
    COLLAR = 3


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
        raise UsageError(explain("points are not 3-D", expected="(..., 3)", found=xyz.shape))
    flat = np.ascontiguousarray(xyz.reshape(-1, 3).T)
    distance = surface_distance(head_of(subject_id, seed), (flat[0], flat[1], flat[2]))
    return np.asarray(distance, dtype=np.float64).reshape(xyz.shape[:-1])


def surface_distance(head: Head, points: Points) -> Array:
    """Signed distance to the whole subject: world points, three arrays of one shape."""
    return np.asarray(np.minimum.reduce(layer_distances(head, points)))


def layer_distances(head: Head, points: Points) -> tuple[Array, Array, Array, Array]:
    """Signed distances to each `Layer`, in its order; the smallest is the surface."""
    head_points = to_head_frame(head, points)
    cloth, collar = _clothes(head, points)
    hair = hair_distance(head, head_points)
    if head.full_beard:
        hair = np.minimum(hair, beard_distance(head, head_points))
    return _skin(head, points, head_points), hair, cloth, collar


def to_head_frame(head: Head, points: Points) -> Points:
    """World points in the frame that turns and tilts with the head; the origin is shared."""
    return rotated(points, head.head_rows)


def nose_tip(head: Head) -> NDArray[np.float64]:
    """The most forward point of the nose: `(3,)` float64, world frame, metres."""
    x, y, z = _nose_tip_head(head)
    tip = np.array([x, y, z + head.nose_width])
    return np.asarray((np.array(head.head_rows) * tip[:, None]).sum(axis=0))


def _nose_tip_head(head: Head) -> Vector:
    return 0.0, -0.036, 0.086 + head.nose_length


def _skin(head: Head, points: Points, head_points: Points) -> Array:
    pair = mirrored(head_points)
    skull = ellipsoid(head_points, (0.0, 0.03, -0.015), head.skull_radii)
    face = ellipsoid(head_points, (0.0, -0.02, 0.022), (0.062, 0.088, 0.068))
    solid = blend(skull, face, 0.03)
    jaw = (0.0, -0.066, 0.03)
    chin = -0.094 - head.chin_length
    solid = blend(solid, ellipsoid(head_points, jaw, (head.jaw_width, 0.042, 0.052)), 0.03)
    solid = blend(solid, ellipsoid(head_points, (0.0, chin, 0.066), (0.02, 0.018, 0.02)), 0.025)
    solid = carve(
        solid, ellipsoid(pair, (head.eye_spacing, 0.0, 0.1), (0.017, 0.013, 0.019)), 0.016
    )
    brow = taper(pair, (0.0, 0.016, 0.082), (0.04, 0.019, 0.068), 0.009, 0.006)
    solid = blend(solid, brow, 0.016)
    eye = ellipsoid(pair, (head.eye_spacing, 0.0, 0.069), (0.0135, 0.0135, 0.0135))
    solid = blend(solid, eye, 0.003)
    tip = _nose_tip_head(head)
    wide = head.nose_width
    nose = taper(head_points, (0.0, 0.008, 0.082), tip, 0.55 * wide, wide)
    wings = taper(pair, (0.0, -0.039, tip[2] - 0.012), (wide, -0.041, 0.085), 0.008, 0.007)
    solid = blend(solid, blend(nose, wings, 0.008), 0.01)
    lips = taper(
        pair, (0.0, head.mouth_y, 0.086), (head.mouth_width, head.mouth_y, 0.074), 0.007, 0.004
    )
    solid = blend(solid, lips, 0.008)
    size = head.ear_size
    ear = taper(pair, (0.075, -0.022, -0.006), (0.083, 0.014 * size, -0.016), 0.009, 0.0135 * size)
    solid = blend(solid, ear, 0.01)
    neck = taper(
        points,
        (0.0, -0.06, -0.022),
        (0.0, -0.21, -0.045),
        head.neck_radius,
        head.neck_radius + 0.006,
    )
    return blend(solid, neck, 0.022)


def _clothes(head: Head, points: Points) -> tuple[Array, Array]:
    """Cloth and collar; the world frame, as the body does not turn with the head."""
    body = ellipsoid(points, (0.0, -0.36, -0.025), (head.shoulder_width + 0.01, 0.165, 0.12))
    base = (0.0, -0.2, -0.05)
    for sign in (1.0, -1.0):
        height = sign * head.shoulder_raise - head.shoulder_drop
        shoulder = (sign * head.shoulder_width, height, -0.045)
        body = blend(body, taper(points, base, shoulder, 0.068, 0.055), 0.045)
        arm = (sign * (head.shoulder_width + 0.012), height - 0.13, -0.03)
        body = blend(body, taper(points, shoulder, arm, 0.053, 0.05), 0.02)
    return body, _collar(head, points)


def _collar(head: Head, points: Points) -> Array:
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
