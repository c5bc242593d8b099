"""Camera metadata as a release may have it: the JSON members of `metadata_files.zip`.

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

from geogen_hf.cameras.conventions import CANONICAL, CameraAxes, Convention, Direction, express
from geogen_hf.cameras.tools import QuaternionOrder, quaternion_from_rotation
from geogen_hf.errors import UsageError, explain

Matrix = NDArray[np.float64]
Fields = dict[str, Any]
PoseForm = Callable[[Matrix], Fields]
"""Keys and values of a `(4, 4)` float64 matrix, in whatever convention it is."""
LensForm = Callable[[Matrix, int], Fields]
"""Keys and values of `(3, 3)` float64 pixel intrinsics of a square image of that many pixels."""

SENSOR_MM = 36.0


def matrix(key: str, *, rows: int = 4, flat: bool = False, columns_first: bool = False) -> PoseForm:
    """Write the matrix under a key: 4x4, 3x4 (4x3 if it is stored transposed), or flat.

    Example:
        >>> matrix("RT", rows=3, flat=True)(np.arange(16.0).reshape(4, 4) * 0 + np.eye(4))
        {'RT': [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
    """

    def form(stored: Matrix) -> Fields:
        transposed = rows == 3 and not np.array_equal(stored[3], [0, 0, 0, 1])
        part = stored[:, :3] if transposed else stored[:rows]
        part = part.T if columns_first else part
        return {key: (part.ravel() if flat else part).tolist()}

    return form


def halves(rotation: str, translation: str, *, flat: bool = False) -> PoseForm:
    """Write rotation matrix and translation under keys of their own."""

    def form(stored: Matrix) -> Fields:
        turned = stored[:3, :3]
        values = (turned.ravel() if flat else turned).tolist()
        return {rotation: values, translation: stored[:3, 3].tolist()}

    return form


def quaternion(rotation: str, translation: str, order: QuaternionOrder) -> PoseForm:
    """Write a quaternion in this order, and the translation."""

    def form(stored: Matrix) -> Fields:
        turned = quaternion_from_rotation(stored[:3, :3], order)
        return {rotation: turned.tolist(), translation: stored[:3, 3].tolist()}

    return form


def inside(key: str, form: PoseForm) -> PoseForm:
    """Put a pose's keys into an object under a key."""
    return lambda stored: {key: form(stored)}


def beside(form: PoseForm, **more: Any) -> PoseForm:
    """Put constant keys beside a pose's."""
    return lambda stored: {**form(stored), **more}


def lens_inside(key: str, form: LensForm) -> LensForm:
    """Put a lens's keys into an object under a key."""
    return lambda intrinsics, size: {key: form(intrinsics, size)}


def lens_matrix(key: str, *, flat: bool = False, normalised: bool = False) -> LensForm:
    """Write the 3x3 matrix under a key, in pixels or divided by the image size, nested or flat."""

    def form(intrinsics: Matrix, size: int) -> Fields:
        values = intrinsics / np.array([[size], [size], [1.0]]) if normalised else intrinsics
        return {key: (values.ravel() if flat else values).tolist()}

    return form


def lens_entries(*keys: str) -> LensForm:
    """Write fx, fy, cx and cy, pixels, under these four keys."""

    def form(intrinsics: Matrix, size: int) -> Fields:
        return dict(zip(keys, intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(), strict=True))

    return form


def lens_mm(focal: str, sensor: str) -> LensForm:
    """Write focal length and sensor width, mm. Only for square pixels and a centred axis."""
    return lambda intrinsics, size: {
        focal: float(intrinsics[0, 0]) * SENSOR_MM / size,
        sensor: SENSOR_MM,
    }


def lens_angle(key: str) -> LensForm:
    """Write the horizontal field of view, radians. Only for square pixels and a centred axis."""
    return lambda intrinsics, size: {key: 2 * float(np.arctan(size / 2 / intrinsics[0, 0]))}


def lens_and_size(form: LensForm, *keys: str) -> LensForm:
    """Write the image's size too: one key for `[width, height]`, or two."""

    def both(intrinsics: Matrix, size: int) -> Fields:
        sizes = {keys[0]: [size, size]} if len(keys) == 1 else dict.fromkeys(keys, size)
        return {**form(intrinsics, size), **sizes}

    return both


def no_lens(intrinsics: Matrix, size: int) -> Fields:
    """Write nothing of the intrinsics."""
    return {}


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
        usual: The convention that goes with these keys.
    """

    pose: PoseForm
    lens: LensForm
    arrange: Arrange
    shared_lens: bool = False
    direction: Direction | None = None
    axes: CameraAxes | None = None
    transposable: bool = True
    usual: Convention = CANONICAL

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
                explain(
                    "this schema's keys claim another camera convention",
                    expected=f"direction {self.direction or 'any'}, axes {self.axes or 'any'}"
                    + ("" if self.transposable else ", not transposed"),
                    found=convention,
                )
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
        lenses = [self.lens(intrinsics, subject.size) for intrinsics in subject.intrinsics]
        if self.shared_lens:
            poses = [self.pose(m) for m in stored]
            return Written(subject.subject_id, poses, lenses[0])
        cameras = [{**self.pose(m), **lens} for m, lens in zip(stored, lenses, strict=True)]
        return Written(subject.subject_id, cameras, {})


_LIST, _EXTRINSICS, _K = each(named), matrix("extrinsics"), lens_matrix("K")
_C2W = Convention("camera_to_world", "opencv")
_OPENGL = Convention("camera_to_world", "opengl")
_FX = lens_entries("fx", "fy", "cx", "cy")
_FL = lens_and_size(lens_entries("fl_x", "fl_y", "cx", "cy"), "w", "h")

#: Every schema by name, the one this project guesses first.
SCHEMAS: dict[str, Schema] = {
    # How views are named, in one file a subject.
    "list": Schema(_EXTRINSICS, lens_matrix("intrinsics"), _LIST),
    "by-index": Schema(
        matrix("Extrinsic Matrix"),
        lens_matrix("Intrinsic-Matrix"),
        each(lambda s: {"subject_id": s.subject_id, "Cameras": s.by(str)}),
    ),
    "by-file": Schema(
        matrix("RT"),
        _K,
        each(lambda s: {"name": s.subject_id, "cameras": s.by(lambda view: f"{view}.png")}),
    ),
    "by-path": Schema(matrix("pose"), _K, each(lambda s: s.by(s.file))),
    "view-key": Schema(
        _EXTRINSICS,
        _K,
        each(lambda s: {"name": s.subject_id, "views": s.listed("view_id", int)[::-1]}),
    ),
    "file-key": Schema(
        _EXTRINSICS, _K, each(lambda s: {"images": s.listed("file_name", s.file)[::-1]})
    ),
    "bare-list": Schema(_EXTRINSICS, _K, each(lambda s: s.cameras, "subj_{}.json")),
    "stacked": Schema(_EXTRINSICS, lens_matrix("intrinsics"), each(stacked)),
    "shared-lens": Schema(_EXTRINSICS, lens_matrix("intrinsics"), _LIST, shared_lens=True),
    # How a pose is written.
    "world-to-camera": Schema(matrix("world2cam"), _K, _LIST, direction="world_to_camera"),
    "camera-to-world": Schema(
        matrix("cam_to_world"), _K, _LIST, direction="camera_to_world", usual=_C2W
    ),
    "three-by-four": Schema(matrix("extrinsics", rows=3), _K, _LIST),
    "flat": Schema(matrix("extrinsics", flat=True), lens_matrix("intrinsics", flat=True), _LIST),
    "flat-twelve": Schema(matrix("pose", rows=3, flat=True), _K, _LIST),
    "column-major": Schema(
        matrix("extrinsics_column_major", flat=True, columns_first=True),
        _K,
        _LIST,
        transposable=False,
    ),
    "layout-key": Schema(
        beside(matrix("matrix", rows=3, flat=True, columns_first=True), layout="column-major"),
        _K,
        _LIST,
        transposable=False,
    ),
    "rotation-translation": Schema(halves("R", "t"), _FX, _LIST, transposable=False),
    "nested": Schema(
        inside("extrinsic", halves("rotation", "translation", flat=True)),
        lens_inside("intrinsic", _FX),
        _LIST,
        transposable=False,
    ),
    "nested-direction": Schema(
        inside("camera", inside("c2w", halves("R", "T"))),
        lens_inside("params", _K),
        _LIST,
        direction="camera_to_world",
        transposable=False,
        usual=_C2W,
    ),
    "quaternion-wxyz": Schema(
        quaternion("quaternion_wxyz", "translation", "wxyz"), _K, _LIST, transposable=False
    ),
    "quaternion-xyzw": Schema(
        beside(quaternion("q", "t", "xyzw"), quaternion_order="xyzw"),
        _K,
        _LIST,
        transposable=False,
    ),
    # How intrinsics are written.
    "entries": Schema(_EXTRINSICS, lens_inside("intrinsics", _FX), _LIST),
    "normalised": Schema(_EXTRINSICS, lens_matrix("intrinsics", normalised=True), _LIST),
    "lens-mm": Schema(_EXTRINSICS, lens_mm("focal_length", "sensor_width"), _LIST),
    "camera-angle": Schema(_EXTRINSICS, lens_angle("camera_angle_x"), _LIST),
    "no-intrinsics": Schema(_EXTRINSICS, no_lens, _LIST),
    # One file an image, or for all.
    "image-files": Schema(_EXTRINSICS, _K, each_image("{0}/{1}.json")),
    "all-by-subject": Schema(
        _EXTRINSICS, _K, all_in_one(lambda all_: {s.subject_id: s.by(str) for s in all_})
    ),
    "all-listed": Schema(
        _EXTRINSICS, _K, all_in_one(lambda all_: {"subjects": [named(s) for s in all_]})
    ),
    "all-by-path": Schema(
        _EXTRINSICS,
        _K,
        all_in_one(lambda all_: {file: c for s in all_ for file, c in s.by(s.file).items()}),
    ),
    # What other tools and data sets write.
    "blender": Schema(
        matrix("matrix_world"),
        lens_mm("lens", "sensor_width"),
        _LIST,
        direction="camera_to_world",
        axes="opengl",
        usual=_OPENGL,
    ),
    "colmap": Schema(
        quaternion("qvec", "tvec", "wxyz"),
        lens_and_size(_FX, "width", "height"),
        _LIST,
        direction="world_to_camera",
        axes="opencv",
        transposable=False,
    ),
    "eg3d": Schema(
        lambda stored: {"label": stored.ravel().tolist()},
        lens_matrix("K", flat=True, normalised=True),
        all_in_one(
            lambda all_: {
                "labels": [
                    [s.file(view), camera["label"] + camera["K"]]
                    for s in all_
                    for view, camera in enumerate(s.cameras)
                ]
            }
        ),
        direction="camera_to_world",
        axes="opencv",
        transposable=False,
        usual=_C2W,
    ),
    "nerf": Schema(
        matrix("transform_matrix"),
        lens_angle("camera_angle_x"),
        all_in_one(
            lambda all_: joined([frames(lambda s, v: f"./{s.file(v)[:-4]}")(s) for s in all_])
        ),
        shared_lens=True,
        direction="camera_to_world",
        usual=_OPENGL,
    ),
    "nerfstudio": Schema(
        matrix("transform_matrix"),
        _FL,
        each(frames(lambda _, view: f"images/{view}.png"), "subj_{}/transforms.json"),
        shared_lens=True,
        direction="camera_to_world",
        usual=_OPENGL,
    ),
    "synthmocap": Schema(
        matrix("world_to_camera"),
        lens_and_size(lens_matrix("camera_to_image"), "resolution"),
        each_image("metadata_{0}_{1:03d}.json", "camera"),
        direction="world_to_camera",
    ),
}
