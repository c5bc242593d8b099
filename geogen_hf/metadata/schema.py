"""`camera_schema`: a small mapping that states where cameras are, for metadata that leaves doubt.

A dictionary, or a TOML or JSON file. Every key is optional; what is left out is found as ever. A
PATH is keys from a camera inwards, joined by dots (`"pose.m"`), or a list of keys where one of them
has a dot in it; spelling is as tolerant as everywhere (case, `-`, `_`, spaces). A PLACE is where
names stand, in the words of the description that `inspect` shows and of refusals.

=================== ==============================================================================
`cameras`           from a file's root to the collection of cameras, `*` for a step that differs:
                    `"frames"`, `"*.cameras"`
`subject`           PLACE of the subjects' names: `"file"`, `"folder of file"`, `"key of root"`,
                    `"name"`, `"frames.*.file_path"`, `"order of subjects"`; `"number 1 of file"`
                    for the first number in a name; `"…, counted from 1"` where the images count
                    from 0
`view`              PLACE of the views' numbers, likewise
`extrinsics`        PATH to a matrix of 4x4, 3x4, 4x3, 16 or 12 numbers, a projection matrix, or 25
`rotation`          PATH to 3x3 or 9 numbers; with `translation`
`quaternion`        PATH to four numbers; with `translation` and `quaternion_order`
`euler`             PATH to three angles in Blender's order XYZ; with `translation`
`rodrigues`         PATH to three numbers, axis times angle; with `translation`
`eye`               PATH to a camera's place; with `target` and `up`
`azimuth`           PATH to an angle about y, from z towards x; with `elevation` and `distance`
`elevation`         PATH to an angle above the plane of x and z, of a camera that looks at the
                    origin
`distance`          PATH to its distance from there
`translation`       PATH to three numbers
`quaternion_order`  `"wxyz"` or `"xyzw"`
`euler_units`       `"radians"` or `"degrees"`, of all angles of a pose
`direction`         `"world_to_camera"` or `"camera_to_world"`
`axes`              `"opencv"`, `"opengl"` or another of `geogen_hf.cameras.conventions.AXES_SIGNS`
`layout`            `"row-major"` or `"column-major"`, of the numbers of matrices
`intrinsics`        PATH to a 3x3 matrix or 9 numbers; or a table of PATHs (or numbers, for all)
                    with the keys `fx fy cx cy`, `fx fy`, `focal principal`, `focal_mm
                    sensor_mm`, `focal_px`, `fov_x` or `fov_y` (radians), `fov_x_deg` or
                    `fov_y_deg`; or an empty table where there are none to be read
`intrinsics_units`  `"pixels"` or `"normalised"` (divided by the image size)
=================== ==============================================================================
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, cast, get_args

from geogen_hf.cameras.conventions import CameraAxes, Direction
from geogen_hf.cameras.tools import QuaternionOrder
from geogen_hf.errors import UsageError, explain
from geogen_hf.metadata.keys import SPHERICAL, normalise_key
from geogen_hf.metadata.plan import (
    CameraPlan,
    IntrinsicsForm,
    IntrinsicsPlan,
    PoseForm,
    PosePlan,
    Units,
    make_plan,
)
from geogen_hf.metadata.values import MAX_KEYS_DEEP, CameraValueError, Path, dotted

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PLACES = ("cameras", "subject", "view")
_POSES: dict[tuple[str, ...], PoseForm] = {
    ("extrinsics",): "matrix",
    ("rotation", "translation"): "rotation",
    ("quaternion", "translation"): "quaternion",
    ("euler", "translation"): "euler",
    ("rodrigues", "translation"): "rodrigues",
    ("eye", "target", "up"): "look_at",
    SPHERICAL: "spherical",
}
_PATHS = tuple(dict.fromkeys(key for keys in _POSES for key in keys))
_CHOICES: dict[str, tuple[str, ...]] = {
    "quaternion_order": get_args(QuaternionOrder),
    "euler_units": ("radians", "degrees"),
    "direction": get_args(Direction),
    "axes": get_args(CameraAxes),
    "layout": ("row-major", "column-major"),
    "intrinsics_units": get_args(Units),
}
_KEYS = (*_PLACES, *_PATHS, "intrinsics", *_CHOICES)
_INTRINSICS: dict[tuple[str, ...], IntrinsicsForm] = {
    ("fx", "fy", "cx", "cy"): "entries",
    ("focal", "principal"): "focal",
    ("focal_mm", "sensor_mm"): "focal_mm",
    ("focal_px",): "focal_px",
    ("fx", "fy"): "focal_px",
    ("fov_x",): "fov_x",
    ("fov_x_deg",): "fov_x",
    ("fov_y",): "fov_y",
    ("fov_y_deg",): "fov_y",
    (): "absent",
}
_DEPTH = MAX_KEYS_DEEP + 1


@dataclass(frozen=True)
class CameraSchema:
    """A checked `camera_schema`.

    Attributes:
        cameras: Pattern of the cameras' collection; None leaves it to the search.
        subject: Place of the subjects' names; likewise.
        view: Place of the views' numbers; likewise.
        pose: Paths and form of the pose; None leaves it to the keys.
        intrinsics: Likewise.
        claims: What it says in one of a few words: direction, axes, layout and so on.
    """

    cameras: str | None
    subject: str | None
    view: str | None
    pose: PosePlan | None
    intrinsics: IntrinsicsPlan | None
    claims: Mapping[str, str]

    def make_plan(self, shape: Any) -> CameraPlan:
        """As `geogen_hf.metadata.plan.make_plan`, with what is stated in place of what keys say."""
        pose = self.pose
        if pose is not None:
            paths = [_spelt(shape, path) for path in pose.paths]
            if None in paths:
                return replace(make_plan(shape), poses=(), fault=None)
            dims = _shape_at(shape, cast("Path", paths[0]))
            label = pose.form == "matrix" and dims == (25,)
            pose = replace(
                pose,
                form="label" if label else pose.form,
                direction="camera_to_world" if label else pose.direction,
                axes="opencv" if label else pose.axes,
                paths=tuple(path for path in paths if path is not None),
            )
        plan = make_plan(shape, pose, IntrinsicsPlan() if self.intrinsics else None)
        if not plan.poses:
            return plan
        intrinsics = self.intrinsics
        if intrinsics is not None:
            inner = [p if isinstance(p, float) else _spelt(shape, p) for p in intrinsics.paths]
            if None in inner:
                wanted = dotted([path for path in intrinsics.paths if isinstance(path, tuple)])
                found = f"keys {dotted([(key,) for key, _ in shape])}"
                fault = CameraValueError(None, f"{wanted}, as camera_schema says", found)
                return replace(plan, poses=(), fault=fault)
            intrinsics = replace(
                intrinsics, paths=tuple(path for path in inner if path is not None)
            )
        said, overruled = self.claims, self._overruled
        units = cast("Units | None", said.get("intrinsics_units"))
        read = intrinsics or plan.intrinsics
        return replace(
            plan,
            poses=tuple(self._claimed(each) for each in plan.poses),
            intrinsics=replace(read, units=units or read.units),
            said=tuple((role, path) for role, path in plan.said if role not in overruled),
        )

    def _claimed(self, pose: PosePlan) -> PosePlan:
        said: dict[str, Any] = {k: v for k, v in self.claims.items() if k in ("direction", "axes")}
        if "layout" in self.claims:
            said["column_major"] = self.claims["layout"] == "column-major"
        if "quaternion_order" in self.claims:
            said["order"] = self.claims["quaternion_order"]
        if "euler_units" in self.claims:
            said["degrees"] = self.claims["euler_units"] == "degrees"
        placed = pose.placed and self.claims.get("direction") != "camera_to_world"
        return replace(pose, **said, placed=placed)

    @property
    def _overruled(self) -> frozenset[str]:
        """Roles of keys in the metadata whose word no longer counts."""
        roles = {
            "layout": ("layout", "column_major", "row_major"),
            "axes": ("axes",),
            "quaternion_order": ("quaternion_order", "layout"),
        }
        return frozenset(role for key in self.claims for role in roles.get(key, ()))


def load_camera_schema(source: Mapping[str, Any] | str | FilePath | CameraSchema) -> CameraSchema:
    """Check a `camera_schema`.

    Args:
        source: The mapping, or a file with it: TOML if it is called so, else JSON.

    Returns:
        What it says.

    Raises:
        UsageError: The file cannot be read, or says something else than the table above allows;
            unknown keys are named.

    Example:
        >>> schema = load_camera_schema({"extrinsics": "pose.m", "direction": "camera_to_world"})
        >>> schema.make_plan((("Pose", (("M", (4, 4)),)),)).poses[0].paths
        (('Pose', 'M'),)
    """
    if isinstance(source, CameraSchema):
        return source
    given = _read_file(FilePath(source)) if isinstance(source, (str, FilePath)) else source
    where = source if isinstance(source, (str, FilePath)) else None
    if not isinstance(given, Mapping) or not given:
        raise _wrong("camera_schema is not a table of keys", where, ", ".join(_KEYS), given)
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise _wrong("camera_schema has unknown keys", where, ", ".join(_KEYS), unknown)
    for key, choices in _CHOICES.items():
        if key in given and given[key] not in choices:
            raise _wrong(f"camera_schema: unknown {key}", where, " or ".join(choices), given[key])
    places: dict[str, str | None] = {}
    for key in _PLACES:
        value = given.get(key)
        if isinstance(value, list) and value and all(isinstance(step, str) for step in value):
            value = ".".join(value)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise _wrong(f"camera_schema: {key} is no place", where, "words such as file", value)
        places[key] = value
    return CameraSchema(
        **places,
        pose=_pose({key: _path(given[key], key) for key in _PATHS if key in given}),
        intrinsics=_intrinsics(given),
        claims={key: given[key] for key in _CHOICES if key in given},
    )


def _pose(paths: Mapping[str, Path]) -> PosePlan | None:
    if not paths:
        return None
    for keys, form in _POSES.items():
        if set(keys) == set(paths):
            sure: dict[str, Any] = {}
            if form in ("look_at", "spherical"):
                sure["direction"] = "world_to_camera"
            if form == "look_at":
                sure["axes"] = "opencv"
            return PosePlan(form, tuple(paths[key] for key in keys), **sure)
    expected = "; or ".join(" and ".join(keys) for keys in _POSES)
    raise _wrong("camera_schema does not say one pose", None, expected, ", ".join(paths))


def _intrinsics(given: Mapping[str, Any]) -> IntrinsicsPlan | None:
    said = given.get("intrinsics")
    if said is None:
        return None
    if not isinstance(said, Mapping):
        return IntrinsicsPlan("matrix", (_path(said, "intrinsics"),))
    for keys, form in _INTRINSICS.items():
        if set(keys) == set(said):
            paths = tuple(_path_or_number(said[key], f"intrinsics.{key}") for key in keys)
            degrees = keys[0].endswith("_deg") if form in ("fov_x", "fov_y") else None
            if "intrinsics_units" in given and form not in ("entries", "focal"):
                what = "camera_schema: intrinsics_units does not suit the intrinsics"
                raise _wrong(what, None, "units of a matrix or of fx fy cx cy", said)
            return IntrinsicsPlan(form, paths, None, degrees)
    expected = "; ".join(" ".join(keys) for keys in _INTRINSICS if keys)
    found = ", ".join(map(str, said))
    raise _wrong("camera_schema: unknown intrinsics", None, expected, found)


def _path_or_number(value: object, key: str) -> Path | float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9:
        return float(value)
    return _path(value, key)


def _path(value: object, key: str) -> Path:
    keys = value.split(".") if isinstance(value, str) and value else value
    good = isinstance(keys, list) and 0 < len(keys) <= _DEPTH
    if not good or not all(isinstance(each, str) for each in cast("list[object]", keys)):
        expected = f"up to {_DEPTH} keys, joined by dots or in a list"
        raise _wrong(f"camera_schema: {key} is no path", None, expected, value)
    return tuple(cast("list[str]", keys))


def _spelt(shape: Any, path: Path) -> Path | None:
    """The path as this object spells it, where it leads to a value."""
    spelt: list[str] = []
    for wanted in path:
        if type(shape) is not tuple or not shape or type(shape[0]) is not tuple:
            return None
        word = normalise_key(wanted)
        like = [key for key, _ in shape if key == wanted or normalise_key(key) == word]
        if not like:
            return None
        key = wanted if wanted in like else like[0]
        spelt.append(key)
        shape = dict(shape)[key]
    return tuple(spelt)


def _shape_at(shape: Any, path: Path) -> Any:
    for key in path:
        shape = dict(shape)[key]
    return shape


def _read_file(path: FilePath) -> Any:
    try:
        text = path.read_text("utf-8-sig")
        return tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        what = "camera_schema cannot be read"
        raise UsageError(
            explain(what, where=path, expected="a TOML or JSON file", found=error)
        ) from error


def _wrong(what: str, where: object, expected: str, found: object) -> UsageError:
    return UsageError(explain(what, where=where, expected=expected, found=str(found)[:200]))
