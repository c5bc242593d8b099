"""One camera as JSON, in each of the forms that metadata comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geogen_hf.conventions import QuaternionOrder, quaternion_from_rotation

Matrix = NDArray[np.float64]
Fields = dict[str, Any]
PoseForm = Callable[[Matrix], Fields]
"""Keys and values of a `(4, 4)` float64 matrix, in whatever convention it is."""
LensForm = Callable[[Matrix, int], Fields]
"""Keys and values of `(3, 3)` float64 pixel intrinsics of a square image of that many pixels."""

SENSOR_MM = 36.0


def matrix(key: str, *, rows: int = 4, flat: bool = False, columns_first: bool = False) -> PoseForm:
    """Write the matrix under a key: 4x4, 3x4 (4x3 if it is stored transposed), or flat.

    Example:
        >>> matrix("RT", rows=3, flat=True)(np.arange(16.0).reshape(4, 4) * 0 + np.eye(4))
        {'RT': [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
    """

    def form(stored: Matrix) -> Fields:
        transposed = rows == 3 and not np.array_equal(stored[3], [0, 0, 0, 1])
        part = stored[:, :3] if transposed else stored[:rows]
        part = part.T if columns_first else part
        return {key: (part.ravel() if flat else part).tolist()}

    return form


def halves(rotation: str, translation: str, *, flat: bool = False) -> PoseForm:
    """Write rotation matrix and translation under keys of their own."""

    def form(stored: Matrix) -> Fields:
        turned = stored[:3, :3]
        values = (turned.ravel() if flat else turned).tolist()
        return {rotation: values, translation: stored[:3, 3].tolist()}

    return form


def quaternion(rotation: str, translation: str, order: QuaternionOrder) -> PoseForm:
    """Write a quaternion in this order, and the translation."""

    def form(stored: Matrix) -> Fields:
        turned = quaternion_from_rotation(stored[:3, :3], order)
        return {rotation: turned.tolist(), translation: stored[:3, 3].tolist()}

    return form


def inside(key: str, form: PoseForm) -> PoseForm:
    """Put a pose's keys into an object under a key."""
    return lambda stored: {key: form(stored)}


def beside(form: PoseForm, **more: Any) -> PoseForm:
    """Put constant keys beside a pose's."""
    return lambda stored: {**form(stored), **more}


def lens_inside(key: str, form: LensForm) -> LensForm:
    """Put a lens's keys into an object under a key."""
    return lambda intrinsics, size: {key: form(intrinsics, size)}


def lens_matrix(key: str, *, flat: bool = False, normalised: bool = False) -> LensForm:
    """Write the 3x3 matrix under a key, in pixels or divided by the image size, nested or flat."""

    def form(intrinsics: Matrix, size: int) -> Fields:
        values = intrinsics / np.array([[size], [size], [1.0]]) if normalised else intrinsics
        return {key: (values.ravel() if flat else values).tolist()}

    return form


def lens_entries(*keys: str) -> LensForm:
    """Write fx, fy, cx and cy, pixels, under these four keys."""

    def form(intrinsics: Matrix, size: int) -> Fields:
        return dict(zip(keys, intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(), strict=True))

    return form


def lens_mm(focal: str, sensor: str) -> LensForm:
    """Write focal length and sensor width, mm. Only for square pixels and a centred axis."""
    return lambda intrinsics, size: {
        focal: float(intrinsics[0, 0]) * SENSOR_MM / size,
        sensor: SENSOR_MM,
    }


def lens_angle(key: str) -> LensForm:
    """Write the horizontal field of view, radians. Only for square pixels and a centred axis."""
    return lambda intrinsics, size: {key: 2 * float(np.arctan(size / 2 / intrinsics[0, 0]))}


def lens_and_size(form: LensForm, *keys: str) -> LensForm:
    """Write the image's size too: one key for `[width, height]`, or two."""

    def both(intrinsics: Matrix, size: int) -> Fields:
        sizes = {keys[0]: [size, size]} if len(keys) == 1 else dict.fromkeys(keys, size)
        return {**form(intrinsics, size), **sizes}

    return both


def no_lens(intrinsics: Matrix, size: int) -> Fields:
    """Write nothing of the intrinsics."""
    return {}
