"""Plausible arrangements of camera metadata, written from true cameras; what becomes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from random_cameras import to_canonical

from geogen_hf.cameras import look_at
from geogen_hf.cameras.conventions import CANONICAL, Convention, express
from geogen_hf.cameras.tools import QuaternionOrder, quaternion_from_rotation
from geogen_hf.errors import MetadataError
from geogen_hf.metadata.reader import Document, Metadata, read_metadata
from geogen_hf.metadata.schema import load_camera_schema
from geogen_hf.sample import subject_cameras

SIZE, VIEWS = 48, 7
C2W = Convention("camera_to_world", "opencv")
BLENDER = Convention("camera_to_world", "opengl")

Matrix = NDArray[np.float64]
Form = Callable[[Matrix, Matrix], dict[str, Any]]
"""A camera's object, of canonical extrinsics and pixel intrinsics."""


@dataclass(frozen=True, eq=False)
class Head:
    """One identity: its name, and true cameras."""

    name: str
    extrinsics: Matrix
    intrinsics: Matrix

    @property
    def number(self) -> int:
        return int(re.findall(r"\d+", self.name)[-1])


def heads(names: list[str], *, one_lens: bool = False, orbit: bool = False) -> list[Head]:
    """True cameras for identities of any name; each has a lens of its own, or all have one."""
    found = []
    for row, name in enumerate(names):
        extrinsics, intrinsics = subject_cameras(f"subj_{row:05d}", views=VIEWS, size=SIZE)
        intrinsics[:, [0, 1], [0, 1]] *= 1.1 if one_lens else 1.1 + 0.03 * row
        if orbit:
            extrinsics = look_at([centre(e) for e in extrinsics], (0, 0, 0), (0, 1, 0))
        found.append(Head(name, extrinsics, intrinsics))
    return found


PLAIN = ["0", "2", "17", "9", "103"]
PADDED = ["subj_00003", "subj_00004", "subj_00011", "subj_00120", "subj_00121"]
WORDS = ["alice", "bob", "Carol", "dave", "Erin"]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How metadata may be written.

    Attributes:
        files: Name and value of each file; a str is written as it is, anything else as JSON.
        names: The identities, as the images have them.
        convention: Of the matrices.
        first_view: Number of the first image of each identity.
        one_lens: Whether all identities have one lens.
        lensless: Whether intrinsics are not written.
        orbit: Whether all cameras look at the origin.
    """

    files: Callable[[list[Head]], Iterator[tuple[str, Any]]]
    names: list[str]
    convention: Convention = CANONICAL
    first_view: int = 0
    one_lens: bool = False
    lensless: bool = False
    orbit: bool = False


def whole(e: Matrix, k: Matrix) -> dict[str, Any]:
    return {"extrinsics": e.tolist(), "intrinsics": k.tolist()}


def cameras(head: Head, form: Form = whole) -> list[dict[str, Any]]:
    return [form(e, k) for e, k in zip(head.extrinsics, head.intrinsics, strict=True)]


def one_each(
    value: Callable[[Head], Any], name: str = "metadata_{0.name}.json"
) -> Callable[[list[Head]], Iterator[tuple[str, Any]]]:
    """One file an identity."""
    return lambda every: ((name.format(head), value(head)) for head in every)


def one_view(
    value: Callable[[Head, int], Any], name: str
) -> Callable[[list[Head]], Iterator[tuple[str, Any]]]:
    """One file an image."""
    return lambda every: (
        (name.format(head, view), value(head, view)) for head in every for view in range(VIEWS)
    )


def one_file(
    value: Callable[[list[Head]], Any], name: str = "cameras.json"
) -> Callable[[list[Head]], Iterator[tuple[str, Any]]]:
    return lambda every: iter([(name, value(every))])


def named(form: Form = whole) -> Callable[[Head], Any]:
    return lambda head: {"name": head.name, "cameras": cameras(head, form)}


def by(key: Callable[[Head, int], str], form: Form = whole) -> Callable[[Head], dict[str, Any]]:
    return lambda head: {key(head, v): c for v, c in enumerate(cameras(head, form))}


def listed(
    key: str, value: Callable[[Head, int], Any], form: Form = whole
) -> Callable[[Head], list[Any]]:
    """Cameras with a key more, in another order than the views."""
    return lambda head: [{key: value(head, v), **c} for v, c in enumerate(cameras(head, form))][
        ::-1
    ]


def documents(arrangement: Arrangement, every: list[Head]) -> list[Document]:
    return [
        Document(f"P8: {name}", (v if isinstance(v, str) else json.dumps(v)).encode(), name)
        for name, v in arrangement.files(every)
    ]


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
            good = np.abs(e[0] - head.extrinsics[view]).max() <= 1e-3
            if arrangement.lensless:
                assert one.intrinsics.kind == "absent"
                k = head.intrinsics[[view]]
            if not good or np.abs(k[0] - head.intrinsics[view]).max() > 1e-3 * SIZE:
                wrong.append(image)
    return wrong, missing


def outcome(arrangement: Arrangement) -> tuple[str, str]:
    """What becomes of an arrangement, and the description or the message.

    `"loads"`, `"remedied"` (refused, and a printed `camera_schema` loads it), `"refused"`,
    `"incomplete"` or `"wrong"`.
    """
    every = heads(arrangement.names, one_lens=arrangement.one_lens, orbit=arrangement.orbit)
    first = arrangement.first_view
    views = {head.name: range(first, first + VIEWS) for head in every}
    files = documents(arrangement, every)
    try:
        found = read_metadata(files, views)
    except MetadataError as error:
        for text in re.findall(
            r"(?:camera_schema=|or )(\{.*?\}\}?)(?= or|;|,? or |$| \()", str(error)
        ):
            try:
                schema = load_camera_schema(json.loads(text))
                found = read_metadata(files, views, schema=schema)
            except (ValueError, MetadataError):
                continue
            wrong, missing = wrong_cameras(arrangement, every, found)
            if not wrong and not missing and not found.problems:
                return "remedied", f"{text}\n{error}"
        return "refused", str(error)
    wrong, missing = wrong_cameras(arrangement, every, found)
    if wrong:
        return "wrong", f"{wrong[:4]} {found.description}"
    if missing or found.problems:
        return "incomplete", f"{missing[:4]} {found.problems[:3]} {found.description}"
    return "loads", found.description


# --- forms of a camera


def expressed(convention: Convention, form: Form) -> Form:
    return lambda e, k: form(express(e, convention), k)


def keyed(**values: Callable[[Matrix, Matrix], Any]) -> Form:
    """An object of values, each made of the (expressed) matrix and the intrinsics."""
    return lambda e, k: {name: np.asarray(v(e, k)).tolist() for name, v in values.items()}


def euler(turn: Matrix) -> Matrix:
    """Blender's XYZ angles, by the formulas of its manual's order: Rz Ry Rx."""
    return np.array(
        [
            np.arctan2(turn[2, 1], turn[2, 2]),
            np.arcsin(np.clip(-turn[2, 0], -1, 1)),
            np.arctan2(turn[1, 0], turn[0, 0]),
        ]
    )


def entries(head: Head) -> list[float]:
    """fx fy cx cy of the first view."""
    found: list[float] = head.intrinsics[0][[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    return found


def as_text(value: Any) -> Any:
    return [as_text(v) for v in value] if isinstance(value, list) else repr(value)


def projection(e: Matrix, k: Matrix) -> Matrix:
    return k @ e[:3]


def fov(k: Matrix) -> float:
    return float(2 * np.arctan(SIZE / 2 / k[0, 0]))


FOCAL_MM = keyed(
    matrix_world=lambda e, k: e,
    lens=lambda e, k: k[0, 0] * 36 / SIZE,
    sensor_width=lambda e, k: 36.0,
)


def turned_by(angles: Callable[[Matrix, Matrix], Any]) -> Form:
    """A camera as Blender's panel shows it, by its angles."""
    return keyed(
        location=lambda e, k: e[:3, 3],
        rotation_euler=angles,
        lens=lambda e, k: k[0, 0] * 36 / SIZE,
        sensor_width=lambda e, k: 36.0,
    )


def label(e: Matrix, k: Matrix) -> list[float]:
    unit = k / np.array([[SIZE], [SIZE], [1.0]])
    return [*express(e, C2W).ravel().tolist(), *unit.ravel().tolist()]


def target_of(e: Matrix, k: Matrix) -> Matrix:
    return (-e[:3, :3].T @ e[:3, 3]) + 1.7 * e[2, :3]


def centre(e: Matrix) -> Matrix:
    return -e[:3, :3].T @ e[:3, 3]


EYE = keyed(
    eye=lambda e, k: centre(e), target=target_of, up=lambda e, k: -e[1, :3], K=lambda e, k: k
)

NAMED, BARE = named(), one_each(lambda head: head.extrinsics.tolist(), "{0.name}.json")
K0 = heads(["0"])[0].intrinsics[0]

#: Development set: what the reader was written against.
ARRANGEMENTS: dict[str, Arrangement] = {
    # names
    "plain ids, name": Arrangement(one_each(named()), PLAIN),
    "plain ids, file only": Arrangement(one_each(cameras), PLAIN),
    "metadata_id_n.json": Arrangement(one_each(cameras, "metadata_id_{0.number}.json"), PADDED),
    "metadata_id_n_json, no ending": Arrangement(
        one_each(named(), "metadata_id_{0.number}_json"), PADDED
    ),
    "no ending at all": Arrangement(one_each(named(), "{0.name}"), PLAIN),
    "padded metadata, plain images": Arrangement(one_each(cameras, "{0.number:07d}.json"), PLAIN),
    "plain metadata, padded images": Arrangement(one_each(cameras, "{0.number}.json"), PADDED),
    "other case": Arrangement(
        one_file(lambda every: {h.name.upper(): cameras(h) for h in every}), WORDS
    ),
    "words in file": Arrangement(one_each(cameras, "metadata_{0.name}_cameras.json"), WORDS),
    "words in folder": Arrangement(one_each(cameras, "{0.name}/cameras.json"), WORDS),
    "name is a number": Arrangement(
        one_each(lambda h: {"name": h.number, "cameras": cameras(h)}, "{0.number:05d}.json"), PLAIN
    ),
    "name is no id": Arrangement(
        one_each(lambda h: {"name": "Jane Doe", "cameras": cameras(h)}, "{0.name}.json"), PLAIN
    ),
    "name is an image": Arrangement(
        one_file(
            lambda every: [
                {"name": f"{h.name}/{v}.png", "cameras": c}
                for h in every
                for v, c in enumerate(cameras(h))
            ]
        ),
        PLAIN,
    ),
    "name is an image, a file each": Arrangement(
        one_view(
            lambda h, v: {"name": f"{h.name}/{v}.png", "cameras": cameras(h)[v]},
            "metadata_{0.name}_{1}.json",
        ),
        PLAIN,
    ),
    "names in a list": Arrangement(
        one_each(
            lambda h: {
                "name": [f"{v}.png" for v in reversed(range(VIEWS))],
                "cameras": cameras(h)[::-1],
            }
        ),
        PLAIN,
    ),
    "paths in a list": Arrangement(
        one_file(
            lambda every: {
                "name of the subject": [f"{h.name}/{v}.png" for h in every for v in range(VIEWS)],
                "cameras": [c for h in every for c in cameras(h)],
            }
        ),
        PADDED,
    ),
    "keyed by subject name on top": Arrangement(one_each(lambda h: {h.name: cameras(h)}), WORDS),
    "keyed by file on top": Arrangement(
        one_file(lambda every: {k: c for h in every for k, c in by(_path)(h).items()}), PLAIN
    ),
    "views by 3.png": Arrangement(one_each(by(lambda h, v: f"{v}.png")), PLAIN),
    "views from 1": Arrangement(one_each(by(lambda h, v: str(v + 1))), PLAIN),
    "views from 1, images too": Arrangement(
        one_each(by(lambda h, v: f"{v + 1}.png")), PLAIN, first_view=1
    ),
    "images from 1, list": Arrangement(one_each(cameras), PLAIN, first_view=1),
    "Camera.003": Arrangement(
        one_each(by(lambda h, v: f"Camera.{v:03d}" if v else "Camera")), PLAIN
    ),
    "Camera.003 in name": Arrangement(
        one_each(
            lambda h: {
                "cameras": listed("name", lambda h, v: f"Camera.{v:03d}" if v else "Camera")(h)
            }
        ),
        PLAIN,
    ),
    "cam_3, unknown keys around": Arrangement(
        one_each(lambda h: {"rig": {"shots": by(lambda h, v: f"cam_{v}")(h)}}), PLAIN
    ),
    "view id in another key": Arrangement(
        one_each(lambda h: {"cameras": listed("shot_no", lambda h, v: v)(h)}), PLAIN
    ),
    "left and right": Arrangement(
        one_each(by(lambda h, v: ["front", "left", "right", "back", "up", "low", "far"][v])), PLAIN
    ),
    "all, listed": Arrangement(
        one_file(lambda every: {"subjects": [named()(h) for h in every]}), PADDED
    ),
    "all, by id and view": Arrangement(
        one_file(lambda every: {h.name: by(lambda h, v: str(v))(h) for h in every}), PLAIN
    ),
    "all, lists of lists": Arrangement(one_file(lambda every: [cameras(h) for h in every]), PADDED),
    "all, ids beside": Arrangement(
        one_file(
            lambda every: {
                "subjects": [h.name for h in every[::-1]],
                "cameras": [cameras(h) for h in every[::-1]],
            }
        ),
        WORDS,
    ),
    "json lines": Arrangement(
        one_file(lambda every: "\n".join(json.dumps(named()(h)) for h in every), "metadata.jsonl"),
        PADDED,
    ),
    "file an image": Arrangement(one_view(lambda h, v: cameras(h)[v], "{0.name}/{1}.json"), PLAIN),
    "file an image, metadata_0000123_004": Arrangement(
        one_view(
            lambda h, v: {
                "camera": {
                    "world_to_camera": h.extrinsics[v].tolist(),
                    "camera_to_image": h.intrinsics[v].tolist(),
                    "resolution": [SIZE, SIZE],
                },
                "landmarks": {"2D": [[1, 2]] * 70},
                "pose": [[0.1] * 3] * 52,
            },
            "metadata_{0.number:07d}_{1:03d}.json",
        ),
        PLAIN,
    ),
    "file an image, view folders": Arrangement(
        one_view(lambda h, v: cameras(h)[v], "view_{1}/{0.name}.json"), PLAIN
    ),
    "transforms.json": Arrangement(
        one_each(
            lambda h: {
                "camera_angle_x": fov(h.intrinsics[0]),
                "frames": [
                    {"file_path": f"./images/{v}", "transform_matrix": express(e, BLENDER).tolist()}
                    for v, e in enumerate(h.extrinsics)
                ],
            },
            "{0.name}/transforms.json",
        ),
        PADDED,
        BLENDER,
        one_lens=True,
    ),
    "dataset.json": Arrangement(
        one_file(
            lambda every: {
                "labels": [
                    [f"{h.number:05d}/{v}.png", label(h.extrinsics[v], h.intrinsics[v])]
                    for h in every
                    for v in range(VIEWS)
                ]
            },
            "dataset.json",
        ),
        PLAIN,
        C2W,
    ),
    # forms
    "bare 4x4": Arrangement(BARE, PLAIN, lensless=True),
    "bare 3x4": Arrangement(
        one_each(lambda h: h.extrinsics[:, :3].tolist(), "{0.name}.json"), PLAIN, lensless=True
    ),
    "bare 16": Arrangement(
        one_each(lambda h: h.extrinsics.reshape(VIEWS, 16).tolist(), "{0.name}.json"),
        PLAIN,
        lensless=True,
    ),
    "bare 12": Arrangement(
        one_each(lambda h: h.extrinsics[:, :3].reshape(VIEWS, 12).tolist(), "{0.name}.json"),
        PLAIN,
        lensless=True,
    ),
    "bare 25": Arrangement(
        one_each(
            lambda h: [label(e, k) for e, k in zip(h.extrinsics, h.intrinsics, strict=True)],
            "{0.name}.json",
        ),
        PLAIN,
        C2W,
    ),
    "bare by view": Arrangement(
        one_each(lambda h: {str(v): e.tolist() for v, e in enumerate(h.extrinsics)}),
        PLAIN,
        lensless=True,
    ),
    "bare 4x4 a file": Arrangement(
        one_view(lambda h, v: h.extrinsics[v].tolist(), "{0.name}_{1}.json"), PADDED, lensless=True
    ),
    "text file a view": Arrangement(
        one_view(
            lambda h, v: "\n".join(" ".join(map(repr, row)) for row in h.extrinsics[v].tolist()),
            "{0.name}/{1:03d}.txt",
        ),
        PADDED,
        lensless=True,
    ),
    "cameras are matrices": Arrangement(
        one_each(
            lambda h: {
                "name": h.name,
                "cameras": h.extrinsics.tolist(),
                "intrinsics": h.intrinsics[0].tolist(),
            }
        ),
        PLAIN,
    ),
    "matrix under an unknown key": Arrangement(
        one_each(named(keyed(mtx=lambda e, k: e, K=lambda e, k: k))), PLAIN
    ),
    "both under unknown keys": Arrangement(
        one_each(named(keyed(aa=lambda e, k: e, bb=lambda e, k: k))), PLAIN
    ),
    "stacked": Arrangement(
        one_each(
            lambda h: {
                "name": h.name,
                "extrinsics": h.extrinsics.tolist(),
                "intrinsics": h.intrinsics.tolist(),
            }
        ),
        PLAIN,
    ),
    "stacked by view": Arrangement(
        one_each(
            lambda h: {
                "w2c": {str(v): e.tolist() for v, e in enumerate(h.extrinsics)},
                "K": {str(v): k.tolist() for v, k in enumerate(h.intrinsics)},
            }
        ),
        PLAIN,
    ),
    "stacked R t": Arrangement(
        one_each(
            lambda h: {
                "R": h.extrinsics[:, :3, :3].tolist(),
                "t": h.extrinsics[:, :3, 3].tolist(),
                "K": h.intrinsics[0].tolist(),
            }
        ),
        PLAIN,
    ),
    "one lens a subject": Arrangement(
        one_each(
            lambda h: {
                "intrinsics": h.intrinsics[0].tolist(),
                "cameras": [{"extrinsics": e.tolist()} for e in h.extrinsics],
            }
        ),
        PLAIN,
    ),
    "lens list beside": Arrangement(
        one_each(
            lambda h: {
                "intrinsics": h.intrinsics.tolist(),
                "cameras": [{"extrinsics": e.tolist()} for e in h.extrinsics],
            }
        ),
        PLAIN,
    ),
    "blender object": Arrangement(one_each(named(expressed(BLENDER, FOCAL_MM))), PADDED, BLENDER),
    "blender euler": Arrangement(
        one_each(
            named(
                expressed(
                    BLENDER,
                    turned_by(lambda e, k: euler(e[:3, :3])),
                )
            )
        ),
        PADDED,
        BLENDER,
    ),
    "euler in degrees": Arrangement(
        one_each(
            named(
                expressed(
                    BLENDER,
                    keyed(
                        position=lambda e, k: e[:3, 3],
                        rotation=lambda e, k: np.degrees(euler(e[:3, :3])),
                        fov=lambda e, k: np.degrees(fov(k)),
                    ),
                )
            )
        ),
        PADDED,
        BLENDER,
    ),
    "blender quaternion": Arrangement(
        one_each(
            named(
                expressed(
                    BLENDER,
                    keyed(
                        location=lambda e, k: e[:3, 3],
                        rotation_quaternion=lambda e, k: quaternion_from_rotation(
                            e[:3, :3], "wxyz"
                        ),
                        angle=lambda e, k: fov(k),
                    ),
                )
            )
        ),
        PADDED,
        BLENDER,
    ),
    "rotation and place": Arrangement(
        one_each(
            named(
                keyed(
                    rotation=lambda e, k: e[:3, :3],
                    position=lambda e, k: centre(e),
                    K=lambda e, k: k,
                )
            )
        ),
        PADDED,
        C2W,
    ),
    "look at": Arrangement(one_each(named(EYE)), PADDED),
    "eye center up": Arrangement(
        one_each(
            named(
                keyed(
                    eye=lambda e, k: centre(e),
                    center=target_of,
                    up=lambda e, k: -e[1, :3],
                    fov_y=lambda e, k: fov(k),
                )
            )
        ),
        PLAIN,
    ),
    "P": Arrangement(one_each(named(keyed(P=projection))), PLAIN),
    "P under an unknown key": Arrangement(one_each(named(keyed(m34=projection))), PLAIN),
    "both ways": Arrangement(
        one_each(
            named(
                keyed(
                    world2cam=lambda e, k: e,
                    cam2world=lambda e, k: np.linalg.inv(e),
                    K=lambda e, k: k,
                )
            )
        ),
        PLAIN,
    ),
    "numbers as text": Arrangement(
        one_each(named(lambda e, k: {"w2c": as_text(e.tolist()), "K": as_text(k.tolist())})), PLAIN
    ),
    "matrix as one text": Arrangement(
        one_each(
            named(
                lambda e, k: {
                    "extrinsic": " ".join(map(repr, e.ravel().tolist())),
                    "intrinsic": " ".join(map(repr, k.ravel().tolist())),
                }
            )
        ),
        PLAIN,
    ),
    "opencv rvec": Arrangement(
        one_each(
            named(
                keyed(
                    rvec=lambda e, k: _rodrigues(e[:3, :3]),
                    tvec=lambda e, k: e[:3, 3],
                    camera_matrix=lambda e, k: k,
                )
            )
        ),
        PLAIN,
    ),
    "fx fy only": Arrangement(
        one_each(
            named(keyed(w2c=lambda e, k: e, fx=lambda e, k: k[0, 0], fy=lambda e, k: k[1, 1]))
        ),
        PLAIN,
    ),
    "f in mm alone": Arrangement(
        one_each(named(keyed(w2c=lambda e, k: e, lens=lambda e, k: k[0, 0] * 36 / SIZE))), PLAIN
    ),
    "two poses that differ": Arrangement(
        one_each(
            named(
                keyed(
                    extrinsics=lambda e, k: e,
                    pose=lambda e, k: e + np.eye(4)[3] * 0.3,
                    K=lambda e, k: k,
                )
            )
        ),
        PLAIN,
    ),
    "a decoy of joints": Arrangement(
        one_each(lambda h: {"joints": [np.eye(4).tolist()] * 20, "cameras": cameras(h)}), PLAIN
    ),
    "blender euler, another order": Arrangement(
        one_each(
            named(
                expressed(
                    BLENDER,
                    # Turned about z first, then y, then x: the inverse turns the other way.
                    turned_by(lambda e, k: -euler(e[:3, :3].T)),
                )
            )
        ),
        PADDED,
        BLENDER,
    ),
    "f cx cy": Arrangement(
        one_each(
            named(
                lambda e, k: {
                    "extr": e[:3].tolist(),
                    "intr": {"f": k[0, 0], "cx": k[0, 2], "cy": k[1, 2]},
                }
            )
        ),
        PADDED,
    ),
    "normalised fx fy cx cy": Arrangement(
        one_each(
            named(
                keyed(
                    w2c=lambda e, k: e,
                    fx_norm=lambda e, k: k[0, 0] / SIZE,
                    fy_norm=lambda e, k: k[1, 1] / SIZE,
                    cx_norm=lambda e, k: k[0, 2] / SIZE,
                    cy_norm=lambda e, k: k[1, 2] / SIZE,
                )
            )
        ),
        PADDED,
    ),
    "from, to, up": Arrangement(
        one_each(
            named(
                lambda e, k: {
                    "from": centre(e).tolist(),
                    "to": target_of(e, k).tolist(),
                    "up": (-e[1, :3]).tolist(),
                    "fov": np.degrees(fov(k)),
                }
            )
        ),
        PADDED,
    ),
    "columns of a table": Arrangement(
        one_file(
            lambda every: {
                "subject": [h.name for h in every for _ in range(VIEWS)],
                "view": [VIEWS - 1 - v for _ in every for v in range(VIEWS)],
                "extrinsics": [e.tolist() for h in every for e in h.extrinsics[::-1]],
                "intrinsics": [k.tolist() for h in every for k in h.intrinsics[::-1]],
            }
        ),
        PADDED,
    ),
    "cameras of a rig and frames apart": Arrangement(
        one_each(
            lambda h: {
                "intrinsics": {"0": dict(zip(("fx", "fy", "cx", "cy"), entries(h), strict=True))},
                "frames": [
                    {"image": f"{v}.png", "camera_id": 0, "world_to_camera": e.tolist()}
                    for v, e in enumerate(h.extrinsics)
                ],
            }
        ),
        PADDED,
    ),
    "a head pose beside": Arrangement(
        one_each(lambda h: {"head_pose": np.eye(4).tolist(), "cameras": cameras(h)}), PLAIN
    ),
}


def _path(head: Head, view: int) -> str:
    return f"{head.name}/{view}.png"


def _rodrigues(turn: Matrix) -> Matrix:
    w, *xyz = quaternion_from_rotation(turn, "wxyz").tolist()
    angle = 2 * np.arccos(np.clip(w, -1, 1))
    return np.array(xyz) / max(np.sin(angle / 2), 1e-12) * angle


def spherical(e: Matrix) -> tuple[float, float, float]:
    """Azimuth from z towards x and elevation towards y, in degrees, and distance."""
    x, y, z = centre(e)
    away = float(np.linalg.norm(centre(e)))
    return float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arcsin(y / away))), away


def spheres(
    azimuth: str, elevation: str, distance: str, signs: tuple[float, float] = (1.0, 1.0)
) -> Form:
    return lambda e, k: {
        azimuth: spherical(e)[0] * signs[0],
        elevation: spherical(e)[1] * signs[1],
        distance: spherical(e)[2],
        "K": k.tolist(),
    }


def lettered(key: str, letters: str, values: Matrix) -> dict[str, float]:
    """Single numbers under keys that end in letters."""
    return {key.format(each): v for each, v in zip(letters, values.tolist(), strict=True)}


def numbered(key: str, matrix: Matrix, first: int = 0) -> dict[str, float]:
    """Single numbers under keys that end in row and column."""
    return {f"{key}{i + first}{j + first}": float(v) for (i, j), v in np.ndenumerate(matrix)}


def seven(e: Matrix, order: QuaternionOrder) -> list[float]:
    """The last column, and a quaternion."""
    found: list[float] = [*e[:3, 3].tolist(), *quaternion_from_rotation(e[:3, :3], order).tolist()]
    return found


def mirrored_world(name: str) -> Convention:
    """Angles that grow the other way are cameras with these axes in a mirrored world."""
    return Convention.from_name(f"world_to_camera opencv_mirrored_{name}")


def held_in(pose: str, intrinsics: str, key: str) -> Form:
    """Both matrices under the same key, in objects of their own."""
    return lambda e, k: {pose: {key: e.tolist()}, intrinsics: {key: k.tolist()}}


def by_view(matrices: Matrix) -> dict[str, Any]:
    return {f"{view}.png": matrix for view, matrix in enumerate(matrices.tolist())}


#: Held out: written after the reader was finished.
HELD_OUT: dict[str, Arrangement] = {
    "uuid names": Arrangement(
        one_each(named(), "{0.name}.json"),
        ["3f2a9c1e77", "0b1d22aa90", "9e8d7c6b5a", "77aa11bb22", "c0ffee0123"],
    ),
    "ids with two numbers": Arrangement(
        one_each(cameras, "cam-{0.name}.json"), ["2024_1", "2024_2", "2023_1", "2023_14", "7_7"]
    ),
    "subject folders, camera folder inside": Arrangement(
        one_each(cameras, "metadata/{0.name}/params/camera.json"), PADDED
    ),
    "subject in key, padded": Arrangement(
        one_file(lambda every: {f"id{h.number:06d}": {"views": cameras(h)} for h in every}), PLAIN
    ),
    "image records": Arrangement(
        one_file(
            lambda every: {
                "images": [
                    {
                        "id": 7 * n + v,
                        "file_name": f"{h.name}/{v}.png",
                        "width": SIZE,
                        "height": SIZE,
                    }
                    | c
                    for n, h in enumerate(every)
                    for v, c in enumerate(cameras(h))
                ]
            }
        ),
        PADDED,
    ),
    "subject and view keys": Arrangement(
        one_file(
            lambda every: [
                {"subject": h.name, "view": v, "camera": c}
                for h in every
                for v, c in enumerate(cameras(h))
            ]
        ),
        WORDS,
    ),
    "subject number and image number": Arrangement(
        one_file(
            lambda every: [
                {"identity": h.number, "image": v, **c}
                for h in every
                for v, c in enumerate(cameras(h))
            ]
        ),
        PADDED,
    ),
    "k.png entries beside the name": Arrangement(
        one_each(lambda h: {"name of the subject": h.name, **by(lambda h, v: f"{v}.png")(h)}),
        PADDED,
    ),
    "name, cameras by k.png": Arrangement(
        one_each(lambda h: {"name": h.name, "cameras": by(lambda h, v: f"{v}.png")(h)}), PADDED
    ),
    "name, cameras by path": Arrangement(
        one_each(
            lambda h: {"name": h.name, "cameras": by(_path)(h)}, "metadata_id_{0.number}_jsom"
        ),
        PLAIN,
    ),
    "cameras holds matrices by view": Arrangement(
        one_each(
            lambda h: {
                "name": h.name,
                "cameras": {
                    "extrinsics": {f"{v}.png": e.tolist() for v, e in enumerate(h.extrinsics)},
                    "intrinsics": h.intrinsics[0].tolist(),
                },
            }
        ),
        PLAIN,
    ),
    "extrinsics and intrinsics lists in cameras": Arrangement(
        one_each(
            lambda h: {
                "name": h.name,
                "cameras": {
                    "extrinsics": h.extrinsics.tolist(),
                    "intrinsics": h.intrinsics.tolist(),
                },
            }
        ),
        PADDED,
    ),
    "names and poses side by side": Arrangement(
        one_each(
            lambda h: {
                "images": [f"{v}.png" for v in range(VIEWS)][::-1],
                "poses": h.extrinsics[::-1].tolist(),
                "K": h.intrinsics[0].tolist(),
            }
        ),
        PADDED,
    ),
    "flat, one for all": Arrangement(
        one_file(
            lambda every: {
                "files": [f"{h.name}/{v}.png" for h in every for v in range(VIEWS)],
                "w2c": [e.tolist() for h in every for e in h.extrinsics],
                "K": every[0].intrinsics[0].tolist(),
            }
        ),
        PADDED,
        one_lens=True,
    ),
    "blender names": Arrangement(
        one_each(
            lambda h: {
                "objects": {
                    (f"Camera.{v:03d}" if v else "Camera"): {
                        "matrix_world": express(e, BLENDER).tolist(),
                        "data": {"lens": k[0, 0] * 36 / SIZE, "sensor_width": 36.0},
                    }
                    for v, (e, k) in enumerate(zip(h.extrinsics, h.intrinsics, strict=True))
                }
            }
        ),
        PADDED,
        BLENDER,
    ),
    "blender scene for all": Arrangement(
        one_each(
            lambda h: {
                "render": {"resolution_x": SIZE, "resolution_y": SIZE},
                "camera": {"lens": h.intrinsics[0][0, 0] * 36 / SIZE, "sensor_width": 36},
                "frames": {
                    f"{v:04d}": {"matrix_world": express(e, BLENDER).tolist()}
                    for v, e in enumerate(h.extrinsics)
                },
            }
        ),
        PADDED,
        BLENDER,
    ),
    "location and rotation as objects": Arrangement(
        one_each(
            named(
                lambda e, k: {
                    "location": dict(zip("xyz", express(e, BLENDER)[:3, 3].tolist(), strict=True)),
                    "rotation_quaternion": dict(
                        zip(
                            "wxyz",
                            quaternion_from_rotation(express(e, BLENDER)[:3, :3], "wxyz").tolist(),
                            strict=True,
                        )
                    ),
                    "focal_length": k[0, 0] * 36 / SIZE,
                    "sensor_width": 36,
                }
            )
        ),
        PADDED,
        BLENDER,
    ),
    "euler in degrees, view id": Arrangement(
        one_each(
            lambda h: [
                {
                    "index": v,
                    "location": express(e, BLENDER)[:3, 3].tolist(),
                    "rotation_euler": np.degrees(euler(express(e, BLENDER)[:3, :3])).tolist(),
                    "K": k.tolist(),
                }
                for v, (e, k) in enumerate(zip(h.extrinsics, h.intrinsics, strict=True))
            ]
        ),
        PLAIN,
        BLENDER,
    ),
    "camera position, lookat, up": Arrangement(
        one_each(
            named(
                keyed(
                    camera_position=lambda e, k: centre(e),
                    look_at=target_of,
                    up_vector=lambda e, k: -e[1, :3],
                    fov_deg=lambda e, k: np.degrees(fov(k)),
                )
            )
        ),
        PADDED,
    ),
    "projection_matrix flat": Arrangement(
        one_each(named(keyed(projection_matrix=lambda e, k: projection(e, k).ravel()))), PADDED
    ),
    "bare P": Arrangement(
        one_each(
            lambda h: [
                projection(e, k).tolist() for e, k in zip(h.extrinsics, h.intrinsics, strict=True)
            ],
            "{0.name}.json",
        ),
        PLAIN,
    ),
    "K of four numbers": Arrangement(
        one_each(
            named(keyed(w2c=lambda e, k: e, intrinsics=lambda e, k: k[[0, 1, 0, 1], [0, 1, 2, 2]]))
        ),
        PADDED,
    ),
    "K of 4x4": Arrangement(
        one_each(
            named(
                keyed(
                    extrinsic=lambda e, k: e,
                    intrinsic=lambda e, k: np.block(
                        [[k, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]
                    ),
                )
            )
        ),
        PADDED,
    ),
    "R T in objects": Arrangement(
        one_each(
            named(
                lambda e, k: {
                    "extrinsics": {"R": e[:3, :3].tolist(), "T": e[:3, 3].tolist()},
                    "intrinsics": {
                        "focal": [k[0, 0], k[1, 1]],
                        "principal_point": k[:2, 2].tolist(),
                    },
                }
            )
        ),
        PADDED,
    ),
    "one lens for all in a file of all": Arrangement(
        one_file(
            lambda every: {
                "intrinsics": every[0].intrinsics[0].tolist(),
                "subjects": {h.name: {"poses": h.extrinsics.tolist()} for h in every},
            }
        ),
        PADDED,
        one_lens=True,
    ),
    "lens in a file of its own": Arrangement(
        lambda every: iter(
            [
                ("intrinsics.json", {"K": every[0].intrinsics[0].tolist()}),
                *((f"{h.name}.json", h.extrinsics.tolist()) for h in every),
            ]
        ),
        PLAIN,
        one_lens=True,
    ),
    "K files beside pose files": Arrangement(
        lambda every: (
            (f"{h.name}/{kind}_{v:03d}.txt", "\n".join(" ".join(map(repr, r)) for r in m.tolist()))
            for h in every
            for v in range(VIEWS)
            for kind, m in (("cam", h.intrinsics[v]), ("pose", h.extrinsics[v]))
        ),
        PLAIN,
    ),
    "label files": Arrangement(
        one_view(
            lambda h, v: " ".join(map(repr, label(h.extrinsics[v], h.intrinsics[v]))),
            "{0.name}_{1}.txt",
        ),
        PLAIN,
        C2W,
    ),
    "qw qx qy qz tx ty tz": Arrangement(
        one_each(
            named(
                lambda e, k: {
                    **lettered("q{}", "wxyz", quaternion_from_rotation(e[:3, :3], "wxyz")),
                    **lettered("t{}", "xyz", e[:3, 3]),
                    "K": k.tolist(),
                }
            )
        ),
        PLAIN,
    ),
    "m00 to m33": Arrangement(
        one_each(named(lambda e, k: {**numbered("m", e), "K": k.tolist()})), PADDED
    ),
    "r11 to r33, position_x and K00": Arrangement(
        one_each(
            named(
                lambda e, k: {
                    **numbered("r", e[:3, :3].T, 1),
                    **lettered("position_{}", "xyz", centre(e)),
                    **numbered("K", k),
                }
            )
        ),
        PLAIN,
        C2W,
    ),
    "m00 to m23, c2w": Arrangement(
        one_each(
            named(expressed(C2W, lambda e, k: {"c2w": numbered("m", e[:3]), "K": k.tolist()}))
        ),
        PADDED,
        C2W,
    ),
    "poses of 7 numbers, w last": Arrangement(
        one_each(
            lambda h: {
                "poses": [seven(express(e, C2W), "xyzw") for e in h.extrinsics],
                "K": h.intrinsics[0].tolist(),
            }
        ),
        PADDED,
        C2W,
    ),
    "pose of 7 numbers, quaternion first, as text": Arrangement(
        one_each(
            named(
                lambda e, k: {
                    "c2w": " ".join(map(repr, np.roll(seven(express(e, C2W), "wxyz"), 4).tolist())),
                    "K": k.tolist(),
                }
            )
        ),
        PADDED,
        C2W,
    ),
    "position and target, no up": Arrangement(
        one_each(named(keyed(position=lambda e, k: centre(e), target=target_of, K=lambda e, k: k))),
        PLAIN,
        orbit=True,
    ),
    "spherical": Arrangement(
        one_each(named(spheres("azimuth", "elevation", "radius"))), PLAIN, orbit=True
    ),
    "spherical, azimuth the other way": Arrangement(
        one_each(named(spheres("azim", "elev", "dist", (-1.0, 1.0)))),
        PLAIN,
        mirrored_world("x"),
        orbit=True,
    ),
    "spherical, on each image": Arrangement(
        one_file(
            lambda every: {
                f"{h.name}_{v}": spheres("azimuth_deg", "elevation_deg", "distance")(e, k)
                for h in every
                for v, (e, k) in enumerate(zip(h.extrinsics, h.intrinsics, strict=True))
            }
        ),
        PADDED,
        orbit=True,
    ),
    "spherical, keys nobody knows": Arrangement(
        one_each(named(spheres("theta", "phi", "rho"))), PLAIN, orbit=True
    ),
    "one key twice: m": Arrangement(one_each(named(held_in("external", "internal", "m"))), PLAIN),
    "one key twice: K": Arrangement(one_each(named(held_in("pose", "intrinsics", "K"))), PADDED),
    "one key twice: data": Arrangement(one_each(named(held_in("ext", "int", "data"))), PLAIN),
    "one key twice: matrix": Arrangement(
        one_each(named(held_in("camera", "lens", "matrix"))), PADDED
    ),
    "one key twice, in other case": Arrangement(
        one_each(named(keyed(matrix=lambda e, k: e, Matrix=lambda e, k: k))), PLAIN
    ),
    "K under a name of poses": Arrangement(
        one_each(named(keyed(pose=lambda e, k: e, projection=lambda e, k: k))), PLAIN
    ),
    "K under a name of lengths": Arrangement(
        one_each(named(keyed(w2c=lambda e, k: e, lens=lambda e, k: k))), PLAIN
    ),
    "K under two names": Arrangement(
        one_each(named(keyed(w2c=lambda e, k: e, K=lambda e, k: k, camera_matrix=lambda e, k: k))),
        PLAIN,
    ),
    "K under two unknown names": Arrangement(
        one_each(named(keyed(w2c=lambda e, k: e, q1=lambda e, k: k, q2=lambda e, k: k))), PLAIN
    ),
    "focal length under two names": Arrangement(
        one_each(
            named(
                keyed(
                    w2c=lambda e, k: e,
                    lens=lambda e, k: k[0, 0] * 36 / SIZE,
                    focal_mm=lambda e, k: k[0, 0] * 36 / SIZE,
                    sensor_width=lambda e, k: 36.0,
                )
            )
        ),
        PLAIN,
    ),
    "a crop and a head's rotation beside K": Arrangement(
        one_each(
            named(
                keyed(
                    w2c=lambda e, k: e,
                    cropping=lambda e, k: np.diag([0.5, 0.5, 1.0]),
                    head=lambda e, k: e[:3, :3],
                    q=lambda e, k: k,
                )
            )
        ),
        PLAIN,
    ),
    "two objects by subject": Arrangement(
        one_file(
            lambda every: {
                "extrinsics": {h.name: h.extrinsics.tolist() for h in every},
                "intrinsics": {h.name: h.intrinsics.tolist() for h in every},
            }
        ),
        PADDED,
    ),
    "two objects by subject and view": Arrangement(
        one_file(
            lambda every: {
                "extrinsics": {h.name: by_view(h.extrinsics) for h in every},
                "intrinsics": {h.name: by_view(h.intrinsics) for h in every},
            }
        ),
        PADDED,
    ),
    "two objects by view, unknown keys": Arrangement(
        one_each(lambda h: {"a": by_view(h.extrinsics), "b": by_view(h.intrinsics)}), PLAIN
    ),
    "K by camera beside the cameras": Arrangement(
        one_each(
            lambda h: {
                **{f"cam_{v}": {"w2c": e.tolist()} for v, e in enumerate(h.extrinsics)},
                "K": {f"cam_{v}": k.tolist() for v, k in enumerate(h.intrinsics)},
            }
        ),
        PADDED,
    ),
    "two files by subject": Arrangement(
        lambda every: iter(
            [
                ("extrinsics.json", {h.name: h.extrinsics.tolist() for h in every}),
                ("intrinsics.json", {h.name: h.intrinsics[0].tolist() for h in every}),
            ]
        ),
        PADDED,
    ),
    "two files by subject and view": Arrangement(
        lambda every: iter(
            [
                ("extrinsics.json", {h.name: by_view(h.extrinsics) for h in every}),
                ("intrinsics.json", {h.name: by_view(h.intrinsics) for h in every}),
            ]
        ),
        PADDED,
    ),
    "two files a subject": Arrangement(
        lambda every: (
            (f"{h.name}/{name}.json", matrices.tolist())
            for h in every
            for name, matrices in (("extrinsics", h.extrinsics), ("intrinsics", h.intrinsics))
        ),
        PADDED,
    ),
    "two files a subject, one K": Arrangement(
        lambda every: (
            (f"{h.name}/{name}.json", matrices.tolist())
            for h in every
            for name, matrices in (("extrinsics", h.extrinsics), ("intrinsics", h.intrinsics[0]))
        ),
        PLAIN,
    ),
    "K of somebody else": Arrangement(
        lambda every: iter(
            [
                ("extrinsics.json", {h.name: h.extrinsics.tolist() for h in every}),
                ("more.json", {f"x{h.name}y": h.intrinsics.tolist() for h in every[1:]}),
            ]
        ),
        PADDED,
        lensless=True,
    ),
    "file names say nothing": Arrangement(
        one_each(cameras, "{0.name[0]}{0.name[1]}x.json"), ["qa", "qb", "ra", "rb", "sa"]
    ),
    "view first, then subject": Arrangement(
        one_view(lambda h, v: cameras(h)[v], "{1}_{0.number:05d}.json"), PADDED
    ),
    "views by view name": Arrangement(
        one_file(
            lambda every: {
                f"view_{v}": {h.name: cameras(h)[v] for h in every} for v in range(VIEWS)
            }
        ),
        WORDS,
    ),
    "images from 1, numbers from 0": Arrangement(
        one_each(by(lambda h, v: f"cam{v}")), PADDED, first_view=1
    ),
    "text and a note": Arrangement(
        lambda every: iter(
            [("about.json", {"version": 1, "author": "x"}), *one_each(named())(every)]
        ),
        PADDED,
    ),
    "landmarks and bones": Arrangement(
        one_each(
            lambda h: {
                "name": h.name,
                "body": {"bones": {str(n): np.eye(4).tolist() for n in range(VIEWS)}},
                "cameras": cameras(h),
            }
        ),
        PADDED,
    ),
    "w2c and c2w of other axes": Arrangement(
        one_each(
            named(
                keyed(
                    w2c=lambda e, k: e,
                    matrix_world=lambda e, k: express(e, BLENDER),
                    K=lambda e, k: k,
                )
            )
        ),
        PADDED,
    ),
    "pose and lens under numbered keys": Arrangement(
        one_each(named(keyed(q17=lambda e, k: e, q18=lambda e, k: k))), PADDED
    ),
    "all under unknown keys": Arrangement(
        one_each(
            named(keyed(q1=lambda e, k: k, q2=lambda e, k: e[:3, :3], q3=lambda e, k: e[:3, 3]))
        ),
        PADDED,
    ),
    "a number that is no view beside": Arrangement(
        one_each(
            lambda h: {
                "cameras": [
                    {"time": 1.5 * v, "seed": v * 31 % VIEWS, **c} for v, c in enumerate(cameras(h))
                ]
            }
        ),
        PLAIN,
    ),
}
