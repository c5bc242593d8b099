"""Poses of any form: the columns that give them, and 4x4 matrices in the convention they came in.

Dimensions say what a value can be (a 4x4 matrix is no translation), names say which of several it
is and what it claims; where no name is known, numbers alone decide if they leave no doubt. Matrices
are made for all cameras of a release at once: some forms (degrees or radians, the order of turns,
an orientation or its inverse) can only be told by how the cameras stand together. Open this module
to see or change which forms of pose are recognised and what becomes of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations, product
from typing import Any, Literal, cast, get_args

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
from geogen_hf.cameras.poses import (
    FloatArray,
    camera_centre,
    compose_rigid,
    invert_rigid,
    look_at,
)
from geogen_hf.cameras.rigs import LEAST_UP_AGREEMENT, MOST_MISS, measure_rigs
from geogen_hf.cameras.validate import REPAIR_LIMIT, is_rotation, rotation_errors
from geogen_hf.errors import CameraError
from geogen_hf.metadata.keys import (
    ACCEPTED,
    BARE,
    C2W,
    OPENCV,
    SPHERICAL,
    SQUARES,
    W2C,
    CameraValueError,
    Choice,
    Path,
    Role,
    RoleName,
    ambiguous,
    dotted,
    normalise_key,
    role_of,
)
from geogen_hf.metadata.table import POSES, Column, Slots, demand_shape, kind_of_square, slots_of

PoseForm = Literal[
    "matrix", "label", "projection", "rotation", "quaternion", "euler", "rodrigues", "look_at",
    "spherical", "attitude",
]  # fmt: skip
POSE_KEYS: Mapping[PoseForm, tuple[str, ...]] = {
    "matrix": ("extrinsics",),
    **{form: (form, "translation") for form in ("rotation", "quaternion", "euler", "rodrigues")},
    "look_at": ("eye", "target", "up"),
    "spherical": SPHERICAL,
    "attitude": ("yaw", "pitch", "roll", "translation"),
}
"""What `camera_schema` calls the values of a pose, in the order of `PosePlan.columns`."""

SAID: Mapping[PoseForm, Mapping[str, str]] = {
    "label": {"direction": C2W, "axes": "opencv"},
    "projection": OPENCV,
    "look_at": OPENCV,
    "spherical": {"direction": W2C},
}
"""What is certain of some forms."""
_TURNS: tuple[RoleName, ...] = ("rotation", "quaternion", "euler", "rodrigues")
POSE_PARTS = POSES | {
    "translation", "location", "target", "forward", "up", *SPHERICAL, "yaw", "pitch", "roll",
    "unknown",
}  # fmt: skip

EULER_ORDERS = tuple(map("".join, permutations("XYZ")))
"""About which of the world's axes cameras turn first, second and third, as Blender writes it."""

TURNS = (
    *("".join(each) for each in product("+-", "xyz", "+-", "xyz", "+-", "xyz")
      if each[3] not in (each[1], each[5])),
    *(f"{axes} {order}" for axes in ("zyx", "yxz", "zxy") for order in EULER_ORDERS),
)  # fmt: skip
"""About which axes yaw, pitch and roll turn, see `camera_schema`."""

WORLD_UPS: dict[str, FloatArray] = {
    f"{sign}{axis}": float(f"{sign}1") * np.eye(3)["xyz".index(axis)]
    for axis in "yzx"
    for sign in "+-"
}
"""What is up in all images, where cameras have a target and no up of their own."""

POSE_ORDERS = ("position first", "quaternion first")
LAYOUTS = ("row-major", "column-major")
UNITS = ("radians", "degrees")
_LAYOUTS = {
    **dict.fromkeys(("columnmajor", "column", "col", "colmajor", "f", "fortran"), LAYOUTS[1]),
    **dict.fromkeys(("rowmajor", "row", "c"), LAYOUTS[0]),
}
_AXES: dict[str, CameraAxes] = {
    **{normalise_key(name): name for name in AXES_SIGNS},
    "blender": "opengl",
    "pytorch3d": "opencv_turned",
    "unity": "opencv_mirrored_y",
}
_CLEARLY = 0.25  # of any other reading's miss: then this one is right
_LEAST_MISS = 1e-3  # of the distance: less than that says nothing against a reading
_MOST_GAP = np.pi / 3  # between cameras that stand all round an axis
_ALIKE = 1e-4  # readings that differ by less are one
_SAMPLE = 700  # cameras that readings are tried on


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


Found = tuple[tuple[PosePlan, ...], bool, CameraValueError | None]
"""Plans of a pose; whether only numbers tell that they are poses; and why there is none."""


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
    intrinsics: FloatArray | None  # (N, 3, 3) pixels, where the pose was a projection matrix
    faults: Mapping[int, CameraValueError]


def plan_poses(columns: Sequence[Column]) -> Found:
    """Every way these columns give a pose, the most telling first."""
    slots = slots_of(columns)
    poses = _pose_plans(slots)
    if poses:
        return tuple(poses), False, None
    unknown = slots.get("unknown", ())
    whole = [column for column in unknown if column.dims in BARE]
    if len(whole) > 1:
        paths = [column.path for column in whole]
        choices = [{"extrinsics": dotted([path])} for path in paths]
        return (), True, ambiguous("the pose", paths, choices)
    if whole:
        return (_posed(_form_of(whole[0]), whole[0]),), True, None
    around = [*_angles(slots), slots.get("distance", ())]
    parts = tuple(column for each in around for column in each)
    names = [column.role.name for column in parts]
    alone = slots.keys().isdisjoint(("roll", "location", "translation"))
    if names == list(SPHERICAL) or (alone and list(map(len, around)) == [1, 1, 1]):
        role = parts[0].role.saying(**SAID["spherical"])
        return (PosePlan("spherical", parts, role),), False, None
    turns = [column for column in unknown if kind_of_square(column) == "rotation"]
    vectors = [column for column in unknown if column.dims in ACCEPTED["translation"]]
    if len(turns) == len(vectors) == 1:
        return (PosePlan("rotation", (turns[0], vectors[0]), Role("rotation")),), True, None
    if views := _look_at(slots):  # without an up
        return tuple(views), False, None
    broken = [column for column in columns if column.dims is None]
    return (), True, next((fault for column in broken for fault in column.faults.values()), None)


def stated_poses(columns: Sequence[Column], stated: tuple[PoseForm, tuple[Path, ...]]) -> Found:
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
        for part, key in zip(parts, POSE_KEYS[form], strict=False):
            demand_shape(part, key)
    except CameraValueError as fault:
        return (), True, fault
    form = _form_of(parts[0]) if form == "matrix" else form
    return (PosePlan(form, tuple(parts), Role("pose", SAID.get(form, {}))),), False, None


def _form_of(column: Column) -> PoseForm:
    """What a pose in one column is: 25 numbers, a position and a quaternion, or a matrix."""
    forms: dict[Any, PoseForm] = {(25,): "label", (7,): "quaternion"}
    return forms.get(column.dims, "matrix")


def _pose_plans(slots: Slots) -> list[PosePlan]:
    """Find poses under known keys; a more specific key outweighs a less specific one."""
    found = [_posed(_form_of(column), column) for column in slots.get("pose", ())]
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
    role = Role("pose", SAID["look_at"])
    return [PosePlan("look_at", (places[0], targets[0], *ups), role, forward=ahead)]


def _angles(slots: Slots) -> tuple[Sequence[Column], Sequence[Column]]:
    yaws = slots.get("azimuth") or slots.get("yaw", ())
    return yaws, slots.get("elevation") or slots.get("pitch", ())


def _attitude(slots: Slots) -> list[PosePlan]:
    """A place and angles, with a roll if there is one."""
    yaws, pitches = _angles(slots)
    rolls, places = slots.get("roll", ()), slots.get("location") or slots.get("translation", ())
    if not len(yaws) == len(pitches) == len(places) == 1 >= len(rolls) or "distance" in slots:
        return []
    return [_posed("attitude", *yaws, *pitches, *rolls, *places)]


def _posed(form: PoseForm, *columns: Column) -> PosePlan:
    role = Role("pose", SAID[form]) if form in SAID else columns[0].role
    placed = len(columns) > 1 and columns[-1].role.name == "location"
    return PosePlan(form, columns, role, placed)


def read_statement(column: Column, value: object) -> dict[str, str]:
    """Read what is said of layout, quaternion order and axes, in the words of `camera_schema`."""
    role = column.role.name
    word = normalise_key(value) if isinstance(value, str) else value
    if role in ("column_major", "row_major") and isinstance(word, bool):
        return {"layout": LAYOUTS[word == (role == "column_major")]}
    if role == "ndc":
        if word not in (True, False, "ndcisotropic"):
            expected = f"{dotted([column.path])} to be ndc_isotropic, true or false"
            raise CameraValueError(None, expected, repr(value)[:60])
        # PyTorch3D multiplies rows by its rotations.
        said = {"direction": W2C, "axes": "opencv_turned", "layout": LAYOUTS[1]}
        return {"units": "ndc" if word else "pixels", **said}
    if role == "axes" and word in _AXES:
        return {"axes": _AXES[str(word)]}
    if role in ("layout", "quaternion_order") and isinstance(word, str):
        if word in get_args(QuaternionOrder):
            return {"quaternion_order": word}
        if role == "layout" and word in _LAYOUTS:
            return {"layout": _LAYOUTS[word]}
        expected = f"{dotted([column.path])} to be row-major, column-major, wxyz or xyzw"
        raise CameraValueError(None, expected, repr(value)[:60])
    return {}  # such as the order of the views


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
        agree = _same_pose(found[best], found[at])
        if agree.mean() >= 0.5:
            for row in np.flatnonzero(~agree).tolist():
                keys = dotted([plans[best].paths[0], plans[at].paths[0]])
                faults.setdefault(row, CameraValueError(row, f"{keys} to agree", "two poses"))
            continue
        rows, starts = _sample(subjects)
        misses = [
            _miss(found[each].matrices[rows], found[each].claims.direction, starts)[0]
            for each in (best, at)
        ]
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
    names = POSE_KEYS[pose.form if pose.paths[1:] else "matrix"]
    return {name: dotted([path]) for name, path in zip(names, pose.paths, strict=False)}


def _same_pose(one: Poses, other: Poses) -> NDArray[np.bool_]:
    """Whether matrices are the same or inverse, as directions say, but for the signs of axes."""
    agree = np.zeros(len(one.matrices), dtype=bool)
    reach = 1e-3 * (1 + np.abs(one.matrices[:, :3, 3]).max(axis=1))
    directions = (one.claims.direction, other.claims.direction)
    ways = [one.matrices, invert_rigid(one.matrices)]
    if None not in directions:
        ways = ways[1:] if directions[0] == directions[1] else ways[:1]
    for first in ways:
        joined = first @ other.matrices
        beside = np.abs(joined - np.eye(4) * joined).max(axis=(1, 2))
        signs = np.abs(np.abs(np.diagonal(joined, axis1=1, axis2=2)) - 1).max(axis=1)
        agree |= (beside <= reach) & (signs <= 1e-3)
    return agree


def _compose(pose: PosePlan, values: Sequence[FloatArray], subjects: NDArray[np.int64]) -> Poses:
    said, first, what = pose.role.said, values[0], dotted(pose.paths)
    claims = Claims(pose.direction, cast("CameraAxes | None", said.get("axes")), False)
    if pose.form == "label":
        return Poses(first[:, :16].reshape(-1, 4, 4), claims, None, {})
    if pose.form == "projection":
        return _decomposed(first, claims)
    if pose.form == "spherical":
        return Poses(_from_spherical(pose, *values), claims, None, {})
    if pose.form == "matrix":
        layout = said.get("layout")
        matrices, transposed = _whole(first, what, None if layout is None else layout == LAYOUTS[1])
        if _is_projection(matrices):
            return _decomposed(matrices, Claims(W2C, "opencv", False))
        return Poses(matrices, replace(claims, transposed=transposed), None, {})
    if pose.form == "look_at":
        eye, target, *ups = (each.reshape(-1, 3) for each in values)
        target = eye + target if pose.forward else target
        if not ups and "world_up" not in said:
            claims = replace(claims, axes=None)  # which end of it is up, images tell
        up = ups[0] if ups else _world_up(eye - target, what, said.get("world_up"))
        try:
            return Poses(look_at(eye, target, up), claims, None, {})
        except CameraError as error:
            raise CameraValueError(None, f"{what} to span a view", str(error)) from error
    chosen = _clearest(pose, _readings(pose, values), subjects)
    return Poses(chosen.poses(slice(None)), claims, None, chosen.faults)


def _world_up(outward: FloatArray, what: str, stated: str | None) -> FloatArray:
    """The axis of the world round which cameras stand: along it they are spread the least."""
    if stated is not None:
        return WORLD_UPS[stated]
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
            [{"world_up": each} for each in WORLD_UPS],
        )
    return WORLD_UPS["+" + "xyz"[least]]


_Turn = Callable[[FloatArray], FloatArray]
"""Makes `(N, 3, 3)` rotations of numbers as they are stored."""


@dataclass(frozen=True, eq=False)
class _Reading:
    """A way to read poses, with the `camera_schema` that states it."""

    said: dict[str, str]
    turn: _Turn
    numbers: FloatArray
    offset: FloatArray
    faults: Mapping[int, CameraValueError]

    def poses(self, rows: slice | NDArray[np.intp]) -> FloatArray:
        """The `(N, 4, 4)` matrices of some cameras."""
        turns = self.turn(self.numbers[rows])
        turns = turns.swapaxes(1, 2) if self.said.get("direction") == W2C else turns
        return compose_rigid(turns, self.offset[rows])


def _readings(pose: PosePlan, values: Sequence[FloatArray]) -> list[_Reading]:
    """All ways to read rotations and offsets that contradict nothing that is said."""
    said, what = pose.role.said, dotted(pose.paths[:1])
    *parts, offset = values
    held = [(dict[str, str](), parts[0] if parts else offset, offset)]
    if pose.form == "attitude":  # without a roll, it is zero
        angles = [each.reshape(-1) for each in (*parts, 0 * parts[0])[:3]]
        held = [({}, np.stack(angles, axis=1), offset)]
    elif not parts:
        held = _of_seven(offset, what, said.get("pose_order"))
    found = []
    for at, numbers, place in held:
        faults: dict[int, CameraValueError] = {}
        if pose.form == "quaternion":
            length = np.linalg.norm(numbers, axis=1)
            bad = np.abs(length - 1.0) > REPAIR_LIMIT
            faults = {
                row: CameraValueError(row, f"{what} to have length 1", f"length {length[row]:.4g}")
                for row in np.flatnonzero(bad).tolist()
            }
            numbers = np.where(bad[:, None], [1.0, 0, 0, 0], numbers)
        ways = _turns(pose.form, numbers, said)
        if pose.placed:
            ways = [
                ({**words, "direction": direction}, turn)
                for direction in (C2W, W2C)
                for words, turn in ways
                if direction == C2W or " " in words.get("turns", " ")  # else a camera's own turns
            ]
        found += [
            _Reading({**at, **words}, turn, numbers, place.reshape(-1, 3), faults)
            for words, turn in ways
            if all(said.get(key, word) == word for key, word in words.items())
        ]
    return found


def _turns(
    form: PoseForm, numbers: FloatArray, said: Mapping[str, str]
) -> list[tuple[dict[str, str], _Turn]]:
    """All ways to make rotations of numbers, with the words that state each."""
    if form == "quaternion":
        return [
            ({"quaternion_order": order}, partial(rotation_from_quaternion, order=order))
            for order in get_args(QuaternionOrder)
        ]
    if form == "rodrigues":
        return [({}, _from_rodrigues)]
    if form == "rotation":
        axes = (0, 2, 1) if said.get("layout") == LAYOUTS[1] else (0, 1, 2)
        return [({}, lambda stored: stored.reshape(-1, 3, 3).transpose(axes))]
    key, words = ("euler_order", EULER_ORDERS) if form == "euler" else ("turns", TURNS)
    make = _from_euler if form == "euler" else _from_turns
    large = bool(np.abs(numbers).max() > 4 * np.pi)
    units = zip(UNITS, (1.0, np.pi / 180), strict=True)
    return [
        ({key: word} | ({} if large else {"euler_units": unit}), partial(make, word, size))
        for unit, size in [*units][large:]
        for word in words
    ]


def _of_seven(
    seven: FloatArray, what: str, stated: str | None
) -> list[tuple[dict[str, str], FloatArray, FloatArray]]:
    """Quaternions, which have length 1, and the positions before or after them."""
    ways = [(seven[:, 3:], seven[:, :3]), (seven[:, :4], seven[:, 4:])]
    held = [
        ({"pose_order": order}, *way)
        for order, way in zip(POSE_ORDERS, ways, strict=True)
        if stated == order
        or (not stated and np.median(np.abs(np.linalg.norm(way[0], axis=1) - 1)) <= 1e-3)
    ]
    if not held:
        expected = f"{what} to be a position and a quaternion of length 1"
        raise CameraValueError(None, expected, "none")
    return held


def _clearest(
    pose: PosePlan, readings: Sequence[_Reading], subjects: NDArray[np.int64]
) -> _Reading:
    """The one reading in which the cameras of each subject look at one point.

    Readings that give the same matrices are one, also those that differ by the camera's axes alone,
    which the images tell; of others that fit as well, those count in which cameras stand alike.
    CameraValueError where more than one is left.
    """
    if len(readings) == 1:
        return readings[0]
    rows, starts = _sample(subjects)
    tried = [(*_miss(each.poses(rows), pose.direction, starts), each) for each in readings]
    tried.sort(key=lambda each: each[0])
    near = [each for each in tried if not _is_clear(tried[0][0], each[0])]
    near = [each for each in near if each[1]] or near
    best = near[0][2].poses(rows)
    near[1:] = [each for each in near[1:] if not _is_same(pose, best, each[2].poses(rows))]
    if len(near) == 1 and near[0][0] <= MOST_MISS:
        return near[0][2]
    found = [*near, *(each for each in tried if each not in near)]
    open_ = [key for key in readings[0].said if len({each.said[key] for each in readings}) > 1]
    stated = [{key: each.said[key] for key in open_} for _, _, each in found]
    raise CameraValueError(
        None,
        f"{dotted(pose.paths)} to be cameras that look at one point, in one way to read them",
        "; ".join(
            f"a miss of {miss:.2g} of the distance with {' and '.join(each.values())}"
            for (miss, _, _), each in zip(found[:3], stated, strict=False)
        ),
        stated,
    )


def _is_same(pose: PosePlan, one: FloatArray, other: FloatArray) -> bool:
    """Whether poses are the same, but for the signs of axes where nothing is said of these."""
    if pose.direction is not None and "axes" not in pose.role.said:
        across = 1 if pose.direction == C2W else 2
        signs = [*np.sign((one * other)[:, :3, :3].sum(axis=(0, across))), 1.0]
        one = one * (np.array(signs) if across == 1 else np.array(signs)[:, None])
    return np.allclose(one, other, rtol=0, atol=_ALIKE)


def _sample(subjects: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The cameras that readings are tried on, and where each subject's start among them."""
    rows = np.argsort(subjects, kind="stable")[:_SAMPLE]
    return rows, np.flatnonzero(np.diff(subjects[rows], prepend=-2))


def _miss(
    matrices: FloatArray, direction: Direction | None, starts: NDArray[np.intp]
) -> tuple[float, bool]:
    """How far optical axes pass by their common point, and whether all look at it and are upright.

    The first as a part of how far apart the cameras stand: axes that are nearly parallel meet far
    away. Of the median subject, in the better direction; infinite where no matrices are rigid.
    """
    if np.abs(matrices[:, 3] - [0, 0, 0, 1]).max() > 1e-4:
        matrices = matrices.swapaxes(1, 2)
    affine = np.abs(matrices[:, 3] - [0, 0, 0, 1]).max(axis=1) <= 1e-4
    if (affine & is_rotation(matrices[:, :3, :3], REPAIR_LIMIT)).mean() <= 0.5:
        return np.inf, False
    ways = [matrices] if direction != C2W else []
    ways += [invert_rigid(matrices)] if direction != W2C else []
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
    return min(found)


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
    degrees = pose.role.degrees
    if degrees is None and np.ptp(azimuth) <= np.pi / 2:
        raise CameraValueError(
            None,
            f"{dotted(pose.paths[:1])} in radians or degrees",
            f"angles from {azimuth.min():.3g} to {azimuth.max():.3g}, which could be either",
            [{"euler_units": unit} for unit in UNITS],
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
    angles, turns = angles.reshape(-1, 3) * unit, np.eye(3)[None]
    for axis in map("XYZ".index, order):
        turns = _from_rodrigues(angles[:, axis, None] * np.eye(3)[axis]) @ turns
    return turns


def _from_turns(word: str, unit: float, angles: FloatArray) -> FloatArray:
    """Camera-to-world rotations by yaw, pitch and roll, as a word of `TURNS` says."""
    axes, _, order = word.partition(" ")
    if order:
        return _from_euler(order, unit, angles[:, [axes.index(axis) for axis in "xyz"]])
    over, right, ahead = np.eye(3)[["xyz".index(axis) for axis in axes[1::2]]]
    turns = np.stack([right, np.cross(ahead, right), ahead], axis=1)[None]
    for at, axis in ((2, ahead), (1, right), (0, over)):
        size = float(f"{axes[2 * at]}1") * unit
        turns = _from_rodrigues(angles[:, at, None] * size * axis) @ turns
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
