"""EG3D: images below the folder, and `dataset.json` with 25 numbers an image.

Read by `ImageFolderDataset` of https://github.com/NVlabs/eg3d (`training/dataset.py`). Folders and
images are named as by its `dataset_tool.py` (`00017/img00017003.png`), a folder an identity, and
mirrored copies as by its `mirror_dataset.py`; `images.json` says which identity and view each is.
World and poses are as in the release unless centred; EG3D's configurations expect cameras at 2.7.
"""

from __future__ import annotations

import json

from geogen_hf.cameras.conventions import to_eg3d
from geogen_hf.errors import CameraError
from geogen_hf.formats.layout import Entries, Format, Scene

SIZES = (128, 256, 512)
"""Pixels that `train.py` has a module for superresolution for."""


def labels(scene: Scene) -> Entries:
    """Name and 25 numbers of each image: OpenCV camera-to-world, intrinsics over the image's size.

    Beside it, name, identity and view. EG3D asserts that images are square.
    """
    lines, origins = [], []
    for row, (name, (width, height)) in enumerate(zip(scene.names, scene.sizes, strict=True)):
        if width != height:
            raise CameraError(
                "EG3D reads square images only",
                where=f"view {scene.view_ids[row]}",
                found=f"{width} x {height}",
            )
        label = to_eg3d(scene.extrinsics[row], scene.intrinsics[row], width, height)
        path = f"{scene.folder}/{name}"
        lines.append(json.dumps([path, label.tolist()], allow_nan=False))
        origins.append(json.dumps([path, scene.subject_id, scene.view_ids[row]]))
    return {"labels": lines, "origins": origins}


def _advice(scene: Scene) -> str | None:
    sizes = sorted({width for width, _ in scene.sizes} - set(SIZES))
    if not sizes:
        return None
    return (
        f"EG3D's train.py takes images of {', '.join(map(str, SIZES))} pixels, not of "
        f"{sizes[0]}: --image-size scales them"
    )


FORMAT = Format(
    train="python train.py --outdir=runs --cfg=ffhq --data={folder} --gpus=8 --batch=32 "
    "--gamma=1 --gen_pose_cond=True",
    up=(0.0, 1.0, 0.0),
    radius=2.7,  # its configuration ffhq samples depths of 2.25 to 3.3
    images="",
    entries=labels,
    indexes={
        "dataset.json": ('{"labels": [', "labels", "\n]}\n"),
        "images.json": ('{"images": [', "origins", "\n]}\n"),
    },
    masks=None,  # any image in the folder is trained on
    mirrors=True,
    numbered=True,
    advice=_advice,
)
