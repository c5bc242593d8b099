"""Intrinsics as metadata gives them, and as pixels once the image's size is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from geogen_hf.cameras.intrinsics import (
    intrinsics_from_focal_mm,
    intrinsics_from_fov,
    intrinsics_matrix,
)
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import CameraError, UsageError, explain
from geogen_hf.metadata.plan import CameraPlan, CameraValueError, LensPlan, Node, Units, dotted
from geogen_hf.metadata.values import numbers, square_matrices, value_at

LensKind = Literal["pixels", "normalised", "lens_mm", "fov_x", "absent"]
DefaultIntrinsics = Literal["upstream"]

UPSTREAM_FOCAL_MM, UPSTREAM_SENSOR_MM = 50.0, 36.0
"""What the publisher's page calls the average."""

# A lens between 130 and 12 degrees whose axis meets the image's middle half, divided by the image
# size; and one that no image of 8 pixels or more could have in those units.
_NORMALISED_FOCAL, _NORMALISED_CENTRE = (0.2, 5.0), (0.25, 0.75)
_LEAST_FOCAL_PX, _LEAST_CENTRE_PX = 7.5, 2.0


@dataclass(frozen=True, eq=False)
class StoredIntrinsics:
    """Intrinsics in the unit they came in.

    Attributes:
        kind: What `values` are.
        values: `(V, 3, 3)` float64 matrices in pixels or divided by the image size; `(V, 2)` focal
            length and sensor width in mm; `(V, 1)` horizontal field of view in radians; or
            `(V, 0)`.
        size_wh: `(V, 2)` float64 image width and height as the metadata has them, or None.
    """

    kind: LensKind
    values: FloatArray
    size_wh: FloatArray | None = None

    def rows(self, kept: Sequence[int]) -> StoredIntrinsics:
        """The same for some of the views, in this order."""
        size_wh = None if self.size_wh is None else self.size_wh[list(kept)]
        return StoredIntrinsics(self.kind, self.values[list(kept)], size_wh)


def pixel_intrinsics(
    stored: StoredIntrinsics,
    width: ArrayLike,
    height: ArrayLike,
    default_intrinsics: DefaultIntrinsics | None = None,
) -> FloatArray:
    """Intrinsics in pixels of the images.

    Args:
        stored: Of V views.
        width: Of the images, pixels; `(V,)` or one for all.
        height: Likewise.
        default_intrinsics: `"upstream"` puts a 50 mm lens on a 36 mm wide sensor where the metadata
            says nothing; None refuses that.

    Returns:
        `(V, 3, 3)` float64 pixels.

    Raises:
        CameraError: There are no intrinsics and no default is to be used, or the metadata is of
            another image size.
        UsageError: An unknown default.

    Example:
        >>> lens = StoredIntrinsics("lens_mm", np.array([[50.0, 36.0]]))
        >>> pixel_intrinsics(lens, 72, 36)[0, :2].tolist()
        [[100.0, 0.0, 36.0], [0.0, 100.0, 18.0]]
    """
    if default_intrinsics not in (None, "upstream"):
        what = "unknown default_intrinsics"
        raise UsageError(explain(what, expected="'upstream' or None", found=default_intrinsics))
    count, values = len(stored.values), stored.values
    width = np.broadcast_to(np.asarray(width, np.float64), (count,))
    height = np.broadcast_to(np.asarray(height, np.float64), (count,))
    _demand_size(stored, np.stack([width, height], axis=-1))
    if stored.kind == "pixels":
        return values
    if stored.kind == "normalised":
        return np.asarray(values * np.stack([width, height, np.ones(count)], axis=-1)[:, :, None])
    if stored.kind == "lens_mm":
        return intrinsics_from_focal_mm(values[:, 0], values[:, 1], width, height)
    if stored.kind == "fov_x":
        return intrinsics_from_fov(np.degrees(values[:, 0]), width, height)
    if default_intrinsics is None:
        raise CameraError(
            explain(
                "the metadata has no intrinsics",
                expected="a matrix, fx fy cx cy, a lens in mm or a field of view",
                found="none under a known key",
                remedy='name the key with camera_schema, or default_intrinsics="upstream" for the '
                f"publisher's average ({UPSTREAM_FOCAL_MM:g} mm on {UPSTREAM_SENSOR_MM:g} mm)",
            )
        )
    return intrinsics_from_focal_mm([UPSTREAM_FOCAL_MM] * count, UPSTREAM_SENSOR_MM, width, height)


def _demand_size(stored: StoredIntrinsics, size_wh: FloatArray) -> None:
    """Where the metadata names an image size, in either order, it must be the image's."""
    if stored.size_wh is None:
        return
    same = np.sort(stored.size_wh, axis=1) == np.sort(size_wh, axis=1)
    if not same.all():
        row = int(np.argwhere(~same)[0, 0])
        raise CameraError(
            explain(
                "the metadata is of images of another size",
                where=f"row {row}",
                expected="{:g} × {:g} pixels, as the image has".format(*size_wh[row]),
                found="{:g} × {:g}".format(*stored.size_wh[row]),
                remedy="use the images the metadata was made for: a resize cannot be told from a "
                "crop",
            )
        )


def read_intrinsics(plan: CameraPlan, nodes: Sequence[Node]) -> StoredIntrinsics:
    """Read the intrinsics of cameras with the same plan, and tell their unit by its range.

    Args:
        plan: Where they are.
        nodes: V cameras.

    Returns:
        Their intrinsics, as stored.

    Raises:
        CameraValueError: A value is not what its key says, or the unit cannot be told.
    """
    lens, size = plan.lens, _read_size(plan, nodes)
    if lens.form == "absent":
        return StoredIntrinsics("absent", np.zeros((len(nodes), 0)), size)
    if lens.form == "incomplete":
        raise CameraValueError(
            None,
            "fx fy cx cy; or a focal length in mm and the sensor's width; or a matrix",
            f"only {dotted(lens.paths)}",
            'complete it with camera_schema: {"intrinsics": {…}}',
        )
    values = [[value_at(node, path) for node in nodes] for path in lens.paths]
    names = [dotted([path]) for path in lens.paths]
    if lens.form in ("lens_mm", "fov"):
        return StoredIntrinsics(*_read_lens(lens, values, names), size)
    matrices = _read_matrices(lens, values, names)
    return StoredIntrinsics(_unit(matrices, lens.units, names[0]), matrices, size)


def _read_lens(
    lens: LensPlan, values: list[list[object]], names: list[str]
) -> tuple[LensKind, FloatArray]:
    parts = [numbers(v, n, [()])[0] for v, n in zip(values, names, strict=True)]
    scale = np.pi / 180 if lens.degrees else 1.0
    stacked = np.stack(parts, axis=-1) * (scale if lens.form == "fov" else 1.0)
    good = (stacked > 0) & ((stacked < np.pi) | (lens.form != "fov"))
    if not good.all():
        row, column = (int(i) for i in np.argwhere(~good)[0])
        limit = "> 0" if lens.form != "fov" else "an angle between 0 and 180 degrees"
        raise CameraValueError(row, f"{names[column]} {limit}", f"{values[column][row]}")
    return ("fov_x" if lens.form == "fov" else "lens_mm"), stacked


def _read_matrices(lens: LensPlan, values: list[list[object]], names: list[str]) -> FloatArray:
    if lens.form == "label":
        return numbers(values[0], names[0], [(25,)])[0][:, 16:].reshape(-1, 3, 3)
    if lens.form == "entries":
        parts = [numbers(v, n, [()])[0] for v, n in zip(values, names, strict=True)]
        return intrinsics_matrix(*parts)
    if lens.form == "focal":
        focal, shape = numbers(values[0], names[0], [(2,), ()])
        focal = focal if shape else np.stack([focal, focal], axis=-1)
        principal, _ = numbers(values[1], names[1], [(2,)])
        return intrinsics_matrix(focal[:, 0], focal[:, 1], principal[:, 0], principal[:, 1])
    matrices = square_matrices(values[0], names[0], None)
    lower = (matrices[:, :2, 2] == 0).all() and (matrices[:, 2, :2] != 0).any()
    # Intrinsics have their centre in the last column: in the last row, they go column by column.
    return matrices.swapaxes(1, 2) if lower else matrices


def _unit(matrices: FloatArray, said: Units | None, name: str) -> Units:
    if said is not None:
        return said
    focal, centre = np.abs(matrices[:, [0, 1], [0, 1]]), matrices[:, :2, 2]
    (low, high), (near, far) = _NORMALISED_FOCAL, _NORMALISED_CENTRE
    normal = (focal >= low) & (focal <= high) & (centre >= near) & (centre <= far)
    pixels = (focal >= _LEAST_FOCAL_PX) & (centre >= _LEAST_CENTRE_PX)
    if normal.all():
        return "normalised"
    if pixels.all():
        return "pixels"
    row = int(np.argmin(pixels.all(axis=1) | normal.all(axis=1)))
    fx, fy, cx, cy = np.concatenate([focal[row], centre[row]]).tolist()
    raise CameraValueError(
        row,
        f"{name} in pixels, or divided by the image size with the centre near 0.5",
        f"fx fy cx cy = {fx:.4g} {fy:.4g} {cx:.4g} {cy:.4g}, which could be either or neither",
        'say it with camera_schema: {"intrinsics_units": "pixels"} (or "normalised")',
    )


def _read_size(plan: CameraPlan, nodes: Sequence[Node]) -> FloatArray | None:
    if not plan.size:
        return None
    values = [[value_at(node, path) for node in nodes] for path in plan.size]
    names = [dotted([path]) for path in plan.size]
    if len(plan.size) == 1:
        size, shape = numbers(values[0], names[0], [(2,), (3,), ()])
        size = size[:, :2] if shape else np.stack([size, size], axis=-1)
    else:
        size = np.stack(
            [numbers(v, n, [()])[0] for v, n in zip(values, names, strict=True)], axis=-1
        )
    if not (size >= 1).all():
        row = int(np.argwhere(size < 1)[0, 0])
        raise CameraValueError(row, f"{names[0]} to be an image's size in pixels", f"{size[row]}")
    return size
