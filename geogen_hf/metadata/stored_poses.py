"""Poses of any form as 4x4 matrices, in the convention they came in.

`read_poses` takes the numbers of cameras with the same plan out of their objects; `compose_poses`
makes matrices of them, for all cameras of a release at once, because some forms (degrees or
radians, an orientation or its inverse) can only be told by how the cameras stand together. Open
this module to see or change how a form of pose becomes a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import AXES_SIGNS, CameraAxes, Convention, Direction
from geogen_hf.cameras.poses import FloatArray, compose_rigid, invert_rigid, look_at
from geogen_hf.cameras.rigs import measure_rigs
from geogen_hf.cameras.tools import QuaternionOrder, rotation_from_quaternion
from geogen_hf.cameras.validate import REPAIR_LIMIT, is_rotation, rotation_errors
from geogen_hf.errors import CameraError
from geogen_hf.metadata.keys import ACCEPTED, SPHERICAL, normalise_key
from geogen_hf.metadata.plan import CameraPlan, PoseForm, PosePlan
from geogen_hf.metadata.values import (
    CameraValueError,
    Dims,
    Node,
    as_array,
    dotted,
    numbers,
    value_at,
)

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
_CLEARLY = 0.25  # of the other reading's miss: then this one is right
_MOST_MISS = 0.2  # of the distance: cameras of one subject that look at one point


@dataclass(frozen=True)
class Claims:
    """What keys say of the matrices; evidence has to agree, and decides the rest.

    Attributes:
        direction: Which way they map, or None.
        axes: The camera frame, or None.
        column_major: Whether numbers go column by column, or None. Where it is said it has been
            acted upon: the matrices are row by row.
        transposed: Whether the 4x4 is stored with rows and columns exchanged, where the keys or
            the form of the numbers settle that; else None.
    """

    direction: Direction | None = None
    axes: CameraAxes | None = None
    column_major: bool | None = None
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


@dataclass(frozen=True)
class Statements:
    """What values say in words of layout, quaternion order and axes; None for nothing."""

    column_major: bool | None = None
    order: QuaternionOrder | None = None
    axes: CameraAxes | None = None


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


def read_poses(plan: CameraPlan, nodes: Sequence[Node]) -> list[tuple[FloatArray, ...]]:
    """Take `(V, *shape)` float64 of each value of each pose out of V cameras.

    CameraValueError if one is not what its key says, or a distortion or shift is not zero.
    """
    for path in plan.zeros:
        for row, node in enumerate(nodes):
            value = value_at(node, path)
            if value is None or (as_array([value]) is not None and not np.any(value)):
                continue
            found = repr(value)[:60]
            raise CameraValueError(row, f"{dotted([path])} to be 0 (a pinhole camera)", found)
    return [
        tuple(
            numbers([value_at(node, path) for node in nodes], dotted([path]), shapes)
            for path, shapes in zip(pose.paths, _shapes(pose), strict=True)
        )
        for pose in plan.poses
    ]


def _shapes(pose: PosePlan) -> list[tuple[Dims, ...]]:
    if pose.form == "spherical":
        return [((),)] * len(pose.paths)
    vector = ACCEPTED["translation"]
    first: dict[PoseForm, tuple[Dims, ...]] = {
        "matrix": ACCEPTED["pose"][:-1],
        "label": ((25,),),
        "projection": ACCEPTED["projection"],
        "rotation": ACCEPTED["rotation"][:2],
        "quaternion": ACCEPTED["quaternion"],
    }
    return [first.get(pose.form, vector), *[vector] * (len(pose.paths) - 1)]


def read_statements(plan: CameraPlan, nodes: Sequence[Node]) -> Statements:
    """Read what is said of layout, quaternion order and axes in values of their own."""
    said = Statements()
    for role, path in plan.said:
        first = value_at(nodes[0], path)
        if not isinstance(first, (str, bool)):
            continue  # such as the order of the views
        for row, node in enumerate(nodes):
            if value_at(node, path) != first:
                raise CameraValueError(row, f"{dotted([path])} alike in all views", "another")
        word = normalise_key(first) if isinstance(first, str) else first
        if role in ("column_major", "row_major") and isinstance(word, bool):
            said = replace(said, column_major=word == (role == "column_major"))
        elif role == "axes" and isinstance(word, str):
            said = replace(said, axes=_AXES.get(word, said.axes))
        elif role in ("layout", "quaternion_order") and isinstance(word, str):
            if word in ("wxyz", "xyzw"):
                said = replace(said, order="wxyz" if word == "wxyz" else "xyzw")
            elif role == "layout" and word in _LAYOUTS:
                said = replace(said, column_major=_LAYOUTS[word])
            else:
                expected = f"{dotted([path])} to be row-major, column-major, wxyz or xyzw"
                raise CameraValueError(0, expected, repr(first)[:60])
    return said


def compose_poses(
    plan: CameraPlan,
    values: Sequence[tuple[FloatArray, ...]],
    said: Statements,
    subjects: NDArray[np.int64],
) -> Poses:
    """Make matrices of poses in any form, and check that a pose given twice is the same.

    `subjects` has the index of each camera's identity. CameraValueError if it cannot be told what
    the numbers mean.
    """
    made = [
        _compose(pose, each, said, subjects) for pose, each in zip(plan.poses, values, strict=True)
    ]
    first, *others = made
    faults = dict(first.faults)
    for pose, other in zip(plan.poses[1:], others, strict=True):
        directions = (first.claims.direction, other.claims.direction)
        agree = _same_pose(first.matrices, other.matrices, directions)
        if agree.mean() < 0.5:
            both = [path for each in (plan.poses[0], pose) for path in each.paths]
            raise CameraValueError(
                None,
                "one pose a camera, or the same pose twice",
                f"{dotted(both)}, which differ",
                f"say which with camera_schema={{{_statement(plan.poses[0])}}} or "
                f"camera_schema={{{_statement(pose)}}}",
            )
        for row in np.flatnonzero(~agree).tolist():
            keys = dotted([plan.poses[0].paths[0], pose.paths[0]])
            faults.setdefault(row, CameraValueError(row, f"{keys} to agree", "two poses"))
    return Poses(first.matrices, first.claims, first.intrinsics, faults)


def _statement(pose: PosePlan) -> str:
    keys: dict[str, tuple[str, ...]] = {
        "rotation": ("rotation", "translation"),
        "quaternion": ("quaternion", "translation"),
        "euler": ("euler", "translation"),
        "rodrigues": ("rodrigues", "translation"),
        "look_at": ("eye", "target", "up"),
        "spherical": SPHERICAL,
    }
    names = keys.get(pose.form, ("extrinsics",))
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


def _compose(
    pose: PosePlan,
    values: tuple[FloatArray, ...],
    said: Statements,
    subjects: NDArray[np.int64],
) -> Poses:
    column_major = pose.column_major if said.column_major is None else said.column_major
    axes = said.axes or pose.axes
    claims = Claims(pose.direction, axes, column_major, False)
    if pose.form == "label":
        return Poses(values[0][:, :16].reshape(-1, 4, 4), claims, None, {})
    if pose.form == "projection":
        return _decomposed(values[0], claims)
    if pose.form == "look_at":
        return _looking(pose, values, claims)
    if pose.form == "spherical":
        return Poses(_from_spherical(pose, *values), claims, None, {})
    if pose.form == "matrix":
        matrices, transposed = _whole(values[0], dotted(pose.paths), column_major)
        if _is_projection(matrices):
            return _decomposed(matrices, Claims("world_to_camera", "opencv", None, False))
        return Poses(matrices, Claims(pose.direction, axes, column_major, transposed), None, {})
    faults: dict[int, CameraValueError] = {}
    name, offset = dotted(pose.paths[:1]), values[1].reshape(-1, 3)
    degrees = False
    if pose.form == "rotation":
        turns = values[0].reshape(-1, 3, 3)
        turns = turns.swapaxes(1, 2) if column_major else turns
    elif pose.form == "quaternion":
        turns, faults = _from_quaternions(values[0], name, said.order or pose.order)
    elif pose.form == "rodrigues":
        turns = _from_rodrigues(values[0].reshape(-1, 3))
    else:
        angles = values[0].reshape(-1, 3)
        degrees = _in_degrees(pose, angles, offset, subjects)
        turns = _from_euler(np.radians(angles) if degrees else angles)
    if pose.placed:
        turns = _orientations(pose, turns, offset, subjects)
        claims = Claims("camera_to_world", axes, column_major, False)
    return Poses(compose_rigid(turns, offset), claims, None, faults)


def _in_degrees(
    pose: PosePlan, angles: FloatArray, offset: FloatArray, subjects: NDArray[np.int64]
) -> bool:
    """Whether Euler angles are degrees: said, or larger than any radians, or told by the rigs."""
    if pose.degrees is not None:
        return pose.degrees
    if np.abs(angles).max() > 4 * np.pi:
        return True
    found: list[float] = []
    for turns in (_from_euler(angles), _from_euler(np.radians(angles))):
        poses = compose_rigid(turns, offset)
        inverse = compose_rigid(turns.swapaxes(1, 2), offset)
        other = invert_rigid(inverse) if pose.placed else poses
        found.append(min(_miss(invert_rigid(poses), subjects), _miss(other, subjects)))
    if min(found) <= max(_CLEARLY * max(found), 1e-6) and min(found) <= _MOST_MISS:
        return found[1] < found[0]
    raise CameraValueError(
        None,
        f"{dotted(pose.paths[:1])} in radians or degrees, with cameras that look at one point",
        f"a miss of {found[0]:.2g} of the distance in radians and {found[1]:.2g} in degrees",
        'say it with camera_schema={"euler_units": "radians"} (or "degrees")',
    )


def _orientations(
    pose: PosePlan, turns: FloatArray, places: FloatArray, subjects: NDArray[np.int64]
) -> FloatArray:
    """Camera-to-world rotations of cameras at places: these ones, or their inverses."""
    inverse: FloatArray = turns.swapaxes(1, 2)
    if pose.direction == "world_to_camera":
        return inverse
    as_is, turned = (
        _miss(invert_rigid(compose_rigid(each, places)), subjects) for each in (turns, inverse)
    )
    if turned <= max(_CLEARLY * as_is, 1e-6) and turned <= _MOST_MISS:
        return inverse
    if as_is <= max(_CLEARLY * turned, 1e-6) and as_is <= _MOST_MISS:
        return turns
    raise CameraValueError(
        None,
        f"{dotted(pose.paths)} to be cameras that look at one point",
        f"a miss of {as_is:.2g} of the distance if the rotation is camera-to-world and "
        f"{turned:.2g} if it is world-to-camera",
        'say it with camera_schema={"direction": "camera_to_world"} (or "world_to_camera")',
    )


def _miss(world_to_camera: FloatArray, subjects: NDArray[np.int64]) -> float:
    """How far optical axes pass by their common point, of the distance; the median subject."""
    order = np.argsort(subjects, kind="stable")[:7000]
    starts = np.flatnonzero(np.diff(subjects[order], prepend=-2))
    return float(np.median(measure_rigs(world_to_camera[order], starts).miss))


def _looking(pose: PosePlan, values: tuple[FloatArray, ...], claims: Claims) -> Poses:
    eye, target, up = (each.reshape(-1, 3) for each in values)
    try:
        matrices = look_at(eye, eye + target if pose.forward else target, up)
    except CameraError as error:
        raise CameraValueError(None, f"{dotted(pose.paths)} to span a view", str(error)) from error
    return Poses(matrices, claims, None, {})


def _from_spherical(
    pose: PosePlan, azimuth: FloatArray, elevation: FloatArray, distance: FloatArray
) -> FloatArray:
    """World-to-camera matrices of cameras that look at the origin, y up, azimuth from z towards x.

    These are the angles of PyTorch3D's `look_at_view_transform`. Where one of them grows the other
    way, the result is that of a mirrored world, which only the images can tell: the axes are left
    open.
    """
    degrees = pose.degrees
    if degrees is None and np.ptp(azimuth) <= np.pi / 2:
        raise CameraValueError(
            None,
            f"{dotted(pose.paths[:1])} in radians or degrees",
            f"angles from {azimuth.min():.3g} to {azimuth.max():.3g}, which could be either",
            'say it with camera_schema={"euler_units": "radians"} (or "degrees")',
        )
    if degrees or (degrees is None and np.abs(azimuth).max() > 2 * np.pi + 1e-6):
        azimuth, elevation = np.radians(azimuth), np.radians(elevation)
    bad = np.flatnonzero(~((distance > 0) & (np.abs(elevation) <= np.pi / 2 + 1e-6)))
    if len(bad):
        row = int(bad[0])
        found = f"an elevation of {elevation[row]:.4g} radians and {distance[row]:.4g}"
        raise CameraValueError(row, f"{dotted(pose.paths)} to be a camera's place", found)
    (sin_a, cos_a), (sin_e, cos_e) = ((np.sin(each), np.cos(each)) for each in (azimuth, elevation))
    outward = np.stack([cos_e * sin_a, sin_e, cos_e * cos_a], axis=-1)
    up = np.stack([-sin_e * sin_a, cos_e, -sin_e * cos_a], axis=-1)
    return look_at(distance[:, None] * outward, np.zeros(3), up)


def _from_euler(angles: FloatArray) -> FloatArray:
    """Rotations `Rz(z) @ Ry(y) @ Rx(x)`: Blender's order XYZ, about the world's axes in turn.

    Blender's manual, "Rotation Modes"; `mathutils.Euler.to_matrix` gives the same.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
        [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
        [-sy, sx * cy, cx * cy],
    ]
    turns: FloatArray = np.moveaxis(np.array(rows), 2, 0)
    return turns


def _from_rodrigues(vectors: FloatArray) -> FloatArray:
    """Rotations by the length of a vector about it (OpenCV's documentation of `Rodrigues`)."""
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    axis = vectors / np.maximum(angle, 1e-12)
    half = np.concatenate([np.cos(angle / 2), axis * np.sin(angle / 2)], axis=1)
    turns: FloatArray = rotation_from_quaternion(half, "wxyz")
    return turns


def _from_quaternions(
    array: FloatArray, what: str, order: QuaternionOrder | None
) -> tuple[FloatArray, dict[int, CameraValueError]]:
    if order is None:
        raise CameraValueError(
            None,
            f"{what} to say the order of its numbers",
            "four numbers of which any could be w",
            'say it with camera_schema={"quaternion_order": "wxyz"} (or "xyzw")',
        )
    length = np.linalg.norm(array, axis=1)
    bad = np.flatnonzero(np.abs(length - 1.0) > REPAIR_LIMIT)
    faults = {
        row: CameraValueError(row, f"{what} to have length 1", f"length {length[row]:.4g}")
        for row in bad.tolist()
    }
    safe = np.where(np.isin(np.arange(len(array)), bad)[:, None], [1.0, 0, 0, 0], array)
    return rotation_from_quaternion(safe, order), faults


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
        if column_major is None:
            standing = is_rotation(rows[:, :, :3], REPAIR_LIMIT).mean()
            lying = is_rotation(columns[:, :3], REPAIR_LIMIT).mean()
            array = columns if lying > standing else rows
        else:
            array = columns if column_major else rows
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
