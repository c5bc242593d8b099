"""How the cameras of sample heads can be written: the members of `metadata_files.zip`.

`SCHEMAS` names every arrangement of files and keys that the reader must accept. A schema writes
matrices of any convention, unless its keys claim one: then only that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import CameraAxes, Convention, Direction, express
from geogen_hf.cameras.tools import QuaternionOrder, quaternion_from_rotation
from geogen_hf.errors import UsageError

Matrix = NDArray[np.float64]
Fields = dict[str, Any]
Form = Callable[[Matrix, int], Fields]
"""Keys and values of a `(4, 4)` pose, in whatever convention it is, or of `(3, 3)` intrinsics in
pixels; with the side of the square image in pixels."""

SENSOR_MM = 36.0


def matrix(
    key: str,
    *,
    rows: int = 4,
    flat: bool = False,
    columns_first: bool = False,
    normalised: bool = False,
) -> Form:
    """Write a matrix under a key.

    Args:
        key: The key.
        rows: 3 to leave the last row of a pose out, or its last column if it is stored transposed.
        flat: Whether the numbers are one list.
        columns_first: Whether it is transposed.
        normalised: Whether intrinsics are divided by the image's size.

    Example:
        >>> matrix("RT", rows=3, flat=True)(np.eye(4), 16)
        {'RT': [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
    """

    def form(stored: Matrix, size: int) -> Fields:
        if rows == 3:
            transposed = not np.array_equal(stored[3], [0, 0, 0, 1])
            stored = stored[:, :3] if transposed else stored[:3]
        stored = stored.T if columns_first else stored
        stored = stored / np.array([[size], [size], [1.0]]) if normalised else stored
        return {key: (stored.ravel() if flat else stored).tolist()}

    return form


def halves(rotation: str, translation: str, *, flat: bool = False) -> Form:
    """Write rotation matrix and translation under keys of their own."""
    turn = matrix(rotation, flat=flat)
    return lambda stored, size: {
        **turn(stored[:3, :3], size),
        translation: stored[:3, 3].tolist(),
    }


def quaternion(rotation: str, translation: str, order: QuaternionOrder) -> Form:
    """Write a quaternion in this order, and the translation."""
    return lambda stored, _: {
        rotation: quaternion_from_rotation(stored[:3, :3], order).tolist(),
        translation: stored[:3, 3].tolist(),
    }


def entries(*keys: str) -> Form:
    """Write fx, fy, cx and cy, pixels, under these four keys."""
    return lambda intrinsics, _: dict(
        zip(keys, intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(), strict=True)
    )


def focal_mm(focal: str, sensor: str) -> Form:
    """Write focal length and sensor width, mm. Only for square pixels and a centred axis."""
    return lambda intrinsics, size: {
        focal: float(intrinsics[0, 0]) * SENSOR_MM / size,
        sensor: SENSOR_MM,
    }


def angle(key: str) -> Form:
    """Write the horizontal field of view, radians. Only for square pixels and a centred axis."""
    return lambda intrinsics, size: {key: 2 * float(np.arctan(size / 2 / intrinsics[0, 0]))}


def inside(key: str, form: Form) -> Form:
    """Put what a form writes into an object under a key."""
    return lambda stored, size: {key: form(stored, size)}


def beside(form: Form, **more: Any) -> Form:
    """Put constant keys beside what a form writes."""
    return lambda stored, size: {**form(stored, size), **more}


def with_size(form: Form, *keys: str) -> Form:
    """Write the image's size too: one key for `[width, height]`, or two."""
    return lambda stored, size: {
        **form(stored, size),
        **({keys[0]: [size, size]} if len(keys) == 1 else dict.fromkeys(keys, size)),
    }


@dataclass(frozen=True, eq=False)
class Written:
    """One subject on its way to JSON: a camera an entry, views 0, 1, …, and what they share."""

    subject_id: str
    cameras: list[Fields]
    shared: Fields

    def by(self, name: Callable[[int], str]) -> dict[str, Fields]:
        """The cameras under names made from view numbers."""
        return {name(view): camera for view, camera in enumerate(self.cameras)}

    def listed(self, key: str, name: Callable[[int], object]) -> list[Fields]:
        """The cameras with a key more."""
        return [{key: name(view), **camera} for view, camera in enumerate(self.cameras)]

    def file(self, view: int) -> str:
        """The name of an image in the release."""
        return f"{self.subject_id}/{view}.png"


Arrange = Callable[[list[Written]], Iterable[tuple[str, Any]]]
"""Files of some subjects: name and JSON value."""


def each(value: Callable[[Written], Any], name: str = "metadata_{}.json") -> Arrange:
    """One file a subject, named after its number."""

    def arrange(subjects: list[Written]) -> Iterator[tuple[str, Any]]:
        for subject in subjects:
            number = subject.subject_id.removeprefix("subj_")
            yield name.format(number), value(subject)

    return arrange


def named(subject: Written) -> Fields:
    """Write the subject's name, what its cameras share, and a list of them."""
    return {"name": subject.subject_id, **subject.shared, "cameras": subject.cameras}


def each_image(name: str, inside_key: str | None = None) -> Arrange:
    """One file an image, its camera inside a key or not."""
    return lambda subjects: (
        (name.format(subject.subject_id, view), {inside_key: camera} if inside_key else camera)
        for subject in subjects
        for view, camera in enumerate(subject.cameras)
    )


def all_in_one(value: Callable[[list[Written]], Any]) -> Arrange:
    """One file for all subjects."""
    return lambda subjects: [("dataset.json", value(subjects))]


def frames(name: Callable[[Written, int], str]) -> Callable[[Written], Any]:
    """Write a `transforms.json`, whose images are called as `name` says."""
    return lambda subject: {
        **subject.shared,
        "frames": subject.listed("file_path", lambda view: name(subject, view)),
    }


def stacked(subject: Written) -> Fields:
    """Write one array a quantity instead of one object a camera."""
    keys = subject.cameras[0]
    return {
        "name": subject.subject_id,
        **{key: [camera[key] for camera in subject.cameras] for key in keys},
    }


def joined(transforms: list[Fields]) -> Fields:
    """One `transforms.json` of those of several subjects."""
    return {**transforms[0], "frames": [frame for each in transforms for frame in each["frames"]]}


@dataclass(frozen=True, eq=False)
class CamerasOf:
    """The cameras of one subject.

    Attributes:
        subject_id: `subj_<5 digits>`.
        extrinsics: `(V, 4, 4)` float64 world-to-camera, OpenCV axes, metres.
        intrinsics: `(V, 3, 3)` float64 pixels.
        size: Width and height of the images, pixels.
    """

    subject_id: str
    extrinsics: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    size: int


_LIST, _EXTRINSICS, _K = each(named), matrix("extrinsics"), matrix("K")


@dataclass(frozen=True)
class Schema:
    """How metadata is laid out.

    Attributes:
        pose: Keys of a pose.
        lens: Keys of intrinsics.
        arrange: Files, subjects and views.
        shared_lens: Whether intrinsics stand once beside the cameras.
        direction: What the keys claim, or None.
        axes: What the keys claim, or None.
        transposable: Whether whole matrices are written, so that they can be transposed, and
            nothing says that they are not.
        usual_axes: What goes with these keys where they claim none.
    """

    pose: Form = _EXTRINSICS
    lens: Form = _K
    arrange: Arrange = _LIST
    shared_lens: bool = False
    direction: Direction | None = None
    axes: CameraAxes | None = None
    transposable: bool = True
    usual_axes: CameraAxes = "opencv"

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
        """Name and text of every metadata file, in a fixed order.

        Numbers are written so that reading them gives the same float64.

        Args:
            subjects: Whose cameras.
            convention: Of the matrices; None for the schema's usual one.

        Raises:
            UsageError: The keys claim another convention.

        Example:
            >>> one = CamerasOf("subj_00007", np.eye(4)[None], np.eye(3)[None], 16)
            >>> [name for name, _ in SCHEMAS["list"].members([one])]
            ['metadata_00007.json']
        """
        convention = convention or self.usual
        self.demand(convention)
        written = [self._written(subject, convention) for subject in subjects]
        for name, value in self.arrange(written):
            yield name, json.dumps(value, indent=1) + "\n"

    def _written(self, subject: CamerasOf, convention: Convention) -> Written:
        stored = express(subject.extrinsics, convention)
        poses = [self.pose(matrix, subject.size) for matrix in stored]
        lenses = [self.lens(intrinsics, subject.size) for intrinsics in subject.intrinsics]
        if self.shared_lens:
            return Written(subject.subject_id, poses, lenses[0])
        cameras = [{**pose, **lens} for pose, lens in zip(poses, lenses, strict=True)]
        return Written(subject.subject_id, cameras, {})


_INTRINSICS = matrix("intrinsics")
_FX = entries("fx", "fy", "cx", "cy")
_FL = with_size(entries("fl_x", "fl_y", "cx", "cy"), "w", "h")

#: Every schema by name, the one this project guesses first.
SCHEMAS: dict[str, Schema] = {
    # How views are named, in one file a subject.
    "list": Schema(lens=_INTRINSICS),
    "by-index": Schema(
        matrix("Extrinsic Matrix"),
        matrix("Intrinsic-Matrix"),
        each(lambda s: {"subject_id": s.subject_id, "Cameras": s.by(str)}),
    ),
    "by-file": Schema(
        matrix("RT"),
        arrange=each(lambda s: {"name": s.subject_id, "cameras": s.by(lambda v: f"{v}.png")}),
    ),
    "by-path": Schema(matrix("pose"), arrange=each(lambda s: s.by(s.file))),
    "view-key": Schema(
        arrange=each(lambda s: {"name": s.subject_id, "views": s.listed("view_id", int)[::-1]}),
    ),
    "file-key": Schema(arrange=each(lambda s: {"images": s.listed("file_name", s.file)[::-1]})),
    "bare-list": Schema(arrange=each(lambda s: s.cameras, "subj_{}.json")),
    "stacked": Schema(lens=_INTRINSICS, arrange=each(stacked)),
    "shared-lens": Schema(lens=_INTRINSICS, shared_lens=True),
    # How a pose is written.
    "world-to-camera": Schema(matrix("world2cam"), direction="world_to_camera"),
    "camera-to-world": Schema(matrix("cam_to_world"), direction="camera_to_world"),
    "three-by-four": Schema(matrix("extrinsics", rows=3)),
    "flat": Schema(matrix("extrinsics", flat=True), matrix("intrinsics", flat=True)),
    "flat-twelve": Schema(matrix("pose", rows=3, flat=True)),
    "column-major": Schema(
        matrix("extrinsics_column_major", flat=True, columns_first=True), transposable=False
    ),
    "layout-key": Schema(
        beside(matrix("matrix", rows=3, flat=True, columns_first=True), layout="column-major"),
        transposable=False,
    ),
    "rotation-translation": Schema(halves("R", "t"), _FX, transposable=False),
    "nested": Schema(
        inside("extrinsic", halves("rotation", "translation", flat=True)),
        inside("intrinsic", _FX),
        transposable=False,
    ),
    "nested-direction": Schema(
        inside("camera", inside("c2w", halves("R", "T"))),
        inside("params", matrix("K")),
        direction="camera_to_world",
        transposable=False,
    ),
    "quaternion-wxyz": Schema(
        quaternion("quaternion_wxyz", "translation", "wxyz"), transposable=False
    ),
    "quaternion-xyzw": Schema(
        beside(quaternion("q", "t", "xyzw"), quaternion_order="xyzw"), transposable=False
    ),
    # How intrinsics are written.
    "entries": Schema(lens=inside("intrinsics", _FX)),
    "normalised": Schema(lens=matrix("intrinsics", normalised=True)),
    "lens-mm": Schema(lens=focal_mm("focal_length", "sensor_width")),
    "camera-angle": Schema(lens=angle("camera_angle_x")),
    "no-intrinsics": Schema(lens=lambda *_: {}),
    # One file an image, or for all.
    "image-files": Schema(arrange=each_image("{0}/{1}.json")),
    "all-by-subject": Schema(
        arrange=all_in_one(lambda all_: {s.subject_id: s.by(str) for s in all_})
    ),
    "all-listed": Schema(arrange=all_in_one(lambda all_: {"subjects": [named(s) for s in all_]})),
    "all-by-path": Schema(
        arrange=all_in_one(lambda all_: {f: c for s in all_ for f, c in s.by(s.file).items()})
    ),
    # What other tools and data sets write.
    "blender": Schema(
        matrix("matrix_world"),
        focal_mm("lens", "sensor_width"),
        direction="camera_to_world",
        axes="opengl",
    ),
    "colmap": Schema(
        quaternion("qvec", "tvec", "wxyz"),
        with_size(_FX, "width", "height"),
        direction="world_to_camera",
        axes="opencv",
        transposable=False,
    ),
    "eg3d": Schema(
        matrix("label", flat=True),
        matrix("K", flat=True, normalised=True),
        all_in_one(
            lambda all_: {
                "labels": [
                    [file, camera["label"] + camera["K"]]
                    for s in all_
                    for file, camera in s.by(s.file).items()
                ]
            }
        ),
        direction="camera_to_world",
        axes="opencv",
        transposable=False,
    ),
    "nerf": Schema(
        matrix("transform_matrix"),
        angle("camera_angle_x"),
        all_in_one(
            lambda all_: joined([frames(lambda s, v: f"./{s.file(v)[:-4]}")(s) for s in all_])
        ),
        shared_lens=True,
        direction="camera_to_world",
        usual_axes="opengl",
    ),
    "nerfstudio": Schema(
        matrix("transform_matrix"),
        _FL,
        each(frames(lambda _, view: f"images/{view}.png"), "subj_{}/transforms.json"),
        shared_lens=True,
        direction="camera_to_world",
        usual_axes="opengl",
    ),
    "synthmocap": Schema(
        matrix("world_to_camera"),
        with_size(matrix("camera_to_image"), "resolution"),
        each_image("metadata_{0}_{1:03d}.json", "camera"),
        direction="world_to_camera",
    ),
}
