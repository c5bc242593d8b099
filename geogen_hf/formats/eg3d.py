"""EG3D: images below the folder, and `dataset.json` with 25 numbers an image.

Read by `ImageFolderDataset` of https://github.com/NVlabs/eg3d (`training/dataset.py`). World and
poses are as in the release; EG3D's own configurations expect heads at other distances.
"""

from __future__ import annotations

import json

from geogen_hf.cameras.tools import to_eg3d
from geogen_hf.errors import CameraError, explain
from geogen_hf.formats.layout import Entries, Format, Index, Listing
from geogen_hf.formats.scene import Scene


def labels(scene: Scene) -> Entries:
    """Name and 25 numbers of each image: OpenCV camera-to-world, intrinsics over the image's size.

    Raises:
        CameraError: An image is not square, which EG3D asserts.
    """
    lines = []
    for row, (name, (width, height)) in enumerate(zip(scene.names, scene.sizes, strict=True)):
        if width != height:
            raise CameraError(
                explain(
                    "EG3D reads square images only",
                    where=f"view {scene.view_ids[row]}",
                    found=f"{width} x {height}",
                )
            )
        label = to_eg3d(scene.extrinsics[row], scene.intrinsics[row], width, height)
        lines.append(json.dumps([f"{scene.subject_id}/{name}", label.tolist()], allow_nan=False))
    return {"labels": lines}


FORMAT = Format(
    images="",
    entries=labels,
    indexes=(Index("dataset.json", ('{"labels": [', Listing("labels"), "\n]}\n")),),
)
