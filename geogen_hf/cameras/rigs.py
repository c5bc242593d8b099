"""Measure how the cameras of each subject stand: where they look, and whether they form a rig.

A rig is sound if its cameras stand as cameras round a head do. `measure_rigs` measures all subjects
of a release at once, `fit_orbit` single ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.cameras.conventions import Convention, Direction, canonicalise
from geogen_hf.cameras.poses import FloatArray, as_stack, camera_centre, unit_vectors
from geogen_hf.cameras.validate import REPAIR_LIMIT, rotation_errors

BoolArray = NDArray[np.bool_]

LEAST_VIEWS = 3
"""With fewer cameras nothing is told: two optical axes nearly meet in any reading."""

#: A rig is sound within these. They are wide: they need only tell a rig from no rig, and cameras
#: that look past one another, or at a target that moves, are rigs. Measured on the sample (target
#: jittered by 1 % of the distance): miss 0.007, distance spread 0.01, up agreement 0.98. Read in
#: the wrong direction: no distance at all, or a miss of 0.4 and more, or ups that agree to 0.3.
MOST_MISS, _LEAST_NEAREST, LEAST_UP_AGREEMENT = 0.2, 0.3, 0.4


@dataclass(frozen=True)
class Orbit:
    """Where cameras look: a point, and axes to measure angles about it.

    Attributes:
        centre: `(3,)` float64 world point that the optical axes come nearest to.
        up: `(3,)` float64 world direction, of any length, that is upwards in the images.
        front: `(3,)` float64 world direction of azimuth 0; only its part square to `up` counts.
    """

    centre: FloatArray
    up: FloatArray
    front: FloatArray

    def angles(self, world_to_camera: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Where cameras stand around the centre, as azimuth, elevation and distance.

        Azimuth is zero on the side of `front` and grows right-handed about `up` (anticlockwise
        seen from above).

        Args:
            world_to_camera: `(..., 4, 4)` extrinsics.

        Returns:
            azimuth_deg in [-180, 180] (0 straight above or below), elevation_deg in [-90, 90] and
            distance in the world's unit, each `(...)` float64.

        Raises:
            CameraError: `up` has no length, or `front` is parallel to it.
        """
        up = unit_vectors(as_stack(self.up, "up", 3), "up")
        front = as_stack(self.front, "front", 3)
        front = unit_vectors(front - (front @ up) * up, "front, square to up")
        offset = camera_centre(world_to_camera) - as_stack(self.centre, "centre", 3)
        ahead, aside, above = (offset @ axis for axis in (front, np.cross(up, front), up))
        azimuth_deg = np.degrees(np.arctan2(aside, ahead))
        elevation_deg = np.degrees(np.arctan2(above, np.hypot(aside, ahead)))
        return azimuth_deg, elevation_deg, np.linalg.norm(offset, axis=-1)

    def __str__(self) -> str:
        axis = int(np.argmax(np.abs(self.up)))
        up = f"{'-' if self.up[axis] < 0 else '+'}{'xyz'[axis]}"
        front = "xyz"[int(np.argmax(self.front))]
        return (
            f"up is near {up} of the world; azimuth 0 is towards its +{front} and grows "
            "anticlockwise from above"
        )


def fit_orbit(world_to_camera: ArrayLike) -> Orbit:
    """Find what the cameras of one subject have in common.

    The centre minimises the sum of squared distances to the optical axes.

    Args:
        world_to_camera: `(V, 4, 4)` extrinsics.

    Returns:
        The orbit. A single camera leaves the centre anywhere on its axis: the point nearest to the
        world's origin is taken. `front` is the first of the world's z, x and y that is more than
        45 degrees away from `up`, the mean of the directions that are upwards in the images.

    Example:
        >>> from geogen_hf.cameras.poses import look_at
        >>> eyes = [(0, 0, 5), (5, 1, 0), (0, 2, -5)]
        >>> fit_orbit(look_at(eyes, (1, 2, 3), (0, 1, 0))).centre.round(6)
        array([1., 2., 3.])
        >>> print(fit_orbit(look_at(eyes, (1, 2, 3), (0, 1, 0))))
        up is near +y of the world; azimuth 0 is towards its +z and grows anticlockwise from above
    """
    extrinsics = as_stack(world_to_camera, "extrinsics", 4, 4)
    centre = _nearest_point(camera_centre(extrinsics), extrinsics[:, 2, :3], np.array([0]))[0]
    mean_up = -extrinsics[:, 1, :3].mean(axis=0)
    up = mean_up / max(float(np.linalg.norm(mean_up)), 1e-12)
    candidates = np.eye(3)[[2, 0, 1]]
    return Orbit(centre, up, candidates[int(np.argmax(np.abs(candidates @ up) < 0.7))])


@dataclass(frozen=True, eq=False)
class Rigs:
    """What the cameras of S subjects have in common, in one reading of their matrices.

    Each measure but the first two is `(S,)`; lengths are parts of the cameras' mean distance.
    """

    centre: FloatArray  # (S, 3) world points that the optical axes come nearest to, least squares
    up: FloatArray  # (S, 3) mean of what is upwards in the images; shorter the less they agree
    miss: FloatArray  # how far the optical axes pass the centre (root mean square)
    ahead: FloatArray  # share of cameras that have the centre in front
    nearest: FloatArray  # least depth of the centre; zero or less if it is at or behind a camera
    distance_spread: FloatArray  # standard deviation of the distances
    gap_deg: FloatArray  # largest gap in azimuth about `up`; 360 / V for an even circle
    views: NDArray[np.intp]  # number of cameras

    @property
    def up_agreement(self) -> FloatArray:
        """Length of `up`, 0..1."""
        return np.asarray(np.linalg.norm(self.up, axis=-1))

    @property
    def sound(self) -> BoolArray:
        """Whether cameras round something could stand like this."""
        return np.asarray(
            (self.views >= LEAST_VIEWS)
            & (self.miss <= MOST_MISS)
            & (self.nearest >= _LEAST_NEAREST)
            & (self.up_agreement >= LEAST_UP_AGREEMENT)
        )


def measure_rigs(world_to_camera: FloatArray, starts: NDArray[np.intp]) -> Rigs:
    """Measure the rigs of all subjects, of which each has a camera or more.

    Extrinsics are `(M, 4, 4)`, one subject after the other, OpenCV axes; `(S,)` starts, the index
    of each subject's first. Cameras that are all parallel or all at one place give a centre among
    them, and so no sound rig.
    """
    views = np.diff(starts, append=len(world_to_camera))
    subject = np.repeat(np.arange(len(starts)), views)
    rotation = world_to_camera[:, :3, :3]
    eye = -np.einsum("mji,mj->mi", rotation, world_to_camera[:, :3, 3])
    forward = rotation[:, 2]
    middle = np.add.reduceat(eye, starts) / views[:, None]
    centre = middle + _nearest_point(eye - middle[subject], forward, starts)
    offset = centre[subject] - eye
    depth = (offset * forward).sum(axis=-1)
    distance = np.linalg.norm(offset, axis=-1)
    passing = np.maximum(distance**2 - depth**2, 0.0)
    mean_distance = np.add.reduceat(distance, starts) / views
    unit = np.maximum(mean_distance, 1e-12)
    variance = np.add.reduceat((distance - mean_distance[subject]) ** 2, starts) / views
    up = np.add.reduceat(-rotation[:, 1], starts) / views[:, None]
    return Rigs(
        centre=centre,
        up=up,
        miss=np.sqrt(np.add.reduceat(passing, starts) / views) / unit,
        ahead=np.add.reduceat((depth > 0).astype(np.float64), starts) / views,
        nearest=np.minimum.reduceat(depth, starts) / unit,
        distance_spread=np.sqrt(variance) / unit,
        gap_deg=_largest_gap_deg(-offset, up, starts, subject),
        views=views,
    )


class Rig(NamedTuple):
    """Cameras `(V, 4, 4)` of a subject, OpenCV axes, and the `(3,)` point that they look at."""

    world_to_camera: FloatArray
    centre: FloatArray


def read_rig(matrices: FloatArray, convention: Convention) -> Rig | None:
    """Read `(V, 4, 4)` matrices as stored; None if the cameras could not stand like this."""
    world_to_camera = canonicalise(matrices, convention)
    rigs = measure_rigs(world_to_camera, np.array([0]))
    return Rig(world_to_camera, rigs.centre[0]) if rigs.sound[0] else None


def _nearest_point(eye: FloatArray, forward: FloatArray, starts: NDArray[np.intp]) -> FloatArray:
    """Points with the least sum of squared distances to lines.

    By the normal equations of `sum |(1 - d d^T)(x - c)|^2` over camera centres `c` and axes `d`.
    """
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    matrix = np.add.reduceat(across, starts)
    pulled = np.add.reduceat(np.einsum("mij,mj->mi", across, eye), starts)
    # The small weight draws the point to the origin where lines leave it free.
    weight = 1e-9 * np.diff(starts, append=len(eye))[:, None, None]
    return np.asarray(np.linalg.solve(matrix + weight * np.eye(3), pulled[..., None])[..., 0])


def azimuth_deg(directions: FloatArray, up: FloatArray, subject: NDArray[np.intp]) -> FloatArray:
    """Angles `(M,)` of directions `(M, 3)` about `up`, `(S, 3)`, of their subject."""
    ahead = np.cross(up, np.eye(3)[np.argmin(np.abs(up), axis=-1)])
    aside = np.cross(up, ahead)
    aside = aside / np.maximum(np.linalg.norm(up, axis=-1), 1e-12)[:, None]
    x, y = ((directions * axis[subject]).sum(axis=-1) for axis in (ahead, aside))
    return np.asarray(np.degrees(np.arctan2(y, x)))


def _largest_gap_deg(
    offset: FloatArray, up: FloatArray, starts: NDArray[np.intp], subject: NDArray[np.intp]
) -> FloatArray:
    azimuth = azimuth_deg(offset, up, subject)
    azimuth = azimuth[np.lexsort((azimuth, subject))]
    following = np.roll(azimuth, -1)
    ends = np.append(starts[1:], len(azimuth)) - 1
    following[ends] = azimuth[starts] + 360.0
    return np.asarray(np.maximum.reduceat(following - azimuth, starts))


@dataclass(frozen=True)
class Geometry:
    """Summarise `Rigs` over all subjects, read by one convention; nan where none is measured.

    What is not said below is the median of what `Rigs` has of each subject.
    """

    formed: float  # share of the matrices that are rigid; the rest is of subjects with such only
    sound: float  # share of the subjects whose cameras could stand like this round a head
    miss: float
    ahead: float  # share of cameras that have the centre in front
    distance_spread: float
    up_agreement: float
    up_over_release: float  # length of the mean of all subjects' up directions, 0..1
    gap_deg: float


GeometryKey = tuple[Direction, bool, bool]


def geometry_of(convention: Convention) -> GeometryKey:
    """What geometry can see of a convention: the rest of it moves no axis and no centre."""
    return convention.direction, convention.transposed, convention.looks_forward


def read_rigs(
    stored: FloatArray, starts: NDArray[np.intp], conventions: Iterable[Convention]
) -> dict[GeometryKey, tuple[BoolArray, Geometry]]:
    """Measure all rigs under each convention, once for those that geometry cannot tell apart.

    Matrices and starts are as for `measure_rigs`, but as stored. Rounded ones pass for rigid
    transforms; translation where 0 0 0 1 should be, which is the last row or, where they are
    transposed, the last column, makes them none.

    Returns:
        By `geometry_of` each convention: `(S,)` which subjects have a sound rig, of rigid
        transforms only; and the geometry of all that have `LEAST_VIEWS` or more.
    """
    views = np.diff(starts, append=len(stored))
    rigid = np.isfinite(stored).all(axis=(-2, -1))
    rigid &= rotation_errors(stored[:, :3, :3])[0] <= REPAIR_LIMIT
    readings = {}
    for key, convention in {geometry_of(each): each for each in conventions}.items():
        last = stored[:, :, 3] if convention.transposed else stored[:, 3, :]
        # Not a number compares as false.
        formed = rigid & (np.abs(last - [0, 0, 0, 1]).max(axis=-1) <= 1e-4)
        whole = np.logical_and.reduceat(formed, starts) & (views >= LEAST_VIEWS)
        sound = np.zeros(len(starts), dtype=np.bool_)
        rigs = None
        if whole.any():
            kept = canonicalise(stored[np.repeat(whole, views)], convention)
            rigs = measure_rigs(kept, np.cumsum(views[whole]) - views[whole])
            sound[whole] = rigs.sound
        of_enough = sound[views >= LEAST_VIEWS]
        share = float(of_enough.mean()) if len(of_enough) else 0.0
        readings[key] = sound, _summary(float(formed.mean()), share, rigs)
    return readings


def _summary(formed: float, sound: float, rigs: Rigs | None) -> Geometry:
    if rigs is None:
        return Geometry(formed, sound, *[math.nan] * 6)
    up = rigs.up / np.maximum(rigs.up_agreement, 1e-12)[:, None]
    return Geometry(
        formed=formed,
        sound=sound,
        miss=float(np.median(rigs.miss)),
        ahead=float(np.average(rigs.ahead, weights=rigs.views)),
        distance_spread=float(np.median(rigs.distance_spread)),
        up_agreement=float(np.median(rigs.up_agreement)),
        up_over_release=float(np.linalg.norm(up.mean(axis=0))),
        gap_deg=float(np.median(rigs.gap_deg)),
    )
