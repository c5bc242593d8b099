"""The conventions that a stored camera matrix may be in, named, read and written.

A convention says three things: the **direction** of the map (world to camera, or back), the
**axes** of the camera frame, and whether the stored 4x4 is **transposed** as a whole (translation
in the last row: a column-major dump). `canonicalise` turns such matrices into the canonical
world-to-camera of `geogen_hf.cameras.poses`, and `express` is its exact inverse.

**Axes** are the eight ways to sign right, down and forward. Four are right-handed: OpenCV's,
OpenGL's (also Blender's), and each of the two turned by 180 degrees about the optical axis. Four
are mirrored: x or y of OpenCV's or OpenGL's flipped.

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
  head and not away from it; and almost always the direction. Where the head lies on the world's z
  axis, reading matrices in the wrong direction gives another sound rig (centres at `d z - R p`,
  axes through `d z` for a head at `p` parallel to `z`), and only pixels tell.
- *Only by pixels*: right from left and down from up. Flipping x or y of every camera changes no
  optical axis, no camera centre and no agreement between up vectors.
- *Hardly*: down from up if all cameras stand level with what they look at. Then the picture
  upside down is the picture of the world upside down.
- *Not at all*: OpenGL's axes from Blender's, which are the same; where the world's origin is, how
  it is turned and what its unit is; and on which plane a left-handed world is mirrored.

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

from geogen_hf.cameras.poses import FloatArray, as_stack, invert_rigid
from geogen_hf.errors import UsageError

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
