"""How the cameras of sample heads can be written: the members of `metadata_files.zip`.

`SCHEMAS` names every arrangement of files and keys that the reader must accept. A schema writes
matrices of any convention, unless its keys claim one: then only that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import (
    CameraAxes,
    Convention,
    Direction,
    express,
    quaternion_from_rotation,
)
from geogen_hf.errors import UsageError

Array = NDArray[np.float64]

_SENSOR_MM = 36.0


@dataclass(frozen=True, eq=False)
class CamerasOf:
    """The cameras of one subject: canonical `(V, 4, 4)`, `(V, 3, 3)` of images `size` px wide."""

    subject_id: str
    extrinsics: Array
    intrinsics: Array
    size: int


@dataclass(frozen=True, eq=False)
class _Camera:
    """A view on its way to JSON: its pose in whatever convention, its intrinsics in pixels."""

    subject_id: str
    view: int
    pose: Array
    k: Array
    size: int

    def __getitem__(self, name: str) -> Any:
        return _VALUES[name](self)


def _twelve(pose: Array) -> Array:
    """Leave the last row of a pose out, or its last column if it is stored transposed."""
    return pose[:3] if np.array_equal(pose[3], [0, 0, 0, 1]) else pose[:, :3]


def _unit(c: _Camera) -> Array:
    """Intrinsics divided by the image's size."""
    return np.asarray(c.k / [[c.size], [c.size], [1.0]])


#: What braces in a template stand for.
_VALUES: dict[str, Callable[[_Camera], Any]] = {
    "id": lambda c: c.subject_id,
    "number": lambda c: c.subject_id.removeprefix("subj_"),
    "view": lambda c: c.view,
    "file": lambda c: f"{c.subject_id}/{c.view}.png",
    "size": lambda c: c.size,
    "size_wh": lambda c: [c.size, c.size],
    "pose": lambda c: c.pose,
    "flat": lambda c: c.pose.ravel(),
    "columns": lambda c: c.pose.T.ravel(),
    "3x4": lambda c: _twelve(c.pose),
    "flat_3x4": lambda c: _twelve(c.pose).ravel(),
    "columns_3x4": lambda c: _twelve(c.pose).T.ravel(),
    "R": lambda c: c.pose[:3, :3],
    "flat_R": lambda c: c.pose[:3, :3].ravel(),
    "t": lambda c: c.pose[:3, 3],
    "wxyz": lambda c: quaternion_from_rotation(c.pose[:3, :3], "wxyz"),
    "xyzw": lambda c: quaternion_from_rotation(c.pose[:3, :3], "xyzw"),
    "K": lambda c: c.k,
    "flat_K": lambda c: c.k.ravel(),
    "unit_K": _unit,
    "label": lambda c: np.append(c.pose, _unit(c)),
    "fx": lambda c: c.k[0, 0],
    "fy": lambda c: c.k[1, 1],
    "cx": lambda c: c.k[0, 2],
    "cy": lambda c: c.k[1, 2],
    # Only for square pixels and a centred axis: millimetres, and radians from left to right.
    "focal_mm": lambda c: float(c.k[0, 0]) * _SENSOR_MM / c.size,
    "sensor_mm": lambda c: _SENSOR_MM,
    "angle": lambda c: 2 * float(np.arctan(c.size / 2 / c.k[0, 0])),
}


def _fill(template: Any, cameras: list[_Camera]) -> Any:
    """A template's JSON value for some cameras.

    A key with a view's or subject's value in braces stands for one key each, and a list's last
    entry for one entry a view, or as its first entry says. A string that is one value in braces
    becomes that value, of the first camera where there are several.
    """
    if isinstance(template, dict):
        return {
            key.format_map(some[0]): _fill(value, some)
            for key, value in template.items()
            for some in _divided(key, cameras)
        }
    if isinstance(template, list):
        each = "{view}" if len(template) == 1 else template[0]
        return [_fill(template[-1], some) for some in _divided(each, cameras)]
    if isinstance(template, tuple):
        return [_fill(value, cameras) for value in template]
    if whole := re.fullmatch(r"{(\w+)}", template):
        return cameras[0][whole[1]]
    return template.format_map(cameras[0])


def _divided(key: str, cameras: list[_Camera]) -> list[list[_Camera]]:
    if "{view" in key or "{file" in key:
        return [[camera] for camera in cameras][:: -1 if key.startswith("reversed") else 1]
    if "{id" in key or "{number" in key:
        return [list(views) for _, views in groupby(cameras, lambda camera: camera.subject_id)]
    return [cameras]


@dataclass(frozen=True)
class Schema:
    """How metadata is laid out, and what its keys claim of the convention."""

    template: Any
    file: str = "metadata_{number}.json"
    direction: Direction | None = None
    axes: CameraAxes | None = None
    transposable: bool = True
    """Whether whole matrices are written, and nothing says that they are not transposed."""
    usual_axes: CameraAxes = "opencv"
    """What goes with these keys where they claim none."""

    @property
    def usual(self) -> Convention:
        """The convention that goes with these keys."""
        return Convention(self.direction or "world_to_camera", self.axes or self.usual_axes)

    def allows(self, convention: Convention) -> bool:
        """Whether the keys contradict nothing of it."""
        return (
            self.direction in (None, convention.direction)
            and self.axes in (None, convention.axes)
            and (self.transposable or not convention.transposed)
        )

    def demand(self, convention: Convention) -> None:
        """Raise `UsageError` if the keys claim another convention."""
        if not self.allows(convention):
            raise UsageError(
                "this schema's keys claim another camera convention",
                expected=f"direction {self.direction or 'any'}, axes {self.axes or 'any'}"
                + ("" if self.transposable else ", not transposed"),
                found=convention,
            )

    def members(
        self, subjects: Iterable[CamerasOf], convention: Convention | None = None
    ) -> Iterator[tuple[str, str]]:
        """Name and text of every metadata file; None stands for the schema's usual convention.

        Numbers are written so that reading them gives the same float64.
        """
        convention = convention or self.usual
        self.demand(convention)
        cameras = [
            _Camera(one.subject_id, view, pose, k, one.size)
            for one in subjects
            for view, (pose, k) in enumerate(
                zip(express(one.extrinsics, convention), one.intrinsics, strict=True)
            )
        ]
        for name, value in _fill({self.file: self.template}, cameras).items():
            yield name, json.dumps(value, indent=1, default=np.ndarray.tolist) + "\n"


def _list(camera: dict[str, Any]) -> dict[str, Any]:
    return {"name": "{id}", "cameras": [camera]}


_PLAIN = {"extrinsics": "{pose}", "K": "{K}"}
_FX = {"fx": "{fx}", "fy": "{fy}", "cx": "{cx}", "cy": "{cy}"}
_C2W: dict[str, Any] = {"direction": "camera_to_world"}
_W2C: dict[str, Any] = {"direction": "world_to_camera"}
_FIXED: dict[str, Any] = {"transposable": False}

# fmt: off
#: Every schema by name, the one this project guesses first.
SCHEMAS: dict[str, Schema] = {
    # How views are named, in one file a subject.
    "list": Schema(_list({"extrinsics": "{pose}", "intrinsics": "{K}"})),
    "by-index": Schema({
        "subject_id": "{id}",
        "Cameras": {"{view}": {"Extrinsic Matrix": "{pose}", "Intrinsic-Matrix": "{K}"}},
    }),
    "by-file": Schema({"name": "{id}", "cameras": {"{view}.png": {"RT": "{pose}", "K": "{K}"}}}),
    "by-path": Schema({"{file}": {"pose": "{pose}", "K": "{K}"}}),
    "view-key": Schema(
        {"name": "{id}", "views": ["reversed {view}", {"view_id": "{view}", **_PLAIN}]}
    ),
    "file-key": Schema({"images": ["reversed {view}", {"file_name": "{file}", **_PLAIN}]}),
    "bare-list": Schema([_PLAIN], "subj_{number}.json"),
    "stacked": Schema({"name": "{id}", "extrinsics": ["{pose}"], "intrinsics": ["{K}"]}),
    "shared-lens": Schema(
        {"name": "{id}", "intrinsics": "{K}", "cameras": [{"extrinsics": "{pose}"}]}
    ),
    # How a pose is written.
    "world-to-camera": Schema(_list({"world2cam": "{pose}", "K": "{K}"}), **_W2C),
    "camera-to-world": Schema(_list({"cam_to_world": "{pose}", "K": "{K}"}), **_C2W),
    "three-by-four": Schema(_list({"extrinsics": "{3x4}", "K": "{K}"})),
    "flat": Schema(_list({"extrinsics": "{flat}", "intrinsics": "{flat_K}"})),
    "flat-twelve": Schema(_list({"pose": "{flat_3x4}", "K": "{K}"})),
    "column-major": Schema(_list({"extrinsics_column_major": "{columns}", "K": "{K}"}), **_FIXED),
    "layout-key": Schema(
        _list({"matrix": "{columns_3x4}", "layout": "column-major", "K": "{K}"}), **_FIXED
    ),
    "rotation-translation": Schema(_list({"R": "{R}", "t": "{t}", **_FX}), **_FIXED),
    "nested": Schema(
        _list({"extrinsic": {"rotation": "{flat_R}", "translation": "{t}"}, "intrinsic": _FX}),
        **_FIXED,
    ),
    "nested-direction": Schema(
        _list({"camera": {"c2w": {"R": "{R}", "T": "{t}"}}, "params": {"K": "{K}"}}),
        **_C2W, **_FIXED,
    ),
    "quaternion-wxyz": Schema(
        _list({"quaternion_wxyz": "{wxyz}", "translation": "{t}", "K": "{K}"}), **_FIXED
    ),
    "quaternion-xyzw": Schema(
        _list({"q": "{xyzw}", "t": "{t}", "quaternion_order": "xyzw", "K": "{K}"}), **_FIXED
    ),
    # How intrinsics are written.
    "entries": Schema(_list({"extrinsics": "{pose}", "intrinsics": _FX})),
    "normalised": Schema(_list({"extrinsics": "{pose}", "intrinsics": "{unit_K}"})),
    "lens-mm": Schema(
        _list({
            "extrinsics": "{pose}", "focal_length": "{focal_mm}", "sensor_width": "{sensor_mm}",
        })
    ),
    "camera-angle": Schema(_list({"extrinsics": "{pose}", "camera_angle_x": "{angle}"})),
    "no-intrinsics": Schema(_list({"extrinsics": "{pose}"})),
    # One file an image, or for all.
    "image-files": Schema(_PLAIN, "{id}/{view}.json"),
    "all-by-subject": Schema({"{id}": {"{view}": _PLAIN}}, "dataset.json"),
    "all-listed": Schema({"subjects": ["{id}", _list(_PLAIN)]}, "dataset.json"),
    "all-by-path": Schema({"{file}": _PLAIN}, "dataset.json"),
    # What other tools and data sets write.
    "blender": Schema(
        _list({"matrix_world": "{pose}", "lens": "{focal_mm}", "sensor_width": "{sensor_mm}"}),
        axes="opengl", **_C2W,
    ),
    "colmap": Schema(
        _list({"qvec": "{wxyz}", "tvec": "{t}", **_FX, "width": "{size}", "height": "{size}"}),
        axes="opencv", **_W2C, **_FIXED,
    ),
    "eg3d": Schema(
        {"labels": [("{file}", "{label}")]}, "dataset.json", axes="opencv", **_C2W, **_FIXED
    ),
    "nerf": Schema(
        {
            "camera_angle_x": "{angle}",
            "frames": [{"file_path": "./{id}/{view}", "transform_matrix": "{pose}"}],
        },
        "dataset.json", usual_axes="opengl", **_C2W,
    ),
    "nerfstudio": Schema(
        {
            "fl_x": "{fx}", "fl_y": "{fy}", "cx": "{cx}", "cy": "{cy}",
            "w": "{size}", "h": "{size}",
            "frames": [{"file_path": "images/{view}.png", "transform_matrix": "{pose}"}],
        },
        "subj_{number}/transforms.json", usual_axes="opengl", **_C2W,
    ),
    "synthmocap": Schema(
        {
            "camera": {
                "world_to_camera": "{pose}", "camera_to_image": "{K}", "resolution": "{size_wh}",
            }
        },
        "metadata_{id}_{view:03d}.json", **_W2C,
    ),
}
# fmt: on
