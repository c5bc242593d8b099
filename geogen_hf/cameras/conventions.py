"""The conventions that a stored camera matrix may be in, and those of other tools.

A convention says three things: the **direction** of the map (world to camera, or back), the
**axes** of the camera frame, and whether the stored 4x4 is **transposed** as a whole (translation
in the last row: a column-major dump). `canonicalise` turns such matrices into the canonical
world-to-camera of `geogen_hf.cameras.poses`, and `express` is its exact inverse. Functions named
after a tool convert cameras only: none turns, moves or scales the world, so a tool that wants
another up axis has to be told. Input is not checked: `geogen_hf.cameras.validate` does that.

**Mirrored axes, proper rotations.** A rotation into left-handed camera axes has determinant -1,
unless the world is left-handed as well (as in Unity): then the numbers of one matrix show nothing.
`express` writes mirrored axes in this second, silent way, with the world's x flipped.
`canonicalise` reads both: wherever the camera axes alone would leave a determinant of -1, it flips
the world's x. Nothing else here touches the world's frame, because no evidence could say which way
it ought to lie (gauge freedom).

**What can be told apart, and by what:**

- *By the numbers alone*: whether the 4x4 is transposed (unless all translations are zero), and
  whether camera axes and world have the same handedness (the determinant).
- *By geometry* (`geogen_hf.cameras.rigs`): forward from backward, because the cameras look at the
  head; and almost always the direction. Where the head lies on the world's z axis, reading matrices
  in the wrong direction gives another sound rig (centres at `d z - R p`, axes through `d z` for a
  head at `p` parallel to `z`), and only pixels tell.
- *Only by pixels*: right from left and down from up; hardly, if all cameras stand level with what
  they look at: then the picture upside down is the picture of the world upside down.
- *Not at all*: OpenGL's axes from Blender's, which are the same; the frame and unit of the world;
  and on which plane a left-handed world is mirrored.

A matrix of which only the 3x3 block is transposed is in none of these conventions: geometry rules
most readings of it out, and silhouettes the rest. (Cameras level with the origin, in a world with
y up, are the exception that does no harm: their rotations are their own transposes.)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.cameras.poses import (
    FloatArray,
    as_stack,
    compose_rigid,
    intrinsics_matrix,
    invert_rigid,
    unit_vectors,
)
from geogen_hf.errors import CameraError, UsageError

Direction = Literal["world_to_camera", "camera_to_world"]
CameraAxes = Literal[
    "opencv",
    "opengl",
    "opencv_turned",
    "opengl_turned",
    "opencv_mirrored_x",
    "opencv_mirrored_y",
    "opengl_mirrored_x",
    "opengl_mirrored_y",
]

#: Signs that turn OpenCV's camera axes (x right, y down, z forward) into those named, and back.
AXES_SIGNS: dict[CameraAxes, tuple[int, int, int]] = {
    "opencv": (1, 1, 1),  # right, down, forward
    "opengl": (1, -1, -1),  # right, up, backward; Blender's too
    "opencv_turned": (-1, -1, 1),  # left, up, forward; PyTorch3D's
    "opengl_turned": (-1, 1, -1),  # left, down, backward
    "opencv_mirrored_x": (-1, 1, 1),  # left, down, forward
    "opencv_mirrored_y": (1, -1, 1),  # right, up, forward; Unity's
    "opengl_mirrored_x": (-1, -1, -1),  # left, up, backward
    "opengl_mirrored_y": (1, 1, -1),  # right, down, backward
}

_ALIASES = {
    "w2c": "world_to_camera",
    "c2w": "camera_to_world",
    "blender": "opengl",
    "pytorch3d": "opencv_turned",
    "unity": "opencv_mirrored_y",
}
_WORLD_MIRROR = np.array([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Convention:
    """What a stored 4x4 matrix means.

    Attributes:
        direction: Which way the matrix maps.
        axes: The camera frame.
        transposed: Whether the 4x4 is stored with rows and columns exchanged.

    Raises:
        UsageError: A value is none of those that exist.

    Example:
        >>> Convention("camera_to_world", "opengl", transposed=True).name
        'camera_to_world opengl transposed'
    """

    direction: Direction
    axes: CameraAxes
    transposed: bool = False

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction) or self.axes not in AXES_SIGNS:
            raise _unknown(self.name)

    @property
    def name(self) -> str:
        """Direction, axes and, where it is so, `transposed`, with spaces between."""
        return f"{self.direction} {self.axes}" + " transposed" * self.transposed

    @property
    def mirrored(self) -> bool:
        """Whether the camera frame is left-handed."""
        return bool(np.prod(AXES_SIGNS[self.axes]) < 0)

    @property
    def looks_forward(self) -> bool:
        """Whether the camera's z points at what it sees, and not away from it."""
        return AXES_SIGNS[self.axes][2] > 0

    def __str__(self) -> str:
        return self.name

    def difference(self, other: Convention) -> str:
        """Say in what another convention differs, as `"the direction of the map; up and down"`."""
        axes = zip(AXES_SIGNS[self.axes], AXES_SIGNS[other.axes], strict=True)
        names = ("left and right", "up and down", "forward and backward")
        said = [name for name, (one, two) in zip(names, axes, strict=True) if one != two]
        if self.direction != other.direction:
            said.insert(0, "the direction of the map")
        if self.transposed != other.transposed:
            said.append("rows and columns")
        return "; ".join(said)

    @classmethod
    def from_name(cls, name: str) -> Convention:
        """Read a name, in any case and with `-` for `_`; `w2c`, `c2w`, `blender` and so on work.

        Raises:
            UsageError: The name says no direction, no axes, or anything else.
        """
        words = [_ALIASES.get(word, word) for word in name.lower().replace("-", "_").split()]
        if len(words) == 2 or (len(words) == 3 and words[2] == "transposed"):
            return cls(words[0], words[1], len(words) == 3)  # type: ignore[arg-type]  # it checks
        raise _unknown(name)


def _unknown(name: str) -> UsageError:
    directions, axes = ", ".join(get_args(Direction)), ", ".join(AXES_SIGNS)
    expected = f"DIRECTION AXES [transposed], DIRECTION one of {directions} and AXES one of {axes}"
    remedy = 'name both, such as "camera_to_world opengl"'
    return UsageError(
        "no such camera convention", expected=expected, found=repr(name), remedy=remedy
    )


CANONICAL = Convention("world_to_camera", "opencv")
"""The convention of everything this package hands out."""

#: Every convention, the likelier ones first: right-handed before mirrored, then as named above.
CANDIDATES: tuple[Convention, ...] = tuple(
    Convention(direction, axes, transposed)
    for transposed, axes, direction in itertools.product(
        (False, True), AXES_SIGNS, get_args(Direction)
    )
)


def canonicalise(matrices: ArrayLike, convention: Convention) -> FloatArray:
    """Read stored matrices in a convention.

    Input is not checked (`geogen_hf.cameras.validate` does that, of the result). The part above the
    translation is taken for a rotation, mirrored or not, so that inverting it is transposing it.

    Args:
        matrices: `(..., 4, 4)` as stored.
        convention: What they mean.

    Returns:
        `(..., 4, 4)` float64 world-to-camera, OpenCV axes. Where the determinant would be -1 the
        world's x is flipped (see the top of this module).

    Example:
        >>> stored = np.array([[1, 0, 0, 7], [0, -1, 0, 8], [0, 0, -1, 9], [0, 0, 0, 1]])
        >>> canonicalise(stored, Convention("camera_to_world", "opengl"))[:3, 3].tolist()
        [-7.0, -8.0, -9.0]
    """
    matrix = as_stack(matrices, "stored camera matrices", 4, 4)
    if convention.transposed:
        matrix = np.swapaxes(matrix, -1, -2)
    if convention.direction == "camera_to_world":
        matrix = invert_rigid(matrix)
    matrix = matrix * _row_signs(convention)
    return np.where(is_improper(matrix)[..., None, None], matrix * _WORLD_MIRROR, matrix)


def express(world_to_camera: ArrayLike, convention: Convention) -> FloatArray:
    """Write canonical extrinsics in a convention: the inverse of `canonicalise`.

    Args:
        world_to_camera: `(..., 4, 4)` extrinsics, OpenCV axes.
        convention: What the result shall mean.

    Returns:
        `(..., 4, 4)` float64. Mirrored axes are written as proper rotations, of a world whose x
        is flipped.

    Example:
        >>> from geogen_hf.cameras.poses import look_at
        >>> camera = look_at((1, 2, 5), (0, 0, 0), (0, 1, 0))
        >>> express(camera, Convention("camera_to_world", "opencv", transposed=True))[3].round(9)
        array([1., 2., 5., 1.])
    """
    matrix = as_stack(world_to_camera, "extrinsics", 4, 4) * _row_signs(convention)
    if convention.mirrored:
        matrix = matrix * _WORLD_MIRROR
    if convention.direction == "camera_to_world":
        matrix = invert_rigid(matrix)
    return np.swapaxes(matrix, -1, -2).copy() if convention.transposed else matrix


def is_improper(matrices: ArrayLike) -> NDArray[np.bool_]:
    """Tell which `(..., 4, 4)` matrices hold a mirrored rotation: `(...)` bool."""
    stack = as_stack(matrices, "stored camera matrices", 4, 4)
    return np.asarray(np.linalg.det(stack[..., :3, :3]) < 0)


def _row_signs(convention: Convention) -> FloatArray:
    return np.array([*AXES_SIGNS[convention.axes], 1.0])[:, None]


AxesName = Literal["opencv", "opengl", "blender", "pytorch3d"]
"""Camera axes by a tool: COLMAP and EG3D have OpenCV's, nerfstudio and NeRF-synthetic OpenGL's, and
a Blender camera looks along its local -z with +y up (Blender manual), which is the same."""
QuaternionOrder = Literal["wxyz", "xyzw"]

_PYTORCH3D = Convention("world_to_camera", "opencv_turned")


def to_camera_to_world(world_to_camera: ArrayLike, axes: AxesName = "opencv") -> FloatArray:
    """Camera-to-world matrices, `(..., 4, 4)`, for a tool with the given camera axes.

    `axes="opengl"` is the `transform_matrix` of NeRF-synthetic and nerfstudio ("Data
    conventions" page) and, as `"blender"`, the `matrix_world` of a Blender camera.

    Raises:
        UsageError: The axes have another name than those of `AxesName`.

    Example:
        >>> from geogen_hf.cameras.poses import look_at
        >>> to_camera_to_world(look_at((0, 0, 5), (0, 0, 0), (0, 1, 0)), "opengl") + 0.0
        array([[1., 0., 0., 0.],
               [0., 1., 0., 0.],
               [0., 0., 1., 5.],
               [0., 0., 0., 1.]])
    """
    return express(world_to_camera, _camera_to_world(axes))


def from_camera_to_world(camera_to_world: ArrayLike, axes: AxesName = "opencv") -> FloatArray:
    """Canonical extrinsics `(..., 4, 4)` from camera-to-world matrices with the given axes.

    Example:
        >>> from_camera_to_world(np.diag([1, -1, -1, 1]), "opengl").diagonal()
        array([1., 1., 1., 1.])
    """
    return canonicalise(camera_to_world, _camera_to_world(axes))


def _camera_to_world(axes: AxesName) -> Convention:
    if axes not in get_args(AxesName):
        expected = ", ".join(get_args(AxesName))
        raise UsageError("unknown camera axes", expected=expected, found=axes)
    return Convention.from_name(f"c2w {axes}")


@dataclass(frozen=True, eq=False)
class PyTorch3DCameras:
    """Arguments of PyTorch3D's `PerspectiveCameras(..., in_ndc=True)`, with its names."""

    R: FloatArray  # (..., 3, 3) world-to-view for row vectors, view = world @ R + T; x left, y up
    T: FloatArray  # (..., 3) in the world's unit
    focal_length: FloatArray  # (..., 2) x, y in NDC
    principal_point: FloatArray  # (..., 2) x, y in NDC, 0 in the middle of the image


def to_pytorch3d(
    world_to_camera: ArrayLike, intrinsics: ArrayLike, width: int, height: int
) -> PyTorch3DCameras:
    """Cameras for PyTorch3D ("Cameras" page of its documentation).

    NDC has x left and y up, is zero in the middle of the image and reaches 1 at the middle of
    the SHORTER sides, so one unit is min(W, H) / 2 pixels on both axes. CO3D calls this
    `intrinsics_format: "ndc_isotropic"`; its older `"ndc_norm_image_bounds"` differs for images
    that are not square.

    Raises:
        CameraError: There is skew, which PyTorch3D's cameras cannot hold.

    Example:
        >>> cameras = to_pytorch3d(np.eye(4), intrinsics_matrix(200, 100, 60, 50), 160, 100)
        >>> cameras.focal_length.tolist(), cameras.principal_point.tolist()
        ([4.0, 2.0], [0.4, 0.0])
    """
    view = express(world_to_camera, _PYTORCH3D)
    focal_px, principal_px = _focal_and_principal(intrinsics, "PyTorch3D")
    middle, unit_px = np.array([width, height]) / 2, min(width, height) / 2
    return PyTorch3DCameras(
        R=np.swapaxes(view[..., :3, :3], -1, -2),
        T=view[..., :3, 3],
        focal_length=focal_px / unit_px,
        principal_point=(middle - principal_px) / unit_px,
    )


def from_pytorch3d(
    cameras: PyTorch3DCameras, width: int, height: int
) -> tuple[FloatArray, FloatArray]:
    """Canonical extrinsics `(..., 4, 4)` and intrinsics `(..., 3, 3)`: undoes `to_pytorch3d`."""
    rotation = np.swapaxes(as_stack(cameras.R, "R", 3, 3), -1, -2)
    middle, unit_px = np.array([width, height]) / 2, min(width, height) / 2
    focal_px = as_stack(cameras.focal_length, "focal_length", 2) * unit_px
    principal_px = middle - as_stack(cameras.principal_point, "principal_point", 2) * unit_px
    parts = (focal_px[..., 0], focal_px[..., 1], principal_px[..., 0], principal_px[..., 1])
    extrinsics = canonicalise(compose_rigid(rotation, cameras.T), _PYTORCH3D)
    return extrinsics, intrinsics_matrix(*parts)


def to_eg3d(
    world_to_camera: ArrayLike, intrinsics: ArrayLike, width: int, height: int
) -> FloatArray:
    """EG3D's labels, `(..., 25)`: what its `dataset.json` holds for an image.

    16 numbers of camera-to-world with OpenCV axes, then 9 of the intrinsics with their first row
    divided by the image's width and their second by its height; both row by row.

    Example:
        >>> to_eg3d(np.eye(4), intrinsics_matrix(100, 50, 64, 32), 128, 64)[16:22].tolist()
        [0.78125, 0.0, 0.5, 0.0, 0.78125, 0.5]
    """
    pose = to_camera_to_world(world_to_camera)
    lens = as_stack(intrinsics, "intrinsics", 3, 3) / np.array([[width], [height], [1.0]])
    lead = np.broadcast_shapes(pose.shape[:-2], lens.shape[:-2])
    flat = [np.broadcast_to(m, lead + m.shape[-2:]).reshape(*lead, -1) for m in (pose, lens)]
    return np.concatenate(flat, axis=-1)


def from_eg3d(labels: ArrayLike, width: int, height: int) -> tuple[FloatArray, FloatArray]:
    """Canonical extrinsics `(..., 4, 4)` and intrinsics `(..., 3, 3)`: undoes `to_eg3d`."""
    labels = as_stack(labels, "EG3D labels", 25)
    pose = labels[..., :16].reshape(*labels.shape[:-1], 4, 4)
    lens = labels[..., 16:].reshape(*labels.shape[:-1], 3, 3)
    return from_camera_to_world(pose), np.asarray(lens * np.array([[width], [height], [1.0]]))


@dataclass(frozen=True, eq=False)
class NerfstudioCameras:
    """What nerfstudio's `transforms.json` says of cameras, with its names and pixels as here."""

    transform_matrix: FloatArray  # (..., 4, 4) camera-to-world, OpenGL axes
    fl_x: FloatArray  # (...), as the next three
    fl_y: FloatArray
    cx: FloatArray
    cy: FloatArray
    w: int
    h: int


def to_nerfstudio(
    world_to_camera: ArrayLike, intrinsics: ArrayLike, width: int, height: int
) -> NerfstudioCameras:
    """Cameras for nerfstudio ("Data conventions" page of its documentation).

    Its pixel (0, 0) has its ray through the pixel's centre, half a pixel off zero, so cx and cy
    are the same as here. Its viewer takes the world's z for up.

    Raises:
        CameraError: There is skew, which `transforms.json` cannot hold.

    Example:
        >>> camera = to_nerfstudio(np.eye(4), intrinsics_matrix(100, 50, 60, 40), 128, 64)
        >>> float(camera.fl_y), camera.transform_matrix.diagonal().tolist()
        (50.0, [1.0, -1.0, -1.0, 1.0])
    """
    focal_px, principal_px = _focal_and_principal(intrinsics, "nerfstudio")
    pose = to_camera_to_world(world_to_camera, "opengl")
    parts = (focal_px[..., 0], focal_px[..., 1], principal_px[..., 0], principal_px[..., 1])
    return NerfstudioCameras(pose, *parts, width, height)


def from_nerfstudio(cameras: NerfstudioCameras) -> tuple[FloatArray, FloatArray]:
    """Canonical extrinsics `(..., 4, 4)` and intrinsics `(..., 3, 3)`: undoes `to_nerfstudio`."""
    extrinsics = from_camera_to_world(cameras.transform_matrix, "opengl")
    return extrinsics, intrinsics_matrix(cameras.fl_x, cameras.fl_y, cameras.cx, cameras.cy)


def _focal_and_principal(intrinsics: ArrayLike, tool: str) -> tuple[FloatArray, FloatArray]:
    intrinsics = as_stack(intrinsics, "intrinsics", 3, 3)
    skew = np.abs(intrinsics[..., 0, 1]).max(initial=0.0)
    if skew > 1e-6:
        what = f"{tool} has no place for the skew of these intrinsics"
        raise CameraError(what, expected="K[0, 1] = 0", found=f"up to {skew:g}")
    return intrinsics[..., [0, 1], [0, 1]], intrinsics[..., :2, 2]


def rotation_from_quaternion(quaternion: ArrayLike, order: QuaternionOrder) -> FloatArray:
    """Rotations `(..., 3, 3)` from quaternions `(..., 4)` of any length but zero.

    The order must be said, since both are common: COLMAP and Blender write `"wxyz"`, SciPy and
    glTF `"xyzw"`. Formula: Diebel, "Representing Attitude" (2006), equation 125.

    Raises:
        CameraError: A quaternion is zero or not finite.
        UsageError: `order` is neither.

    Example:
        >>> rotation_from_quaternion([1, 0, 0, 1], "wxyz").round(9)[0] + 0.0  # 90 deg about z
        array([ 0., -1.,  0.])
    """
    quaternion = as_stack(quaternion, "quaternions", 4)[..., np.argsort(_columns(order))]
    w, x, y, z = np.moveaxis(unit_vectors(quaternion, "a quaternion"), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_rotation(rotation: ArrayLike, order: QuaternionOrder) -> FloatArray:
    """Unit quaternions `(..., 4)` with w >= 0 from rotations `(..., 3, 3)`.

    Shepperd's method (1978): of the four ways to start, the one with the largest divisor.

    Example:
        >>> quaternion_from_rotation([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], "xyzw")
        array([0., 0., 1., 0.])
    """
    r = np.moveaxis(as_stack(rotation, "rotations", 3, 3), (-2, -1), (0, 1))
    xx, yy, zz = r[0, 0], r[1, 1], r[2, 2]
    wx, wy, wz = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    xy, xz, yz = r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1]
    # Four times the outer product of the quaternion with itself: every row is a multiple of it.
    rows = [
        [1 + xx + yy + zz, wx, wy, wz],
        [wx, 1 + xx - yy - zz, xy, xz],
        [wy, xy, 1 - xx + yy - zz, yz],
        [wz, xz, yz, 1 - xx - yy + zz],
    ]
    outer = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    best = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)[..., None, None]
    quaternion = np.take_along_axis(outer, best, axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    return np.asarray(quaternion[..., _columns(order)])


def _columns(order: QuaternionOrder) -> list[int]:
    if order not in get_args(QuaternionOrder):
        raise UsageError("unknown quaternion order", expected="wxyz, xyzw", found=order)
    return ["wxyz".index(letter) for letter in order]
