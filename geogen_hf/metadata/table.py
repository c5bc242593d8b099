"""Metadata documents as a table of the values in them, by the path to each.

A **pattern** is a path with `*` for every step that differs from camera to camera, and a **column**
holds what stands at one pattern in all documents, with the keys that were there for the `*`. No
arrangement is known here: values of two columns belong together where they stand in the same
document and the keys of one begin with those of the other. So `frames.*.pose` finds its lens at
`frames.*.K`, at `K.*`, or at `camera.K`. Open this module when a value is not found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.validate import is_rotation
from geogen_hf.metadata.documents import object_in, regrouped, vector_in
from geogen_hf.metadata.keys import (
    ACCEPTED,
    BARE,
    OTHERWISE,
    SQUARES,
    CameraValueError,
    Dims,
    Path,
    Role,
    RoleName,
    dotted,
    normalise_key,
    numbers,
    role_of,
    shape_of,
    spoken,
)

Slots = Mapping[RoleName, Sequence["Column"]]
"""Columns by what their keys say they are."""
Trail = tuple[str | int, ...]
"""What stands for the `*` of a pattern: keys, and positions in lists."""
IntArray = NDArray[np.int64]

MANY = "*"
COLLECTIONS = frozenset({"cameras", "subjects"})
LABELS = frozenset({"view", "file", "name", "subject", "id", "unknown", "wrapper"}) | COLLECTIONS
"""What may be called by a name or number of an identity or a view."""
_NAMES = LABELS - {"unknown", "wrapper"}
STATEMENTS = frozenset({"layout", "column_major", "row_major", "quaternion_order", "axes", "ndc"})
POSES = frozenset({"pose", "projection", "rotation", "quaternion", "euler", "rodrigues"})
"""Keys that promise a pose: whatever stands there is one, or a fault."""

_ROLE_OF = {"extrinsics": "pose", "eye": "location"}
_UNKNOWN = Role("unknown")
_VECTORS = ACCEPTED["translation"]
_MAX_DEPTH = 10
_MOST_NUMBERS = 25  # of a value
_CHUNK = 64  # values that are kept before their numbers are taken: more leave the cache


class Column:
    """What stands at one pattern: numbers, or labels and statements.

    `documents` and `keys` have, for each value, the number of its document, and that of its keys in
    `Table.keys`. `values` are labels and statements as they are; of numbers, those that are yet to
    be taken.
    """

    def __init__(self, pattern: Path, role: Role, *, numeric: bool) -> None:
        self.pattern, self.role, self.numeric = pattern, role, numeric
        self.name = ".".join(pattern) or "root"
        self.stars = pattern.count(MANY)
        # How many steps lead to the object that holds one camera's value, or that of all; the keys
        # from there to the value.
        last = max((at for at, step in enumerate(pattern) if step != MANY), default=-1)
        self.depth = max((at for at in range(last + 1) if pattern[at] == MANY), default=-1) + 1
        self.path = tuple(step for step in pattern[self.depth :] if step != MANY)
        self.documents: list[int] = []
        self.keys: list[int] = []
        self.values: list[Any] = []
        self.dims: Dims | None = None  # of no numbers that could be taken
        self.faults: dict[int, CameraValueError] = {}
        self._taken: list[FloatArray] = []

    def __len__(self) -> int:
        return len(self.documents)

    def steps_with(self, other: Column) -> int:
        """How many steps this pattern has in common with another."""
        pairs = zip(self.pattern, other.pattern, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def ends_with(self, path: Path) -> bool:
        """Whether a stated path leads here from the camera's object, in any spelling."""
        keys = self.pattern if self.pattern[-1:] != (MANY,) else self.path
        return list(map(normalise_key, keys[-len(path) :])) == list(map(normalise_key, path))

    def is_same(self, other: Column) -> bool:
        """Whether another column has the same numbers at the same places."""
        places = (self.documents, self.keys) == (other.documents, other.keys)
        return places and np.array_equal(self.array, other.array)

    def take_numbers(self) -> None:
        """Make arrays of the values at hand; of single bad ones, keep the fault."""
        values, self.values = self.values, []
        try:
            if values:
                self._take(values)
            return
        except CameraValueError:
            start = len(self) - len(values)
        for row, value in enumerate(values, start):
            try:
                self._take([value])
            except CameraValueError as fault:
                self.faults[row] = fault
                self._taken.append(np.full((1, *(self.dims or ())), np.nan))

    def _take(self, values: list[Any]) -> None:
        shapes = ACCEPTED.get(self.role.name) or (shape_of(values[0]),)
        shapes = shapes if self.dims is None else (self.dims,)
        array = numbers(values, ".".join(self.path) or "root", shapes)
        if self.dims is None:
            self.dims = array.shape[1:]
            self._taken = [np.full((len(each), *self.dims), np.nan) for each in self._taken]
        self._taken.append(array)

    @cached_property
    def array(self) -> FloatArray:
        """`(N, *dims)` float64; nan where there is a fault."""
        array = np.concatenate(self._taken)
        self._taken.clear()
        return array


class Table:
    """The columns of all documents.

    `names` are identities, which are no words of a schema; the values of `stated` keys are numbers
    that matter, whatever they look like. `columns` are by pattern and, for numbers without a known
    key, dimensions; `keys` has what stood for the `*`, each once.
    """

    def __init__(self, names: Collection[str] = (), stated: Collection[str] = ()) -> None:
        self.columns: dict[tuple[Path, Dims | None], Column] = {}
        self.keys: list[Trail] = []
        self._ids: dict[Trail, int] = {}
        self._names = {name.casefold() for name in names}
        self._stated = {normalise_key(key) for key in stated}
        self._roles: dict[Path, tuple[Role, Role | None]] = {(): (_UNKNOWN, None)}
        self._document = 0

    def add(self, document: int, root: object) -> None:
        """Take everything out of a document's value that may matter."""
        self._document = document
        self._walk(root, (), ())

    def _walk(self, value: Any, pattern: Path, keys: Trail, *, alone: bool = False) -> None:
        if len(pattern) > _MAX_DEPTH:
            return
        if type(value) is str and value[:1] in "{[" and shape_of(value) == "s":
            value = object_in(value)
        if type(value) is dict:
            if vector := vector_in(value):
                self._numbers(vector, (len(vector),), pattern, keys, lettered=True)
                return
            value = regrouped(value, self._names)
            many = set(self._many(value))
            for key, item in value.items():
                if key in many:
                    self._walk(item, (*pattern, MANY), (*keys, key))
                else:
                    self._walk(item, (*pattern, key), keys, alone=len(value) == 1)
            return
        shape = shape_of(value)
        if type(shape) is tuple and "s" not in shape:
            self._numbers(value, shape, pattern, keys, alone=alone)
            return
        role, _ = self._role(pattern)
        inner = value
        while type(inner) is list and inner:
            inner = inner[0]
        if role.name in POSES and type(inner) is not dict:
            self._put(value, pattern, keys, role)
        elif type(value) is list:
            self._items(value, pattern, keys)
        elif role.name in (LABELS if type(value) is str else ()) or (
            type(value) in (str, bool) and role.name in STATEMENTS
        ):
            self._put(value, pattern, keys, None)

    def _items(self, value: list[Any], pattern: Path, keys: Trail) -> None:
        if len(value) == 2 and type(value[0]) is str and type(value[1]) in (list, dict):
            # An entry of EG3D's `dataset.json`: a file's name and numbers.
            inner = value[1] if type(value[1]) is dict else {"": value[1]}
            self._walk({"file": value[0], **inner}, pattern, keys)
            return
        for place, item in enumerate(value):
            self._walk(item, (*pattern, MANY), (*keys, place))

    def _numbers(
        self,
        value: Any,
        dims: Dims,
        pattern: Path,
        keys: Trail,
        *,
        alone: bool = False,
        lettered: bool = False,
    ) -> None:
        role, above = self._role(pattern)
        if above is not None and dims and dims in ACCEPTED.get(above.name, ()):
            vague = role.name in ("pose", "matrix") and "direction" not in role.said
            role = above if role.name == "unknown" or (alone and vague) else role
        if dims[:1] == (1,) and dims[1:] in SQUARES:  # a batch of one
            value, dims = value[0], dims[1:]
        shapes, other = OTHERWISE.get(pattern[-1].lower() if pattern else "", ((), role))
        role = other if dims in shapes else role
        listed = type(value) is list
        if listed and role.name == "matrix" and dims == (3,) and dims in shapes:
            value, dims = [value[0], *value], (4,)  # one focal length for both
        if role.name == "rotation" and dims == (4, 4):  # and no four quaternions
            role = Role("pose", role.said)
        if role.name in LABELS and dims == () and type(value) is not float:
            self._put(value, pattern, keys, None)
        if listed and role.name in _NAMES and len(dims) == 1 and {*map(type, value)} <= {int, str}:
            self._items(value, pattern, keys)
            return
        accepted = ACCEPTED.get(role.name)
        if lettered and dims == (4,):
            role = Role(role.name, {**role.said, "quaternion_order": "wxyz"})
        stated = self._stated and pattern and normalise_key(pattern[-1]) in self._stated
        if role.name == "distortion" or dims in (accepted or ()):
            self._put(value, pattern, keys, role)
        elif stated and np.prod(dims) <= _MOST_NUMBERS:
            self._put(value, pattern, keys, _UNKNOWN, dims)
        elif listed and _holds(dims, accepted or BARE + SQUARES):
            self._items(value, pattern, keys)
        elif dims in BARE + SQUARES or (accepted is None and dims in _VECTORS):
            self._put(value, pattern, keys, _UNKNOWN, dims)
        elif role.name in POSES:
            self._put(value, pattern, keys, role)
        elif listed and accepted and () in accepted:
            self._items(value, pattern, keys)

    def _put(
        self, value: Any, pattern: Path, keys: Trail, role: Role | None, dims: Dims = ()
    ) -> None:
        """Add a value to the numbers of a role, or to the labels."""
        kind = None if role is None else dims if role is _UNKNOWN else ()
        column = self.columns.get((pattern, kind))
        if column is None:
            column = Column(pattern, role or self._role(pattern)[0], numeric=role is not None)
            self.columns[pattern, kind] = column
        number = self._ids.get(keys)
        if number is None:
            number = self._ids[keys] = len(self.keys)
            self.keys.append(keys)
        column.documents.append(self._document)
        column.keys.append(number)
        column.values.append(value)
        if role is not None and len(column.values) >= _CHUNK:
            column.take_numbers()

    def _role(self, pattern: Path) -> tuple[Role, Role | None]:
        """What a pattern's keys say, and what the key above lends to one that says nothing."""
        found = self._roles.get(pattern)
        if found is None:
            *outer, key = pattern
            found = role, above = self._role(tuple(outer))
            if key != MANY:
                # Objects under `c2w` or `intrinsics` lend their claims to what is inside.
                inherited = role if role.name in ("pose", "matrix", "projection") else above
                known = role_of(key)
                if role.name == "sensor_mm" and known and ACCEPTED.get(known.name) == ((),):
                    # Its width is that of no image, and its pitch no angle.
                    known = role if known.name == "width" else None
                if role.name not in ("pose", "matrix", "projection", "wrapper", "unknown"):
                    inherited = None
                found = (_inside(known or _UNKNOWN, inherited), inherited)
            self._roles[pattern] = found
        return found

    def _many(self, node: dict[str, Any]) -> Collection[str]:
        """The keys of an object that are names of several things of one kind, and no words."""
        if all(map(str.isdigit, node)):
            return node
        names = [
            key
            for key, value in node.items()
            if type(value) in (dict, list, str)
            and (
                key.casefold() in self._names
                or f"{key}.001" in node  # Blender's name for the first of many
                or (any(map(str.isdigit, key)) and role_of(key) is None)
            )
        ]
        if names:
            shapes = {shape_of(node[key]) for key in names[:8]}
            if shapes <= {*BARE, *SQUARES, *_VECTORS}:  # unless they are parts of one camera
                posed = any(role.name in POSES for role in map(role_of, node) if role is not None)
                return () if len(shapes) > 1 or (posed and shapes <= {*SQUARES}) else names
            return names
        inner = [key for key, value in node.items() if type(value) in (dict, list)]
        words = [key for key in inner if role_of(key) is None]
        if len(words) < 2 or 2 * len(words) <= len(inner):
            return ()
        shape = shape_of(node[words[0]])
        numeric = type(node[words[0]]) is list and type(shape) is tuple
        few = numeric and shape not in BARE + SQUARES and not _holds(shape, BARE + SQUARES)
        if few or shape != shape_of(node[words[1]]):
            return ()
        alike = [key for key in inner if shape_of(node[key]) == shape]
        return [key for key in alike if key in words or type(node[key]) is dict]

    @cached_property
    def sole_size(self) -> FloatArray | None:
        """The `(2,)` size of images, if all documents together name just one."""
        slots = slots_of(column for column in self.columns.values() if column.numeric)
        named = [
            np.unique(np.column_stack([flat, flat])[:, :2], axis=0)
            for column in slots.get("resolution", ())
            for flat in [column.array.reshape(len(column), -1)]
        ]
        sides = [
            np.unique([x for column in slots.get(role, ()) for x in np.unique(column.array)])
            for role in ("width", "height")
        ]
        named += [np.array([sides]).reshape(1, 2)] if sides[0].size == sides[1].size == 1 else []
        sizes = np.unique(np.concatenate(named), axis=0) if named else np.empty((0, 2))
        return sizes[0] if len(sizes) == 1 else None

    def codes(self, column: Column) -> IntArray:
        """For each value, document and keys as one number."""
        documents = np.array(column.documents, dtype=np.int64)
        return documents * len(self.keys) + np.array(column.keys, dtype=np.int64)

    def find(self, column: Column, codes: IntArray) -> IntArray:
        """The rows of a column that belong to cameras with these codes; -1 for none."""
        documents, keys = np.divmod(codes, len(self.keys))
        distinct, inverse = np.unique(keys, return_inverse=True)
        cut = [self._ids.get(self.keys[each][: column.stars], -1) for each in distinct.tolist()]
        above = np.array(cut, dtype=np.int64)[inverse]
        wanted = np.where(above >= 0, documents * len(self.keys) + above, -1)
        have = self.codes(column)
        order = np.argsort(have, kind="stable")
        places = np.minimum(np.searchsorted(have, wanted, sorter=order), len(have) - 1)
        rows = order[places]
        return np.where(have[rows] == wanted, rows, -1)


def _holds(dims: Dims, accepted: Collection[Dims]) -> bool:
    """Whether numbers of these dimensions are several of those that are accepted."""
    return 0 not in dims and any(dims[at:] in accepted for at in range(1, len(dims)))


def _inside(role: Role, above: Role | None) -> Role:
    if above is None:
        return role
    if above.name == "matrix":
        return Role("matrix") if role.name == "pose" and "direction" not in role.said else role
    if role.name in POSES or role.name == "translation":
        return Role(role.name, {**above.said, **role.said})
    return role


def slots_of(columns: Iterable[Column]) -> dict[RoleName, list[Column]]:
    """Sort columns that have numbers by role."""
    slots: dict[RoleName, list[Column]] = {}
    for column in columns:
        if column.dims is not None:
            slots.setdefault(column.role.name, []).append(column)
    return slots


def kind_of_square(column: Column) -> RoleName:
    """Whether most 3x3 numbers are rotations; or `fx skew cx, 0 fy cy, 0 0 1` or its transpose."""
    if column.dims not in SQUARES:
        return "unknown"
    array = column.array.reshape(-1, 3, 3)
    if is_rotation(array).mean() > 0.5:
        return "rotation"
    if not np.nan_to_num(array[:, :2, 2]).any():
        array = array.swapaxes(1, 2)
    positive = (array[:, [0, 1, 0, 1], [0, 1, 2, 2]] > 0).all(axis=1)
    upper = positive & (array[:, 1, 0] == 0) & (array[:, 2] == [0, 0, 1]).all(axis=1)
    return "matrix" if upper.mean() > 0.5 else "unknown"


def demand_shape(column: Column, role: str) -> None:
    """Raise CameraValueError where the numbers at a stated path cannot be what they should."""
    name: Any = _ROLE_OF.get(role, role)
    shapes = SQUARES if role == "rotation" else ACCEPTED[name]
    if column.dims not in shapes:
        found = "no numbers" if column.dims is None else f"numbers of shape {column.dims}"
        raise CameraValueError(None, f"{dotted([column.path])} to be {spoken(shapes)}", found)
