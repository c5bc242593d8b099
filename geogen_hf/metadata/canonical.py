"""Cameras as stored to canonical extrinsics, once the convention is known."""

from __future__ import annotations

from geogen_hf.cameras import FloatArray
from geogen_hf.candidates import Convention, canonicalise
from geogen_hf.errors import CameraError, explain
from geogen_hf.metadata.documents import SubjectCameras


def canonical_extrinsics(cameras: SubjectCameras, convention: Convention) -> FloatArray:
    """Bring a subject's matrices to canonical form.

    Args:
        cameras: As stored.
        convention: What their matrices mean.

    Returns:
        `(V, 4, 4)` float64 world-to-camera, OpenCV axes. They are not validated: see
        `geogen_hf.checks`.

    Raises:
        CameraError: The convention contradicts what the keys say.

    Example:
        >>> from geogen_hf.candidates import CANONICAL
        >>> from geogen_hf.metadata.documents import Document, parse_document
        >>> text = b'{"1": {"w2c": [0,0,1,7, 1,0,0,8, 0,1,0,9], "lens": 50, "sensor_width": 36}}'
        >>> cameras = parse_document(Document("subj_x.json", text))
        >>> canonical_extrinsics(cameras, CANONICAL)[0, :3, 3].tolist()
        [7.0, 8.0, 9.0]
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
    return canonicalise(cameras.matrices, convention)
