"""Plausible arrangements of camera metadata, written from true cameras; what becomes of them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from random_cameras import to_canonical

from geogen_hf.cameras import look_at
from geogen_hf.cameras.conventions import (
    CANONICAL,
    Convention,
    QuaternionOrder,
    express,
    quaternion_from_rotation,
)
from geogen_hf.errors import CameraError, MetadataError
from geogen_hf.metadata.reader import Document, Metadata, read_metadata
from geogen_hf.metadata.schema import load_camera_schema
from geogen_hf.sample import subject_cameras

SIZE, VIEWS = 48, 7
C2W = Convention("camera_to_world", "opencv")
PYTORCH3D = Convention("world_to_camera", "opencv_turned")
BLENDER = Convention("camera_to_world", "opengl")

Matrix = NDArray[np.float64]
Names = tuple[str, ...]


class View:
    """A true camera, and what a file may say of it."""

    def __init__(self, subject: str, number: int, e: Matrix, k: Matrix) -> None:
        self.subject, self.number, self.e, self.k = subject, number, e, k
        self.png = f"{number}.png"
        self.path = f"{subject}/{number}.png"
        self.both = {"extrinsics": e, "intrinsics": k}
        self.r, self.t = e[:3, :3], e[:3, 3]
        self.c2w, self.blender = express(e, C2W), express(e, BLENDER)
        self.p = k @ e[:3]
        self.centre = -self.r.T @ self.t
        self.target = self.centre + 1.7 * e[2, :3]
        self.up = -e[1, :3]
        self.four = self.f, self.g, self.cx, self.cy = k[[0, 1, 0, 1], [0, 1, 2, 2]]
        self.mm = self.f * 36 / SIZE
        self.fov = 2 * np.arctan(SIZE / 2 / self.f)
        unit = k / np.array([[SIZE], [SIZE], [1.0]])
        self.label = [*self.c2w.ravel(), *unit.ravel()]


class Head:
    """One identity: its name, and true cameras."""

    def __init__(self, name: str, extrinsics: Matrix, intrinsics: Matrix) -> None:
        self.name, self.e, self.k = name, extrinsics, intrinsics
        pairs = zip(extrinsics, intrinsics, strict=True)
        self.views = [View(name, number, e, k) for number, (e, k) in enumerate(pairs)]
        self.cameras = [view.both for view in self.views]

    @property
    def number(self) -> int:
        return int(re.findall(r"\d+", self.name)[-1])


@functools.cache
def heads(
    names: Names, *, one_lens: bool = False, orbit: bool = False, shifted: bool = False
) -> list[Head]:
    """True cameras for identities of any name; each has a lens of its own, or all have one."""
    found = []
    for row, name in enumerate(names):
        extrinsics, intrinsics = subject_cameras(f"subj_{row:05d}", views=VIEWS, size=SIZE)
        intrinsics[:, [0, 1], [0, 1]] *= 1.1 if one_lens else 1.1 + 0.03 * row
        if shifted:
            intrinsics[:, :2, 2] += [0.1 * SIZE, -0.05 * SIZE]
        if orbit:
            centres = [view.centre for view in Head(name, extrinsics, intrinsics).views]
            extrinsics = look_at(centres, (0, 0, 0), (0, 1, 0))
        found.append(Head(name, extrinsics, intrinsics))
    return found


PLAIN = ("0", "2", "17", "9", "103")
PADDED = ("subj_00003", "subj_00004", "subj_00011", "subj_00120", "subj_00121")
SEVEN = tuple(map(str, range(VIEWS)))
WORDS = ("alice", "bob", "Carol", "dave", "Erin")


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How metadata may be written."""

    files: Callable[[list[Head]], Iterator[tuple[str, Any]]]
    """Name and value of each file; a str is written as it is, anything else as JSON."""
    names: Names
    """The identities, as the images have them."""
    convention: Convention = CANONICAL
    """Of the matrices."""
    first_view: int = 0
    """Number of the first image of each identity."""
    one_lens: bool = False
    """Whether all identities have one lens."""
    lensless: bool = False
    """Whether intrinsics are not written."""
    orbit: bool = False
    """Whether all cameras look at the origin."""
    shifted: bool = False
    """Whether the principal points are not in the middle."""


def whole(
    names: Names, value: Callable[[list[Head]], Any], file: str = "cameras.json", **options: Any
) -> Arrangement:
    """One file."""
    return Arrangement(lambda every: iter([(file, value(every))]), names, **options)


def each(
    names: Names,
    value: Callable[[Head], Any],
    file: str = "metadata_{0.name}.json",
    **options: Any,
) -> Arrangement:
    """One file an identity."""
    files = lambda every: ((file.format(head), value(head)) for head in every)  # noqa: E731
    return Arrangement(files, names, **options)


def views(
    names: Names, value: Callable[[View], Any], file: str = "{0.name}/{1}.json", **options: Any
) -> Arrangement:
    """One file an image."""
    return Arrangement(
        lambda every: ((file.format(h, v.number), value(v)) for h in every for v in h.views),
        names,
        **options,
    )


def named(names: Names, form: Callable[[View], Any], **options: Any) -> Arrangement:
    """One file an identity: its name, and a list of cameras in some form."""
    return each(names, lambda h: {"name": h.name, "cameras": [form(v) for v in h.views]}, **options)


def keyed(names: Names, key: Callable[[View], str], **options: Any) -> Arrangement:
    """One file an identity: its cameras by a key."""
    return each(names, lambda h: {key(v): v.both for v in h.views}, **options)


def listed(head: Head, key: str, value: Callable[[View], Any]) -> dict[str, Any]:
    """Cameras with a key more, in another order than the views."""
    return {"cameras": [{key: value(v), **v.both} for v in head.views[::-1]]}


def documents(arrangement: Arrangement, every: list[Head]) -> list[Document]:
    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, default=np.ndarray.tolist)

    return [Document(f"P8: {name}", text(v).encode(), name) for name, v in arrangement.files(every)]


def wrong_cameras(
    arrangement: Arrangement, every: list[Head], found: Metadata
) -> tuple[list[str], list[str]]:
    """Which images have another camera than the true one, and which have none."""
    wrong, missing = [], []
    for head in every:
        got = found.cameras.get(head.name)
        for view in range(VIEWS):
            image = f"{head.name}/{view + arrangement.first_view}.png"
            if got is None or view + arrangement.first_view not in got.view_ids:
                missing.append(image)
                continue
            row = got.view_ids.index(view + arrangement.first_view)
            one = got.of_views([row])
            assert one.claims.allow(arrangement.convention), one.claims
            e, k = to_canonical(one, arrangement.convention, (SIZE, SIZE), "upstream")
            good = np.abs(e[0] - head.e[view]).max() <= 1e-3
            if arrangement.lensless:
                assert one.intrinsics.kind == "absent"
                k = head.k[[view]]
            if not good or np.abs(k[0] - head.k[view]).max() > 1e-3 * SIZE:
                wrong.append(image)
    return wrong, missing


def outcome(arrangement: Arrangement) -> tuple[str, str]:
    """What becomes of an arrangement, and the description or the message.

    `"loads"`, `"remedied"` (refused, and a printed `camera_schema` loads it), `"refused"`,
    `"incomplete"` or `"wrong"`.
    """
    said = arrangement
    every = heads(said.names, one_lens=said.one_lens, orbit=said.orbit, shifted=said.shifted)
    first = arrangement.first_view
    views = {head.name: range(first, first + VIEWS) for head in every}
    files = documents(arrangement, every)
    try:
        found = read_metadata(files, views)
        wrong, missing = wrong_cameras(arrangement, every, found)
    except (MetadataError, CameraError) as error:
        for text in re.findall(
            r"(?:camera_schema=|or |; )(\{.*?\}\}?)(?= or|;|,? or |$| \(| if )", str(error)
        ):
            try:
                schema = load_camera_schema(json.loads(text))
                found = read_metadata(files, views, schema=schema)
                wrong, missing = wrong_cameras(arrangement, every, found)
            except (ValueError, MetadataError, CameraError):
                continue
            if not wrong and not missing and not found.problems:
                return "remedied", f"{text}\n{error}"
        return "refused", str(error)
    if wrong:
        return "wrong", f"{wrong[:4]} {found.description}"
    if missing or found.problems:
        return "incomplete", f"{missing[:4]} {found.problems[:3]} {found.description}"
    return "loads", found.description


# --- forms of a camera


def euler(pose: Matrix) -> Matrix:
    """Blender's XYZ angles, by the formulas of its manual's order: Rz Ry Rx."""
    return np.array(
        [
            np.arctan2(pose[2, 1], pose[2, 2]),
            np.arcsin(np.clip(-pose[2, 0], -1, 1)),
            np.arctan2(pose[1, 0], pose[0, 0]),
        ]
    )


def quaternion(pose: Matrix, order: QuaternionOrder = "wxyz") -> Matrix:
    return quaternion_from_rotation(pose[:3, :3], order)


def seven(pose: Matrix, order: QuaternionOrder) -> list[float]:
    """The last column, and a quaternion."""
    return [*pose[:3, 3].tolist(), *quaternion(pose, order).tolist()]


def rodrigues(pose: Matrix) -> Matrix:
    w, *xyz = quaternion(pose).tolist()
    angle = 2 * np.arccos(np.clip(w, -1, 1))
    return np.array(xyz) / max(np.sin(angle / 2), 1e-12) * angle


def clip_space(v: View) -> Matrix:
    """OpenGL's projection, from -1 to 1 with y up."""
    near, far = 0.1, 10.0
    return np.array(
        [
            [2 * v.f / SIZE, 0, 1 - 2 * v.cx / SIZE, 0],
            [0, 2 * v.g / SIZE, 2 * v.cy / SIZE - 1, 0],
            [0, 0, (near + far) / (near - far), 2 * near * far / (near - far)],
            [0, 0, -1, 0],
        ]
    )


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=np.ndarray.tolist))


def as_text(value: Any) -> Any:
    return [as_text(v) for v in value] if isinstance(value, list) else repr(value)


def in_a_line(numbers: Matrix | list[float]) -> str:
    return " ".join(map(repr, np.ravel(numbers).tolist()))


def in_lines(matrix: Matrix) -> str:
    return "\n".join(map(in_a_line, matrix))


def rows_in_brackets(matrix: Matrix) -> str:
    return "\n            ".join(f"({', '.join(f'{x:.6f}' for x in row)})" for row in matrix)


def pytorch3d(v: View) -> dict[str, Any]:
    """x left, y up, rows times a rotation; lengths in half images."""
    turned = np.diag([-1.0, -1, 1])
    f, g, cx, cy = np.array(v.four) / (SIZE / 2)
    return {
        "R": (turned @ v.r).T,
        "T": turned @ v.t,
        "focal_length": [f, g],
        "principal_point": [1 - cx, 1 - cy],
    }


def panel(v: View, **angles: Any) -> dict[str, Any]:
    """A camera as Blender's panel shows it, by its angles."""
    return {"location": v.blender[:3, 3], **angles, "lens": v.mm, "sensor_width": 36.0}


def lettered(key: str, letters: str, values: Matrix) -> dict[str, float]:
    """Single numbers under keys that end in letters."""
    return {key.format(each): v for each, v in zip(letters, values, strict=True)}


def numbered(key: str, matrix: Matrix, first: int = 0) -> dict[str, float]:
    """Single numbers under keys that end in row and column."""
    return {f"{key}{i + first}{j + first}": v for (i, j), v in np.ndenumerate(matrix)}


def sphere(v: View, keys: str, signs: tuple[float, float] = (1.0, 1.0)) -> dict[str, Any]:
    """Azimuth from z towards x and elevation towards y, in degrees, and distance, under keys."""
    x, y, z = v.centre
    away = np.linalg.norm(v.centre)
    angles = np.degrees([np.arctan2(x, z), np.arcsin(y / away)]) * signs
    return {**dict(zip(keys.split(), [*angles, away], strict=True)), "K": v.k}


def by_view(matrices: Matrix) -> dict[str, Any]:
    return {f"{view}.png": matrix for view, matrix in enumerate(matrices)}


def blender_name(v: View) -> str:
    return f"Camera.{v.number:03d}" if v.number else "Camera"


def in_two(value: Callable[[Head], Any], other: Callable[[Head], Any]) -> Any:
    """Two files of all identities, by their names."""
    return lambda every: iter(
        [
            ("extrinsics.json", {h.name: value(h) for h in every}),
            ("intrinsics.json", {h.name: other(h) for h in every}),
        ]
    )


NAMED = named(PADDED, lambda v: v.both)


def of_each(values: Callable[[Head], dict[str, Any]]) -> Any:
    """Files of each identity, in its folder."""
    return lambda every: ((f"{h.name}/{name}", v) for h in every for name, v in values(h).items())


#: Development set: what the reader was written against.
ARRANGEMENTS: dict[str, Arrangement] = {
    # names
    "plain ids, name": named(PLAIN, lambda v: v.both),
    "plain ids, file only": each(PLAIN, lambda h: h.cameras),
    "metadata_id_n.json": each(PADDED, lambda h: h.cameras, "metadata_id_{0.number}.json"),
    "metadata_id_n_json, no ending": named(
        PADDED, lambda v: v.both, file="metadata_id_{0.number}_json"
    ),
    "no ending at all": named(PLAIN, lambda v: v.both, file="{0.name}"),
    "padded metadata, plain images": each(PLAIN, lambda h: h.cameras, "{0.number:07d}.json"),
    "plain metadata, padded images": each(PADDED, lambda h: h.cameras, "{0.number}.json"),
    "other case": whole(WORDS, lambda every: {h.name.upper(): h.cameras for h in every}),
    "words in file": each(WORDS, lambda h: h.cameras, "metadata_{0.name}_cameras.json"),
    "words in folder": each(WORDS, lambda h: h.cameras, "{0.name}/cameras.json"),
    "name is a number": each(
        PLAIN, lambda h: {"name": h.number, "cameras": h.cameras}, "{0.number:05d}.json"
    ),
    "name is no id": each(
        PLAIN, lambda h: {"name": "Jane Doe", "cameras": h.cameras}, "{0.name}.json"
    ),
    "name is an image": whole(
        PLAIN, lambda every: [{"name": v.path, "cameras": v.both} for h in every for v in h.views]
    ),
    "name is an image, a file each": views(
        PLAIN, lambda v: {"name": v.path, "cameras": v.both}, "metadata_{0.name}_{1}.json"
    ),
    "names in a list": each(
        PLAIN,
        lambda h: {"name": [v.png for v in h.views[::-1]], "cameras": h.cameras[::-1]},
    ),
    "paths in a list": whole(
        PADDED,
        lambda every: {
            "name of the subject": [v.path for h in every for v in h.views],
            "cameras": [v.both for h in every for v in h.views],
        },
    ),
    "keyed by subject name on top": each(WORDS, lambda h: {h.name: h.cameras}),
    "keyed by file on top": whole(
        PLAIN, lambda every: {v.path: v.both for h in every for v in h.views}
    ),
    "views by 3.png": keyed(PLAIN, lambda v: v.png),
    "views from 1": keyed(PLAIN, lambda v: str(v.number + 1)),
    "views from 1, images too": keyed(PLAIN, lambda v: f"{v.number + 1}.png", first_view=1),
    "images from 1, list": each(PLAIN, lambda h: h.cameras, first_view=1),
    "Camera.003": keyed(PLAIN, blender_name),
    "Camera.003 in name": each(PLAIN, lambda h: listed(h, "name", blender_name)),
    "cam_3, unknown keys around": each(
        PLAIN, lambda h: {"rig": {"shots": {f"cam_{v.number}": v.both for v in h.views}}}
    ),
    "view id in another key": each(PLAIN, lambda h: listed(h, "shot_no", lambda v: v.number)),
    "left and right": keyed(
        PLAIN, lambda v: ["front", "left", "right", "back", "up", "low", "far"][v.number]
    ),
    "all, listed": whole(
        PADDED,
        lambda every: {"subjects": [{"name": h.name, "cameras": h.cameras} for h in every]},
    ),
    "all, by id and view": whole(
        PLAIN, lambda every: {h.name: {str(v.number): v.both for v in h.views} for h in every}
    ),
    "all, lists of lists": whole(PADDED, lambda every: [h.cameras for h in every]),
    "all, ids beside": whole(
        WORDS,
        lambda every: {
            "subjects": [h.name for h in every[::-1]],
            "cameras": [h.cameras for h in every[::-1]],
        },
    ),
    "json lines": Arrangement(
        lambda every: iter(
            [("metadata.jsonl", "\n".join(d.text.decode() for d in documents(NAMED, every)))]
        ),
        PADDED,
    ),
    "file an image": views(PLAIN, lambda v: v.both),
    "file an image, metadata_0000123_004": views(
        PLAIN,
        lambda v: {
            "camera": {
                "world_to_camera": v.e,
                "camera_to_image": v.k,
                "resolution": [SIZE, SIZE],
            },
            "landmarks": {"2D": [[1, 2]] * 70},
            "pose": [[0.1] * 3] * 52,
        },
        "metadata_{0.number:07d}_{1:03d}.json",
    ),
    "file an image, view folders": views(PLAIN, lambda v: v.both, "view_{1}/{0.name}.json"),
    "transforms.json": each(
        PADDED,
        lambda h: {
            "camera_angle_x": h.views[0].fov,
            "frames": [
                {"file_path": f"./images/{v.number}", "transform_matrix": v.blender}
                for v in h.views
            ],
        },
        "{0.name}/transforms.json",
        convention=BLENDER,
        one_lens=True,
    ),
    "dataset.json": whole(
        PLAIN,
        lambda every: {
            "labels": [[f"{h.number:05d}/{v.png}", v.label] for h in every for v in h.views]
        },
        "dataset.json",
        convention=C2W,
    ),
    # forms
    "bare 4x4": each(PLAIN, lambda h: h.e, "{0.name}.json", lensless=True),
    "bare 3x4": each(PLAIN, lambda h: h.e[:, :3], "{0.name}.json", lensless=True),
    "bare 16": each(PLAIN, lambda h: h.e.reshape(VIEWS, 16), "{0.name}.json", lensless=True),
    "bare 12": each(PLAIN, lambda h: h.e[:, :3].reshape(VIEWS, 12), "{0.name}.json", lensless=True),
    "bare 25": each(PLAIN, lambda h: [v.label for v in h.views], "{0.name}.json", convention=C2W),
    "bare by view": each(PLAIN, lambda h: {str(v.number): v.e for v in h.views}, lensless=True),
    "bare 4x4 a file": views(PADDED, lambda v: v.e, "{0.name}_{1}.json", lensless=True),
    "text file a view": views(
        PADDED, lambda v: in_lines(v.e), "{0.name}/{1:03d}.txt", lensless=True
    ),
    "cameras are matrices": each(
        PLAIN, lambda h: {"name": h.name, "cameras": h.e, "intrinsics": h.k[0]}
    ),
    "matrix under an unknown key": named(PLAIN, lambda v: {"mtx": v.e, "K": v.k}),
    "both under unknown keys": named(PLAIN, lambda v: {"aa": v.e, "bb": v.k}),
    "stacked": each(PLAIN, lambda h: {"name": h.name, "extrinsics": h.e, "intrinsics": h.k}),
    "stacked by view": each(
        PLAIN,
        lambda h: {
            "w2c": {str(v.number): v.e for v in h.views},
            "K": {str(v.number): v.k for v in h.views},
        },
    ),
    "stacked R t": each(PLAIN, lambda h: {"R": h.e[:, :3, :3], "t": h.e[:, :3, 3], "K": h.k[0]}),
    "one lens a subject": each(
        PLAIN,
        lambda h: {"intrinsics": h.k[0], "cameras": [{"extrinsics": e} for e in h.e]},
    ),
    "lens list beside": each(
        PLAIN, lambda h: {"intrinsics": h.k, "cameras": [{"extrinsics": e} for e in h.e]}
    ),
    "blender object": named(
        PADDED,
        lambda v: {"matrix_world": v.blender, "lens": v.mm, "sensor_width": 36.0},
        convention=BLENDER,
    ),
    "blender euler": named(
        PADDED, lambda v: panel(v, rotation_euler=euler(v.blender)), convention=BLENDER
    ),
    "euler in degrees": named(
        PADDED,
        lambda v: {
            "position": v.blender[:3, 3],
            "rotation": np.degrees(euler(v.blender)),
            "fov": np.degrees(v.fov),
        },
        convention=BLENDER,
    ),
    "blender quaternion": named(
        PADDED,
        lambda v: {
            "location": v.blender[:3, 3],
            "rotation_quaternion": quaternion(v.blender),
            "angle": v.fov,
        },
        convention=BLENDER,
    ),
    "rotation and place": named(
        PADDED, lambda v: {"rotation": v.r, "position": v.centre, "K": v.k}, convention=C2W
    ),
    "look at": named(PADDED, lambda v: {"eye": v.centre, "target": v.target, "up": v.up, "K": v.k}),
    "eye center up": named(
        PLAIN, lambda v: {"eye": v.centre, "center": v.target, "up": v.up, "fov_y": v.fov}
    ),
    "P": named(PLAIN, lambda v: {"P": v.p}),
    "P under an unknown key": named(PLAIN, lambda v: {"m34": v.p}),
    "both ways": named(
        PLAIN, lambda v: {"world2cam": v.e, "cam2world": np.linalg.inv(v.e), "K": v.k}
    ),
    "numbers as text": named(
        PLAIN, lambda v: {"w2c": as_text(v.e.tolist()), "K": as_text(v.k.tolist())}
    ),
    "matrix as one text": named(
        PLAIN, lambda v: {"extrinsic": in_a_line(v.e), "intrinsic": in_a_line(v.k)}
    ),
    "opencv rvec": named(
        PLAIN, lambda v: {"rvec": rodrigues(v.e), "tvec": v.t, "camera_matrix": v.k}
    ),
    "opencv, columns of numbers": named(
        PLAIN,
        lambda v: {
            "rvec": rodrigues(v.e)[:, None],
            "tvec": v.t[:, None],
            "camera_matrix": v.k,
            "dist_coeffs": np.zeros((1, 5)),
            "image_size": [[SIZE], [SIZE]],
        },
    ),
    "three.js": named(
        PLAIN,
        lambda v: {
            "position": v.centre,
            "rotation": lettered("_{}", "xyz", euler(v.blender)) | {"_order": "ZYX"},
            "scale": {"x": 1, "y": 1, "z": 1},
            "K": v.k,
        },
        convention=BLENDER,
    ),
    "rotation and camera centre": named(
        PADDED, lambda v: {"R": v.r, "C": v.centre, "K": v.k}, convention=C2W
    ),
    "matrices as Python prints them": named(
        PLAIN,
        lambda v: {
            "matrix_world": f"<Matrix 4x4 {rows_in_brackets(v.blender)}>",
            "K": f"array({v.k.tolist()}, dtype=float32)",
        },
        convention=BLENDER,
    ),
    "lens and shift": named(
        PADDED,
        lambda v: {
            "matrix_world": v.blender,
            "data": {"lens": v.mm, "sensor_width": 36.0}
            | {"shift_x": 0.5 - v.cx / SIZE, "shift_y": v.cy / SIZE - 0.5},
        },
        convention=BLENDER,
        shifted=True,
    ),
    "PyTorch3D": named(PLAIN, lambda v: {**pytorch3d(v), "in_ndc": True}, convention=PYTORCH3D),
    "PyTorch3D, pixels": named(
        PADDED,
        lambda v: {
            **pytorch3d(v),
            "focal_length": [v.f, v.g],
            "principal_point": [v.cx, v.cy],
            "in_ndc": False,
        },
        convention=PYTORCH3D,
    ),
    "CO3D": whole(
        PADDED,
        lambda every: [
            {
                "sequence_name": h.name,
                "frame_number": v.number,
                "image": {"path": v.path, "size": [SIZE, SIZE]},
                "viewpoint": {**pytorch3d(v), "intrinsics_format": "ndc_isotropic"},
            }
            for h in every
            for v in h.views
        ],
        "frame_annotations.json",
        convention=PYTORCH3D,
        shifted=True,
    ),
    "OpenGL's two matrices": named(
        PLAIN,
        lambda v: {
            "view_matrix": np.diag([1, -1, -1, 1]) @ v.e,
            "projection_matrix": clip_space(v),
        },
        convention=Convention("world_to_camera", "opengl"),
        shifted=True,
    ),
    "quaternion in a row": named(
        PADDED,
        lambda v: {
            "quaternion_wxyz": quaternion(v.e)[None],
            "t": v.t,
            "focal": [[v.f], [v.g]],
            "principal_point": [[v.cx, v.cy]],
        },
    ),
    "K of larger images": named(
        PLAIN, lambda v: {"w2c": v.e, "K": v.k * [[4], [4], [1]], "resolution": [4 * SIZE] * 2}
    ),
    "fx fy of larger images": named(
        PLAIN, lambda v: {"w2c": v.e, "fx": 4 * v.f, "fy": 4 * v.g, "w": 4 * SIZE, "h": 4 * SIZE}
    ),
    "fx fy only": named(PLAIN, lambda v: {"w2c": v.e, "fx": v.f, "fy": v.g}),
    "f in mm alone": named(PLAIN, lambda v: {"w2c": v.e, "lens": v.mm}),
    "two poses that differ": named(
        PLAIN, lambda v: {"extrinsics": v.e, "pose": v.e + np.eye(4)[3] * 0.3, "K": v.k}
    ),
    "a decoy of joints": each(PLAIN, lambda h: {"joints": [np.eye(4)] * 20, "cameras": h.cameras}),
    "blender euler, another order": named(
        PADDED,
        # Turned about z first, then y, then x: the inverse turns the other way.
        lambda v: panel(v, rotation_euler=-euler(v.blender[:3, :3].T)),
        convention=BLENDER,
    ),
    "f cx cy": named(
        PADDED, lambda v: {"extr": v.e[:3], "intr": {"f": v.f, "cx": v.cx, "cy": v.cy}}
    ),
    "normalised fx fy cx cy": named(
        PADDED,
        lambda v: {
            "w2c": v.e,
            "fx_norm": v.f / SIZE,
            "fy_norm": v.g / SIZE,
            "cx_norm": v.cx / SIZE,
            "cy_norm": v.cy / SIZE,
        },
    ),
    "from, to, up": named(
        PADDED,
        lambda v: {"from": v.centre, "to": v.target, "up": v.up, "fov": np.degrees(v.fov)},
    ),
    "columns of a table": whole(
        PADDED,
        lambda every: {
            "subject": [v.subject for h in every for v in h.views],
            "view": [v.number for h in every for v in h.views[::-1]],
            "extrinsics": [v.e for h in every for v in h.views[::-1]],
            "intrinsics": [v.k for h in every for v in h.views[::-1]],
        },
    ),
    "cameras of a rig and frames apart": each(
        PADDED,
        lambda h: {
            "intrinsics": {"0": dict(zip(("fx", "fy", "cx", "cy"), h.views[0].four, strict=True))},
            "frames": [{"image": v.png, "camera_id": 0, "world_to_camera": v.e} for v in h.views],
        },
    ),
    "a head pose beside": each(PLAIN, lambda h: {"head_pose": np.eye(4), "cameras": h.cameras}),
}

#: Held out: written after the reader was finished.
HELD_OUT: dict[str, Arrangement] = {
    "uuid names": named(
        ("3f2a9c1e77", "0b1d22aa90", "9e8d7c6b5a", "77aa11bb22", "c0ffee0123"),
        lambda v: v.both,
        file="{0.name}.json",
    ),
    "ids with two numbers": each(
        ("2024_1", "2024_2", "2023_1", "2023_14", "7_7"),
        lambda h: h.cameras,
        "cam-{0.name}.json",
    ),
    "subject folders, camera folder inside": each(
        PADDED, lambda h: h.cameras, "metadata/{0.name}/params/camera.json"
    ),
    "subject in key, padded": whole(
        PLAIN, lambda every: {f"id{h.number:06d}": {"views": h.cameras} for h in every}
    ),
    "image records": whole(
        PADDED,
        lambda every: {
            "images": [
                {"id": 7 * n + v.number, "file_name": v.path, "width": SIZE, "height": SIZE}
                | v.both
                for n, h in enumerate(every)
                for v in h.views
            ]
        },
    ),
    "subject and view keys": whole(
        WORDS,
        lambda every: [
            {"subject": h.name, "view": v.number, "camera": v.both} for h in every for v in h.views
        ],
    ),
    "subject number and image number": whole(
        PADDED,
        lambda every: [
            {"identity": h.number, "image": v.number, **v.both} for h in every for v in h.views
        ],
    ),
    "k.png entries beside the name": each(
        PADDED,
        lambda h: {"name of the subject": h.name, **{v.png: v.both for v in h.views}},
    ),
    "name, cameras by k.png": each(
        PADDED, lambda h: {"name": h.name, "cameras": {v.png: v.both for v in h.views}}
    ),
    "name, cameras by path": each(
        PLAIN,
        lambda h: {"name": h.name, "cameras": {v.path: v.both for v in h.views}},
        "metadata_id_{0.number}_jsom",
    ),
    "cameras holds matrices by view": each(
        PLAIN,
        lambda h: {
            "name": h.name,
            "cameras": {"extrinsics": by_view(h.e), "intrinsics": h.k[0]},
        },
    ),
    "extrinsics and intrinsics lists in cameras": each(
        PADDED,
        lambda h: {"name": h.name, "cameras": {"extrinsics": h.e, "intrinsics": h.k}},
    ),
    "names and poses side by side": each(
        PADDED,
        lambda h: {
            "images": [v.png for v in h.views[::-1]],
            "poses": h.e[::-1],
            "K": h.k[0],
        },
    ),
    "flat, one for all": whole(
        PADDED,
        lambda every: {
            "files": [v.path for h in every for v in h.views],
            "w2c": [v.e for h in every for v in h.views],
            "K": every[0].k[0],
        },
        one_lens=True,
    ),
    "blender names": each(
        PADDED,
        lambda h: {
            "objects": {
                blender_name(v): {
                    "matrix_world": v.blender,
                    "data": {"lens": v.mm, "sensor_width": 36.0},
                }
                for v in h.views
            }
        },
        convention=BLENDER,
    ),
    "blender scene for all": each(
        PADDED,
        lambda h: {
            "render": {"resolution_x": SIZE, "resolution_y": SIZE},
            "camera": {"lens": h.views[0].mm, "sensor_width": 36},
            "frames": {f"{v.number:04d}": {"matrix_world": v.blender} for v in h.views},
        },
        convention=BLENDER,
    ),
    "location and rotation as objects": named(
        PADDED,
        lambda v: {
            "location": lettered("{}", "xyz", v.blender[:3, 3]),
            "rotation_quaternion": lettered("{}", "wxyz", quaternion(v.blender)),
            "focal_length": v.mm,
            "sensor_width": 36,
        },
        convention=BLENDER,
    ),
    "euler in degrees, view id": each(
        PLAIN,
        lambda h: [
            {
                "index": v.number,
                "location": v.blender[:3, 3],
                "rotation_euler": np.degrees(euler(v.blender)),
                "K": v.k,
            }
            for v in h.views
        ],
        convention=BLENDER,
    ),
    "camera position, lookat, up": named(
        PADDED,
        lambda v: {
            "camera_position": v.centre,
            "look_at": v.target,
            "up_vector": v.up,
            "fov_deg": np.degrees(v.fov),
        },
    ),
    "projection_matrix flat": named(PADDED, lambda v: {"projection_matrix": v.p.ravel()}),
    "bare P": each(PLAIN, lambda h: [v.p for v in h.views], "{0.name}.json"),
    "K of four numbers": named(PADDED, lambda v: {"w2c": v.e, "intrinsics": v.four}),
    "K of 4x4": named(
        PADDED,
        lambda v: {"extrinsic": v.e, "intrinsic": np.pad(v.k, (0, 1)) + np.diag([0, 0, 0, 1])},
    ),
    "R T in objects": named(
        PADDED,
        lambda v: {
            "extrinsics": {"R": v.r, "T": v.t},
            "intrinsics": {"focal": [v.f, v.g], "principal_point": [v.cx, v.cy]},
        },
    ),
    "one lens for all in a file of all": whole(
        PADDED,
        lambda every: {
            "intrinsics": every[0].k[0],
            "subjects": {h.name: {"poses": h.e} for h in every},
        },
        one_lens=True,
    ),
    "lens in a file of its own": Arrangement(
        lambda every: iter(
            [
                ("intrinsics.json", {"K": every[0].k[0]}),
                *((f"{h.name}.json", h.e) for h in every),
            ]
        ),
        PLAIN,
        one_lens=True,
    ),
    "K files beside pose files": Arrangement(
        of_each(
            lambda h: {
                f"{kind}_{v.number:03d}.txt": in_lines(m)
                for v in h.views
                for kind, m in (("cam", v.k), ("pose", v.e))
            }
        ),
        PLAIN,
    ),
    "label files": views(PLAIN, lambda v: in_a_line(v.label), "{0.name}_{1}.txt", convention=C2W),
    "qw qx qy qz tx ty tz": named(
        PLAIN,
        lambda v: {
            **lettered("q{}", "wxyz", quaternion(v.e)),
            **lettered("t{}", "xyz", v.t),
            "K": v.k,
        },
    ),
    "m00 to m33": named(PADDED, lambda v: {**numbered("m", v.e), "K": v.k}),
    "r11 to r33, position_x and K00": named(
        PLAIN,
        lambda v: {
            **numbered("r", v.r.T, 1),
            **lettered("position_{}", "xyz", v.centre),
            **numbered("K", v.k),
        },
        convention=C2W,
    ),
    "m00 to m23, c2w": named(
        PADDED, lambda v: {"c2w": numbered("m", v.c2w[:3]), "K": v.k}, convention=C2W
    ),
    "poses of 7 numbers, w last": each(
        PADDED,
        lambda h: {"poses": [seven(v.c2w, "xyzw") for v in h.views], "K": h.k[0]},
        convention=C2W,
    ),
    "pose of 7 numbers, quaternion first, as text": named(
        PADDED,
        lambda v: {"c2w": in_a_line(np.roll(seven(v.c2w, "wxyz"), 4)), "K": v.k},
        convention=C2W,
    ),
    "position and target, no up": named(
        PLAIN, lambda v: {"position": v.centre, "target": v.target, "K": v.k}, orbit=True
    ),
    "spherical": named(PLAIN, lambda v: sphere(v, "azimuth elevation radius"), orbit=True),
    "spherical, as yaw and pitch": named(
        PLAIN, lambda v: sphere(v, "yaw pitch radius"), orbit=True
    ),
    "spherical, azimuth the other way": named(
        PLAIN,
        lambda v: sphere(v, "azim elev dist", (-1.0, 1.0)),
        # Angles that grow the other way are cameras with these axes in a mirrored world.
        convention=Convention.from_name("world_to_camera opencv_mirrored_x"),
        orbit=True,
    ),
    "spherical, on each image": whole(
        PADDED,
        lambda every: {
            f"{h.name}_{v.number}": sphere(v, "azimuth_deg elevation_deg distance")
            for h in every
            for v in h.views
        },
        orbit=True,
    ),
    "spherical, keys nobody knows": named(PLAIN, lambda v: sphere(v, "theta phi rho"), orbit=True),
    "spherical, from the pole": named(
        PLAIN,
        lambda v: {
            "theta": np.arctan2(v.centre[0], v.centre[2]) % (2 * np.pi),
            "phi": np.arccos(v.centre[1] / np.linalg.norm(v.centre)),
            "r": np.linalg.norm(v.centre),
            "K": v.k,
        },
        orbit=True,
    ),
    "one key twice: m": named(PLAIN, lambda v: {"external": {"m": v.e}, "internal": {"m": v.k}}),
    "one key twice: K": named(PADDED, lambda v: {"pose": {"K": v.e}, "intrinsics": {"K": v.k}}),
    "one key twice: data": named(PLAIN, lambda v: {"ext": {"data": v.e}, "int": {"data": v.k}}),
    "one key twice: matrix": named(
        PADDED, lambda v: {"camera": {"matrix": v.e}, "lens": {"matrix": v.k}}
    ),
    "one key twice, in other case": named(PLAIN, lambda v: {"matrix": v.e, "Matrix": v.k}),
    "K under a name of poses": named(PLAIN, lambda v: {"pose": v.e, "projection": v.k}),
    "K under a name of lengths": named(PLAIN, lambda v: {"w2c": v.e, "lens": v.k}),
    "K under two names": named(PLAIN, lambda v: {"w2c": v.e, "K": v.k, "camera_matrix": v.k}),
    "K under two unknown names": named(PLAIN, lambda v: {"w2c": v.e, "q1": v.k, "q2": v.k}),
    "focal length under two names": named(
        PLAIN, lambda v: {"w2c": v.e, "lens": v.mm, "focal_mm": v.mm, "sensor_width": 36.0}
    ),
    "a crop and a head's rotation beside K": named(
        PLAIN,
        lambda v: {"w2c": v.e, "cropping": np.diag([0.5, 0.5, 1.0]), "head": v.r, "q": v.k},
    ),
    "two objects by subject": whole(
        PADDED,
        lambda every: {
            "extrinsics": {h.name: h.e for h in every},
            "intrinsics": {h.name: h.k for h in every},
        },
    ),
    "two objects by subject and view": whole(
        PADDED,
        lambda every: {
            "extrinsics": {h.name: by_view(h.e) for h in every},
            "intrinsics": {h.name: by_view(h.k) for h in every},
        },
    ),
    "two objects by view, unknown keys": each(
        PLAIN, lambda h: {"a": by_view(h.e), "b": by_view(h.k)}
    ),
    "K by camera beside the cameras": each(
        PADDED,
        lambda h: {
            **{f"cam_{v.number}": {"w2c": v.e} for v in h.views},
            "K": {f"cam_{v.number}": v.k for v in h.views},
        },
    ),
    "two files by subject": Arrangement(in_two(lambda h: h.e, lambda h: h.k[0]), PADDED),
    "two files by subject and view": Arrangement(
        in_two(lambda h: by_view(h.e), lambda h: by_view(h.k)), PADDED
    ),
    "two files a subject": Arrangement(
        of_each(lambda h: {"extrinsics.json": h.e, "intrinsics.json": h.k}), PADDED
    ),
    "two files a subject, one K": Arrangement(
        of_each(lambda h: {"extrinsics.json": h.e, "intrinsics.json": h.k[0]}), PLAIN
    ),
    "K of somebody else": Arrangement(
        lambda every: iter(
            [
                ("extrinsics.json", {h.name: h.e for h in every}),
                ("more.json", {f"x{h.name}y": h.k for h in every[1:]}),
            ]
        ),
        PADDED,
        lensless=True,
    ),
    "file names say nothing": each(
        ("qa", "qb", "ra", "rb", "sa"), lambda h: h.cameras, "{0.name}x.json"
    ),
    "view first, then subject": views(PADDED, lambda v: v.both, "{1}_{0.number:05d}.json"),
    "views by view name": whole(
        WORDS,
        lambda every: {f"view_{n}": {h.name: h.cameras[n] for h in every} for n in range(VIEWS)},
    ),
    "images from 1, numbers from 0": keyed(PADDED, lambda v: f"cam{v.number}", first_view=1),
    "text and a note": Arrangement(
        lambda every: iter([("about.json", {"version": 1, "author": "x"}), *NAMED.files(every)]),
        PADDED,
    ),
    "landmarks and bones": each(
        PADDED,
        lambda h: {
            "name": h.name,
            "body": {"bones": {str(n): np.eye(4) for n in range(VIEWS)}},
            "cameras": h.cameras,
        },
    ),
    "w2c and c2w of other axes": named(
        PADDED, lambda v: {"w2c": v.e, "matrix_world": v.blender, "K": v.k}
    ),
    "pose and lens under numbered keys": named(PADDED, lambda v: {"q17": v.e, "q18": v.k}),
    "all under unknown keys": named(PADDED, lambda v: {"q1": v.k, "q2": v.r, "q3": v.t}),
    "a number that is no view beside": each(
        PLAIN,
        lambda h: {
            "cameras": [
                {"time": 1.5 * v.number, "seed": v.number * 31 % VIEWS, **v.both} for v in h.views
            ]
        },
    ),
    "numbers inside keys": each(
        PLAIN,
        lambda h: {
            key: value
            for v in h.views
            for key, value in (
                (f"camera_{v.number}_extrinsics", v.e),
                (f"camera_{v.number}_intrinsics", v.k),
            )
        },
    ),
    "cameras as Python prints them": named(
        PADDED, lambda v: str({"w2c": v.e.tolist(), "K": v.k.tolist(), "shape": (SIZE, SIZE)})
    ),
    "a whole file as Python prints it": whole(
        PLAIN, lambda every: str({h.name: [plain(v.both) for v in h.views] for h in every})
    ),
    "comments above": each(
        PLAIN, lambda h: "// cameras\n# of one head\n" + json.dumps(plain(h.cameras))
    ),
    "arrays beside numbers that are names": whole(
        PLAIN,
        lambda every: {
            "subjects": [h.name for h in every],
            "poses": [h.e for h in every],
            "K": [h.k for h in every],
        },
    ),
    "Kubric's arrays": each(
        PADDED,
        lambda h: {
            "metadata": {"num_frames": VIEWS, "resolution": [SIZE, SIZE]},
            "camera": {
                "positions": [v.centre for v in h.views],
                "quaternions": [quaternion(v.blender) for v in h.views],
                "K": [v.k / [[SIZE], [SIZE], [1]] * [1, -1, -1] for v in h.views],
                "R": h.views[0].blender,
            },
        },
        convention=BLENDER,
    ),
    "a scene with lights": each(
        PADDED,
        lambda h: {
            "objects": [
                {"name": "Head", "matrix_world": np.eye(4)},
                *({"name": f"Light.{n:03d}", "matrix_world": np.eye(4)} for n in (1, 2)),
                *(
                    {"name": f"Camera.{v.number:03d}", "matrix_world": v.blender, "lens": v.mm}
                    for v in h.views
                ),
            ],
            "sensor_width": 36,
        },
        convention=BLENDER,
    ),
    "COLMAP's cameras": whole(
        PADDED,
        lambda every: {
            "cameras": {"1": {"model": "PINHOLE", "params": every[0].views[0].four}},
            "images": {
                str(row): {"qvec": quaternion(v.e), "tvec": v.t, "camera_id": 1, "name": v.path}
                for row, v in enumerate((v for h in every for v in h.views), 1)
            },
        },
        one_lens=True,
    ),
    "COLMAP's cameras, one focal length": each(
        PLAIN,
        lambda h: {
            "cameras": [{"id": 1, "params": [h.views[0].f, h.views[0].cx, h.views[0].cy]}],
            "images": [
                {"qvec": quaternion(v.e), "tvec": v.t, "camera_id": 1, "name": v.png}
                for v in h.views
            ],
        },
    ),
    "copies in another folder": Arrangement(
        lambda every: (
            (f"{folder}metadata_id_{h.number}.json", {"id": h.number, "cameras": h.cameras})
            for folder in ("", "backup/")
            for h in every
        ),
        PLAIN,
    ),
    "columns of single numbers": whole(
        PADDED,
        lambda every: [
            {
                "subject": v.subject,
                "view": v.number,
                **numbered("r", v.r),
                **{f"t{n}": repr(float(each)) for n, each in enumerate(v.t)},
                **dict(zip(("fx", "fy", "cx", "cy"), v.four, strict=True)),
            }
            for h in every
            for v in h.views
        ],
    ),
    "columns by row": whole(
        PLAIN,
        lambda every: {
            name: {str(row): value(v) for row, v in enumerate(v for h in every for v in h.views)}
            for name, value in {
                "subject_id": lambda v: int(v.subject),
                "file_name": lambda v: v.png,
                "w2c": lambda v: v.e,
                "K": lambda v: v.k,
            }.items()
        },
    ),
    "dots in keys": named(
        PADDED, lambda v: {"sensor.rgb.pose.w2c": v.e, "sensor.rgb.intrinsics": v.four}
    ),
    "x and y": named(
        PADDED,
        lambda v: {
            "position": lettered("{}", "xyz", v.centre),
            "rotation": lettered("{}", "wxyz", quaternion(v.c2w)),
            "focal_length": {"x": v.f / SIZE, "y": v.g / SIZE},
            "principal_point": {"x": v.cx / SIZE, "y": v.cy / SIZE},
        },
        convention=C2W,
        shifted=True,
    ),
    "focal and centre": named(
        PLAIN, lambda v: {"c2w": v.c2w, "focal": v.f / SIZE, "center": [0.5, 0.5]}, convention=C2W
    ),
    "batches of one": named(
        PADDED, lambda v: {"R": v.r[None], "T": v.t[None], "K": v.k[None], "k": [0, 0, 0]}
    ),
    "OpenGL's matrices, column by column": named(
        PLAIN,
        lambda v: {
            "viewMatrix": express(v.e, Convention("world_to_camera", "opengl")).T.ravel(),
            "projectionMatrix": clip_space(v).T.ravel(),
        },
        convention=Convention("world_to_camera", "opengl", transposed=True),
        shifted=True,
    ),
    "mirrored images beside": whole(
        PLAIN,
        lambda every: {
            "labels": [
                [f"{v.subject}/{v.number}{mirrored}.png", v.label]
                for h in every
                for v in h.views
                for mirrored in ("", "_mirror")
            ]
        },
        convention=C2W,
    ),
    "lens shift": named(
        PLAIN,
        lambda v: {
            "c2w": v.c2w,
            "lens": v.mm,
            "sensor_width": 36.0,
            "lensShift": {"x": 0.5 - v.cx / SIZE, "y": v.cy / SIZE - 0.5},
        },
        convention=C2W,
        shifted=True,
    ),
    "long words": whole(
        PADDED,
        lambda every: {
            "render_parameters": {"sensor_size_mm": [36, 24], "image_number_first": 0},
            "heads": [
                {
                    "head_name": v.subject,
                    "image_number": v.number,
                    "camera_matrix_world_opengl": v.blender,
                    "average_focal_length_mm": v.mm,
                }
                for h in every
                for v in h.views
            ],
        },
        convention=BLENDER,
    ),
    "names of images that could be identities": each(
        SEVEN,
        lambda h: {"name": [v.png for v in h.views], "cameras": [v.label for v in h.views]},
        "metadata_id_{0.name}_jsom",
        convention=C2W,
    ),
    "numbers that could be either": Arrangement(
        lambda every: (
            (f"{kind}_{h.number:03d}_{v.number}.txt", in_lines(m))
            for h in every
            for v in h.views
            for kind, m in (("cam", v.k), ("pose", v.e))
        ),
        SEVEN,
    ),
}
