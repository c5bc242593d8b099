"""Camera metadata as a release may have it: the JSON members of `metadata_files.zip`.

`SCHEMAS` names every arrangement of files and keys that the reader must accept. A schema writes
matrices of any convention, unless its keys claim one: then only that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geogen_hf.candidates import CANONICAL, CameraAxes, Convention, Direction, express
from geogen_hf.errors import UsageError, explain
from geogen_hf.sample.arrangements import (
    Arrange,
    Written,
    all_in_one,
    each,
    each_image,
    frames,
    joined,
    named,
    stacked,
)
from geogen_hf.sample.camera_forms import (
    LensForm,
    PoseForm,
    beside,
    halves,
    inside,
    lens_and_size,
    lens_angle,
    lens_entries,
    lens_inside,
    lens_matrix,
    lens_mm,
    matrix,
    no_lens,
    quaternion,
)


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
