"""Poses of any form as 4x4 matrices, in the convention they came in.

`read_poses` takes the numbers of cameras with the same plan out of their objects; `compose_poses`
makes matrices of them, for all cameras of a release at once, because some forms (degrees or
radians, the order of turns, an orientation or its inverse) can only be told by how the cameras
stand together. Open this module to see or change how a form of pose becomes a matrix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import (
    AXES_SIGNS,
    CameraAxes,
    Convention,
    Direction,
    QuaternionOrder,
    rotation_from_quaternion,
)
from geogen_hf.cameras.poses import FloatArray, compose_rigid, invert_rigid, look_at
from geogen_hf.cameras.rigs import MOST_MISS, measure_rigs
from geogen_hf.cameras.validate import REPAIR_LIMIT, is_rotation, rotation_errors
from geogen_hf.errors import CameraError
from geogen_hf.metadata.keys import C2W, W2C, CameraValueError, dotted, normalise_key
from geogen_hf.metadata.plan import POSE_KEYS, PosePlan
from geogen_hf.metadata.table import Column

EULER_ORDERS = tuple(map("".join, permutations("XYZ")))
"""About which of the world's axes cameras turn first, second and third, as Blender writes it."""

WORLD_UPS = {
    f"{sign}{axis}": float(f"{sign}1") * np.eye(3)["xyz".index(axis)]
    for axis in "yzx"
    for sign in "+-"
}
"""What is up in all images, where cameras have a target and no up of their own."""

_LAYOUTS = {
    **dict.fromkeys(("columnmajor", "column", "col", "colmajor", "f", "fortran"), True),
    **dict.fromkeys(("rowmajor", "row", "c"), False),
}
_AXES: dict[str, CameraAxes] = {
    **{normalise_key(name): name for name in AXES_SIGNS},
    "blender": "opengl",
    "pytorch3d": "opencv_turned",
    "unity": "opencv_mirrored_y",
}
_CLEARLY = 0.25  # of any other reading's miss: then this one is right
_LEAST_MISS = 1e-3  # of the distance: less than that says nothing against a reading
_SAMPLE = 7000  # cameras that readings are tried on


@dataclass(frozen=True)
class Claims:
    """What keys say of the matrices; evidence has to agree, and decides the rest.

    Attributes:
        direction: Which way they map, or None.
        axes: The camera frame, or None.
        transposed: Whether the 4x4 is stored with rows and columns exchanged, where the keys or
            the form of the numbers settle that; else None.
    """

    direction: Direction | None = None
    axes: CameraAxes | None = None
    transposed: bool | None = None

    def allow(self, convention: Convention) -> bool:
        """Whether a convention contradicts nothing that was said.

        Example:
            >>> Claims("camera_to_world").allow(Convention("world_to_camera", "opencv"))
            False
        """
        return (
            self.direction in (None, convention.direction)
            and self.axes in (None, convention.axes)
            and self.transposed in (None, convention.transposed)
        )


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses of cameras with the same plan.

    Attributes:
        matrices: `(N, 4, 4)` float64 as stored.
        claims: What keys and form say of them.
        intrinsics: `(N, 3, 3)` float64 pixels, where the pose was a projection matrix.
        faults: What is wrong with single cameras, by row.
    """

    matrices: FloatArray
    claims: Claims
    intrinsics: FloatArray | None
    faults: Mapping[int, CameraValueError]


def read_statement(column: Column, value: object) -> dict[str, Any]:
    """Read what is said in words of layout, quaternion order and axes: fields of a `Role`."""
    role = column.role.name
    word = normalise_key(value) if isinstance(value, str) else value
    if role in ("column_major", "row_major") and isinstance(word, bool):
        return {"column_major": word == (role == "column_major")}
    if role == "ndc":
        if word not in (True, False, "ndcisotropic"):
            expected = f"{dotted([column.path])} to be ndc_isotropic, true or false"
            raise CameraValueError(None, expected, repr(value)[:60])
        # PyTorch3D multiplies rows by its rotations.
        said = {"direction": W2C, "axes": "opencv_turned", "column_major": True}
        return {"units": "ndc" if word else "pixels", **said}
    if role == "axes" and word in _AXES:
        return {"axes": _AXES[str(word)]}
    if role in ("layout", "quaternion_order") and isinstance(word, str):
        if word in get_args(QuaternionOrder):
            return {"order": word}
        if role == "layout" and word in _LAYOUTS:
            return {"column_major": _LAYOUTS[word]}
        expected = f"{dotted([column.path])} to be row-major, column-major, wxyz or xyzw"
        raise CameraValueError(None, expected, repr(value)[:60])
    return {}  # such as the order of the views


def compose_poses(
    plans: Sequence[PosePlan],
    values: Sequence[Sequence[FloatArray]],
    subjects: NDArray[np.int64],
) -> Poses:
    """Make matrices of poses in any form, and check that a pose given twice is the same.

    `subjects` has the index of each camera's identity. CameraValueError if it cannot be told what
    the numbers mean.
    """
    first, *others = [
        _compose(pose, each, subjects) for pose, each in zip(plans, values, strict=True)
    ]
    faults = dict(first.faults)
    for pose, other in zip(plans[1:], others, strict=True):
        directions = (first.claims.direction, other.claims.direction)
        agree = _same_pose(first.matrices, other.matrices, directions)
        if agree.mean() < 0.5:
            both = [path for each in (plans[0], pose) for path in each.paths]
            raise CameraValueError(
                None,
                "one pose a camera, or the same pose twice",
                f"{dotted(both)}, which differ",
                f"say which with camera_schema={{{_statement(plans[0])}}} or "
                f"camera_schema={{{_statement(pose)}}}",
            )
        for row in np.flatnonzero(~agree).tolist():
            keys = dotted([plans[0].paths[0], pose.paths[0]])
            faults.setdefault(row, CameraValueError(row, f"{keys} to agree", "two poses"))
    return Poses(first.matrices, first.claims, first.intrinsics, faults)


def _statement(pose: PosePlan) -> str:
    names = POSE_KEYS[pose.form if pose.paths[1:] else "matrix"]
    return ", ".join(f'"{n}": "{dotted([p])}"' for n, p in zip(names, pose.paths, strict=True))


def _same_pose(
    one: FloatArray, other: FloatArray, directions: tuple[Direction | None, Direction | None]
) -> NDArray[np.bool_]:
    """Whether matrices are the same or inverse, as directions say, but for the signs of axes."""
    agree = np.zeros(len(one), dtype=bool)
    reach = 1e-3 * (1 + np.abs(one[:, :3, 3]).max(axis=1))
    if None in directions:
        ways = [one, invert_rigid(one)]
    else:
        ways = [invert_rigid(one) if directions[0] == directions[1] else one]
    for first in ways:
        joined = first @ other
        beside = np.abs(joined - np.eye(4) * joined).max(axis=(1, 2))
        signs = np.abs(np.abs(np.diagonal(joined, axis1=1, axis2=2)) - 1).max(axis=1)
        agree |= (beside <= reach) & (signs <= 1e-3)
    return agree


def _compose(pose: PosePlan, values: Sequence[FloatArray], subjects: NDArray[np.int64]) -> Poses:
    role, first = pose.role, values[0]
    claims = Claims(pose.direction, role.axes, False)
    if pose.form == "label":
        return Poses(first[:, :16].reshape(-1, 4, 4), claims, None, {})
    if pose.form == "projection":
        return _decomposed(first, claims)
    if pose.form == "spherical":
        return Poses(_from_spherical(pose, *values), claims, None, {})
    if pose.form == "look_at":
        eye, target, *ups = (each.reshape(-1, 3) for each in values)
        if not ups and role.order not in WORLD_UPS:
            stated = " or ".join(json.dumps({"world_up": each}) for each in WORLD_UPS)
            expected = f"{dotted(pose.paths)} and an up"
            raise CameraValueError(
                None, expected, "none in the metadata", f"say it with camera_schema={stated}"
            )
        up = ups[0] if ups else WORLD_UPS[str(role.order)]
        try:
            matrices = look_at(eye, eye + target if pose.forward else target, up)
        except CameraError as error:
            raise CameraValueError(
                None, f"{dotted(pose.paths)} to span a view", str(error)
            ) from error
        return Poses(matrices, claims, None, {})
    if pose.form == "matrix":
        matrices, transposed = _whole(first, dotted(pose.paths), role.column_major)
        if _is_projection(matrices):
            return _decomposed(matrices, Claims(W2C, "opencv", False))
        return Poses(matrices, replace(claims, transposed=transposed), None, {})
    faults: dict[int, CameraValueError] = {}
    if len(values) == 1:
        values = _parted(first, dotted(pose.paths))
        first = values[0]
    if pose.form == "quaternion":
        length = np.linalg.norm(first, axis=1)
        what = f"{dotted(pose.paths[:1])} to have length 1"
        bad = np.flatnonzero(np.abs(length - 1.0) > REPAIR_LIMIT).tolist()
        faults = {row: CameraValueError(row, what, f"length {length[row]:.4g}") for row in bad}
        first = np.where(np.isin(np.arange(len(first)), bad)[:, None], [1.0, 0, 0, 0], first)
    offset = values[1].reshape(-1, 3)
    turn = _clearest(pose, _readings(pose, first), first, offset, subjects)
    return Poses(compose_rigid(turn(first), offset), claims, None, faults)


def _parted(seven: FloatArray, what: str) -> tuple[FloatArray, FloatArray]:
    """The quaternion, which has length 1, and the position before or after it."""
    ways = [(seven[:, 3:], seven[:, :3]), (seven[:, :4], seven[:, 4:])]
    unit = [np.median(np.abs(np.linalg.norm(way[0], axis=1) - 1)) <= 1e-3 for way in ways]
    if sum(unit) != 1:
        expected = f"{what} to be a position and a quaternion of length 1"
        raise CameraValueError(None, expected, "two" if all(unit) else "none")
    return ways[unit.index(True)]


_Turn = Callable[[FloatArray], FloatArray]
"""Makes `(N, 3, 3)` rotations of numbers as they are stored."""


def _readings(pose: PosePlan, array: FloatArray) -> list[tuple[dict[str, str], _Turn]]:
    """All open ways to read the rotations, each with the `camera_schema` that states it."""
    role = pose.role
    found: list[tuple[dict[str, str], _Turn]]
    if pose.form == "quaternion":
        found = [
            ({"quaternion_order": order}, partial(rotation_from_quaternion, order=order))
            for order in get_args(QuaternionOrder)
            if role.order in (None, order)
        ]
    elif pose.form == "euler":
        degrees = True if np.abs(array).max() > 4 * np.pi else role.degrees
        found = [
            ({"euler_units": unit, "euler_order": order}, partial(_from_euler, order, size))
            for unit, size in (("radians", 1.0), ("degrees", np.pi / 180))
            for order in EULER_ORDERS
            if degrees in (None, unit == "degrees") and role.order in (None, order)
        ]
    elif pose.form == "rodrigues":
        found = [({}, _from_rodrigues)]
    else:
        order = (0, 2, 1) if role.column_major else (0, 1, 2)
        found = [({}, lambda stored: stored.reshape(-1, 3, 3).transpose(order))]
    if not pose.placed:
        return found
    placed = [({**said, "direction": C2W}, turn) for said, turn in found if role.direction != W2C]
    return placed + [
        ({**said, "direction": W2C}, lambda stored, turn=turn: turn(stored).swapaxes(1, 2))
        for said, turn in found
        if role.direction != C2W
    ]


def _clearest(
    pose: PosePlan,
    readings: Sequence[tuple[dict[str, str], _Turn]],
    array: FloatArray,
    offset: FloatArray,
    subjects: NDArray[np.int64],
) -> _Turn:
    """The one reading in which the cameras of each subject look at one point.

    Readings that give the same rotations are one. CameraValueError where another fits as well.
    """
    if len(readings) == 1:
        return readings[0][1]
    rows = np.argsort(subjects, kind="stable")[:_SAMPLE]
    starts = np.flatnonzero(np.diff(subjects[rows], prepend=-2))
    made: list[FloatArray] = []
    found: list[tuple[float, dict[str, str], _Turn]] = []
    for said, turn in readings:
        turns = turn(array[rows])
        if any(np.allclose(turns, other, rtol=0, atol=1e-6) for other in made):
            continue
        made.append(turns)
        poses = compose_rigid(turns, offset[rows])
        ways = [poses] if pose.direction != C2W else []
        ways += [invert_rigid(poses)] if pose.direction != W2C else []
        # How far optical axes pass by their common point, of the distance; the median subject.
        miss = min(float(np.median(measure_rigs(way, starts).miss)) for way in ways)
        found.append((miss, said, turn))
    found.sort(key=lambda each: each[0])
    (least, said, turn), *others = found
    if not others or (least <= MOST_MISS and others[0][0] > max(least / _CLEARLY, _LEAST_MISS)):
        return turn
    open_ = [key for key in said if any(each[key] != said[key] for each, _ in readings)]
    stated = [{key: each[key] for key in open_} for _, each, _ in found]
    raise CameraValueError(
        None,
        f"{dotted(pose.paths)} to be cameras that look at one point, in one way to read them",
        "; ".join(
            f"a miss of {miss:.2g} of the distance with {' and '.join(each.values())}"
            for (miss, _, _), each in zip(found[:3], stated, strict=False)
        ),
        f"say it with camera_schema={' or '.join(map(json.dumps, stated[:4]))}",
    )


def _from_spherical(
    pose: PosePlan, azimuth: FloatArray, elevation: FloatArray, distance: FloatArray
) -> FloatArray:
    """World-to-camera matrices of cameras that look at the origin, y up, azimuth from z towards x.

    These are the angles of PyTorch3D's `look_at_view_transform`. Where one of them grows the other
    way, the result is that of a mirrored world, which only the images can tell: the axes are left
    open.
    """
    degrees = pose.role.degrees
    if degrees is None and np.ptp(azimuth) <= np.pi / 2:
        raise CameraValueError(
            None,
            f"{dotted(pose.paths[:1])} in radians or degrees",
            f"angles from {azimuth.min():.3g} to {azimuth.max():.3g}, which could be either",
            'say it with camera_schema={"euler_units": "radians"} (or "degrees")',
        )
    if degrees or (degrees is None and np.abs(azimuth).max() > 2 * np.pi + 1e-6):
        azimuth, elevation = np.radians(azimuth), np.radians(elevation)
    if elevation.min() >= 0 and np.pi / 2 + 1e-6 < elevation.max() <= np.pi:
        elevation = np.pi / 2 - elevation  # it was measured from the pole
    bad = np.flatnonzero(~((distance > 0) & (np.abs(elevation) <= np.pi / 2 + 1e-6)))
    if len(bad):
        row = int(bad[0])
        found = f"an elevation of {elevation[row]:.4g} radians and {distance[row]:.4g}"
        raise CameraValueError(row, f"{dotted(pose.paths)} to be a camera's place", found)
    # Turned about y by the azimuth, after a turn about x by the elevation.
    turns = _from_euler("XYZ", 1.0, np.stack([-elevation, azimuth, 0 * azimuth], axis=-1))
    outward, up = turns[:, :, 2], turns[:, :, 1]
    return look_at(distance[:, None] * outward, np.zeros(3), up)


def _from_euler(order: str, unit: float, angles: FloatArray) -> FloatArray:
    """Rotations by angles about the world's x, y and z, one axis after the other.

    Blender's manual, "Rotation Modes"; `mathutils.Euler.to_matrix` gives the same. A unit is given
    in radians.
    """
    turns: FloatArray = np.eye(3)[None]
    for axis in map("XYZ".index, order):
        angle = angles.reshape(-1, 3)[:, axis] * unit
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.tile(np.eye(3), (len(angles), 1, 1))
        turn[:, one, one] = turn[:, other, other] = np.cos(angle)
        turn[:, other, one] = np.sin(angle)
        turn[:, one, other] = -np.sin(angle)
        turns = turn @ turns
    return turns


def _from_rodrigues(vectors: FloatArray) -> FloatArray:
    """Rotations by the length of a vector about it (OpenCV's documentation of `Rodrigues`)."""
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    axis = vectors / np.maximum(angle, 1e-12)
    half = np.concatenate([np.cos(angle / 2), axis * np.sin(angle / 2)], axis=1)
    turns: FloatArray = rotation_from_quaternion(half, "wxyz")
    return turns


def _whole(
    array: FloatArray, what: str, column_major: bool | None
) -> tuple[FloatArray, bool | None]:
    """4x4 matrices of any of the accepted forms, and whether they are surely transposed or not.

    Three by four numbers get the row 0 0 0 1; four by three are taken for the transpose of that.
    Twelve flat numbers of which nothing is said are the one of these that has rotations in it.
    """
    shape = array.shape[1:]
    if shape in ((4, 4), (16,)):
        matrices = array.reshape(-1, 4, 4)
        if column_major is None:
            return matrices, None
        return (matrices.swapaxes(1, 2) if column_major else matrices), False
    if shape == (12,):
        rows, columns = array.reshape(-1, 3, 4), array.reshape(-1, 4, 3)
        lying = column_major
        if lying is None:
            standing = is_rotation(rows[:, :, :3], REPAIR_LIMIT).mean()
            lying = bool(is_rotation(columns[:, :3], REPAIR_LIMIT).mean() > standing)
        array = columns if lying else rows
    elif column_major is not None and shape != ((4, 3) if column_major else (3, 4)):
        expected = "4 columns of 3 numbers" if column_major else "3 rows of 4 numbers"
        raise CameraValueError(None, f"{what} to have {expected}", f"shape {shape}")
    upright = array.shape[1:] == (3, 4)
    matrices = np.tile(np.eye(4), (len(array), 1, 1))
    if upright or column_major:
        matrices[:, :3] = array if upright else array.swapaxes(1, 2)
        return matrices, False
    matrices[:, :, :3] = array
    return matrices, True


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

    RQ decomposition of the left 3x3 by a QR of its reverse, signs so that K's diagonal is positive
    (Hartley and Zisserman, Multiple View Geometry, 2nd edition, 6.2.4 and A4.1.1).
    """
    whole = array.reshape(-1, array.size // len(array) // 4, 4)
    flat = whole[:, :3] / np.maximum(
        np.linalg.norm(whole[:, 2:3, :3], axis=2, keepdims=True), 1e-12
    )
    sign = np.where(np.linalg.det(flat[:, :, :3]) < 0, -1.0, 1.0)[:, None, None]
    flat = flat * sign
    flip = np.eye(3)[::-1]
    turned = np.swapaxes(flip @ flat[:, :, :3], 1, 2)
    orthogonal, upper = np.linalg.qr(turned)
    rotation = flip @ np.swapaxes(orthogonal, 1, 2)
    intrinsics = flip @ np.swapaxes(upper, 1, 2) @ flip
    signs = np.where(np.diagonal(intrinsics, axis1=1, axis2=2) < 0, -1.0, 1.0)
    intrinsics = intrinsics * signs[:, None, :]
    rotation = rotation * signs[:, :, None]
    good = np.abs(np.diagonal(intrinsics, axis1=1, axis2=2)).min(axis=1) > 1e-9
    safe = np.where(good[:, None, None], intrinsics, np.eye(3))
    translation = np.linalg.solve(safe, flat[:, :, 3:])[..., 0]
    faults = {
        row: CameraValueError(row, "a projection matrix K [R | t]", "a singular matrix")
        for row in np.flatnonzero(~good).tolist()
    }
    safe = safe / safe[:, 2:, 2:]
    return Poses(compose_rigid(rotation, translation), claims, safe, faults)
