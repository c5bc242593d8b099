"""Values of JSON as checked numbers, and poses as 4x4 matrices in the convention they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from geogen_hf.cameras.conventions import AXES_SIGNS, CameraAxes, Convention, Direction
from geogen_hf.cameras.poses import FloatArray, compose_rigid
from geogen_hf.cameras.tools import QuaternionOrder, rotation_from_quaternion
from geogen_hf.cameras.validate import REPAIR_LIMIT, is_rotation
from geogen_hf.metadata.keys import normalise_key
from geogen_hf.metadata.plan import CameraPlan, CameraValueError, Node, Path, PosePlan, dotted

MAX_NUMBER = 1e9
"""No length, pixel or matrix entry comes near; beyond it, arithmetic overflows sooner or later."""

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


def value_at(node: Node, path: Path) -> Any:
    """The value at a path of a plan made for this shape of keys."""
    value: Any = node
    for key in path:
        value = value[key]
    return value


def numbers(
    values: Sequence[object], what: str, shapes: Sequence[tuple[int, ...]]
) -> tuple[FloatArray, tuple[int, ...]]:
    """Read one value of every camera: finite numbers, all of one of these shapes.

    Args:
        values: One a camera.
        what: The key, for messages.
        shapes: Those accepted; `()` is a plain number.

    Returns:
        `(V, *shape)` float64, and the shape.

    Raises:
        CameraValueError: Anything else, of which strings and true/false are examples.

    Example:
        >>> numbers([[1, 2, 3], [4, 5, 6.5]], "t", [(3,), (3, 1)])[0].shape
        (2, 3)
    """
    array = _as_array(values)
    if array is not None and array.shape[1:] in shapes and np.abs(array).max() <= MAX_NUMBER:
        return array, array.shape[1:]
    expected = f"{what} to be {_spoken(shapes)}"
    if array is None or array.shape[1:] not in shapes:
        first: tuple[int, ...] | None = None
        for row, value in enumerate(values):
            one = _as_array([value])
            if one is None or one.shape[1:] not in shapes:
                found = repr(value) if one is None else f"numbers of shape {one.shape[1:]}"
                raise CameraValueError(row, expected, found[:80])
            first = first or one.shape[1:]
            if one.shape[1:] != first:
                raise CameraValueError(row, f"{what} alike in all views", f"shape {one.shape[1:]}")
        raise CameraValueError(None, expected, "mixed numbers")  # no such input is known
    row = int(np.argwhere(~(np.abs(array) <= MAX_NUMBER))[0, 0])
    found = f"a number that is not finite, or over {MAX_NUMBER:g}"
    raise CameraValueError(row, expected, found)


def _spoken(shapes: Sequence[tuple[int, ...]]) -> str:
    named = ["×".join(map(str, shape)) for shape in shapes if shape]
    alone = ["a finite number"] if () in shapes else []
    return " or ".join([*alone, *([" or ".join(named) + " finite numbers"] if named else [])])


def _as_array(values: Sequence[object]) -> FloatArray | None:
    try:
        array = np.array(values)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None  # ragged, or nested too deep: told by the caller
    if array.dtype.kind not in "fiu":
        return None
    flat: Any = values
    for _ in range(array.ndim - 1):
        flat = chain.from_iterable(flat)
    # numpy takes True for 1.0 among floats.
    return array.astype(np.float64) if set(map(type, flat)) <= {int, float} else None


def read_poses(plan: CameraPlan, nodes: Sequence[Node]) -> tuple[FloatArray, Claims]:
    """Bring the poses of cameras with the same plan to 4x4, in the convention they came in.

    Args:
        plan: Where they are.
        nodes: V cameras.

    Returns:
        `(V, 4, 4)` float64 as stored, and what their keys claim. Three by four numbers get the row
        0 0 0 1; four by three are taken for the transpose of that and get the column. Twelve flat
        numbers of which nothing is said are the one of these two that has rotations in it.

    Raises:
        CameraValueError: A value is not a pose.
    """
    pose = plan.pose
    if pose is None:
        raise CameraValueError(None, "a pose", "none")
    column_major, order, axes = _statements(plan, nodes, pose)
    values = [[value_at(node, path) for node in nodes] for path in pose.paths]
    names = [dotted([path]) for path in pose.paths]
    transposed: bool | None = None if column_major is None else False
    if pose.form == "matrix":
        matrices, transposed = _whole(values[0], names[0], column_major)
    elif pose.form == "label":
        labels, _ = numbers(values[0], names[0], [(25,)])
        matrices, transposed = labels[:, :16].reshape(-1, 4, 4), False
    else:
        if pose.form == "rotation":
            rotation = square_matrices(values[0], names[0], column_major)
        else:
            rotation = _from_quaternions(values[0], names[0], order)
        offset, _ = numbers(values[1], names[1], [(3,), (3, 1), (1, 3)])
        matrices, transposed = compose_rigid(rotation, offset.reshape(-1, 3)), False
    return matrices, Claims(pose.direction, axes, column_major, transposed)


def square_matrices(values: Sequence[object], what: str, column_major: bool | None) -> FloatArray:
    """Read `(V, 3, 3)` float64 from nested or flat numbers.

    Raises:
        CameraValueError: They are something else.
    """
    array, _ = numbers(values, what, [(3, 3), (9,)])
    matrices = array.reshape(-1, 3, 3)
    return matrices.swapaxes(1, 2) if column_major else matrices


def _whole(
    values: Sequence[object], what: str, column_major: bool | None
) -> tuple[FloatArray, bool | None]:
    """4x4 matrices of any of the accepted forms, and whether they are surely transposed or not."""
    array, shape = numbers(values, what, [(4, 4), (3, 4), (4, 3), (16,), (12,)])
    if shape in ((4, 4), (16,)):
        matrices = array.reshape(-1, 4, 4)
        if column_major is None:
            return matrices, None
        return (matrices.swapaxes(1, 2) if column_major else matrices), False
    if shape == (12,):
        rows, columns = array.reshape(-1, 3, 4), array.reshape(-1, 4, 3)
        if column_major is None:
            standing = is_rotation(rows[:, :, :3], REPAIR_LIMIT).all()
            lying = is_rotation(columns[:, :3], REPAIR_LIMIT).all()
            array = columns if lying and not standing else rows
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


def _from_quaternions(
    values: Sequence[object], what: str, order: QuaternionOrder | None
) -> FloatArray:
    if all(isinstance(value, dict) for value in values):
        spelt = [{normalise_key(key): v for key, v in value.items()} for value in values]  # type: ignore[attr-defined]
        values, order = [[parts.get(letter) for letter in "wxyz"] for parts in spelt], "wxyz"
    array, _ = numbers(values, what, [(4,)])
    if order is None:
        raise CameraValueError(
            None,
            f"{what} to say the order of its numbers",
            "four numbers of which any could be w",
            'say it with camera_schema: {"quaternion_order": "wxyz"} (or "xyzw")',
        )
    length = np.linalg.norm(array, axis=1)
    if not (np.abs(length - 1.0) <= REPAIR_LIMIT).all():
        row = int(np.argmax(np.abs(length - 1.0)))
        raise CameraValueError(row, f"{what} to have length 1", f"length {length[row]:.4g}")
    return rotation_from_quaternion(array, order)


def _statements(
    plan: CameraPlan, nodes: Sequence[Node], pose: PosePlan
) -> tuple[bool | None, QuaternionOrder | None, CameraAxes | None]:
    """What is said of layout, quaternion order and axes, by key or in a value of its own."""
    column_major, order, axes = pose.column_major, pose.order, pose.axes
    for role, path in plan.said:
        first = value_at(nodes[0], path)
        if not isinstance(first, (str, bool)):
            continue  # such as the order of the views
        for row, node in enumerate(nodes):
            if value_at(node, path) != first:
                raise CameraValueError(row, f"{dotted([path])} alike in all views", "another")
        word = normalise_key(first) if isinstance(first, str) else first
        if role in ("column_major", "row_major") and isinstance(word, bool):
            column_major = word == (role == "column_major")
        elif role == "axes" and isinstance(word, str):
            axes = _AXES.get(word, axes)
        elif role in ("layout", "quaternion_order") and isinstance(word, str):
            if word in ("wxyz", "xyzw"):
                order = "wxyz" if word == "wxyz" else "xyzw"
            elif role == "layout" and word in _LAYOUTS:
                column_major = _LAYOUTS[word]
            else:
                expected = f"{dotted([path])} to be row-major, column-major, wxyz or xyzw"
                raise CameraValueError(0, expected, repr(first)[:60])
    return column_major, order, axes


def demand_zeros(plan: CameraPlan, nodes: Sequence[Node]) -> None:
    """Refuse lens distortion and shifts, of which a pinhole camera has none.

    Raises:
        CameraValueError: One is not zero.
    """
    for path in plan.zeros:
        for row, node in enumerate(nodes):
            value = value_at(node, path)
            if value is None or (_as_array([value]) is not None and not np.any(value)):
                continue
            found = repr(value)[:60]
            raise CameraValueError(row, f"{dotted([path])} to be 0 (a pinhole camera)", found)
