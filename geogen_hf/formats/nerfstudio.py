"""nerfstudio: a folder an identity, with `transforms.json`.

Fields: https://docs.nerf.studio/quickstart/data_conventions.html. nerfstudio's parser centres,
turns and scales the poses by itself unless told not to.
"""

from __future__ import annotations

from typing import Any

from geogen_hf.cameras.tools import to_nerfstudio
from geogen_hf.formats.layout import Format, json_bytes
from geogen_hf.formats.scene import VIEW_SPLITS, Scene, divide_views


def transforms(scene: Scene) -> dict[str, bytes]:
    """OpenGL camera-to-world and intrinsics of each frame, and which frames are for what.

    Raises:
        CameraError: There is skew.
    """
    frames = [_frame(scene, row) for row in range(len(scene.names))]
    parts = divide_views(len(frames))
    # With one of these lists there, nerfstudio demands all.
    lists = {
        f"{part}_filenames": [
            frame["file_path"] for frame, of in zip(frames, parts, strict=True) if of == part
        ]
        for part in VIEW_SPLITS
    }
    # Its OPENCV model without distortion, which is the default, is a pinhole.
    return {"transforms.json": json_bytes({"camera_model": "OPENCV", **lists, "frames": frames})}


def _frame(scene: Scene, row: int) -> dict[str, Any]:
    camera = to_nerfstudio(scene.extrinsics[row], scene.intrinsics[row], *scene.sizes[row])
    return {
        "file_path": f"images/{scene.names[row]}",
        "fl_x": float(camera.fl_x),
        "fl_y": float(camera.fl_y),
        "cx": float(camera.cx),
        "cy": float(camera.cy),
        "w": camera.w,
        "h": camera.h,
        "transform_matrix": camera.transform_matrix.tolist(),
    }


FORMAT = Format(files=transforms)
