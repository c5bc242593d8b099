"""Camera metadata as a release writes it: the text of each JSON member of `metadata_files.zip`.

A schema is a function of a subject's canonical cameras that returns member name -> text. Another
layout of the JSON, or another camera convention, is another such function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Schema = Callable[[str, NDArray[np.float64], NDArray[np.float64]], Mapping[str, str]]


def canonical_schema(
    subject_id: str, extrinsics: NDArray[np.float64], intrinsics: NDArray[np.float64]
) -> dict[str, str]:
    """One file a subject, one entry a view, matrices as they are.

    Numbers are written so that reading them gives the same float64.

    Args:
        subject_id: `subj_<5 digits>`.
        extrinsics: `(V, 4, 4)` float64 world-to-camera, OpenCV axes, metres.
        intrinsics: `(V, 3, 3)` float64 pixels.

    Returns:
        Member name -> JSON text.

    Example:
        >>> canonical_schema("subj_00007", np.eye(4)[None], np.eye(3)[None]).keys()
        dict_keys(['metadata_00007.json'])
    """
    cameras = [
        {"extrinsics": world_to_camera.tolist(), "intrinsics": camera.tolist()}
        for world_to_camera, camera in zip(extrinsics, intrinsics, strict=True)
    ]
    text = json.dumps({"name": subject_id, "cameras": cameras}, indent=1)
    return {f"metadata_{subject_id.removeprefix('subj_')}.json": text + "\n"}
