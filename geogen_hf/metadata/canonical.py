"""Cameras as stored to canonical ones, once the convention and the images' sizes are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from geogen_hf.cameras import FloatArray
from geogen_hf.candidates import CANONICAL, Convention, canonicalise
from geogen_hf.errors import CameraError, explain
from geogen_hf.metadata.documents import SubjectCameras
from geogen_hf.metadata.lenses import DefaultIntrinsics, pixel_intrinsics


def to_canonical(
    cameras: SubjectCameras,
    convention: Convention,
    sizes_wh: ArrayLike,
    default_intrinsics: DefaultIntrinsics | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Bring a subject's cameras to canonical form.

    Args:
        cameras: As stored.
        convention: What their matrices mean.
        sizes_wh: `(V, 2)` or `(2,)` width and height of the images, pixels.
        default_intrinsics: See `pixel_intrinsics`.

    Returns:
        Extrinsics `(V, 4, 4)` float64 world-to-camera, OpenCV axes, and intrinsics `(V, 3, 3)`
        float64 pixels. They are not validated: see `geogen_hf.checks`.

    Raises:
        CameraError: The convention contradicts what the keys say, or there are no intrinsics.

    Example:
        >>> from geogen_hf.metadata.documents import Document, parse_document
        >>> text = b'{"1": {"w2c": [0,0,1,7, 1,0,0,8, 0,1,0,9], "lens": 50, "sensor_width": 36}}'
        >>> cameras = parse_document(Document("subj_x.json", text))
        >>> to_canonical(cameras, CANONICAL, (72, 72))[1][0, 0].tolist()
        [100.0, 0.0, 36.0]
    """
    if not cameras.claims.allow(convention):
        raise CameraError(
            explain(
                "the convention contradicts the keys of the metadata",
                where=cameras.source,
                expected=cameras.claims,
                found=convention,
                remedy="state direction and axes with camera_schema if the keys are wrong",
            )
        )
    width, height = np.moveaxis(np.asarray(sizes_wh, np.float64), -1, 0)
    extrinsics = canonicalise(cameras.matrices, convention)
    return extrinsics, pixel_intrinsics(cameras.intrinsics, width, height, default_intrinsics)


def as_stored(cameras: SubjectCameras) -> tuple[FloatArray, FloatArray]:
    """Take cameras for canonical as they are, where nothing says otherwise.

    Raises:
        CameraError: Their keys or units say that they are not.
    """
    if not cameras.claims.allow(CANONICAL) or cameras.intrinsics.kind != "pixels":
        raise CameraError(
            explain(
                "these cameras are not in canonical form",
                where=cameras.source,
                expected=f"{CANONICAL}, intrinsics in pixels",
                found=f"{cameras.claims}, intrinsics {cameras.intrinsics.kind}",
            )
        )
    return cameras.matrices, cameras.intrinsics.values
