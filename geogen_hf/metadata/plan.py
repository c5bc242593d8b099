"""Which of a camera's keys hold what: worked out once for each shape of keys, then reused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NoReturn

from geogen_hf.cameras.conventions import CameraAxes, Direction
from geogen_hf.cameras.tools import QuaternionOrder
from geogen_hf.errors import GeoGenError
from geogen_hf.metadata.keys import Role, RoleName, normalise_key, role_of

Node = Mapping[str, Any]
"""A JSON object."""
Path = tuple[str, ...]
"""Keys from a camera inwards."""

PoseForm = Literal["matrix", "rotation", "quaternion", "label"]
LensForm = Literal["matrix", "entries", "focal", "lens_mm", "fov", "label", "incomplete", "absent"]
Units = Literal["pixels", "normalised"]

MAX_CAMERA_KEYS = 64
"""An object with more keys is a collection and no camera."""


class CameraValueError(GeoGenError):
    """A camera's value is not what its key says.

    Attributes:
        row: Which of the cameras; None where it concerns all.
        expected: What should have been there.
        found: What was there.
        remedy: What the reader can do, or None.
    """

    def __init__(
        self, row: int | None, expected: str, found: str, remedy: str | None = None
    ) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.row, self.expected, self.found, self.remedy = row, expected, found, remedy


@dataclass(frozen=True)
class PosePlan:
    """Where a pose is, and what its keys claim.

    Attributes:
        form: One matrix; rotation matrix and translation; quaternion and translation; or EG3D's
            label.
        paths: To the matrix, to both halves, or to the label.
        direction: Claimed, or None.
        axes: Claimed, or None.
        column_major: Claimed, or None.
        order: Of a quaternion, where claimed.
    """

    form: PoseForm
    paths: tuple[Path, ...]
    direction: Direction | None = None
    axes: CameraAxes | None = None
    column_major: bool | None = None
    order: QuaternionOrder | None = None


@dataclass(frozen=True)
class LensPlan:
    """Where intrinsics are: paths to a matrix, to fx fy cx cy, to focal and sensor, or to an angle.

    Attributes:
        form: Which of these.
        paths: In the order just said.
        units: Where they are stated; else the values decide.
        degrees: Of an angle.
    """

    form: LensForm = "absent"
    paths: tuple[Path, ...] = ()
    units: Units | None = None
    degrees: bool = False


@dataclass(frozen=True)
class CameraPlan:
    """Where everything about a camera is.

    Attributes:
        pose: None for an object that holds no pose (what a subject's cameras share).
        lens: Its intrinsics.
        size: To the resolution, or to width and height, or empty.
        said: Paths of statements (layout, quaternion order, axes), by role.
        zeros: Paths of values that this package can only take as zero (lens distortion, shift).
        names: Paths of view, file, name and subject, by role.
    """

    pose: PosePlan | None
    lens: LensPlan
    size: tuple[Path, ...] = ()
    said: tuple[tuple[RoleName, Path], ...] = ()
    zeros: tuple[Path, ...] = ()
    names: dict[RoleName, Path] = field(default_factory=dict)

    @cached_property
    def keys(self) -> str:
        """The keys of pose and intrinsics, spelt alike, to tell schemas apart."""
        pose = self.pose.paths if self.pose else ()
        paths = [".".join(map(normalise_key, path)) for path in (*pose, *self.lens.paths)]
        return " + ".join(paths)


def dotted(paths: Iterable[Path], most: int = 8) -> str:
    """Paths for a message.

    Example:
        >>> dotted([("camera", "K"), ("fx",)])
        'camera.K, fx'
    """
    shown = [".".join(key[:40] for key in path) for path in paths]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if shown[most:] else "")


_MAX_DEPTH = 3
_LOOK_INTO = frozenset({"wrapper", "pose", "matrix"})
_NAMES: tuple[RoleName, ...] = ("view", "file", "name", "subject", "id")
_LENS_PARTS: tuple[RoleName, ...] = ("fx", "fy", "focal", "focal_mm")
_SAY_ONLY: tuple[RoleName, ...] = (
    "layout",
    "column_major",
    "row_major",
    "quaternion_order",
    "axes",
)


@dataclass(frozen=True)
class _Slot:
    role: Role
    path: Path


class Planner:
    """Plans by shape of keys.

    Args:
        make: Works out a plan, from keys only; default `make_plan`.

    Example:
        >>> plan = Planner().plan({"camera": {"world_to_camera": [], "K": []}})
        >>> plan.pose.direction, plan.pose.paths, plan.lens.paths
        ('world_to_camera', (('camera', 'world_to_camera'),), (('camera', 'K'),))
    """

    def __init__(self, make: Callable[[Node], CameraPlan] | None = None) -> None:
        self._make = make or make_plan
        self._plans: dict[Any, CameraPlan | CameraValueError] = {}

    def plan(self, node: Node) -> CameraPlan:
        """Say where everything in this object is.

        Raises:
            CameraValueError: Two keys could hold the same thing.
        """
        shape = _shape_of(node, _MAX_DEPTH)
        known = self._plans.get(shape)
        if known is None:
            try:
                known = self._make(node)
            except CameraValueError as error:
                known = error
            self._plans[shape] = known
        if isinstance(known, CameraValueError):
            raise CameraValueError(None, known.expected, known.found, known.remedy)
        return known

    def is_camera(self, value: object) -> bool:
        """Whether this is an object that holds a pose (or two: then `plan` says so)."""
        if not isinstance(value, dict) or not 0 < len(value) <= MAX_CAMERA_KEYS:
            return False
        try:
            return self.plan(value).pose is not None
        except CameraValueError:
            return True


def _shape_of(node: Node, depth: int) -> Any:
    return tuple(
        [
            (key, _shape_of(value, depth - 1)) if type(value) is dict and depth else key
            for key, value in node.items()
        ]
    )


def make_plan(node: Node, pose: PosePlan | None = None, lens: LensPlan | None = None) -> CameraPlan:
    """Work a plan out from an object's keys; `Planner.plan` remembers it.

    Args:
        node: The object; only its keys count.
        pose: Where this is known already.
        lens: Likewise.

    Raises:
        CameraValueError: Two keys could hold the same thing.
    """
    slots: dict[RoleName, list[_Slot]] = {}
    for slot in _slots(node, (), None):
        slots.setdefault(slot.role.name, []).append(slot)
    size = _paths(slots, "resolution")[:1]
    if not size and "width" in slots and "height" in slots:
        size = [*_paths(slots, "width")[:1], *_paths(slots, "height")[:1]]
    pose = pose or _pose_plan(slots)
    if lens is None and pose is not None and pose.form == "label":
        lens = LensPlan("label", pose.paths, "normalised")
    return CameraPlan(
        pose=pose,
        lens=lens or _lens_plan(slots),
        size=tuple(size),
        said=tuple((role, path) for role in _SAY_ONLY for path in _paths(slots, role)),
        zeros=tuple(_paths(slots, "distortion")),
        names={role: _paths(slots, role)[0] for role in _NAMES if role in slots},
    )


def _slots(node: Node, path: Path, above: Role | None) -> Iterator[_Slot]:
    """Every known key, inside wrappers too, where a wrapper called `c2w` lends its claims."""
    for key, value in node.items():
        role = role_of(key)
        if role is None:
            continue
        role, here = _inside(role, above), (*path, key)
        if role.name not in _LOOK_INTO or not isinstance(value, dict):
            yield _Slot(role, here)
        elif len(here) <= _MAX_DEPTH and len(value) <= MAX_CAMERA_KEYS:
            inner = list(_slots(value, here, above if role.name == "wrapper" else role))
            # Without a known key inside it may be a dictionary by view.
            yield from inner if inner or role.name == "wrapper" else [_Slot(role, here)]


def _inside(role: Role, above: Role | None) -> Role:
    if above is None:
        return role
    if above.name == "matrix":
        return Role("matrix") if role.name == "pose" and role.direction is None else role
    if role.name in ("pose", "rotation", "quaternion", "translation"):
        return replace(
            role, direction=role.direction or above.direction, axes=role.axes or above.axes
        )
    return role


def _pose_plan(slots: Mapping[RoleName, list[_Slot]]) -> PosePlan | None:
    found = [_posed("label", slot) for slot in slots.get("label", ())]
    found += [_posed("matrix", slot) for slot in slots.get("pose", ())]
    forms: tuple[PoseForm, PoseForm] = ("rotation", "quaternion")
    found += [
        _posed(form, slot, offset)
        for form in forms
        for slot in slots.get(form, ())
        for offset in (*slots.get("translation", ()), *_centres(slot, slots))
        if offset.path[:-1] == slot.path[:-1]
    ]
    # A key that says its direction counts for more than one that does not, and one inside `camera`
    # for more than one beside it: that may be the pose of a body.
    found = [pose for pose in found if pose.direction is not None] or found
    found = [pose for pose in found if _in_wrapper(pose)] or found
    if len(found) > 1:
        _refuse("the pose", [path for pose in found for path in pose.paths], "extrinsics")
    return found[0] if found else None


def _in_wrapper(pose: PosePlan) -> bool:
    role = role_of(pose.paths[0][0])
    return role is not None and role.name == "wrapper"


def _centres(slot: _Slot, slots: Mapping[RoleName, list[_Slot]]) -> list[_Slot]:
    """A camera's place is the translation of camera-to-world, and of nothing else."""
    return slots.get("location", []) if slot.role.direction == "camera_to_world" else []


def _posed(form: PoseForm, *parts: _Slot) -> PosePlan:
    role = parts[0].role
    return PosePlan(
        form=form,
        paths=tuple(part.path for part in parts),
        direction=role.direction,
        axes=role.axes,
        column_major=role.column_major,
        order=role.order,
    )


def _lens_plan(slots: Mapping[RoleName, list[_Slot]]) -> LensPlan:
    """The most direct description there is: a matrix, its entries, a lens, an angle."""
    focal_mm: RoleName = "focal_mm" if "focal_mm" in slots else "focal"
    forms: tuple[tuple[LensForm, tuple[RoleName, ...]], ...] = (
        ("matrix", ("matrix",)),
        ("entries", ("fx", "fy", "cx", "cy")),
        ("lens_mm", (focal_mm, "sensor_mm")),
        ("focal", ("focal", "principal")),
        ("fov", ("fov_x",)),
    )
    for form, roles in forms:
        if any(role not in slots for role in roles):
            continue
        for role in roles:
            if len(slots[role]) > 1:
                _refuse(f"the intrinsics ({role})", _paths(slots, role), "intrinsics")
        first = slots[roles[0]][0].role
        paths = tuple(slots[role][0].path for role in roles)
        return LensPlan(form, paths, degrees=first.degrees or False)
    part = tuple(path for role in _LENS_PARTS for path in _paths(slots, role))
    return LensPlan("incomplete", part) if part else LensPlan()


def _paths(slots: Mapping[RoleName, list[_Slot]], role: RoleName) -> list[Path]:
    return [slot.path for slot in slots.get(role, ())]


def _refuse(what: str, paths: list[Path], key: str) -> NoReturn:
    raise CameraValueError(
        None,
        f"one key to hold {what}",
        f"keys {dotted(paths)}",
        f'say which with camera_schema: {{"{key}": "{dotted(paths[:1])}"}}',
    )
