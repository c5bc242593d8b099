"""Which columns are the pose and the intrinsics of cameras that stand alike.

Dimensions say what a value can be (a 4x4 matrix is no translation), names say which of several it
is and what it claims; where no name is known, numbers alone decide if they leave no doubt. Open
this module to see or change which forms of pose and intrinsics are recognised.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import Direction
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.validate import is_rotation
from geogen_hf.metadata.keys import (
    ACCEPTED,
    BARE,
    C2W,
    SPHERICAL,
    SQUARES,
    W2C,
    CameraValueError,
    Path,
    Role,
    RoleName,
    dotted,
    normalise_key,
    role_of,
    spoken,
)
from geogen_hf.metadata.table import COLLECTIONS, MANY, POSES, Column

PoseForm = Literal[
    "matrix", "label", "projection", "rotation", "quaternion", "euler", "rodrigues", "look_at",
    "spherical", "attitude",
]  # fmt: skip
IntrinsicsForm = Literal[
    "matrix", "label", "entries", "focal", "focal_mm", "focal_px", "fov_x", "fov_y", "incomplete",
    "absent",
]  # fmt: skip
Units = Literal["pixels", "normalised", "ndc"]
Slots = Mapping[RoleName, Sequence[Column]]
"""Columns by what their keys say they are."""

POSE_KEYS: Mapping[PoseForm, tuple[str, ...]] = {
    "matrix": ("extrinsics",),
    **{form: (form, "translation") for form in ("rotation", "quaternion", "euler", "rodrigues")},
    "look_at": ("eye", "target", "up"),
    "spherical": SPHERICAL,
    "attitude": ("yaw", "pitch", "roll", "translation"),
}
"""What `camera_schema` calls the values of a pose, in the order of `PosePlan.columns`."""

_CENTRES: tuple[tuple[RoleName, ...], ...] = (("cx", "cy"), ("principal",), ())
INTRINSICS_KEYS: tuple[tuple[IntrinsicsForm, tuple[RoleName, ...]], ...] = (
    ("matrix", ("matrix",)),
    ("entries", ("fx", "fy", "cx", "cy")),
    *(("focal_mm", ("focal_mm", "sensor_mm", *centre)) for centre in _CENTRES),
    ("focal", ("focal", "principal")),
    ("focal", ("focal_px", "principal")),
    ("entries", ("focal", "focal", "cx", "cy")),
    ("entries", ("focal_px", "focal_px", "cx", "cy")),
    ("focal_px", ("fx", "fy", "principal")),
    ("focal_px", ("fx", "fy")),
    ("focal_px", ("focal_px",)),
    *(("fov_x", ("fov_x", *centre)) for centre in _CENTRES),
    *(("fov_y", ("fov_y", *centre)) for centre in _CENTRES),
)
"""What `camera_schema` calls the values of intrinsics, the most direct description first."""

_ROLE_OF = {"extrinsics": "pose", "eye": "location"}
_TURNS: tuple[RoleName, ...] = ("rotation", "quaternion", "euler", "rodrigues")
POSE_PARTS = POSES | {
    "translation", "location", "target", "forward", "up", *SPHERICAL, "yaw", "pitch", "roll",
    "unknown",
}  # fmt: skip
LENSES: tuple[IntrinsicsForm, ...] = ("focal_mm", "focal_px", "fov_x", "fov_y")
"""Forms in which the principal point is in the middle of the image if nothing else is said."""
SHIFTS: tuple[RoleName, ...] = ("shift_x", "shift_y")
INTRINSICS_PARTS = frozenset({role for _, roles in INTRINSICS_KEYS for role in roles})


@dataclass(frozen=True)
class PosePlan:
    """Where a pose is: in the columns that `POSE_KEYS` has for its form."""

    form: PoseForm
    columns: tuple[Column, ...]
    role: Role = field(compare=False)  # of the first, with what is said of the pose
    placed: bool = False  # the translation is the camera's place in the world
    forward: bool = False  # the second value of a look-at is a direction and no point

    @property
    def paths(self) -> list[Path]:
        """The keys of the values."""
        return [column.path for column in self.columns]

    @property
    def direction(self) -> Direction | None:
        """Which way the composed matrix maps."""
        return C2W if self.placed else self.role.direction


@dataclass(frozen=True)
class IntrinsicsPlan:
    """Where intrinsics are: in a matrix, in fx fy cx cy, in focal length and sensor, in an angle.

    `parts` are as `INTRINSICS_KEYS` has them; a number stands for itself. `shift` is Blender's
    `shift_x` and `shift_y` beside a lens of which no principal point is given.
    """

    form: IntrinsicsForm = "absent"
    parts: tuple[Column | float, ...] = ()
    units: Units | None = None  # else the values decide
    degrees: bool | None = None
    shift: tuple[Column | float, ...] = ()

    @property
    def lens(self) -> int:
        """How many of the parts are the lens, with the principal point in the others."""
        return 1 if self.form in ("fov_x", "fov_y") or len(self.parts) == 1 else 2

    @property
    def columns(self) -> list[Column]:
        """The parts that are columns."""
        return [part for part in (*self.parts, *self.shift) if isinstance(part, Column)]


def slots_of(columns: Iterable[Column]) -> dict[RoleName, list[Column]]:
    """Sort columns that have numbers by role."""
    slots: dict[RoleName, list[Column]] = {}
    for column in columns:
        if column.dims is not None:
            slots.setdefault(column.role.name, []).append(column)
    return slots


def camera_of(pattern: Path, depth: int = 1) -> Path:
    """The pattern of the camera's object that a value belongs to; the value is `depth` keys in.

    Example:
        >>> camera_of(("frames", "*", "camera", "pose")), camera_of(("c2w", "*"))
        (('frames', '*'), ('*',))
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


def nearness(column: Column, pose: Column) -> int:
    """How many steps a value has in common with a pose; -1 where it is no part of those cameras."""
    common = column.steps_with(pose)
    boxes = [step for step in column.pattern[common:] if step != MANY][:-1]
    return common if common >= pose.depth or all(map(role_of, boxes)) else -1


def plan_poses(
    columns: Sequence[Column],
) -> tuple[tuple[PosePlan, ...], bool, CameraValueError | None]:
    """Every way these columns give a pose, the most telling first.

    Returns the plans; whether only numbers tell that they are poses; and why there is none.
    """
    slots = slots_of(columns)
    poses = _pose_plans(slots)
    if poses:
        return tuple(poses), False, None
    unknown = slots.get("unknown", ())
    whole = [column for column in unknown if column.dims in BARE]
    if len(whole) > 1:
        paths = [column.path for column in whole]
        statement = f'"extrinsics": "{dotted(paths[:1])}"'
        return (), True, ambiguous("the pose", paths, statement)
    if whole:
        return (_posed(form_of(whole[0]), whole[0]),), True, None
    parts = [column for role in SPHERICAL for column in slots.get(role, ())]
    if [column.role.name for column in parts] == list(SPHERICAL):
        role = parts[0].role.saying(direction=W2C)
        return (PosePlan("spherical", tuple(parts), role),), False, None
    turns = [column for column in unknown if kind_of_square(column) == "rotation"]
    vectors = [column for column in unknown if column.dims in ACCEPTED["translation"]]
    if len(turns) == len(vectors) == 1:
        return (PosePlan("rotation", (turns[0], vectors[0]), Role("rotation")),), True, None
    if views := _look_at(slots):  # without an up
        return tuple(views), False, None
    broken = [column for column in columns if column.dims is None]
    return (), True, next((fault for column in broken for fault in column.faults.values()), None)


def form_of(column: Column) -> PoseForm:
    """What a pose in one column is: 25 numbers, a position and a quaternion, or a matrix."""
    forms: dict[Any, PoseForm] = {(25,): "label", (7,): "quaternion"}
    return forms.get(column.dims, "matrix")


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


def is_clip_space(array: FloatArray) -> NDArray[np.bool_]:
    """Which matrices are OpenGL's perspective projections: they have 0 0 -1 0 as the last row."""
    whole = array.reshape(len(array), -1)
    return np.asarray((whole[:, -4:] == [0, 0, -1, 0]).all(axis=1) & (whole.shape[1] == 16))


def _pose_plans(slots: Slots) -> list[PosePlan]:
    """Find poses under known keys; a more specific key outweighs a less specific one."""
    found = [_posed(form_of(column), column) for column in slots.get("pose", ())]
    for name in _TURNS:
        for turn in slots.get(name, ()):
            form: Any = name
            if name == "rotation" and turn.dims not in SQUARES:
                form = "quaternion" if turn.dims == (4,) else "euler"
            beside, places = (
                [column for column in slots.get(role, ()) if column.path[:-1] == turn.path[:-1]]
                for role in ("translation", "location")
            )
            found += [_posed(form, turn, offset) for offset in beside or places[:1]]
    found += [view for view in _look_at(slots) if view.columns[2:]]
    found = found or _attitude(slots)
    # A key that says its direction counts for more than one that does not, and one inside `camera`
    # for more than one beside it: that may be the pose of a body.
    found = [pose for pose in found if pose.direction is not None] or found
    wrapped = [pose for pose in found if (r := role_of(pose.paths[0][0])) and r.name == "wrapper"]
    return wrapped or found or [_posed("projection", each) for each in slots.get("projection", ())]


def _look_at(slots: Slots) -> list[PosePlan]:
    places, ups = list(slots.get("location", ())), slots.get("up", ())
    targets = slots.get("target", ()) or slots.get("forward", ())
    if not targets and len(places) == 2:  # eye, centre and up, as in gluLookAt
        places.sort(key=lambda column: normalise_key(column.path[-1]) in ("center", "centre"))
        targets = [places.pop()]
    if len(places) != 1 or len(targets) != 1 or len(ups) > 1:
        return []
    ahead = targets[0].role.name == "forward"
    role = Role("pose", {"direction": W2C, "axes": "opencv"})
    return [PosePlan("look_at", (places[0], targets[0], *ups), role, forward=ahead)]


def _attitude(slots: Slots) -> list[PosePlan]:
    """A place and angles: yaw or azimuth, pitch or elevation, and roll if there is one."""
    yaws = slots.get("yaw") or slots.get("azimuth", ())
    pitches = slots.get("pitch") or slots.get("elevation", ())
    rolls, places = slots.get("roll", ()), slots.get("location") or slots.get("translation", ())
    if not len(yaws) == len(pitches) == len(places) == 1 >= len(rolls) or "distance" in slots:
        return []
    return [_posed("attitude", *yaws, *pitches, *rolls, *places)]


def _posed(form: PoseForm, *columns: Column) -> PosePlan:
    role = columns[0].role
    if form in ("label", "projection"):
        role = Role("pose", {"direction": C2W if form == "label" else W2C, "axes": "opencv"})
    placed = len(columns) > 1 and columns[-1].role.name == "location"
    return PosePlan(form, columns, role, placed)


def plan_intrinsics(slots: Slots) -> IntrinsicsPlan:
    """The most direct description there is: a matrix, its entries, a focal length, an angle.

    A 3x3 matrix under any key counts where nothing else does. CameraValueError where several
    columns could be one part.
    """
    by_role = dict(slots)
    if "sensor_mm" in by_role and "focal" in by_role:
        by_role.setdefault("focal_mm", by_role["focal"])
    for form, roles in INTRINSICS_KEYS:
        if any(role not in by_role for role in roles):
            continue
        if form in LENSES and ("cx" in by_role) != ("cy" in by_role):
            one = dotted([by_role["cx" if "cx" in by_role else "cy"][0].path])
            raise CameraValueError(None, "cx and cy beside a lens, both or neither", f"only {one}")
        if form in ("entries", "focal_mm") and by_role[roles[0]][0].dims:
            continue  # two focal lengths
        degrees = by_role[roles[0]][0].role.degrees
        for role in roles:
            if not all(map(by_role[role][0].is_same, by_role[role][1:])):
                named: dict[str, str] = {each: dotted([by_role[each][0].path]) for each in roles}
                if form in ("fov_x", "fov_y") and degrees is not False:
                    named = {f"{form}_deg": named[role]}
                said = json.dumps(named.get("matrix", named))
                paths = [column.path for column in by_role[role]]
                raise ambiguous(f"the intrinsics ({role})", paths, f'"intrinsics": {said}')
        return IntrinsicsPlan(form, tuple(by_role[role][0] for role in roles), degrees=degrees)
    parts: tuple[RoleName, ...] = ("fx", "fy", "focal", "focal_mm")
    part = tuple(column for role in parts for column in by_role.get(role, ()))
    if part:
        return IntrinsicsPlan("incomplete", part)
    lenses = [each for each in slots.get("unknown", ()) if kind_of_square(each) == "matrix"]
    lenses = lenses or [p for p in slots.get("projection", ()) if is_clip_space(p.array).all()]
    return plan_intrinsics({"matrix": lenses}) if lenses else IntrinsicsPlan()


def demand_shape(column: Column, role: str) -> None:
    """Raise CameraValueError where the numbers at a stated path cannot be what they should."""
    name: Any = _ROLE_OF.get(role, role)
    shapes = SQUARES if role == "rotation" else ACCEPTED[name]
    if column.dims not in shapes:
        found = "no numbers" if column.dims is None else f"numbers of shape {column.dims}"
        raise CameraValueError(None, f"{dotted([column.path])} to be {spoken(shapes)}", found)


def ambiguous(what: str, paths: Sequence[Path], statement: str) -> CameraValueError:
    """Make the error that says that several columns could be the same thing."""
    return CameraValueError(
        None,
        f"one key to hold {what}",
        f"keys {dotted(paths)}",
        f"say which with camera_schema={{{statement}}}",
    )
