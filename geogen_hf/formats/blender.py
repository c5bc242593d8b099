"""NeRF-synthetic ("Blender"): a folder an identity, with `transforms_{train,val,test}.json`.

Fields as in `load_blender.py` of https://github.com/bmild/nerf: one angle for all images, square
pixels, the principal point in the middle, paths without `.png`. With masks the images are RGBA, as
the readers expect them.
"""

from __future__ import annotations

import math

import numpy as np

from geogen_hf.cameras.conventions import to_camera_to_world
from geogen_hf.errors import CameraError
from geogen_hf.formats.layout import Format, Scene, json_bytes

TOLERANCE_PX = 1e-3
"""Intrinsics printed with few decimals, or kept as float32, still fit."""


def transforms(scene: Scene) -> dict[str, bytes]:
    """OpenGL camera-to-world of each frame, and one horizontal field of view in radians.

    `CameraError` where the lens is not the same, square and centred in all views, or an image is
    not a PNG: the format cannot say so.
    """
    angle_x = _angle_x(scene)
    poses = to_camera_to_world(scene.extrinsics, "opengl").tolist()
    files = {}
    for part, rows in scene.view_lists().items():
        frames = [
            {"file_path": f"./images/{scene.view_ids[row]}", "transform_matrix": poses[row]}
            for row in rows
        ]
        content = {"camera_angle_x": angle_x, "frames": frames}
        files[f"transforms_{part}.json"] = json_bytes(content)
    return files


def _angle_x(scene: Scene) -> float:
    width, height = size = scene.sizes[0]
    focal_px = float(scene.intrinsics[0, 0, 0])
    held = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    one_lens = (
        "square pixels, no skew, the principal point in the middle and the same focal length in "
        f"all views: {held[:2].tolist()}"
    )
    for row, (name, found, lens) in enumerate(
        zip(scene.names, scene.sizes, scene.intrinsics, strict=True)
    ):
        for holds, expected, other in (
            (name.endswith(".png"), "PNG files", name),
            (found == size, "images of one size, {} x {}".format(*size), "{} x {}".format(*found)),
            (np.abs(lens - held).max() <= TOLERANCE_PX, one_lens, lens[:2].tolist()),
        ):
            if not holds:
                raise CameraError(
                    "the blender layout cannot hold these images",
                    where=f"view {scene.view_ids[row]}",
                    expected=expected,
                    found=other,
                    remedy="convert to nerfstudio, which has a lens for each image",
                )
    return 2 * math.atan2(width / 2, focal_px)


def _advice(scene: Scene) -> str | None:
    if scene.foregrounds:
        return None
    return (
        "images without alpha: readers that set white_bkgd take blue for alpha, and half_res "
        "fails; --masks writes RGBA"
    )


FORMAT = Format(
    train="python run_nerf.py --config configs/lego.txt --expname head --datadir {scene}",
    up=(0.0, 0.0, 1.0),
    radius=4.0,  # between the bounds 2 and 6 that load_blender.py's users hold fixed
    files=transforms,
    masks="alpha",
    advice=_advice,
)
