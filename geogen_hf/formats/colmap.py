"""COLMAP: a folder an identity, with a sparse model as text and no points.

Fields: https://colmap.github.io/format.html. Poses are world-to-camera with OpenCV axes, and the
centre of the upper left pixel is (0.5, 0.5), as here.
"""

from __future__ import annotations

from geogen_hf.cameras.tools import quaternion_from_rotation
from geogen_hf.errors import CameraError, explain
from geogen_hf.formats.layout import Format
from geogen_hf.formats.scene import Scene

_MAX_SKEW = 1e-6


def sparse_model(scene: Scene) -> dict[str, bytes]:
    """`cameras.txt`, `images.txt` and an empty `points3D.txt`; equal lenses are one camera.

    Raises:
        CameraError: There is skew, which the PINHOLE model lacks.
    """
    camera_ids: dict[str, int] = {}
    images = []
    quaternions = quaternion_from_rotation(scene.extrinsics[:, :3, :3], "wxyz")
    for row, name in enumerate(scene.names):
        camera_id = camera_ids.setdefault(_pinhole(scene, row), len(camera_ids) + 1)
        pose = [*quaternions[row].tolist(), *scene.extrinsics[row, :3, 3].tolist()]
        # The empty line is where an image's 2-D points would be.
        images.append(f"{row + 1} {' '.join(map(repr, pose))} {camera_id} {name}\n\n")
    cameras = [f"{camera_id} {lens}\n" for lens, camera_id in camera_ids.items()]
    texts = {
        "cameras.txt": ["# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n", *cameras],
        "images.txt": ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME\n",
                       "# X Y POINT3D_ID ...\n", *images],
        "points3D.txt": ["# POINT3D_ID X Y Z R G B ERROR TRACK[]\n"],
    }  # fmt: skip
    return {f"sparse/0/{name}": "".join(lines).encode() for name, lines in texts.items()}


def _pinhole(scene: Scene, row: int) -> str:
    (fx, skew, cx), (_, fy, cy) = scene.intrinsics[row, :2].tolist()
    if abs(skew) > _MAX_SKEW:
        raise CameraError(
            explain(
                "COLMAP's PINHOLE model has no place for skew",
                where=f"view {scene.view_ids[row]}",
                expected="K[0, 1] = 0",
                found=skew,
            )
        )
    width, height = scene.sizes[row]
    return f"PINHOLE {width} {height} {fx!r} {fy!r} {cx!r} {cy!r}"


FORMAT = Format(files=sparse_model)
