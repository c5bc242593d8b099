"""Check that matrices are rotations, extrinsics and intrinsics, and say which is wrong and how.

Metadata is checked here as it comes in; `nearest_rotation` repairs what rounding did.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.cameras.poses import FloatArray, as_stack
from geogen_hf.errors import CameraError

#: Largest |R^T R - 1| of an acceptable rotation. Rounding to 3 decimals moves each entry by up to
#: 0.0005 and so each entry of R^T R by up to 2 * sqrt(3) * 0.0005 < 0.0018: such values always
#: pass. The determinant needs no tolerance of its own: within this one it is near +1 or near -1.
ROTATION_TOLERANCE = 2e-3
#: Largest |R^T R - 1| that `nearest_rotation` repairs. More is not rounding but another matrix.
REPAIR_LIMIT = 5e-2

_NOT_FINITE, _LEAVE_OUT = "have values that are not finite", "repair or leave out this subject"


def rotation_errors(rotation: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """How far `(..., 3, 3)` matrices are from rotations, as two `(...)` float64.

    The largest entry of |R^T R - 1| (inf where a value is not finite) and the determinant (nan).
    """
    rotation = as_stack(rotation, "rotations", 3, 3)
    finite = np.asarray(np.isfinite(rotation).all(axis=(-2, -1)))
    # Bounded, so that absurd values give a huge error and no overflow.
    bounded = np.where(finite[..., None, None], rotation, 0.0).clip(-1e50, 1e50)
    gram = np.swapaxes(bounded, -1, -2) @ bounded
    error = np.abs(gram - np.eye(3)).max(axis=(-2, -1))
    determinant = np.linalg.det(bounded)
    return np.where(finite, error, np.inf), np.where(finite, determinant, np.nan)


def is_rotation(rotation: ArrayLike, tolerance: float = ROTATION_TOLERANCE) -> NDArray[np.bool_]:
    """Tell which `(..., 3, 3)` matrices are rotations: orthonormal in `tolerance`, det > 0."""
    error, determinant = rotation_errors(rotation)
    return np.asarray((error <= tolerance) & (determinant > 0))


def nearest_rotation(rotation: ArrayLike) -> FloatArray:
    """The rotations nearest to `(..., 3, 3)` matrices that are slightly off, as rounding leaves.

    The orthogonal factor of the polar decomposition, by SVD: it is the nearest in the Frobenius
    norm (Higham, "Computing the Polar Decomposition", 1986).

    Raises:
        CameraError: A matrix is mirrored, or off by more than `REPAIR_LIMIT` in |R^T R - 1|: then
            the nearest rotation would hide a mistake.
    """
    rotation = as_stack(rotation, "rotations", 3, 3)
    usable = is_rotation(rotation, REPAIR_LIMIT)
    if not usable.all():
        raise _no_rotation("rotations", rotation, usable, REPAIR_LIMIT)
    left, _, right = np.linalg.svd(rotation)
    return np.asarray(left @ right)


def validate_extrinsics(world_to_camera: ArrayLike) -> FloatArray:
    """Return `(..., 4, 4)` rigid transforms as float64 if all of them are; else say which is not.

    Raises:
        CameraError: A value is not finite, the last row is not 0 0 0 1, or the upper left 3x3
            is no rotation. Names the first such index, what was found, and a remedy.

    Example:
        >>> validate_extrinsics([np.diag([1, 1, -1, 1])])
        Traceback (most recent call last):
        geogen_hf.errors.CameraError: extrinsics are mirrored (1 of 1 bad)
          where: index [0]
          expected: determinant +1 and |R^T R - 1| <= 0.002
          found: determinant -1, |R^T R - 1| = 0
          remedy: one camera axis is flipped or two are swapped: state the axes convention
    """
    matrices = as_stack(world_to_camera, "extrinsics", 4, 4)
    finite = np.asarray(np.isfinite(matrices).all(axis=(-2, -1)))
    affine = np.asarray((np.abs(matrices[..., 3, :] - [0, 0, 0, 1]) <= 1e-6).all(axis=-1) & finite)
    good = np.asarray(affine & is_rotation(matrices[..., :3, :3]))
    if good.all():
        return matrices
    index = _first(good)
    if affine[index]:
        raise _no_rotation("extrinsics", matrices[..., :3, :3], good, ROTATION_TOLERANCE)
    what, remedy = "have a last row that is not 0 0 0 1", "check the order of their 16 numbers"
    if not finite[index]:
        what, remedy = _NOT_FINITE, _LEAVE_OUT
    elif np.abs(matrices[index][:, 3] - [0, 0, 0, 1]).max() <= 1e-6:
        remedy = "the last column is 0 0 0 1, so they are in column-major order: transpose them"
    expected = "a finite 4x4 with the last row 0 0 0 1"
    raise _refusal(f"extrinsics {what}", good, expected, matrices[index].tolist(), remedy)


def validate_intrinsics(
    intrinsics: ArrayLike,
    width: ArrayLike | None = None,
    height: ArrayLike | None = None,
    max_offset: float = 0.25,
) -> FloatArray:
    """Return `(..., 3, 3)` pixel intrinsics as float64 if all can be that; else say which cannot.

    Args:
        intrinsics: `(..., 3, 3)` pixels.
        width: `(...)` image width in pixels; without it, cx is only checked to be finite.
        height: `(...)` image height in pixels; likewise for cy.
        max_offset: How far from the middle a principal point may be, as a part of the image's
            side. Renders have it in the middle; raise this for crops. The default also refuses
            intrinsics that are divided by the image size, or are those of another resolution.

    Raises:
        CameraError: A value is not finite, the lower triangle is not 0, 0, 0, the corner is not
            1, a focal length is not positive, or the principal point is implausible.

    Example:
        >>> from geogen_hf.cameras.poses import intrinsics_matrix
        >>> validate_intrinsics(intrinsics_matrix(1.39, 1.39, 0.5, 0.5), 512, 512)
        Traceback (most recent call last):
        geogen_hf.errors.CameraError: intrinsics have an implausible cx (1 of 1 bad)
          where: index []
          expected: 256 +- 128 px for this width
          found: 0.5
          remedy: multiply by the image size if they are divided by it; rescale if resized
    """
    stack = as_stack(intrinsics, "intrinsics", 3, 3)

    def require(
        good: NDArray[np.bool_], values: FloatArray, fault: str, expected: str | None, remedy: str
    ) -> None:
        if not np.all(good):
            found = values[_first(good)].tolist()
            raise _refusal(f"intrinsics {fault}", good, expected, found, remedy)

    finite = np.asarray(np.isfinite(stack).all(axis=(-2, -1)))
    require(finite, stack, _NOT_FINITE, None, _LEAVE_OUT)
    form = np.abs(stack[..., [1, 2, 2, 2], [0, 0, 1, 2]] - [0, 0, 0, 1]).max(axis=-1) <= 1e-6
    triangle = "upper triangular, last row 0 0 1"
    columns = "transpose them if they are in column-major order; else divide by K[2, 2]"
    require(form, stack, "have another form", triangle, columns)
    for axis, name in enumerate(("fx", "fy")):
        focal = stack[..., axis, axis]
        remedy = (
            "check the order and the unit of these numbers; "
            f"a negative {name} means another axes convention"
        )
        require(focal > 0, focal, f"have a {name} that is not positive", "> 0", remedy)
    for axis, (name, side, size) in enumerate((("cx", "width", width), ("cy", "height", height))):
        if size is not None:
            middle = np.asarray(size, dtype=np.float64) / 2
            principal, middle = np.broadcast_arrays(stack[..., axis, 2], middle)
            good = np.abs(principal - middle) <= 2 * max_offset * middle
            first = middle.flat[np.argmin(good)]
            expected = f"{first:g} +- {2 * max_offset * first:g} px for this {side}"
            remedy = "multiply by the image size if they are divided by it; rescale if resized"
            require(good, principal, f"have an implausible {name}", expected, remedy)
    return stack


def _no_rotation(
    name: str, rotation: FloatArray, good: NDArray[np.bool_], tolerance: float
) -> CameraError:
    """Say what the first bad matrix is instead of a rotation."""
    first = rotation[_first(good)]
    error, determinant = (float(each) for each in rotation_errors(first))
    scale = abs(determinant) ** (1 / 3)
    if not np.isfinite(error):
        what, remedy = _NOT_FINITE, _LEAVE_OUT
    elif determinant < 0:
        what = "are mirrored"
        remedy = "one camera axis is flipped or two are swapped: state the axes convention"
    elif error <= REPAIR_LIMIT:
        what, remedy = "are slightly off a rotation", "pass them through nearest_rotation"
    elif scale > 0 and rotation_errors(first / scale)[0] <= ROTATION_TOLERANCE:
        what, remedy = f"are scaled by {scale:.4g}", "divide the upper left 3x3 by that"
    else:
        what, remedy = "are no rotations", "check which numbers are the rotation, and their order"
    expected = f"determinant +1 and |R^T R - 1| <= {tolerance:g}"
    found = f"determinant {determinant:.4g}, |R^T R - 1| = {error:.4g}"
    return _refusal(f"{name} {what}", good, expected, found, remedy)


def _refusal(
    what: str, good: NDArray[np.bool_], expected: str | None, found: object, remedy: str
) -> CameraError:
    what = f"{what} ({np.size(good) - np.count_nonzero(good)} of {np.size(good)} bad)"
    where = f"index {list(_first(good))}"
    return CameraError(what, where=where, expected=expected, found=found, remedy=remedy)


def _first(good: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first value that is false."""
    return tuple(np.argwhere(~np.asarray(good))[0].tolist())
