"""nerfstudio: a folder an identity, with `transforms.json`.

Fields: https://docs.nerf.studio/quickstart/data_conventions.html. nerfstudio's parser centres,
turns and scales the poses by itself unless told not to.
"""

from __future__ import annotations

from typing import Any

from geogen_hf.cameras.conventions import to_nerfstudio
from geogen_hf.formats.layout import Format, Scene, json_bytes, mask_path

_INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h")


def transforms(scene: Scene) -> dict[str, bytes]:
    """OpenGL camera-to-world and intrinsics of each frame, and which frames are for what."""
    frames = [_frame(scene, row) for row in range(len(scene.names))]
    # With one of these lists there, nerfstudio demands all; without, it holds out views itself.
    lists = {
        f"{part}_filenames": [frames[row]["file_path"] for row in rows]
        for part, rows in scene.view_lists().items()
    }
    # instant-ngp and its parsers want intrinsics at the top. There they overrule the frames' own,
    # so they stand there only if they are the same in all frames.
    shared = {key: frames[0][key] for key in _INTRINSICS}
    if all(frame[key] == shared[key] for frame in frames for key in _INTRINSICS):
        frames = [{k: v for k, v in f.items() if k not in _INTRINSICS} for f in frames]
    else:
        shared = {}
    # Its OPENCV model without distortion, which is the default, is a pinhole.
    content = {"camera_model": "OPENCV", **shared, **lists, "frames": frames}
    return {"transforms.json": json_bytes(content)}


def _frame(scene: Scene, row: int) -> dict[str, Any]:
    camera = to_nerfstudio(scene.extrinsics[row], scene.intrinsics[row], *scene.sizes[row])
    name = scene.names[row]
    return {
        "file_path": f"images/{name}",
        **({"mask_path": mask_path(name)} if scene.foregrounds else {}),
        **{key: float(getattr(camera, key)) for key in _INTRINSICS[:4]},
        "w": camera.w,
        "h": camera.h,
        "transform_matrix": camera.transform_matrix.tolist(),
    }


FORMAT = Format(
    train="ns-train nerfacto --data {scene}",
    up=(0.0, 0.0, 1.0),
    radius=1.0,
    normalises=True,
    files=transforms,
)
