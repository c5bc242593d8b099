"""CO3Dv2: frame and sequence annotations and set lists, as PyTorch3D's implicitron reads them.

Fields: `FrameAnnotation` and `SequenceAnnotation` of `pytorch3d/implicitron/dataset/types.py`. The
set lists are the data set's splits of identities. An evaluation batch is a held-out view of a test
identity and the views known of it. There are no depths or point clouds.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from geogen_hf.cameras.conventions import to_pytorch3d
from geogen_hf.cameras.silhouettes import Foreground
from geogen_hf.formats.layout import Entries, Format, Scene, mask_path
from geogen_hf.release.shards import Split

CATEGORY = "head"
SUBSET = "geogen"
_PROVIDER = (
    "data_source_ImplicitronDataSource_args.dataset_map_provider_JsonIndexDatasetMapProviderV2_args"
)
_SET_LISTS = ('{"train": [', "train", '\n],\n"val": [', "val", '\n],\n"test": [', "test", "\n]}\n")
_SET_NAMES: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}
_FRAME_TYPES: dict[Split, str] = {"train": "train", "validation": "dev", "test": "test"}


def annotate(scene: Scene) -> Entries:
    """An identity's frames, sequence, lines of the set lists and evaluation batches."""
    frames = [_frame(scene, row) for row in range(len(scene.names))]
    sequence = {
        "sequence_name": scene.subject_id,
        "category": CATEGORY,
        "video": None,
        "point_cloud": None,
        "viewpoint_quality_score": None,
    }
    listed = [[f["sequence_name"], f["frame_number"], f["image"]["path"]] for f in frames]
    lists = scene.view_lists()
    # The first of a batch is the view to be shown, the others are what is known. implicitron knows
    # no frame without a mask.
    seen = [row for row, frame in enumerate(frames) if frame["mask"] is not None]
    batches = [
        [
            listed[row],
            *(listed[known] for known in lists["train"] if known in seen and known != row),
        ]
        for row in sorted({*lists["val"], *lists["test"]})
        if row in seen and scene.split == "test"
    ]
    return {
        "batches": [json.dumps(batch) for batch in batches],
        "frames": [json.dumps(frame, allow_nan=False) for frame in frames],
        "sequences": [json.dumps(sequence)],
        _SET_NAMES[scene.split]: [json.dumps(line) for line in listed],
    }


def _frame(scene: Scene, row: int) -> dict[str, Any]:
    width, height = scene.sizes[row]
    known = row in scene.view_lists()["train"]
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
        "mask": _mask(scene, row),
        "viewpoint": {
            "R": camera.R.tolist(),
            "T": camera.T.tolist(),
            "focal_length": camera.focal_length.tolist(),
            "principal_point": camera.principal_point.tolist(),
            "intrinsics_format": "ndc_isotropic",
        },
        "meta": {
            "frame_type": f"{_FRAME_TYPES[scene.split]}_{'known' if known else 'unseen'}",
            "mask_type": "derived" if scene.foregrounds else "none",
        },
    }


def _mask(scene: Scene, row: int) -> dict[str, Any] | None:
    if not scene.foregrounds or scene.foregrounds[row].doubt is not None:
        return None
    return {
        "path": f"{CATEGORY}/{scene.subject_id}/{mask_path(scene.names[row])}",
        "mass": float(scene.foregrounds[row].alpha.sum(dtype=np.int64)) / 255,
        "bounding_box_xywh": _bounding_box(scene.foregrounds[row]),
    }


def _bounding_box(foreground: Foreground) -> list[float]:
    """Left, top, width and height in pixels of what is covered by half or more."""
    rows, columns = (np.flatnonzero(foreground.mask.any(axis=axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return [float(v) for v in (left, top, columns[-1] + 1 - left, rows[-1] + 1 - top)]


FORMAT = Format(
    train="pytorch3d_implicitron_runner --config-name repro_multiseq_v2_nerformer "
    f"{_PROVIDER}.dataset_root={{folder}} {_PROVIDER}.category={CATEGORY} "
    f"{_PROVIDER}.subset_name={SUBSET}",
    up=(0.0, 1.0, 0.0),
    radius=16.0,  # the frame's half width is then 5.8, within AdaptiveRaySampler's extent of 8
    entries=annotate,
    needs_masks=True,
    indexes={
        f"{CATEGORY}/frame_annotations.jgz": ("[", "frames", "\n]\n"),
        f"{CATEGORY}/sequence_annotations.jgz": ("[", "sequences", "\n]\n"),
        f"{CATEGORY}/set_lists/set_lists_{SUBSET}.json": _SET_LISTS,
        f"{CATEGORY}/eval_batches/eval_batches_{SUBSET}.json": ("[", "batches", "\n]\n"),
        "category_to_subset_name_list.json": (json.dumps({CATEGORY: [SUBSET]}) + "\n",),
    },
    home=CATEGORY,
)
