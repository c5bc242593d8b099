"""Where everything about a camera is: paths of keys, shared by all cameras with the same keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from geogen_hf.candidates import CameraAxes, Direction
from geogen_hf.conventions import QuaternionOrder
from geogen_hf.errors import GeoGenError
from geogen_hf.metadata.keys import RoleName, normalise_key

Node = Mapping[str, Any]
"""A JSON object."""
Path = tuple[str, ...]
"""Keys from a camera inwards."""

PoseForm = Literal["matrix", "rotation", "quaternion", "label"]
LensForm = Literal["matrix", "entries", "focal", "lens_mm", "fov", "label", "incomplete", "absent"]
Units = Literal["pixels", "normalised"]

MAX_CAMERA_KEYS = 64
"""An object with more keys is a collection and no camera."""


class CameraValueError(GeoGenError):
    """A camera's value is not what its key says.

    Attributes:
        row: Which of the cameras; None where it concerns all.
        expected: What should have been there.
        found: What was there.
        remedy: What the reader can do, or None.
    """

    def __init__(
        self, row: int | None, expected: str, found: str, remedy: str | None = None
    ) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.row, self.expected, self.found, self.remedy = row, expected, found, remedy


@dataclass(frozen=True)
class PosePlan:
    """Where a pose is, and what its keys claim.

    Attributes:
        form: One matrix; rotation matrix and translation; quaternion and translation; or EG3D's
            label.
        paths: To the matrix, to both halves, or to the label.
        direction: Claimed, or None.
        axes: Claimed, or None.
        column_major: Claimed, or None.
        order: Of a quaternion, where claimed.
    """

    form: PoseForm
    paths: tuple[Path, ...]
    direction: Direction | None = None
    axes: CameraAxes | None = None
    column_major: bool | None = None
    order: QuaternionOrder | None = None


@dataclass(frozen=True)
class LensPlan:
    """Where intrinsics are: paths to a matrix, to fx fy cx cy, to focal and sensor, or to an angle.

    Attributes:
        form: Which of these.
        paths: In the order just said.
        units: Where they are stated; else the values decide.
        degrees: Of an angle.
    """

    form: LensForm = "absent"
    paths: tuple[Path, ...] = ()
    units: Units | None = None
    degrees: bool = False


@dataclass(frozen=True)
class CameraPlan:
    """Where everything about a camera is.

    Attributes:
        pose: None for an object that holds no pose (what a subject's cameras share).
        lens: Its intrinsics.
        size: To the resolution, or to width and height, or empty.
        said: Paths of statements (layout, quaternion order, axes), by role.
        zeros: Paths of values that this package can only take as zero (lens distortion, shift).
        names: Paths of view, file, name and subject, by role.
    """

    pose: PosePlan | None
    lens: LensPlan
    size: tuple[Path, ...] = ()
    said: tuple[tuple[RoleName, Path], ...] = ()
    zeros: tuple[Path, ...] = ()
    names: dict[RoleName, Path] = field(default_factory=dict)

    @cached_property
    def keys(self) -> str:
        """The keys of pose and intrinsics, spelt alike, to tell schemas apart."""
        pose = self.pose.paths if self.pose else ()
        paths = [".".join(map(normalise_key, path)) for path in (*pose, *self.lens.paths)]
        return " + ".join(paths)


def dotted(paths: Iterable[Path], most: int = 8) -> str:
    """Paths for a message.

    Example:
        >>> dotted([("camera", "K"), ("fx",)])
        'camera.K, fx'
    """
    shown = [".".join(key[:40] for key in path) for path in paths]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if shown[most:] else "")
