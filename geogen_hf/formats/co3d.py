"""CO3Dv2: frame and sequence annotations and set lists, as PyTorch3D's implicitron reads them.

Fields: `FrameAnnotation` and `SequenceAnnotation` of `pytorch3d/implicitron/dataset/types.py`. The
set lists are the data set's splits of identities. There are no masks, depths or point clouds.
"""

from __future__ import annotations

import json
from typing import Any

from geogen_hf.cameras.tools import to_pytorch3d
from geogen_hf.formats.layout import Entries, Format, Index, Listing
from geogen_hf.formats.scene import Scene
from geogen_hf.release.splits import SPLITS, Split

CATEGORY = "head"
SUBSET = "geogen"
_SET_NAMES: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}


def annotate(scene: Scene) -> Entries:
    """An identity's frames, sequence and lines of the set lists.

    Raises:
        CameraError: There is skew.
    """
    frames = [_frame(scene, row) for row in range(len(scene.names))]
    sequence = {
        "sequence_name": scene.subject_id,
        "category": CATEGORY,
        "video": None,
        "point_cloud": None,
        "viewpoint_quality_score": None,
    }
    listed = [[f["sequence_name"], f["frame_number"], f["image"]["path"]] for f in frames]
    return {
        "frames": [json.dumps(frame, allow_nan=False) for frame in frames],
        "sequences": [json.dumps(sequence)],
        _SET_NAMES[scene.split]: [json.dumps(line) for line in listed],
    }


def _frame(scene: Scene, row: int) -> dict[str, Any]:
    width, height = scene.sizes[row]
    camera = to_pytorch3d(scene.extrinsics[row], scene.intrinsics[row], width, height)
    return {
        "sequence_name": scene.subject_id,
        "frame_number": scene.view_ids[row],
        "frame_timestamp": 0.0,
        "image": {
            "path": f"{CATEGORY}/{scene.subject_id}/images/{scene.names[row]}",
            "size": [height, width],
        },
        "depth": None,
        "mask": None,
        "viewpoint": {
            "R": camera.R.tolist(),
            "T": camera.T.tolist(),
            "focal_length": camera.focal_length.tolist(),
            "principal_point": camera.principal_point.tolist(),
            "intrinsics_format": "ndc_isotropic",
        },
        "meta": None,
    }


def _set_lists() -> tuple[str | Listing, ...]:
    pieces: list[str | Listing] = []
    for opening, split in zip(("{", ",\n", ",\n"), SPLITS, strict=True):
        name = _SET_NAMES[split]
        pieces += [f'{opening}"{name}": [', Listing(name), "\n]"]
    return (*pieces, "}\n")


FORMAT = Format(
    entries=annotate,
    indexes=(
        Index(f"{CATEGORY}/frame_annotations.jgz", ("[", Listing("frames"), "\n]\n")),
        Index(f"{CATEGORY}/sequence_annotations.jgz", ("[", Listing("sequences"), "\n]\n")),
        Index(f"{CATEGORY}/set_lists/set_lists_{SUBSET}.json", _set_lists()),
        Index(
            "category_to_subset_name_list.json",
            (json.dumps({CATEGORY: [SUBSET]}) + "\n",),
        ),
    ),
    home=CATEGORY,
)
