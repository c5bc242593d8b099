"""Where everything about a camera is in its object, worked out once for each shape of object.

Dimensions say what a value can be (a 4x4 matrix is no translation), names say which of several it
is and what it claims; where no name is known, dimensions alone decide if they leave no doubt. Open
this module to see or change which forms of pose and intrinsics are recognised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from geogen_hf.cameras.conventions import Direction
from geogen_hf.cameras.validate import is_rotation
from geogen_hf.metadata.keys import (
    ACCEPTED,
    BARE,
    C2W,
    SPHERICAL,
    SQUARES,
    W2C,
    Role,
    RoleName,
    has_digit,
    normalise_key,
    role_of,
)
from geogen_hf.metadata.values import (
    MAX_KEYS_DEEP,
    CameraValueError,
    Dims,
    Node,
    Path,
    as_array,
    dotted,
    shape_of,
    spoken,
    value_at,
)

PoseForm = Literal[
    "matrix", "label", "projection", "rotation", "quaternion", "euler", "rodrigues", "look_at",
    "spherical",
]  # fmt: skip
IntrinsicsForm = Literal[
    "matrix", "label", "entries", "focal", "focal_mm", "focal_px", "fov_x", "fov_y", "incomplete",
    "absent",
]  # fmt: skip
Units = Literal["pixels", "normalised"]

POSE_KEYS: Mapping[PoseForm, tuple[str, ...]] = {
    "matrix": ("extrinsics",),
    **{form: (form, "translation") for form in ("rotation", "quaternion", "euler", "rodrigues")},
    "look_at": ("eye", "target", "up"),
    "spherical": SPHERICAL,
}
"""What `camera_schema` calls the values of a pose, in the order of `PosePlan.paths`."""

INTRINSICS_KEYS: tuple[tuple[IntrinsicsForm, tuple[RoleName, ...]], ...] = (
    ("matrix", ("matrix",)),
    ("entries", ("fx", "fy", "cx", "cy")),
    ("focal_mm", ("focal_mm", "sensor_mm")),
    ("focal", ("focal", "principal")),
    ("entries", ("focal", "focal", "cx", "cy")),
    ("focal_px", ("fx", "fy")),
    ("focal_px", ("focal_px",)),
    ("fov_x", ("fov_x",)),
    ("fov_y", ("fov_y",)),
)
"""Likewise of intrinsics, the most direct description first."""


@dataclass(frozen=True)
class PosePlan:
    """Where a pose is, and what its keys claim.

    Attributes:
        form: What the values are.
        paths: To the matrix; to rotation and translation; to eye, target (or forward) and up; or
            to azimuth, elevation and distance.
        role: Of the first, with its claims.
        placed: Whether the translation is the camera's place in the world.
        forward: Whether the second value of a look-at is a direction and no point.
    """

    form: PoseForm
    paths: tuple[Path, ...]
    role: Role
    placed: bool = False
    forward: bool = False

    @property
    def direction(self) -> Direction | None:
        """Which way the composed matrix maps."""
        return C2W if self.placed else self.role.direction


@dataclass(frozen=True)
class IntrinsicsPlan:
    """Where intrinsics are: to a matrix, to fx fy cx cy, to focal length and sensor, to an angle.

    Attributes:
        form: Which of these.
        paths: In the order just said; a number stands for itself.
        units: Where they are stated; else the values decide.
        degrees: Of an angle, where it is said.
    """

    form: IntrinsicsForm = "absent"
    paths: tuple[Path | float, ...] = ()
    units: Units | None = None
    degrees: bool | None = None

    @property
    def keys(self) -> list[Path]:
        """The paths that are no numbers."""
        return [path for path in self.paths if isinstance(path, tuple)]


@dataclass(frozen=True)
class CameraPlan:
    """Where everything about a camera is.

    Attributes:
        poses: The pose in each way it is given, the most telling first; empty for no pose.
        intrinsics: Its intrinsics.
        guessed: Whether the pose is told by its dimensions only.
        size: To the resolution, or to width and height, or empty.
        said: Paths of statements (layout, quaternion order, axes), by role.
        zeros: Paths of values that this package can only take as zero (distortion, shift).
        labels: Paths of text and numbers that may name a subject or a view, and whether their
            key is known for that.
        inner: Keys whose values may hold cameras of their own.
        shared: Keys that hold for all cameras below this object.
        squares: Paths of 3x3 numbers that may be intrinsics or a rotation, whatever their key.
        vectors: Paths of three numbers that may be a translation, whatever their key.
        stacked: Paths whose values hold one value for each of several views.
        views: How many views, or their keys, where anything is stacked.
        fault: Why there is no pose where a key promises one, or several could be it.
    """

    poses: tuple[PosePlan, ...] = ()
    intrinsics: IntrinsicsPlan = IntrinsicsPlan()
    guessed: bool = False
    size: tuple[Path, ...] = ()
    said: tuple[tuple[RoleName, Path], ...] = ()
    zeros: tuple[Path, ...] = ()
    labels: tuple[tuple[Path, bool], ...] = ()
    inner: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    squares: tuple[Path, ...] = ()
    vectors: tuple[Path, ...] = ()
    stacked: tuple[Path, ...] = ()
    views: tuple[str, ...] | int = 0
    fault: CameraValueError | None = None

    @cached_property
    def keys(self) -> str:
        """The keys of pose and intrinsics, spelt alike, to tell schemas apart."""
        paths = [path for pose in self.poses[:1] for path in pose.paths] + self.intrinsics.keys
        return " + ".join(".".join(map(normalise_key, path)) for path in paths)


class Planner:
    """Plans by shape of object.

    Example:
        >>> node = {"camera": {"world_to_camera": [[0.0] * 4] * 4, "K": [[0.0] * 3] * 3}}
        >>> plan = Planner().plan(node)
        >>> plan.poses[0].direction, plan.poses[0].paths, plan.intrinsics.paths
        ('world_to_camera', (('camera', 'world_to_camera'),), (('camera', 'K'),))
    """

    def __init__(self, make: Callable[[Any], CameraPlan] | None = None) -> None:
        self._make = make or make_plan
        self._plans: dict[Any, CameraPlan] = {}

    def plan(self, node: Node) -> CameraPlan:
        """Say where everything in this object is."""
        shape = shape_of(node)
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._make(shape) if type(shape) is tuple and shape else CameraPlan()
            self._plans[shape] = plan
        if not plan.squares:
            return plan
        kinds = tuple(_kind_of_square(value_at(node, path)) for path in plan.squares)
        if (shape, kinds) not in self._plans:
            self._plans[shape, kinds] = _with_squares(plan, kinds)
        return self._plans[shape, kinds]


def _kind_of_square(value: object) -> RoleName:
    """Whether 3x3 numbers are a rotation; or `fx skew cx, 0 fy cy, 0 0 1` or its transpose."""
    array = as_array([value])
    if array is None or array.size != 9:
        return "unknown"
    matrix = array.reshape(3, 3)
    if is_rotation(matrix):
        return "rotation"
    matrix = matrix if matrix[:2, 2].any() else matrix.T
    positive = (matrix[[0, 1, 0, 1], [0, 1, 2, 2]] > 0).all()
    upper = positive and matrix[1, 0] == 0 and (matrix[2] == [0, 0, 1]).all()
    return "matrix" if upper else "unknown"


def _with_squares(plan: CameraPlan, kinds: Sequence[RoleName]) -> CameraPlan:
    """The plan with what 3x3 numbers can only be, whatever their keys."""
    turns, lenses = (
        [path for path, each in zip(plan.squares, kinds, strict=True) if each == kind]
        for kind in ("rotation", "matrix")
    )
    if not plan.poses and len(turns) == len(plan.vectors) == 1:
        pose = PosePlan("rotation", (turns[0], plan.vectors[0]), Role("rotation"))
        plan = replace(plan, poses=(pose,), guessed=True)
    if plan.intrinsics.form != "absent" or not lenses or (len(lenses) > 1 and not plan.poses):
        return plan
    fault = plan.fault
    if len(lenses) > 1:
        fault = _ambiguous("the intrinsics", lenses, f'"intrinsics": "{dotted(lenses[:1])}"')
    return replace(plan, intrinsics=IntrinsicsPlan("matrix", tuple(lenses[:1])), fault=fault)


def make_plan(
    shape: Any, pose: PosePlan | None = None, intrinsics: IntrinsicsPlan | None = None
) -> CameraPlan:
    """Work a plan out from an object's shape; `Planner.plan` remembers it.

    A pose or intrinsics that are given are known already.
    """
    if not _is_nested(shape):
        return CameraPlan()
    found = list(_slots(shape, (), None))
    slots: dict[RoleName, list[_Slot]] = {}
    for slot in found:
        if slot.views != -1:
            slots.setdefault(slot.role.name, []).append(slot)
    unknown = slots.pop("unknown", [])
    poses = [pose] if pose is not None else _pose_plans(slots)
    fault = None
    guessed = not poses
    if guessed:
        poses, fault = _guess_pose(unknown)
    if not poses and fault is None:
        poses = _spherical(slots)  # often beside a matrix that says the same exactly
        guessed = not poses
    if not poses and fault is None:
        fault = next((_misfit(slot) for slot in found if slot.views == -1), None)
    if intrinsics is None:
        try:
            intrinsics = _intrinsics_plan(slots)
        except CameraValueError as error:
            intrinsics, fault = IntrinsicsPlan(), error if poses else fault
        if intrinsics.form in ("absent", "incomplete") and poses and poses[0].form == "label":
            intrinsics = IntrinsicsPlan("label", poses[0].paths, "normalised")
        open_ = not fault and (intrinsics.form == "absent" or not poses)
    else:
        open_ = False
    size = _paths(slots, "resolution")[:1]
    if not size and "width" in slots and "height" in slots:
        size = [*_paths(slots, "width")[:1], *_paths(slots, "height")[:1]]
    main = poses[0].paths if poses else intrinsics.paths
    in_pose = {path for each in poses for path in each.paths}
    used = {*in_pose, *intrinsics.paths, *size}
    stacks = [s for s in found if s.views and s.views != -1 and s.path in used]
    first = next((s.views for s in stacks if s.path in main), 0)
    leaves = list(_leaves(shape, ()))
    pose_keys = {path[0] for path in in_pose}
    return CameraPlan(
        poses=tuple(poses),
        intrinsics=intrinsics,
        guessed=guessed,
        size=tuple(size),
        said=tuple((role, path) for role in _SAY_ONLY for path in _paths(slots, role)),
        zeros=tuple(_paths(slots, "distortion")),
        labels=tuple(_labels(leaves)),
        inner=tuple(_inner(shape, pose_keys)),
        shared=tuple(key for key in _shared(shape) if key not in pose_keys),
        squares=tuple(p for p, value in leaves if open_ and value in SQUARES and p not in in_pose),
        vectors=tuple(s.path for s in unknown if s.dims in ACCEPTED["translation"]),
        stacked=tuple(s.path for s in stacks if _same_views(s.views, first)) if first else (),
        views=first,
        fault=fault,
    )


@dataclass(frozen=True)
class _Slot:
    """A value that may be something; `views` are those it has one value for, -1 for a misfit."""

    role: Role
    path: Path
    dims: Any
    views: tuple[str, ...] | int = 0


_LOOK_INTO = frozenset({"wrapper", "pose", "matrix", "projection", "unknown"})
_COLLECTIONS = frozenset({"cameras", "subjects"})
_NAMES = frozenset({"view", "file", "name", "subject", "id"})
_SAY_ONLY: tuple[RoleName, ...] = (
    "layout", "column_major", "row_major", "quaternion_order", "axes",
)  # fmt: skip
_UNKNOWN = Role("unknown")
_TURNS: tuple[RoleName, ...] = ("rotation", "quaternion", "euler", "rodrigues")
_POSES = frozenset({"pose", "projection", *_TURNS})
_POSE_PARTS = _POSES | {
    "translation", "location", "target", "forward", "up", *SPHERICAL, "unknown",
}  # fmt: skip


def _slots(shape: Any, path: Path, above: Role | None) -> Iterator[_Slot]:
    """Every key, inside wrappers too, where a wrapper called `c2w` lends its claims."""
    keys = {key for key, _ in shape}
    for key, value in shape:
        role, here = _inside(role_of(key) or _UNKNOWN, above), (*path, key)
        if f"{key}.001" in keys:
            continue  # Blender's name for the first of many
        if _is_nested(value):
            vector = _as_vector(value)
            if vector is not None:
                yield _slot(replace(role, order="wxyz") if vector == (4,) else role, here, vector)
            elif (held := _held(role, value)) is not None:
                yield replace(held, path=(*here, *held.path))
            elif role.name in _LOOK_INTO and len(here) <= MAX_KEYS_DEEP:
                inherits = above if role.name in ("wrapper", "unknown") else role
                inner = _slots(value, here, inherits)
                if role is not _UNKNOWN:
                    yield from inner
                elif not has_digit(key):  # poses in there are cameras of their own
                    yield from (s for s in inner if s.role.name not in _POSE_PARTS)
        elif type(value) is tuple and "s" not in value:
            yield _slot(role, here, value)
        elif role.name in _SAY_ONLY or role.name == "distortion":
            yield _Slot(role, here, value)
        elif role.name in _POSES:
            yield _Slot(role, here, value, -1)


def _slot(role: Role, path: Path, dims: Dims) -> _Slot:
    accepted = ACCEPTED.get(role.name)
    if role.name in ("unknown", "wrapper"):
        return _Slot(_UNKNOWN, path, dims)
    if accepted is None or dims in accepted:
        return _Slot(role, path, dims)
    if dims[1:] in accepted and len(dims) > 0 and dims[0] > 0:
        return _Slot(role, path, dims[1:], dims[0])
    return _Slot(role, path, dims, -1)


def _held(role: Role, value: Any) -> _Slot | None:
    """What an object under a known key holds: its one value, or one value a view, by key."""
    accepted = ACCEPTED.get(role.name)
    key, dims = value[0]
    if accepted is None or dims not in accepted or dims == ():
        return None
    if len(value) == 1 and not has_digit(key):
        inner = role_of(key)
        vague = inner is None or (inner.direction is None and inner.name in ("pose", "matrix"))
        return _Slot(role, (key,), dims) if vague else None
    if any(other != dims for _, other in value) or any(role_of(key) for key, _ in value):
        return None
    return _Slot(role, (), dims, tuple(key for key, _ in value))


def _is_nested(value: Any) -> bool:
    """Whether a shape is that of an object with keys."""
    return type(value) is tuple and bool(value) and type(value[0]) is tuple


def _as_vector(value: Any) -> Dims | None:
    keys = {key.lower() for key, _ in value}
    numbers = all(dims == () for _, dims in value)
    return (len(keys),) if numbers and keys in ({*"xyz"}, {*"wxyz"}) else None


def _same_views(one: tuple[str, ...] | int, other: tuple[str, ...] | int) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return set(one) == set(other)
    return one == other


def _inside(role: Role, above: Role | None) -> Role:
    if above is None:
        return role
    if above.name == "matrix":
        return Role("matrix") if role.name == "pose" and role.direction is None else role
    if role.name in _POSES or role.name == "translation":
        return replace(
            role, direction=role.direction or above.direction, axes=role.axes or above.axes
        )
    return role


_SHARED: frozenset[RoleName] = frozenset(
    [
        "matrix", "fx", "fy", "cx", "cy", "focal", "principal", "focal_mm", "focal_px", "sensor_mm",
        "fov_x", "fov_y", "width", "height", "resolution", "distortion", *_SAY_ONLY, "wrapper",
        "distance",
    ]
)  # fmt: skip


def _shared(shape: Any) -> Iterator[str]:
    for key, value in shape:
        role = role_of(key)
        texts = type(value) is tuple and value[:1] == ("s",)
        if role is None or role.name in (*_NAMES, *_COLLECTIONS):
            if texts:  # which may name each of the cameras
                yield key
        elif role.name in _SHARED and (role.name != "wrapper" or _is_nested(value)):
            yield key


def _inner(shape: Any, used: set[str]) -> Iterator[str]:
    bare = [key for key, value in shape if value in BARE + SQUARES and role_of(key) is None]
    for key, value in shape:
        if key in used:
            continue
        role = role_of(key)
        collects = role is None or role.name in ("wrapper", *_COLLECTIONS)
        if (
            value in ("{}", "[]")
            or _is_nested(value)
            or (collects and type(value) is tuple and value[1:] in BARE + SQUARES)
            or (key in bare and (len(bare) > 1 or has_digit(key)))
        ):
            yield key


def _leaves(shape: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every value with the path to it, but for those in objects that are one of many."""
    for key, value in shape:
        if not _is_nested(value):
            yield (*path, key), value
        elif len(path) < MAX_KEYS_DEEP and not has_digit(key) and _as_vector(value) is None:
            yield from _leaves(value, (*path, key))


def _labels(leaves: Sequence[tuple[Path, Any]]) -> Iterator[tuple[Path, bool]]:
    for path, value in leaves:
        text = value == "s" or (type(value) is tuple and value[:1] == ("s",))
        if len(path) <= MAX_KEYS_DEEP and (text or value == ()):
            role = role_of(path[-1])
            named = role is None or role.name in _NAMES
            if named or (text and role is not None and role.name in _COLLECTIONS):
                yield path, role is not None


def _pose_plans(slots: Mapping[RoleName, list[_Slot]]) -> list[PosePlan]:
    """Every way the pose is given, those left out that a more telling one outweighs."""
    found = [_posed("label" if s.dims == (25,) else "matrix", s) for s in slots.get("pose", ())]
    for name in _TURNS:
        for turn in slots.get(name, ()):
            form: Any = name
            if name == "rotation" and turn.dims not in SQUARES:
                form = "quaternion" if turn.dims == (4,) else "euler"
            beside, places = (
                [s for s in slots.get(role, ()) if s.path[:-1] == turn.path[:-1]]
                for role in ("translation", "location")
            )
            found += [_posed(form, turn, offset) for offset in beside or places[:1]]
    found += _look_at(slots)
    # A key that says its direction counts for more than one that does not, and one inside `camera`
    # for more than one beside it: that may be the pose of a body.
    found = [pose for pose in found if pose.direction is not None] or found
    wrapped = [pose for pose in found if (r := role_of(pose.paths[0][0])) and r.name == "wrapper"]
    return wrapped or found or [_posed("projection", slot) for slot in slots.get("projection", ())]


def _look_at(slots: Mapping[RoleName, list[_Slot]]) -> list[PosePlan]:
    places, ups = list(slots.get("location", ())), slots.get("up", ())
    targets = slots.get("target", ()) or slots.get("forward", ())
    if not targets and len(places) == 2:  # eye, centre and up, as in gluLookAt
        places.sort(key=lambda slot: normalise_key(slot.path[-1]) in ("center", "centre"))
        targets = [places.pop()]
    if len(places) != 1 or len(targets) != 1 or len(ups) != 1:
        return []
    paths = (places[0].path, targets[0].path, ups[0].path)
    ahead = targets[0].role.name == "forward"
    return [PosePlan("look_at", paths, Role("pose", W2C, "opencv"), forward=ahead)]


def _spherical(slots: Mapping[RoleName, list[_Slot]]) -> list[PosePlan]:
    parts = [slot for role in SPHERICAL for slot in slots.get(role, ())]
    if [slot.role.name for slot in parts] != list(SPHERICAL):
        return []
    role = replace(parts[0].role, direction=W2C)
    return [PosePlan("spherical", tuple(slot.path for slot in parts), role)]


def _posed(form: PoseForm, *parts: _Slot) -> PosePlan:
    role = parts[0].role
    if form == "label":
        role = Role("pose", C2W, "opencv")
    if form == "projection":
        role = Role("pose", W2C, "opencv")
    placed = len(parts) > 1 and parts[1].role.name == "location"
    return PosePlan(form, tuple(part.path for part in parts), role, placed)


def _guess_pose(unknown: Sequence[_Slot]) -> tuple[list[PosePlan], CameraValueError | None]:
    """The one value that can only be a pose; none, with the remedy, where several could."""
    found = [slot for slot in unknown if slot.dims in BARE and len(slot.path) == 1]
    if len(found) != 1 or not any(slot.dims in SQUARES for slot in unknown):
        # A matrix alone under a key with a number is one of many cameras.
        found = [slot for slot in found if not has_digit(slot.path[0])]
    if len(found) < 2:
        return [_posed("label" if s.dims == (25,) else "matrix", s) for s in found], None
    paths = [slot.path for slot in found]
    return [], _ambiguous("the pose", paths, f'"extrinsics": "{dotted(paths[:1])}"')


def _misfit(slot: _Slot) -> CameraValueError:
    expected = f"{dotted([slot.path])} to be {spoken(ACCEPTED[slot.role.name])}"
    found = f"shape {slot.dims}" if isinstance(slot.dims, tuple) else "no numbers"
    return CameraValueError(None, expected, found)


def _intrinsics_plan(slots: dict[RoleName, list[_Slot]]) -> IntrinsicsPlan:
    """The most direct description there is: a matrix, its entries, a focal length, an angle."""
    if "sensor_mm" in slots and "focal" in slots:
        slots.setdefault("focal_mm", slots["focal"])
    for form, roles in INTRINSICS_KEYS:
        if any(role not in slots for role in roles):
            continue
        if form == "focal_px" and ("cx" in slots or "cy" in slots):
            continue
        degrees = slots[roles[0]][0].role.degrees
        for role in roles:
            if len(slots[role]) > 1:
                named: dict[str, str] = {each: dotted(_paths(slots, each)[:1]) for each in roles}
                if form in ("fov_x", "fov_y") and degrees is not False:
                    named = {f"{form}_deg": named[role]}
                said = json.dumps(named.get("matrix", named))
                paths = _paths(slots, role)
                raise _ambiguous(f"the intrinsics ({role})", paths, f'"intrinsics": {said}')
        return IntrinsicsPlan(form, tuple(slots[r][0].path for r in roles), degrees=degrees)
    parts: tuple[RoleName, ...] = ("fx", "fy", "focal", "focal_mm")
    part = tuple(path for role in parts for path in _paths(slots, role))
    return IntrinsicsPlan("incomplete", part) if part else IntrinsicsPlan()


def _paths(slots: Mapping[RoleName, Collection[_Slot]], role: RoleName) -> list[Path]:
    return [slot.path for slot in slots.get(role, ())]


def _ambiguous(what: str, paths: Sequence[Path], statement: str) -> CameraValueError:
    return CameraValueError(
        None,
        f"one key to hold {what}",
        f"keys {dotted(paths)}",
        f"say which with camera_schema={{{statement}}}",
    )
