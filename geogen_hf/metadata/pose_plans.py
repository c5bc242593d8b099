"""Which columns are a pose, and what is said of it.

Dimensions say what a value can be (a 4x4 matrix is no translation), names say which of several it
is and what it claims; where no name is known, numbers alone decide if they leave no doubt. Open
this module to see or change which forms of pose are recognised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from geogen_hf.cameras.conventions import Direction
from geogen_hf.metadata.keys import (
    ACCEPTED,
    BARE,
    C2W,
    COLUMN_MAJOR,
    OPENCV,
    ROW_MAJOR,
    SPHERICAL,
    SQUARES,
    W2C,
    WORDS,
    CameraValueError,
    Dims,
    Path,
    RoleName,
    ambiguous,
    dotted,
    normalise_key,
    role_of,
)
from geogen_hf.metadata.table import POSES, Column, Slots, demand_shape, kind_of_square, slots_of


@dataclass(frozen=True)
class PoseForm:
    """What `camera_schema` calls the values, what is certain of them, and what has to be known."""

    keys: tuple[str, ...]
    said: Mapping[str, str] = field(default_factory=dict)
    open: tuple[str, ...] = ()  # by the keys of `CHOICES`


_TURNS: tuple[RoleName, ...] = ("rotation", "quaternion", "euler", "rodrigues")
POSE_FORMS: Mapping[str, PoseForm] = {
    "matrix": PoseForm(("extrinsics",)),
    "projection": PoseForm(("extrinsics",), OPENCV),
    "label": PoseForm(("extrinsics",), {"direction": C2W, "axes": "opencv"}),
    "position and quaternion": PoseForm(("extrinsics",), {}, ("pose_order", "quaternion_order")),
    "rotation": PoseForm(("rotation", "translation")),
    "quaternion": PoseForm(("quaternion", "translation"), {}, ("quaternion_order",)),
    "euler": PoseForm(("euler", "translation"), {}, ("euler_units", "euler_order")),
    "rodrigues": PoseForm(("rodrigues", "translation")),
    "look_at": PoseForm(("eye", "target", "up"), OPENCV),
    "spherical": PoseForm(SPHERICAL, {"direction": W2C}),
    "attitude": PoseForm(("yaw", "pitch", "roll", "translation"), {}, ("euler_units", "turns")),
}
POSE_PARTS = POSES | {
    "translation", "location", "target", "forward", "up", *SPHERICAL, "yaw", "pitch", "roll",
    "unknown",
}  # fmt: skip


@dataclass(frozen=True)
class PosePlan:
    """Where a pose is: in the columns for the keys of its form."""

    form: str  # of `POSE_FORMS`
    columns: tuple[Column, ...]
    said: Mapping[str, str] = field(compare=False)  # in the words of `camera_schema`
    placed: bool = False  # the translation is the camera's place in the world
    forward: bool = False  # the second value of a look-at is a direction and no point

    @property
    def paths(self) -> list[Path]:
        """The keys of the values."""
        return [column.path for column in self.columns]

    @property
    def direction(self) -> Direction | None:
        """Which way the composed matrix maps."""
        return C2W if self.placed else cast("Direction | None", self.said.get("direction"))


Found = tuple[tuple[PosePlan, ...], bool, CameraValueError | None]
"""Plans of a pose; whether only numbers tell that they are poses; and why there is none."""


def stated_poses(columns: Sequence[Column], stated: tuple[str, tuple[Path, ...]]) -> Found:
    """The pose at stated paths."""
    form, paths = stated
    parts: list[Column] = []
    for path in paths:
        like = [column for column in columns if column.ends_with(path)]
        like.sort(key=lambda column: column.path[-len(path) :] != path)
        parts += like[:1]
    if len(parts) < len(paths):
        return (), True, None
    try:
        for part, key in zip(parts, POSE_FORMS[form].keys, strict=False):
            demand_shape(part, key)
    except CameraValueError as fault:
        return (), True, fault
    form = _form_of(parts[0]) if form == "matrix" else form
    return (PosePlan(form, tuple(parts), POSE_FORMS[form].said),), False, None


def plan_poses(columns: Sequence[Column]) -> Found:
    """Every way these columns give a pose, the most telling first."""
    slots = slots_of(columns)
    if poses := _under_known_keys(slots):
        return tuple(poses), False, None
    unknown = slots.get("unknown", ())
    whole = [column for column in unknown if column.dims in BARE]
    if len(whole) > 1:
        paths = [column.path for column in whole]
        choices = [{"extrinsics": dotted([path])} for path in paths]
        return (), True, ambiguous("the pose", paths, choices)
    if whole:
        return (_planned(_form_of(whole[0]), *whole),), True, None
    if around := _spherical(slots):
        return tuple(around), False, None
    turns = [column for column in unknown if kind_of_square(column) == "rotation"]
    vectors = [column for column in unknown if column.dims in ACCEPTED["translation"]]
    if len(turns) == len(vectors) == 1:
        return (_planned("rotation", *turns, *vectors),), True, None
    if views := _look_at(slots):  # without an up
        return tuple(views), False, None
    broken = [column for column in columns if column.dims is None]
    return (), True, next((fault for column in broken for fault in column.faults.values()), None)


def _planned(form: str, *columns: Column) -> PosePlan:
    """Plan a pose with what its first key says and its form makes certain."""
    said = {**columns[0].role.said, **POSE_FORMS[form].said}
    placed = form not in ("look_at", "spherical") and columns[-1].role.name == "location"
    forward = form == "look_at" and columns[1].role.name == "forward"
    return PosePlan(form, columns, said, placed, forward)


def _form_of(column: Column) -> str:
    """What a pose in one column is."""
    forms: Mapping[Dims | None, str] = {(25,): "label", (7,): "position and quaternion"}
    return forms.get(column.dims, "matrix")


def _under_known_keys(slots: Slots) -> list[PosePlan]:
    """Find poses under known keys; a more specific key outweighs a less specific one."""
    found = [_planned(_form_of(column), column) for column in slots.get("pose", ())]
    for name in _TURNS:
        for turn in slots.get(name, ()):
            form: str = name
            if name == "rotation" and turn.dims not in SQUARES:
                form = "quaternion" if turn.dims == (4,) else "euler"
            beside, places = (
                [column for column in slots.get(role, ()) if column.path[:-1] == turn.path[:-1]]
                for role in ("translation", "location")
            )
            found += [_planned(form, turn, offset) for offset in beside or places[:1]]
    found += [view for view in _look_at(slots) if view.columns[2:]]
    found = found or _attitude(slots)
    # A key that says its direction counts for more than one that does not, and one inside `camera`
    # for more than one beside it: that may be the pose of a body.
    found = [pose for pose in found if pose.direction is not None] or found
    wrapped = [pose for pose in found if (r := role_of(pose.paths[0][0])) and r.name == "wrapper"]
    matrices = [_planned("projection", column) for column in slots.get("projection", ())]
    return wrapped or found or matrices


def _look_at(slots: Slots) -> list[PosePlan]:
    places, ups = list(slots.get("location", ())), slots.get("up", ())
    targets = slots.get("target", ()) or slots.get("forward", ())
    if not targets and len(places) == 2:  # eye, centre and up, as in gluLookAt
        places.sort(key=lambda column: normalise_key(column.path[-1]) in ("center", "centre"))
        targets = [places.pop()]
    if len(places) != 1 or len(targets) != 1 or len(ups) > 1:
        return []
    return [_planned("look_at", *places, *targets, *ups)]


def _angles(slots: Slots) -> tuple[Sequence[Column], Sequence[Column]]:
    yaws = slots.get("azimuth") or slots.get("yaw", ())
    return yaws, slots.get("elevation") or slots.get("pitch", ())


def _attitude(slots: Slots) -> list[PosePlan]:
    """A place and angles, with a roll if there is one."""
    yaws, pitches = _angles(slots)
    rolls, places = slots.get("roll", ()), slots.get("location") or slots.get("translation", ())
    if not len(yaws) == len(pitches) == len(places) == 1 >= len(rolls) or "distance" in slots:
        return []
    return [_planned("attitude", *yaws, *pitches, *rolls, *places)]


def _spherical(slots: Slots) -> list[PosePlan]:
    """Angles and a distance from the origin, under any names if nothing else could be meant."""
    parts = [*_angles(slots), slots.get("distance", ())]
    columns = [column for each in parts for column in each]
    named = [column.role.name for column in columns] == list(SPHERICAL)
    alone = slots.keys().isdisjoint(("roll", "location", "translation"))
    found = named or (alone and list(map(len, parts)) == [1, 1, 1])
    return [_planned("spherical", *columns)] if found else []


def read_statement(column: Column, value: object) -> dict[str, str]:
    """Read what is said of layout, quaternion order and axes, in the words of `camera_schema`."""
    role = column.role.name
    word = normalise_key(value) if isinstance(value, str) else value
    if role in ("column_major", "row_major") and isinstance(word, bool):
        return {"layout": COLUMN_MAJOR if word == (role == "column_major") else ROW_MAJOR}
    if role == "ndc":
        if word not in (True, False, "ndcisotropic"):
            expected = f"{dotted([column.path])} to be ndc_isotropic, true or false"
            raise CameraValueError(None, expected, repr(value)[:60])
        # PyTorch3D multiplies rows by its rotations.
        said = {"direction": W2C, "axes": "opencv_turned", "layout": COLUMN_MAJOR}
        return {"units": "ndc" if word else "pixels", **said}
    key, said_word = WORDS.get(word, ("", ""))
    if key == role or (role, key) == ("layout", "quaternion_order"):
        return {key: said_word}
    if role in ("layout", "quaternion_order") and isinstance(word, str):
        expected = f"{dotted([column.path])} to be row-major, column-major, wxyz or xyzw"
        raise CameraValueError(None, expected, repr(value)[:60])
    return {}  # such as the order of the views
