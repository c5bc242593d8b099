"""`camera_schema`: a small mapping that says where cameras are, for metadata that does not.

A dictionary, or a TOML or JSON file. Every key is optional; what is left out is told by the keys
of the metadata as ever. A PATH is keys joined by dots (`"pose.m"`), or a list of keys where one
of them has a dot in it; spelling is as tolerant as everywhere (case, `-`, `_`, spaces).

=================== ==============================================================================
`subjects`          PATH from a file's root to a collection of subjects, if one file has them all
`cameras`           PATH from a subject to the collection of its cameras (list or object)
`subject`           PATH from a subject, or from a camera, to the subject's name
`view`              how views are named: `"list"` (by order), `"index"` (number), `"file"` (name)
`view_key`          PATH from a camera to that number or name; else it is the collection's key
`extrinsics`        PATH from a camera to a matrix of 4x4, 3x4, 4x3, 16 or 12 numbers
`rotation`          PATH to 3x3 or 9 numbers; with `translation`
`quaternion`        PATH to four numbers; with `translation` and `quaternion_order`
`translation`       PATH to three numbers
`quaternion_order`  `"wxyz"` or `"xyzw"`
`direction`         `"world_to_camera"` or `"camera_to_world"`
`axes`              `"opencv"`, `"opengl"` or another of `geogen_hf.cameras.conventions.AXES_SIGNS`
`layout`            `"row-major"` or `"column-major"`, of the numbers of matrices
`intrinsics`        PATH to a 3x3 matrix or 9 numbers; or a table of PATHs with the keys
                    `fx fy cx cy`, `focal principal`, `focal_mm sensor_mm`, `fov_x` (radians) or
                    `fov_x_deg`; or an empty table where there are none to be read
`intrinsics_units`  `"pixels"`, `"normalised"` (divided by the image size) or `"mm"`
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
from geogen_hf.metadata.keys import normalise_key
from geogen_hf.metadata.plan import (
    CameraPlan,
    CameraValueError,
    LensForm,
    LensPlan,
    Node,
    Path,
    PosePlan,
    Units,
    dotted,
    make_plan,
)
from geogen_hf.metadata.tree import Hints, ViewMode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PATHS = ("subjects", "cameras", "subject", "view_key")
_POSES = ("extrinsics", "rotation", "quaternion", "translation")
_CHOICES: dict[str, tuple[str, ...]] = {
    "view": get_args(ViewMode),
    "quaternion_order": get_args(QuaternionOrder),
    "direction": get_args(Direction),
    "axes": get_args(CameraAxes),
    "layout": ("row-major", "column-major"),
    "intrinsics_units": ("pixels", "normalised", "mm"),
}
_KEYS = (*_PATHS, *_POSES, "intrinsics", *_CHOICES)
_LENSES: tuple[tuple[LensForm, tuple[str, ...]], ...] = (
    ("entries", ("fx", "fy", "cx", "cy")),
    ("focal", ("focal", "principal")),
    ("lens_mm", ("focal_mm", "sensor_mm")),
    ("fov", ("fov_x",)),
    ("fov", ("fov_x_deg",)),
    ("absent", ()),
)
_DEPTH = 4  # as deep as shapes of keys are compared


@dataclass(frozen=True)
class Stated:
    """Direction, axes, layout and quaternion order, each None where it is not stated."""

    direction: Direction | None = None
    axes: CameraAxes | None = None
    layout: str | None = None
    quaternion_order: QuaternionOrder | None = None

    @property
    def overruled(self) -> frozenset[str]:
        """Roles of keys in the metadata whose word no longer counts."""
        layout = ("layout", "column_major", "row_major") if self.layout else ()
        axes = ("axes",) if self.axes else ()
        order = ("quaternion_order", "layout") if self.quaternion_order else ()
        return frozenset((*layout, *axes, *order))


@dataclass(frozen=True)
class CameraSchema:
    """A checked `camera_schema`.

    Attributes:
        hints: How files, subjects and views are arranged.
        pose: Paths and claims of the pose; None leaves it to the keys.
        lens: Likewise for intrinsics.
        claims: What it says of the convention.
    """

    hints: Hints
    pose: PosePlan | None
    lens: LensPlan | None
    claims: Stated = Stated()

    def make_plan(self, node: Node) -> CameraPlan:
        """As `camera_plan.make_plan`, with what is stated in place of what keys suggest.

        Raises:
            CameraValueError: The pose is there and the intrinsics are not, or keys are ambiguous.
        """
        pose, lens = self.pose, self.lens
        if pose is not None:
            paths = [_spelt(node, path) for path in pose.paths]
            if any(path is None for path in paths):
                return CameraPlan(None, LensPlan())
            pose = replace(pose, paths=tuple(path for path in paths if path is not None))
        plan = make_plan(node, pose, LensPlan() if lens is not None else None)
        if plan.pose is None:
            return plan
        if lens is not None:
            paths = [_spelt(node, path) for path in lens.paths]
            if any(path is None for path in paths):
                keys = f"keys {dotted([(key,) for key in node])}"
                raise CameraValueError(None, f"{dotted(lens.paths)}, as camera_schema says", keys)
            lens = replace(lens, paths=tuple(path for path in paths if path is not None))
        claims = self.claims
        column_major = None if claims.layout is None else claims.layout == "column-major"
        stated = replace(
            plan.pose,
            direction=claims.direction or plan.pose.direction,
            axes=claims.axes or plan.pose.axes,
            order=claims.quaternion_order or plan.pose.order,
            column_major=plan.pose.column_major if column_major is None else column_major,
        )
        said = tuple((role, path) for role, path in plan.said if role not in claims.overruled)
        return replace(plan, pose=stated, lens=lens or plan.lens, said=said)


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
        >>> schema.make_plan({"Pose": {"M": []}}).pose.paths
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
    paths = {key: _path(given[key], key) for key in (*_PATHS, *_POSES) if key in given}
    hints = Hints(
        **{key: paths.get(key) for key in _PATHS},
        view=cast("ViewMode | None", given.get("view")),
    )
    claims = ("direction", "axes", "layout", "quaternion_order")
    return CameraSchema(
        hints=hints,
        pose=_pose(paths),
        lens=_lens(given),
        claims=Stated(**{key: given[key] for key in claims if key in given}),
    )


def _pose(paths: Mapping[str, Path]) -> PosePlan | None:
    stated = tuple(key for key in _POSES if key in paths)
    if not stated:
        return None
    if stated == ("extrinsics",):
        return PosePlan("matrix", (paths["extrinsics"],))
    if stated == ("rotation", "translation"):
        return PosePlan("rotation", (paths["rotation"], paths["translation"]))
    if stated == ("quaternion", "translation"):
        return PosePlan("quaternion", (paths["quaternion"], paths["translation"]))
    expected = "extrinsics; or rotation and translation; or quaternion and translation"
    raise _wrong("camera_schema does not say one pose", None, expected, ", ".join(stated))


def _lens(given: Mapping[str, Any]) -> LensPlan | None:
    said, stated = given.get("intrinsics"), given.get("intrinsics_units")
    units = cast("Units | None", stated) if stated != "mm" else None
    if said is None:
        if stated is not None:
            what = "camera_schema has intrinsics_units without intrinsics"
            raise _wrong(what, None, "both", f"intrinsics_units {stated!r}")
        return None
    form: LensForm = "matrix"
    if isinstance(said, Mapping):
        known = [(form, keys) for form, keys in _LENSES if set(keys) == set(said)]
        if not known:
            expected = "; ".join(" ".join(keys) for _, keys in _LENSES if keys)
            found = ", ".join(map(str, said))
            raise _wrong("camera_schema: unknown intrinsics", None, expected, found)
        form, keys = known[0]
        paths = tuple(_path(said[key], f"intrinsics.{key}") for key in keys)
        degrees = keys == ("fov_x_deg",)
    else:
        paths, degrees = (_path(said, "intrinsics"),), False
    suits = (stated == "mm") == (form == "lens_mm") and form not in ("fov", "absent")
    if stated is not None and not suits:
        what = f"camera_schema: intrinsics_units {stated!r} does not suit the intrinsics"
        raise _wrong(what, None, '"mm" with focal_mm and sensor_mm, and only there', said)
    return LensPlan(form, paths, units, degrees)


def _path(value: object, key: str) -> Path:
    keys = value.split(".") if isinstance(value, str) else value
    good = isinstance(keys, list) and 0 < len(keys) <= _DEPTH
    if not good or not all(isinstance(each, str) and each for each in cast("list[object]", keys)):
        expected = f"up to {_DEPTH} keys, joined by dots or in a list"
        raise _wrong(f"camera_schema: {key} is no path", None, expected, value)
    return tuple(cast("list[str]", keys))


def _spelt(node: Node, path: Path) -> Path | None:
    """The path as this object spells it."""
    spelt: list[str] = []
    value: Any = node
    for wanted in path:
        if not isinstance(value, dict):
            return None
        word = normalise_key(wanted)
        like = [key for key in value if key == wanted or normalise_key(key) == word]
        if not like:
            return None
        key = wanted if wanted in like else like[0]
        spelt.append(key)
        value = value[key]
    return tuple(spelt)


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
