"""Move the world so that a subject's cameras look at the origin, from where a tool expects them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geogen_hf.cameras.poses import FloatArray, camera_centre, unit_vectors
from geogen_hf.cameras.rigs import measure_rigs
from geogen_hf.errors import CameraError, explain

Vector = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Similarity:
    """The world of a conversion from that of the release.

    `point_new = scale * rotation @ point + translation`, columns.

    Attributes:
        scale: Positive.
        rotation: `(3, 3)` float64.
        translation: `(3,)` float64, in the new unit.
    """

    scale: float
    rotation: FloatArray
    translation: FloatArray

    def extrinsics(self, world_to_camera: FloatArray) -> FloatArray:
        """Extrinsics `(V, 4, 4)` in the new world that see the same pixels as before.

        Example:
            >>> from geogen_hf.cameras.poses import look_at
            >>> moved = Similarity(2.0, np.eye(3), np.array([1.0, 0, 0]))
            >>> camera_centre(moved.extrinsics(look_at([(0, 0, 5)], (0, 0, 0), (0, 1, 0)))) + 0.0
            array([[ 1.,  0., 10.]])
        """
        moved = world_to_camera.copy()
        moved[:, :3, :3] = world_to_camera[:, :3, :3] @ self.rotation.T
        moved[:, :3, 3] = self.scale * world_to_camera[:, :3, 3] - moved[:, :3, :3] @ (
            self.translation
        )
        return np.asarray(moved)

    def as_json(self) -> dict[str, Any]:
        """Plain values, and the formula in words."""
        return {
            "formula": "point = scale * rotation @ point_of_release + translation",
            "scale": self.scale,
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }


def camera_radius(world_to_camera: FloatArray) -> float:
    """Median distance of cameras `(V, 4, 4)` from the point that they look at."""
    centre = measure_rigs(world_to_camera, np.array([0])).centre[0]
    return float(np.median(np.linalg.norm(camera_centre(world_to_camera) - centre, axis=-1)))


def centring(world_to_camera: FloatArray, radius: float, up: Vector) -> Similarity:
    """The similarity that centres a subject.

    The point that the optical axes come nearest to becomes the origin, the median distance of the
    cameras from it becomes `radius`, and the world's axis that is upwards in the images becomes
    `up`. Only a whole axis of the world is turned, never a mean of the cameras' directions: so
    subjects stay upright as they were rendered.

    Args:
        world_to_camera: `(V, 4, 4)` extrinsics, OpenCV axes.
        radius: Wanted distance of the cameras.
        up: Wanted direction upwards, one of the axes or its opposite.

    Returns:
        The similarity.

    Raises:
        CameraError: The cameras do not look at one point.

    Example:
        >>> from geogen_hf.cameras.poses import look_at
        >>> eyes = [(1, 0.3, 6), (6, 0, 1), (1, 0, -4)]
        >>> found = centring(look_at(eyes, (1, 0, 1), (0, 1, 0)), 10, (0, 0, 1))
        >>> round(found.scale, 3), (found.rotation @ [0, 1, 0]).round(6).tolist()
        (2.0, [0.0, 0.0, 1.0])
    """
    rig = measure_rigs(world_to_camera, np.array([0]))
    if not rig.sound[0]:
        raise CameraError(
            explain(
                "these cameras cannot be centred",
                expected="three views or more that look at one point in front of them",
                found=f"{rig.views[0]} views that pass it by {rig.miss[0]:.0%} of their distance",
                remedy="convert without --centre",
            )
        )
    axis = int(np.argmax(np.abs(rig.up[0])))
    upwards = np.eye(3)[axis] * np.sign(rig.up[0, axis])
    rotation = _rotation_between(upwards, np.asarray(up, dtype=np.float64))
    scale = radius / camera_radius(world_to_camera)
    return Similarity(scale, rotation, -scale * rotation @ rig.centre[0])


def _rotation_between(start: FloatArray, end: FloatArray) -> FloatArray:
    """The least rotation from one unit vector to another, exact for axes."""
    across, along = np.cross(start, end), float(start @ end)
    if along < -0.5 and np.allclose(across, 0):
        axis = np.eye(3)[int(np.argmin(np.abs(start)))]
        return np.asarray(2 * np.outer(axis, axis) - np.eye(3))
    skew = np.cross(np.eye(3), unit_vectors(across, "axis") if across.any() else across)
    return np.asarray(np.eye(3) + skew * np.linalg.norm(across) + skew @ skew * (1 - along))
