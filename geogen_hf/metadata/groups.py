"""Cameras that stand alike in the metadata: what names them, and what their numbers are.

`find_groups` sorts everything that has a pose; what else belongs to these cameras is looked up in
the table. A bad value is the fault of one camera and stops nobody else's. Open this module to see
which columns make a camera, and how a fault is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.metadata.keys import (
    ACCEPTED,
    CameraValueError,
    Path,
    RoleName,
    dotted,
    normalise_key,
    role_of,
    spoken,
)
from geogen_hf.metadata.naming import MENTIONED, NAMED, ORDERED, IntArray, Label, Labels
from geogen_hf.metadata.pose_plans import (
    POSE_PARTS,
    Found,
    plan_poses,
    read_statement,
    stated_poses,
)
from geogen_hf.metadata.schema import CameraSchema
from geogen_hf.metadata.stored_intrinsics import (
    CENTRES,
    INTRINSICS_PARTS,
    LENSES,
    Change,
    IntrinsicsPlan,
    StoredIntrinsics,
    compose_intrinsics,
    plan_intrinsics,
)
from geogen_hf.metadata.stored_poses import Poses, compose_poses
from geogen_hf.metadata.table import (
    COLLECTIONS,
    LABELS,
    MANY,
    STATEMENTS,
    Column,
    Slots,
    Table,
    Trail,
    demand_shape,
    kind_of_square,
    slots_of,
)

_MOST_COLUMNS = 62  # of one object that may be parts of poses
_MOST_ABSENT = 0.5  # of the cameras: a value that more of them lack is not theirs


@dataclass(frozen=True, eq=False)
class Composed:
    """Poses and intrinsics of those cameras of a group, by `rows`, in which nothing is wrong."""

    rows: IntArray
    poses: Poses
    intrinsics: StoredIntrinsics


class Group:
    """Cameras with values in the same columns, each by its code in `Table.codes`.

    `documents` and `keys` have the number of each camera's document, and what stands for the `*`.
    `poses` are empty where a fault is all there is; `guessed` are those that only numbers tell to
    be poses; `faults` concern single cameras, by row; `lent` intrinsics stand elsewhere; `start` is
    the first of these cameras among all that were chosen.
    """

    def __init__(
        self,
        table: Table,
        pattern: Path,
        main: Column,
        codes: IntArray,
        found: Found,
        schema: CameraSchema,
    ) -> None:
        self._table, self._main = table, main
        self._made_of = (table, pattern, main, codes, found, schema)
        self.pattern, self.codes = ".".join(pattern), codes
        documents, keys = np.divmod(codes, len(table.keys))
        self.documents: list[int] = documents.tolist()
        self.keys = [table.keys[at] for at in keys.tolist()]
        self.poses, self.guessed, fault = found
        self.faults = {} if fault is None else dict.fromkeys(range(len(codes)), fault)
        self.intrinsics = IntrinsicsPlan[Column]()
        self._size, self._crop = tuple[Column, ...](), tuple[Column, ...]()
        self.lent: StoredIntrinsics | None = None
        self.start = 0
        self.composed: Composed | None = None
        self._intrinsics_in_pose = self._of_stored = False
        self._rows: dict[Column, IntArray] = {}
        try:
            self._look_around(schema)
        except CameraValueError as error:
            self.faults = dict.fromkeys(range(len(codes)), fault or error)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def trails(self) -> list[Trail]:
        """For each camera, the path to its object, if it has one of its own."""
        above = self._main.pattern[: self._main.depth]
        known: dict[Trail, Trail] = {}
        return [known.setdefault(keys, _filled(above, keys)) for keys in self.keys]

    @property
    def usable(self) -> bool:
        """Whether any camera has a pose."""
        return bool(self.poses) and len(self.faults) < len(self)

    def without(self, rows: Collection[int]) -> Group:
        """The other cameras."""
        table, pattern, main, codes, found, schema = self._made_of
        return Group(table, pattern, main, np.delete(codes, list(rows)), found, schema)

    @property
    def form(self) -> str:
        """Where pose and intrinsics are, to tell schemas apart."""
        columns = [*(self.poses[0].columns if self.poses else ()), *self.intrinsics.places]
        keys = " + ".join(".".join(map(normalise_key, column.path)) for column in columns)
        return f"{self.pattern or 'root'}: {keys}"

    def _look_around(self, schema: CameraSchema) -> None:
        """Find what else belongs to these cameras: intrinsics, sizes and statements."""
        in_pose = [column for pose in self.poses for column in pose.columns]
        columns = [column for column in self._table.columns.values() if column not in in_pose]
        slots = self._plan_intrinsics(schema, columns)
        self._find_size(slots)
        for column in [*in_pose, *self.intrinsics.places, *self._size, *self._crop]:
            self._check(column)
        said = self._statements(schema, columns)
        units: Any = said.pop("units", None)
        if self.intrinsics.form == "entries" and self.intrinsics.units is None:
            self.intrinsics = replace(self.intrinsics, units=units)
        said |= {key: word for key, word in schema.claims.items() if key != "intrinsics_units"}
        self.poses = tuple(replace(pose, said={**pose.said, **said}) for pose in self.poses)

    def _plan_intrinsics(self, schema: CameraSchema, columns: Sequence[Column]) -> Slots:
        """Find the intrinsics; the numbers among which they were found."""
        numeric = [column for column in columns if column.numeric]
        slots = slots_of(self._nearest(numeric))
        if schema.intrinsics is not None:
            plan = self._stated(schema.intrinsics, columns)
        else:
            plan = plan_intrinsics(slots)
            unsaid = plan.form in ("absent", "incomplete")
            if unsaid and self.poses and self.poses[0].form == "label":
                label = {"label": self.poses[0].columns[0]}
                plan = IntrinsicsPlan("label", label, "normalised")
            elif unsaid:
                slots = slots_of(self._nearest(numeric, anywhere=True))
                plan = plan_intrinsics(slots)
        units: Any = schema.claims.get("intrinsics_units")
        self._change: Change = units if units in get_args(Change) else "none"
        if units and self._change == "none":
            plan = replace(plan, units=units)
        # What was stated is of the images as they are.
        numbers_stated = bool(plan.parts) and not plan.places
        self._of_stored = bool(units or numbers_stated) and self._change == "none"
        shifts = [column for column in slots.get("shift", ()) if column.dims]
        if plan.form in LENSES and CENTRES.isdisjoint(plan.parts) and shifts:
            plan = replace(plan, parts={**plan.parts, "shift": shifts[0]})
        self.intrinsics = plan
        return slots

    def _find_size(self, slots: Slots) -> None:
        """Find the size of images that intrinsics are of, and the box that was kept of them."""
        if self._of_stored:
            return
        if "resolution" in slots:
            self._size = (slots["resolution"][0],)
        elif "width" in slots and "height" in slots:
            self._size = (slots["width"][0], slots["height"][0])
        self._crop = tuple(slots.get("crop", ())[:1])
        if self._size or self.intrinsics.form == "absent":
            return
        if self._crop:
            expected = f"the size of images beside {dotted([self._crop[0].path])}"
            fault = CameraValueError(None, expected, "none", [{"intrinsics_units": "pixels"}])
        elif self._change != "none" and self._table.sole_size is None:
            expected = f"the size that images were {self._change} from"
            fault = CameraValueError(None, expected, "none")
        else:
            return
        self._fail(np.ones(len(self), dtype=np.bool_), fault)

    def _statements(self, schema: CameraSchema, columns: Sequence[Column]) -> dict[str, str]:
        """Read what is said in words, and find numbers that no camera here can have."""
        said: dict[str, str] = {}
        for column in columns:
            role = column.role.name
            if role == "distortion" or (role == "shift" and role not in self.intrinsics.parts):
                self._demand_zero(column)
            elif role in STATEMENTS and not schema.overrules(role):
                said |= self._read(column)
            elif (
                role in INTRINSICS_PARTS
                and self.intrinsics.form == "absent"
                and column.steps_with(self._main) >= self._main.depth
            ):
                expected = f"no {dotted([column.path])}, as in others"
                self._fail(self._rows_of(column) >= 0, CameraValueError(None, expected, "one"))
        return said

    def _rows_of(self, column: Column, *, anywhere: bool = False) -> IntArray:
        """For each camera, the row of its value in a column; -1 for none.

        A value that all cameras share may be `anywhere`, in a box of any name, and is known then.
        """
        if anywhere or column not in self._rows:
            near = _nearness(column, self._main) >= 0 and column.stars <= self._main.stars
            near = near or (anywhere and column.steps_with(self._main) >= column.depth)
            none = np.full(len(self), -1, dtype=np.int64)
            self._rows[column] = self._table.find(column, self.codes) if near else none
        return self._rows[column]

    def _nearest(self, columns: Iterable[Column], *, anywhere: bool = False) -> list[Column]:
        """The columns that most of these cameras have a value in; the nearest one for each role."""
        found: dict[RoleName, list[Column]] = {}
        for column in columns:
            if (self._rows_of(column, anywhere=anywhere) < 0).mean() <= _MOST_ABSENT:
                found.setdefault(column.role.name, []).append(column)
        return [
            column
            for each in found.values()
            for column in each
            if _nearness(column, self._main) == max(_nearness(c, self._main) for c in each)
        ]

    def _stated(
        self, said: IntrinsicsPlan[Path], columns: Sequence[Column]
    ) -> IntrinsicsPlan[Column]:
        """Intrinsics at stated paths."""
        parts: dict[str, Column | float] = {}
        for role, part in said.parts.items():
            if isinstance(part, float):
                parts[role] = part
                continue
            every = self._nearest([c for c in columns if c.numeric and c.ends_with(part)])
            if not every:
                names = dotted([c.path for c in columns if _nearness(c, self._main) >= 0])
                expected = f"{dotted([part])}, as camera_schema says"
                raise CameraValueError(None, expected, f"keys {names}")
            alike = [column.path[-1] == part[-1] for column in every]
            column = every[alike.index(max(alike))]
            demand_shape(column, role)
            parts[role] = column
        return IntrinsicsPlan(said.form, parts, None, said.angle_units)

    def _fail(self, which: NDArray[np.bool_], fault: CameraValueError) -> None:
        for row in np.flatnonzero(which).tolist():
            self.faults.setdefault(row, fault)

    def _check(self, column: Column) -> None:
        """Note which cameras lack a value, or have a bad one."""
        rows = self._rows_of(column)
        shapes = ACCEPTED.get(column.role.name) or (column.dims or (),)
        expected = f"{dotted([column.path])} to be {spoken(shapes)}"
        self._fail(rows < 0, CameraValueError(None, expected, "none"))
        for row, fault in column.faults.items():
            self._fail(rows == row, fault)

    def _demand_zero(self, column: Column) -> None:
        rows = self._rows_of(column)
        expected = f"{dotted([column.path])} to be 0 (a pinhole camera)"
        wrong = np.any(column.array.reshape(len(column), -1), axis=1)
        found = str(column.array[wrong][:1].tolist())[1:-1][:60]
        self._fail((rows >= 0) & wrong[rows], CameraValueError(None, expected, found))

    def _read(self, column: Column) -> dict[str, str]:
        """Read what most cameras say in words; a camera that says something else is reported."""
        rows = self._rows_of(column).tolist()
        words = [column.values[row] if row >= 0 else None for row in rows]
        (usual, _), *others = Counter(words).most_common()
        said = read_statement(column, usual)
        fault = CameraValueError(None, f"{dotted([column.path])} alike in all views", "another")
        for other, _ in others:
            with suppress(CameraValueError):
                if read_statement(column, other) == said:
                    continue
            self._fail(np.array([word == other for word in words]), fault)
        return said

    def columns(self, paths: Sequence[str]) -> list[Labels]:
        """The labels of all cameras, by place; `paths` are the documents' names."""
        found = [Labels("file", [paths[number] for number in self.documents], NAMED)]
        stars = [at for at, step in enumerate(self._main.pattern) if step == MANY]
        for star, at in enumerate(stars):
            labels: list[Label] = [each[star] for each in self.keys]
            words, tier = ("key", NAMED) if type(labels[0]) is str else ("order", ORDERED)
            name = ".".join(self._main.pattern[:at]) or "root"
            labels = [str(each) for each in labels] if tier == NAMED else labels
            found.append(Labels(f"{words} of {name}", labels, tier))
        for column in self._table.columns.values():
            common = column.steps_with(self._main)
            rest = "".join("*" if step == MANY else "." for step in column.pattern[common:])
            if column.numeric or column.role.name not in LABELS or "*." in rest:
                continue
            rows = self._table.find(column, self.codes)
            absent = (rows < 0).mean()
            if absent == 1 or ("*" in rest and absent > _MOST_ABSENT):
                continue
            tier = NAMED if any(map(role_of, column.path[-1:])) else MENTIONED
            labels = [None if row < 0 else column.values[row] for row in rows.tolist()]
            found.append(Labels(".".join(column.pattern), labels, tier))
        return found

    def taken_apart(self, row: int, root: Any) -> dict[str, Any]:
        """The values of one camera whose document holds them in arrays."""
        taken: dict[str, Any] = {}
        for column in self._table.columns.values():
            alike = (column.stars, column.depth) == (self._main.stars, self._main.depth)
            if alike and column.steps_with(self._main) >= column.depth:
                value = root
                for step in _filled(column.pattern, self.keys[row]):
                    value = value[step]
                taken[".".join(column.path)] = value
        return taken

    def compose(self, subjects: IntArray) -> Composed:
        """Make poses and intrinsics of all numbers; a fault of a single camera is set aside.

        `subjects` has the index of each camera's identity. CameraValueError if it cannot be told
        what the numbers mean.
        """
        while True:
            good = np.setdiff1d(np.arange(len(self)), list(self.faults))
            try:
                values = [[self._of(column, good) for column in p.columns] for p in self.poses]
                poses = compose_poses(self.poses, values, subjects[good])
                intrinsics = self.stored_intrinsics(good)
                break
            except CameraValueError as fault:
                if fault.row is None or len(self.faults) * 2 > len(self) or len(good) < 2:
                    raise
                self.faults[int(good[fault.row])] = fault
        if self.lent is not None:
            intrinsics = self.lent.at(good)
        elif poses.intrinsics is not None and intrinsics.kind == "absent":
            intrinsics = replace(
                intrinsics, kind="pixels", values=poses.intrinsics, centre_kind="pixels"
            )
            self._intrinsics_in_pose = True
        self.faults |= {int(good[row]): fault for row, fault in poses.faults.items()}
        return Composed(good, poses, intrinsics)

    def stored_intrinsics(self, rows: IntArray) -> StoredIntrinsics:
        """Intrinsics of some cameras; CameraValueError where it cannot be told what they are."""
        parts = {
            role: np.full(len(rows), part) if isinstance(part, float) else self._of(part, rows)
            for role, part in self.intrinsics.parts.items()
        }
        size = [self._of(column, rows) for column in self._size]
        found = compose_intrinsics(self.intrinsics, parts, self._size, size, len(rows))
        if not size and found.kind == "pixels" and not self._of_stored:
            found = replace(found, size_wh=self._size_elsewhere(found.values[:, :2, 2]))
        crop = self._of(self._crop[0], rows) if self._crop else None
        return replace(found, change=self._change, crop=crop)

    def _size_elsewhere(self, centres: FloatArray) -> FloatArray | None:
        """The one size that is named, wherever, if principal points are in its middle."""
        size = self._table.sole_size
        if size is None or not ((centres > size / 4) & (centres < size * 3 / 4)).all():
            return None
        return np.tile(size, (len(centres), 1))

    def _of(self, column: Column, rows: IntArray) -> FloatArray:
        places = self._rows_of(column)[rows]
        same = np.array_equal(places, np.arange(len(column)))
        return column.array if same else column.array[places]

    def describe(self) -> str:
        """Where pose and intrinsics are, in words."""
        pose, said = self.poses[0], self.intrinsics
        names = ", ".join(column.name for column in pose.columns)
        form = (
            "×".join(map(str, pose.columns[0].dims or ())) if pose.form == "matrix" else pose.form
        )
        parts = said.parts.values()
        places = [f"{part:g}" if isinstance(part, float) else part.name for part in parts]
        same = said.form == "label" or (said.form == "absent" and self._intrinsics_in_pose)
        elsewhere = "apart from the poses" if self.lent is not None else "none"
        intrinsics = "in the same numbers" if same else ", ".join(places) or elsewhere
        return f"pose = {names} ({form}), intrinsics = {intrinsics}"


def find_groups(table: Table, schema: CameraSchema) -> list[Group]:
    """Sort everything with a pose, or a key that promises one, into groups."""
    stated = schema.pose
    families: dict[Path, list[Column]] = {}
    for column in table.columns.values():
        if column.numeric:
            column.take_numbers()
            if stated is not None:
                depths = [len(path) for path in stated[1] if column.ends_with(path)]
            else:
                depths = [1] if column.role.name in POSE_PARTS else []
            for depth in depths[:1]:
                families.setdefault(_camera_of(column.pattern, depth), []).append(column)
    alike: dict[Any, tuple[Column, Found, list[IntArray]]] = {}
    for pattern, columns in families.items():
        for present, codes in _together(table, columns):
            found = plan_poses(present) if stated is None else stated_poses(present, stated)
            if found[0] or found[2]:
                main = found[0][0].columns[0] if found[0] else present[0]
                key = (pattern, found[0], str(found[2]))
                alike.setdefault(key, (main, found, []))[2].append(codes)
    return [
        Group(table, pattern, main, np.sort(np.concatenate(codes)), found, schema)
        for (pattern, _, _), (main, found, codes) in alike.items()
    ]


def find_apart(table: Table, used: Collection[Column], claims: Mapping[str, str]) -> list[Group]:
    """Intrinsics that belong to no camera with a pose; `claims` are a `camera_schema`'s."""
    schema = CameraSchema(claims=claims)
    families: dict[Path, list[Column]] = {}
    for column in table.columns.values():
        if column.numeric and column not in used:
            square = kind_of_square(column) == "matrix"
            if square or column.role.name in INTRINSICS_PARTS:
                families.setdefault(_camera_of(column.pattern), []).append(column)
    groups = []
    for pattern, columns in families.items():
        for present, codes in _together(table, columns):
            group = Group(table, pattern, present[0], codes, ((), True, None), schema)
            if group.faults or group.intrinsics.form != "absent":
                groups.append(group)
    return groups


def _camera_of(pattern: Path, depth: int = 1) -> Path:
    """The pattern of the camera's object that a value belongs to; the value is `depth` keys in.

    It is `frames.*` of `frames.*.camera.pose`, and `*` of `c2w.*`.
    """
    steps, stars = list(pattern), 0
    while steps and steps[-1] == MANY:
        stars += steps.pop() == MANY
    collects = depth == 1 and steps and (r := role_of(steps[-1])) and r.name in COLLECTIONS
    steps = steps if collects else steps[: len(steps) - depth]
    while steps and steps[-1] != MANY and (role := role_of(steps[-1])):
        if role.name not in ("wrapper", "pose", "matrix", "projection", "rotation", "euler"):
            break
        steps.pop()
    return (*steps, *[MANY] * stars)


def _nearness(column: Column, pose: Column) -> int:
    """How many steps a value has in common with a pose; -1 where it is no part of those cameras."""
    common = column.steps_with(pose)
    boxes = [step for step in column.pattern[common:] if step != MANY][:-1]
    return common if common >= pose.depth or all(map(role_of, boxes)) else -1


def _together(table: Table, columns: Sequence[Column]) -> Iterator[tuple[list[Column], IntArray]]:
    """Columns that cameras have in common, and the codes of these cameras."""
    columns = columns[:_MOST_COLUMNS]
    codes = [table.codes(column) for column in columns]
    every = np.unique(np.concatenate(codes))
    present = sum(np.isin(every, each).astype(np.int64) << bit for bit, each in enumerate(codes))
    for mask in np.unique(present).tolist():
        yield [c for bit, c in enumerate(columns) if mask >> bit & 1], every[present == mask]


def _filled(pattern: Path, keys: Trail) -> Trail:
    """Put keys in the place of a pattern's `*`; keys that are left over follow at its end."""
    left = iter(keys)
    return (*(next(left) if step == MANY else step for step in pattern), *left)
