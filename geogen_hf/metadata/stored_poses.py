"""Poses of any form as 4x4 matrices in the convention they came in.

Matrices are made for all cameras of a release at once: some forms (degrees or radians, the order of
turns, an orientation or its inverse) can only be told by how the cameras stand together. Open this
module to see or change what becomes of each form of pose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import (
    CameraAxes,
    Convention,
    Direction,
    rotation_from_quaternion,
)
from geogen_hf.cameras.poses import FloatArray, camera_centre, compose_rigid, invert_rigid, look_at
from geogen_hf.cameras.rigs import LEAST_UP_AGREEMENT, MOST_MISS, measure_rigs
from geogen_hf.cameras.validate import REPAIR_LIMIT, is_rotation, rotation_errors
from geogen_hf.errors import CameraError
from geogen_hf.metadata.keys import (
    C2W,
    CHOICES,
    COLUMN_MAJOR,
    DEGREES,
    W2C,
    CameraValueError,
    Choice,
    dotted,
)
from geogen_hf.metadata.pose_plans import POSE_FORMS, PosePlan

_CLEARLY = 0.25  # of any other reading's miss: then this one is right
_LEAST_MISS = 1e-3  # of the distance: less than that says nothing against a reading
_MOST_GAP = np.pi / 3  # between cameras that stand all round an axis
_ALIKE = 1e-4  # readings that differ by less are one
_AGREE = 3e-3  # and so are poses that are given twice, of which one may be rounded
_SAMPLE = 700  # cameras that readings are tried on


@dataclass(frozen=True)
class Claims:
    """What keys say of the matrices, or None; evidence has to agree, and decides the rest."""

    direction: Direction | None = None
    axes: CameraAxes | None = None
    transposed: bool | None = None  # also where the form of the numbers settles it

    def allow(self, convention: Convention) -> bool:
        """Whether a convention contradicts nothing that was said."""
        return (
            self.direction in (None, convention.direction)
            and self.axes in (None, convention.axes)
            and self.transposed in (None, convention.transposed)
        )


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses of cameras with the same plan, and what is wrong with single ones, by row."""

    matrices: FloatArray  # (N, 4, 4) float64 as stored
    claims: Claims
    intrinsics: FloatArray | None = None  # (N, 3, 3) pixels, of projection matrices
    faults: Mapping[int, CameraValueError] = field(default_factory=dict)


def compose_poses(
    plans: Sequence[PosePlan],
    values: Sequence[Sequence[FloatArray]],
    subjects: NDArray[np.int64],
) -> Poses:
    """Make matrices of poses in any form, and check that a pose given twice is the same.

    Where two differ, one may be no camera's: then its cameras look at nothing in common.
    `subjects` has the index of each camera's identity. CameraValueError if it cannot be told what
    the numbers mean.
    """
    found = [_compose(pose, each, subjects) for pose, each in zip(plans, values, strict=True)]
    best, faults = 0, dict[int, CameraValueError]()
    for at in range(1, len(found)):
        pair = [_w2c(found[each].matrices, found[each].claims.direction) for each in (best, at)]
        agree = _difference(*pair) <= _AGREE
        if agree.mean() >= 0.5:
            for row in np.flatnonzero(~agree).tolist():
                keys = dotted([plans[best].paths[0], plans[at].paths[0]])
                faults.setdefault(row, CameraValueError(row, f"{keys} to agree", "two poses"))
            continue
        rows = _sample(subjects)
        misses = [_miss([way[rows] for way in each], subjects[rows])[0] for each in pair]
        if not _is_clear(*sorted(misses)):
            both = [path for pose in (plans[best], plans[at]) for path in pose.paths]
            raise CameraValueError(
                None,
                "one pose a camera, or the same pose twice",
                f"{dotted(both)}, which differ",
                [_statement(plans[best]), _statement(plans[at])],
            )
        if misses[1] < misses[0]:
            best, faults = at, {}
    return replace(found[best], faults={**faults, **found[best].faults})


def _statement(pose: PosePlan) -> Choice:
    keys = POSE_FORMS[pose.form].keys
    return {key: dotted([path]) for key, path in zip(keys, pose.paths, strict=False)}


def _w2c(matrices: FloatArray, direction: Direction | None) -> list[FloatArray]:
    """World-to-camera matrices, lying or not: one for each direction that is possible.

    None where most are not rigid.
    """
    if np.abs(matrices[:, 3] - [0, 0, 0, 1]).max() > 1e-4:
        matrices = matrices.swapaxes(1, 2)
    affine = np.abs(matrices[:, 3] - [0, 0, 0, 1]).max(axis=1) <= 1e-4
    if (affine & is_rotation(matrices[:, :3, :3], REPAIR_LIMIT)).mean() <= 0.5:
        return []
    ways = {W2C: matrices, C2W: invert_rigid(matrices)}
    return [way for said, way in ways.items() if direction in (None, said)]


def _difference(
    one: Sequence[FloatArray], other: Sequence[FloatArray], *, flips: bool = True
) -> FloatArray:
    """How far poses differ: in the entries of rotations, and as a part of the distance.

    Of several ways to read them the best counts. With `flips`, the signs of the camera's axes may
    differ, alike in all poses: which are right the images tell.
    """
    found = []
    for first, second in product(one, other):
        joined = first @ invert_rigid(second)
        joined[:, :3, 3] /= 1 + np.linalg.norm(first[:, :3, 3], axis=1, keepdims=True)
        signs = np.sign(np.median(joined, axis=0).diagonal()) if flips else np.ones(4)
        found.append(np.abs(joined - np.diag(signs)).max(axis=(1, 2)))
    return min(found, key=np.median, default=np.full(1, np.inf))


def _compose(pose: PosePlan, values: Sequence[FloatArray], subjects: NDArray[np.int64]) -> Poses:
    said, first, what = pose.said, values[0], dotted(pose.paths)
    claims = Claims(pose.direction, cast("CameraAxes | None", said.get("axes")), False)
    if pose.form == "label":
        return Poses(first[:, :16].reshape(-1, 4, 4), claims)
    if pose.form == "projection":
        return _decomposed(first, claims)
    if pose.form == "spherical":
        return Poses(_from_spherical(pose, *values), claims)
    if pose.form == "matrix":
        matrices, transposed = _whole(first, what, said.get("layout"))
        if _is_projection(matrices):
            return _decomposed(matrices, Claims(W2C, "opencv", False))
        return Poses(matrices, replace(claims, transposed=transposed))
    if pose.form == "look_at":
        eye, target, *ups = (each.reshape(-1, 3) for each in values)
        target = eye + target if pose.forward else target
        if not ups and "world_up" not in said:
            claims = replace(claims, axes=None)  # which end of it is up, images tell
        up = ups[0] if ups else _world_up(eye - target, what, said.get("world_up"))
        try:
            return Poses(look_at(eye, target, up), claims)
        except CameraError as error:
            raise CameraValueError(None, f"{what} to span a view", str(error)) from error
    way = _clearest(pose, values, subjects)
    faults = {}
    if "quaternion_order" in way:
        lengths = np.linalg.norm(_parts(values, way)[0], axis=1)
        for row in np.flatnonzero(np.abs(lengths - 1.0) > REPAIR_LIMIT).tolist():
            expected = f"{dotted(pose.paths[:1])} to have length 1"
            faults[row] = CameraValueError(row, expected, f"length {lengths[row]:.4g}")
    return Poses(_rigid(pose, values, way), claims, None, faults)


def _world_up(outward: FloatArray, what: str, stated: str | None) -> FloatArray:
    """The axis of the world round which cameras stand: along it they are spread the least."""
    if stated is not None:
        return _axis(stated)
    length = np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
    spread = (outward / length).var(axis=0)
    least, second, _ = np.argsort(spread).tolist()
    angles = np.sort(np.arctan2(*np.delete(outward, least, axis=1).T))
    gap = np.diff(angles, append=angles[0] + 2 * np.pi).max()
    if gap > _MOST_GAP or spread[least] > _CLEARLY * spread[second]:
        raise CameraValueError(
            None,
            f"{what} and an up",
            "none in the metadata, and cameras that do not stand round one of the world's axes",
            [{"world_up": each} for each in CHOICES["world_up"]],
        )
    return np.asarray(np.eye(3)[least])


def _clearest(
    pose: PosePlan, values: Sequence[FloatArray], subjects: NDArray[np.int64]
) -> Mapping[str, str]:
    """The words of `CHOICES` with which the cameras of each subject look at one point.

    Those that give the same matrices are one, also where they differ by the camera's axes alone,
    which the images tell; of others that fit as well, those count in which cameras stand alike.
    CameraValueError where more than one is left.
    """
    ways = _ways(pose, values)
    if len(ways) == 1:
        return ways[0]
    rows = _sample(subjects)
    some = [each[rows] for each in values]

    def read(way: Mapping[str, str]) -> list[FloatArray]:
        return _w2c(_rigid(pose, some, way), pose.direction)

    tried = [(*_miss(read(way), subjects[rows]), way) for way in ways]
    tried.sort(key=lambda each: each[0])
    near = [each for each in tried if not _is_clear(tried[0][0], each[0])]
    near = [each for each in near if each[1]] or near
    best, flips = read(near[0][2]), pose.direction is not None and "axes" not in pose.said
    near[1:] = [
        each for each in near[1:] if _difference(best, read(each[2]), flips=flips).max() > _ALIKE
    ]
    if len(near) == 1 and near[0][0] <= MOST_MISS:
        return near[0][2]
    found = [*near, *(each for each in tried if each not in near)]
    open_ = [key for key in ways[0] if len({way[key] for way in ways}) > 1]
    stated = [{key: way[key] for key in open_} for _, _, way in found]
    raise CameraValueError(
        None,
        f"{dotted(pose.paths)} to be cameras that look at one point, in one way to read them",
        "; ".join(
            f"a miss of {miss:.2g} of the distance with {' and '.join(each.values())}"
            for (miss, _, _), each in zip(found[:3], stated, strict=False)
        ),
        stated,
    )


def _ways(pose: PosePlan, values: Sequence[FloatArray]) -> list[dict[str, str]]:
    """All ways to read rotations and offsets that contradict nothing that is said."""
    choices = {key: CHOICES[key] for key in POSE_FORMS[pose.form].open}
    if pose.placed:
        choices = {"direction": (C2W, W2C), **choices}
    choices |= {key: (pose.said[key],) for key in choices if key in pose.said}
    if "euler_units" in choices and max(np.abs(each).max() for each in values[:-1]) > 4 * np.pi:
        choices["euler_units"] = (DEGREES,)
    ways = [dict(zip(choices, words, strict=True)) for words in product(*choices.values())]
    # Only as angles of a rotation matrix, yaw, pitch and roll could be those of its inverse.
    ways = [way for way in ways if way.get("direction") != W2C or " " in way.get("turns", " ")]
    if len(choices.get("pose_order", ())) > 1:
        off = [np.abs(np.linalg.norm(_parts(values, way)[0], axis=1) - 1.0) for way in ways]
        ways = [way for way, each in zip(ways, off, strict=True) if np.median(each) <= 1e-3]
    if not ways:
        expected = f"{dotted(pose.paths)} to be a position and a quaternion of length 1"
        raise CameraValueError(None, expected, "none")
    return ways


def _parts(values: Sequence[FloatArray], way: Mapping[str, str]) -> tuple[FloatArray, FloatArray]:
    """The numbers of rotations, `(N, n)`, and the offsets, `(N, 3)`."""
    *parts, offset = (each.reshape(len(each), -1) for each in values)
    if "pose_order" not in way:
        return np.concatenate(parts, axis=1), offset
    first = way["pose_order"] == "position first"
    return (offset[:, 3:], offset[:, :3]) if first else (offset[:, :4], offset[:, 4:])


def _rigid(pose: PosePlan, values: Sequence[FloatArray], way: Mapping[str, str]) -> FloatArray:
    """The `(N, 4, 4)` matrices of rotations and offsets, read in one way."""
    numbers, offset = _parts(values, way)
    angles = np.radians(numbers) if way.get("euler_units") == DEGREES else numbers
    if pose.form == "rotation":
        turns = numbers.reshape(-1, 3, 3)
        turns = turns.swapaxes(1, 2) if pose.said.get("layout") == COLUMN_MAJOR else turns
    elif "quaternion_order" in way:
        length = np.linalg.norm(numbers, axis=1, keepdims=True)
        numbers = np.where(np.abs(length - 1.0) > REPAIR_LIMIT, [1.0, 0, 0, 0], numbers)
        turns = rotation_from_quaternion(numbers, cast("Any", way["quaternion_order"]))
    elif pose.form == "rodrigues":
        turns = _from_rodrigues(numbers)
    elif pose.form == "euler":
        turns = _from_euler(way["euler_order"], angles)
    else:
        turns = _from_turns(way["turns"], angles)
    turns = turns.swapaxes(1, 2) if way.get("direction") == W2C else turns
    return compose_rigid(turns, offset)


def _sample(subjects: NDArray[np.int64]) -> NDArray[np.intp]:
    """The cameras that readings are tried on, subject by subject."""
    return np.argsort(subjects, kind="stable")[:_SAMPLE]


def _miss(ways: Sequence[FloatArray], subjects: NDArray[np.int64]) -> tuple[float, bool]:
    """How far optical axes pass by their common point, and whether all look at it and are upright.

    The first as a part of how far apart the cameras stand: axes that are nearly parallel meet far
    away. Of the median subject, in the better way; infinite where there is none.
    """
    starts = np.flatnonzero(np.diff(subjects, prepend=-2))
    found = []
    for way in ways:
        rigs, eye = measure_rigs(way, starts), camera_centre(way)
        middle = np.add.reduceat(eye, starts) / rigs.views[:, None]
        away, apart = (
            np.add.reduceat(((eye - point.repeat(rigs.views, axis=0)) ** 2).sum(axis=1), starts)
            for point in (rigs.centre, middle)
        )
        miss = rigs.miss * np.sqrt(away / np.maximum(apart, 1e-24))
        alike = (rigs.up_agreement >= LEAST_UP_AGREEMENT) & (np.abs(rigs.ahead - 0.5) >= 0.4)
        found.append((float(np.median(miss)), bool(np.median(alike) > 0.5)))
    return min(found, default=(np.inf, False))


def _is_clear(least: float, other: float) -> bool:
    """Whether a reading with the least miss is far better than another."""
    return least <= MOST_MISS and other > max(least / _CLEARLY, _LEAST_MISS)


def _from_spherical(
    pose: PosePlan, azimuth: FloatArray, elevation: FloatArray, distance: FloatArray
) -> FloatArray:
    """World-to-camera matrices of cameras that look at the origin, y up, azimuth from z towards x.

    These are the angles of PyTorch3D's `look_at_view_transform`. Where one of them grows the other
    way, the result is that of a mirrored world, which only the images can tell: the axes are left
    open.
    """
    units = pose.said.get("euler_units")
    if units is None and np.ptp(azimuth) <= np.pi / 2:
        raise CameraValueError(
            None,
            f"{dotted(pose.paths[:1])} in radians or degrees",
            f"angles from {azimuth.min():.3g} to {azimuth.max():.3g}, which could be either",
            [{"euler_units": unit} for unit in CHOICES["euler_units"]],
        )
    if units == DEGREES or (units is None and np.abs(azimuth).max() > 2 * np.pi + 1e-6):
        azimuth, elevation = np.radians(azimuth), np.radians(elevation)
    if elevation.min() >= 0 and np.pi / 2 + 1e-6 < elevation.max() <= np.pi:
        elevation = np.pi / 2 - elevation  # it was measured from the pole
    bad = np.flatnonzero(~((distance > 0) & (np.abs(elevation) <= np.pi / 2 + 1e-6)))
    if len(bad):
        row = int(bad[0])
        found = f"an elevation of {elevation[row]:.4g} radians and {distance[row]:.4g}"
        raise CameraValueError(row, f"{dotted(pose.paths)} to be a camera's place", found)
    # Turned about y by the azimuth, after a turn about x by the elevation.
    turns = _from_euler("XYZ", np.stack([-elevation, azimuth, 0 * azimuth], axis=-1))
    outward, up = turns[:, :, 2], turns[:, :, 1]
    return look_at(distance[:, None] * outward, np.zeros(3), up)


def _axis(word: str) -> FloatArray:
    """A direction such as `-y`."""
    return np.asarray(float(f"{word[0]}1") * np.eye(3)["xyz".index(word[1])])


def _from_euler(order: str, angles: FloatArray) -> FloatArray:
    """Rotations by angles about the world's x, y and z, one axis after the other.

    Blender's manual, "Rotation Modes"; `mathutils.Euler.to_matrix` gives the same.
    """
    turns = np.eye(3)[None]
    for axis in map("XYZ".index, order):
        turns = _from_rodrigues(angles[:, axis, None] * np.eye(3)[axis]) @ turns
    return turns


def _from_turns(word: str, angles: FloatArray) -> FloatArray:
    """Camera-to-world rotations by yaw, pitch and, if there is one, roll: as `turns` says."""
    axes, _, order = word.partition(" ")
    angles = np.concatenate([angles, 0 * angles], axis=1)[:, :3]
    if order:
        return _from_euler(order, angles[:, [axes.index(axis) for axis in "xyz"]])
    steps = np.stack([_axis(axes[at : at + 2]) for at in (0, 2, 4)])
    _, right, ahead = np.abs(steps)
    turns = np.stack([right, np.cross(ahead, right), ahead], axis=1)[None]
    for at in (2, 1, 0):
        turns = _from_rodrigues(angles[:, at, None] * steps[at]) @ turns
    return turns


def _from_rodrigues(vectors: FloatArray) -> FloatArray:
    """Rotations by the length of a vector about it (OpenCV's documentation of `Rodrigues`)."""
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    axis = vectors / np.maximum(angle, 1e-12)
    half = np.concatenate([np.cos(angle / 2), axis * np.sin(angle / 2)], axis=1)
    turns: FloatArray = rotation_from_quaternion(half, "wxyz")
    return turns


def _whole(array: FloatArray, what: str, layout: str | None) -> tuple[FloatArray, bool | None]:
    """4x4 matrices of any of the accepted forms, and whether they are surely transposed or not.

    Three by four numbers get the row 0 0 0 1; four by three are taken for the transpose of that.
    Twelve flat numbers of which nothing is said are the one of these that has rotations in it.
    """
    lying, shape = layout == COLUMN_MAJOR, array.shape[1:]
    if shape in ((4, 4), (16,)):
        matrices = array.reshape(-1, 4, 4)
        return matrices.swapaxes(1, 2) if lying else matrices, None if layout is None else False
    if shape == (12,):
        rows, columns = array.reshape(-1, 3, 4), array.reshape(-1, 4, 3)
        if layout is None:
            standing = is_rotation(rows[:, :, :3], REPAIR_LIMIT).mean()
            lying = is_rotation(columns[:, :3], REPAIR_LIMIT).mean() > standing
        array = columns if lying else rows
    elif layout is not None and shape != ((4, 3) if lying else (3, 4)):
        expected = "4 columns of 3 numbers" if lying else "3 rows of 4 numbers"
        raise CameraValueError(None, f"{what} to have {expected}", f"shape {shape}")
    lying = array.shape[1:] == (4, 3)
    matrices = np.tile(np.eye(4), (len(array), 1, 1))
    matrices[:, :3] = array.swapaxes(1, 2) if lying else array
    return (matrices.swapaxes(1, 2), True) if lying and layout is None else (matrices, False)


def _is_projection(matrices: FloatArray) -> bool:
    """Whether matrices hold focal lengths and a principal point rather than rotations."""
    block = matrices[:, :3, :3]
    large = np.linalg.norm(block[:, 0], axis=1) > 5 * np.linalg.norm(block[:, 2], axis=1)
    if large.mean() <= 0.5:
        return False
    error, determinant = rotation_errors(block)
    affine = np.abs(matrices[:, 3] - [0, 0, 0, 1]).max(axis=1) <= 1e-9
    return bool((large & (error > 1) & (np.abs(determinant) > 1e-9) & affine).mean() > 0.5)


def _decomposed(array: FloatArray, claims: Claims) -> Poses:
    """Split projection matrices `P = K [R | t]`, pixels, into both.

    RQ decomposition of the left 3x3 by a QR of its inverse, signs so that K's diagonal is positive
    (Hartley and Zisserman, Multiple View Geometry, 2nd edition, 6.2.4 and A4.1.1).
    """
    whole = array.reshape(len(array), -1, 4)[:, :3]
    whole = whole / np.maximum(np.linalg.norm(whole[:, 2:, :3], axis=2, keepdims=True), 1e-12)
    determinant = np.linalg.det(whole[:, :, :3])
    singular = np.abs(determinant) <= 1e-9
    whole = whole * np.sign(determinant)[:, None, None]
    whole = np.where(singular[:, None, None], np.eye(3, 4), whole)
    inverse = np.linalg.inv(whole[:, :, :3])
    turned, upper = np.linalg.qr(inverse)
    turned = turned * np.sign(np.diagonal(upper, axis1=1, axis2=2))[:, None]
    intrinsics = np.triu(whole[:, :, :3] @ turned)
    offset = (turned.swapaxes(1, 2) @ inverse @ whole[:, :, 3:])[..., 0]
    faults = {
        row: CameraValueError(row, "a projection matrix K [R | t]", "a singular matrix")
        for row in np.flatnonzero(singular).tolist()
    }
    intrinsics = intrinsics / intrinsics[:, 2:, 2:]
    return Poses(compose_rigid(turned.swapaxes(1, 2), offset), claims, intrinsics, faults)
