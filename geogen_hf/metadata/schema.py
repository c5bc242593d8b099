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
`view`              PLACE of the views' numbers, likewise; `"…, alone"` where only names that are
                    nothing but a number count
`extrinsics`        PATH to a matrix of 4x4, 3x4, 4x3, 16 or 12 numbers, a projection, 25 or 7
`rotation`          PATH to 3x3 or 9 numbers; with `translation`
`quaternion`        PATH to four numbers; with `translation` and `quaternion_order`
`euler`             PATH to three angles about x, y and z; with `translation`
`rodrigues`         PATH to three numbers, axis times angle; with `translation`
`yaw`               PATH to one angle; with `pitch`, `translation` and, if there is one, `roll`
`eye`               PATH to a camera's place; with `target`, and `up` or `world_up`
`azimuth`           PATH to an angle about y, from z towards x; with `elevation` and `distance`
`elevation`         PATH to an angle above the plane of x and z, or (beyond 90°) from y, of a camera
                    that looks at the origin
`distance`          PATH to its distance from there
`translation`       PATH to three numbers
`quaternion_order`  `"wxyz"` or `"xyzw"`
`pose_order`        `"position first"` or `"quaternion first"`, of 7 numbers
`euler_units`       `"radians"` or `"degrees"`, of all angles of a pose
`euler_order`       about which of the world's axes cameras turn first, second and third, as Blender
                    writes it: `"XYZ"`, …
`turns`             about which axes yaw, pitch and roll turn. `"+y-x+z"`: rolled about z, then
                    pitched about x the other way, then yawed about the world's y; the camera looks
                    along the axis of its roll, and that of its pitch is to its right. `"zyx XYZ"`:
                    yaw, pitch and roll are the angles about z, y and x of a rotation matrix, by
                    `euler_order`
`world_up`          the direction that is up in all images: `"+y"`, `"-z"`, …
`direction`         `"world_to_camera"` or `"camera_to_world"`
`axes`              `"opencv"`, `"opengl"` or another of `geogen_hf.cameras.conventions.AXES_SIGNS`
`layout`            `"row-major"` or `"column-major"`, of the numbers of matrices
`intrinsics`        PATH to a 3x3 matrix or 9 numbers; or a table of PATHs (or numbers, for all)
                    with the keys `fx fy`, `focal`, `focal_px`, `focal_mm sensor_mm`, `fov_x` or
                    `fov_y` (radians), `fov_x_deg` or `fov_y_deg`; with `cx cy` or `principal`, or
                    without where that is in the middle of the image; or an empty table where there
                    are none to be read
`intrinsics_units`  `"pixels"` of the images as they are; `"resized"` if images of the size that the
                    metadata names were resized, `"cropped"` if they were cropped: to the `crop`
                    that it has, or else about the middle;
                    `"normalised"` (divided by the image size) or `"ndc"` (PyTorch3D's)
=================== ==============================================================================
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, cast

from geogen_hf.errors import UsageError
from geogen_hf.metadata.keys import CHOICES, DEGREES, MAX_KEYS_DEEP, RADIANS, Path, RoleName
from geogen_hf.metadata.pose_plans import POSE_FORMS
from geogen_hf.metadata.stored_intrinsics import CENTRES, INTRINSICS_KEYS, IntrinsicsPlan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PLACES = ("cameras", "subject", "view")
_PATHS = tuple(dict.fromkeys(key for form in POSE_FORMS.values() for key in form.keys))
_KEYS = (*_PLACES, *_PATHS, "intrinsics", *CHOICES)
_OVERRULED: dict[str, tuple[RoleName, ...]] = {
    "layout": ("layout", "column_major", "row_major"),
    "axes": ("axes",),
    "quaternion_order": ("quaternion_order", "layout"),
}
"""Which statements of the metadata are overruled by a stated key."""
_DEPTH = MAX_KEYS_DEEP + 1


@dataclass(frozen=True)
class CameraSchema:
    """A checked `camera_schema`; what is None is left to the search.

    `claims` are what it says in one of a few words: direction, axes, layout and so on; `given` is
    the mapping that was checked.
    """

    cameras: str | None = None
    subject: str | None = None
    view: str | None = None
    pose: tuple[str, tuple[Path, ...]] | None = None
    intrinsics: IntrinsicsPlan[Path] | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The last key of every stated path."""
        paths = [*(self.pose[1] if self.pose else ())]
        paths += self.intrinsics.places if self.intrinsics else ()
        return [path[-1] for path in paths]

    def overrules(self, role: RoleName) -> bool:
        """Whether a statement of the metadata is overruled by a stated one."""
        return any(role in _OVERRULED.get(key, ()) for key in self.claims)


def load_camera_schema(source: Mapping[str, Any] | str | FilePath | CameraSchema) -> CameraSchema:
    """Check a `camera_schema`: a mapping, or a file with one, TOML if it is called so, else JSON.

    UsageError where it cannot be read, or says something else than the table above allows.

    Example:
        >>> schema = load_camera_schema({"extrinsics": "pose.m", "direction": "camera_to_world"})
        >>> schema.pose, schema.claims
        (('matrix', (('pose', 'm'),)), {'direction': 'camera_to_world'})
    """
    if isinstance(source, CameraSchema):
        return source
    given = _read_file(FilePath(source)) if isinstance(source, (str, FilePath)) else source
    where = source if isinstance(source, (str, FilePath)) else None
    if not isinstance(given, Mapping) or not given:
        raise _wrong("camera_schema is not a table of keys", ", ".join(_KEYS), given, where)
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise _wrong("camera_schema has unknown keys", ", ".join(_KEYS), unknown, where)
    for key, choices in CHOICES.items():
        if key in given and given[key] not in choices:
            some = " or ".join(choices[:8]) + (", …" if choices[8:] else "")
            raise _wrong(f"camera_schema: unknown {key}", some, given[key], where)
    places: dict[str, str | None] = {}
    for key in _PLACES:
        value = given.get(key)
        if isinstance(value, list) and value and all(isinstance(step, str) for step in value):
            value = ".".join(value)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise _wrong(f"camera_schema: {key} is no place", "words such as file", value, where)
        places[key] = value
    return CameraSchema(
        **places,
        pose=_pose({key: _path(given[key], key) for key in _PATHS if key in given}),
        intrinsics=_intrinsics(given),
        claims={key: given[key] for key in CHOICES if key in given},
        given=given,
    )


def _pose(paths: Mapping[str, Path]) -> tuple[str, tuple[Path, ...]] | None:
    if not paths:
        return None
    for name, form in POSE_FORMS.items():
        if set(paths) in (set(form.keys), set(form.keys) - {"up", "roll"}):
            return name, tuple(paths[key] for key in form.keys if key in paths)
    expected = "; or ".join(dict.fromkeys(" and ".join(f.keys) for f in POSE_FORMS.values()))
    raise _wrong("camera_schema does not say one pose", expected, ", ".join(paths))


def _intrinsics(given: Mapping[str, Any]) -> IntrinsicsPlan[Path] | None:
    said = given.get("intrinsics")
    if said is None or said == {}:
        return None if said is None else IntrinsicsPlan()
    if not isinstance(said, Mapping):
        return IntrinsicsPlan("matrix", {"matrix": _path(said, "intrinsics")})
    names = {key.removesuffix("_deg") if key.startswith("fov_") else key: key for key in said}
    for form, keys in INTRINSICS_KEYS[1:]:
        if names.keys() == set(keys) and len(names) == len(said):
            parts: dict[str, Path | float] = {
                # A point is no single number.
                key: (_path if key == "principal" else _path_or_number)(
                    said[names[key]], f"intrinsics.{names[key]}"
                )
                for key in keys
            }
            units = given.get("intrinsics_units")
            if units in ("pixels", "normalised", "ndc") and CENTRES.isdisjoint(keys):
                what = "camera_schema: intrinsics_units does not suit the intrinsics"
                raise _wrong(what, "units of a matrix or of fx fy cx cy", said)
            angle_units = DEGREES if names[keys[0]].endswith("_deg") else RADIANS
            return IntrinsicsPlan(form, parts, angle_units=angle_units)
    expected = "; ".join(" ".join(keys) for _, keys in INTRINSICS_KEYS[1:])
    raise _wrong("camera_schema: unknown intrinsics", expected, ", ".join(map(str, said)))


def _path_or_number(value: object, key: str) -> Path | float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9:
        return float(value)
    return _path(value, key)


def _path(value: object, key: str) -> Path:
    keys = value.split(".") if isinstance(value, str) and value else value
    good = isinstance(keys, list) and 0 < len(keys) <= _DEPTH
    if not good or not all(isinstance(each, str) for each in cast("list[object]", keys)):
        expected = f"up to {_DEPTH} keys, joined by dots or in a list"
        raise _wrong(f"camera_schema: {key} is no path", expected, value)
    return tuple(cast("list[str]", keys))


def _read_file(path: FilePath) -> Any:
    try:
        text = path.read_text("utf-8-sig")
        return tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong("camera_schema cannot be read", "a TOML or JSON file", error, path) from error


def _wrong(what: str, expected: str, found: object, where: object = None) -> UsageError:
    return UsageError(what, where=where, expected=expected, found=str(found)[:200])
