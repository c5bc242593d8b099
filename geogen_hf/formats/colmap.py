"""COLMAP: a folder an identity, with a sparse model as text.

Fields: https://colmap.github.io/format.html. Poses are world-to-camera with OpenCV axes, and the
centre of the upper left pixel is (0.5, 0.5), as here. The points are no matches of features: they
lie on the visual hull, each seen by the pixel that gives its colour.
"""

from __future__ import annotations

import numpy as np

from geogen_hf.cameras.conventions import quaternion_from_rotation
from geogen_hf.cameras.hull import SurfacePoints
from geogen_hf.errors import CameraError
from geogen_hf.formats.layout import Format, Scene

_MAX_SKEW = 1e-6
_MOST_OFF_CENTRE_PX = 0.05


def sparse_model(scene: Scene) -> dict[str, bytes]:
    """The model's three files, and nerfstudio's lists of views; equal intrinsics are one camera."""
    assert scene.points is not None  # as this format asks for them
    camera_ids: dict[str, int] = {}
    images = []
    quaternions = quaternion_from_rotation(scene.extrinsics[:, :3, :3], "wxyz")
    for row, name in enumerate(scene.names):
        camera_id = camera_ids.setdefault(_pinhole(scene, row), len(camera_ids) + 1)
        pose = [*quaternions[row].tolist(), *scene.extrinsics[row, :3, 3].tolist()]
        images.append(f"{row + 1} {' '.join(map(repr, pose))} {camera_id} {name}\n")
        images.append(_observations(scene.points, row) + "\n")
    cameras = [f"{camera_id} {lens}\n" for lens, camera_id in camera_ids.items()]
    texts = {
        "cameras.txt": ["# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n", *cameras],
        "images.txt": ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME\n",
                       "# X Y POINT3D_ID ...\n", *images],
        "points3D.txt": ["# POINT3D_ID X Y Z R G B ERROR TRACK[]\n", *_points(scene.points)],
    }  # fmt: skip
    model = {f"sparse/0/{name}": "".join(lines).encode() for name, lines in texts.items()}
    lists = {
        f"{part}_list.txt": "".join(f"{scene.names[row]}\n" for row in rows).encode()
        for part, rows in scene.view_lists().items()
    }
    return model | lists


def _observations(points: SurfacePoints, row: int) -> str:
    """The points seen in an image: x, y and number of each."""
    seen = np.flatnonzero(points.view == row)
    pairs = zip(seen, points.pixel[seen].tolist(), strict=True)
    return " ".join(f"{x!r} {y!r} {index + 1}" for index, (x, y) in pairs)


def _points(points: SurfacePoints) -> list[str]:
    """A line for each point; its error is 0, as it lies on the ray of the pixel it is seen by."""
    lines = []
    places: dict[int, int] = {}
    for index, (xyz, rgb, view) in enumerate(
        zip(points.xyz.tolist(), points.rgb.tolist(), points.view.tolist(), strict=True)
    ):
        numbers = " ".join(map(repr, [*xyz, *rgb]))
        track = "" if view < 0 else f" {view + 1} {places.get(view, 0)}"
        places[view] = places.get(view, 0) + 1
        lines.append(f"{index + 1} {numbers} 0.0{track}\n")
    return lines


def _advice(scene: Scene) -> str | None:
    middles = np.array(scene.sizes) / 2
    if np.abs(scene.intrinsics[:, :2, 2] - middles).max() <= _MOST_OFF_CENTRE_PX:
        return None
    return (
        "principal points are off-centre: gsplat, nerfstudio and COLMAP read cx and cy, but 3DGS "
        "(graphdeco-inria/gaussian-splatting) ignores them"
    )


def _pinhole(scene: Scene, row: int) -> str:
    (fx, skew, cx), (_, fy, cy) = scene.intrinsics[row, :2].tolist()
    if abs(skew) > _MAX_SKEW:
        raise CameraError(
            "COLMAP's PINHOLE model has no place for skew",
            where=f"view {scene.view_ids[row]}",
            expected="K[0, 1] = 0",
            found=skew,
        )
    width, height = scene.sizes[row]
    return f"PINHOLE {width} {height} {fx!r} {fy!r} {cx!r} {cy!r}"


FORMAT = Format(
    train="python examples/simple_trainer.py default --data_dir {scene} --data_factor 1",
    up=(0.0, -1.0, 0.0),  # as COLMAP aligns models with gravity
    radius=1.0,
    normalises=True,
    files=sparse_model,
    points=True,
    advice=_advice,
)
