"""What is found in a metadata file, and small questions about its objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from geogen_hf.metadata.json_text import Cut
from geogen_hf.metadata.keys import RoleName, normalise_key, role_of
from geogen_hf.metadata.plan import MAX_CAMERA_KEYS, CameraPlan, CameraValueError, Node, Path

ViewMode = Literal["list", "index", "file"]

_SHARED: frozenset[RoleName] = frozenset(
    [
        "matrix", "fx", "fy", "cx", "cy", "focal", "principal", "focal_mm", "sensor_mm", "fov_x",
        "width", "height", "resolution", "distortion", "layout", "column_major", "row_major",
        "quaternion_order", "axes", "wrapper",
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Hints:
    """What `camera_schema` says of the arrangement; None is left to the keys.

    Attributes:
        subjects: From the file's root to the collection of subjects.
        cameras: From a subject to its collection of cameras.
        subject: From a subject, or else from a camera, to the subject's name.
        view: Whether views are named by position, number or file name.
        view_key: From a camera to its number or file name; without it, the collection's key.
    """

    subjects: Path | None = None
    cameras: Path | None = None
    subject: Path | None = None
    view: ViewMode | None = None
    view_key: Path | None = None


@dataclass
class FoundCameras:
    """Some or all cameras of one subject, as objects.

    Attributes:
        subject_id: The subject.
        arrangement: How files, subjects and views are laid out, to tell schemas apart.
        views: View numbers, in the file's order.
        nodes: The cameras' objects, with what all of them share.
        plans: Of their keys.
        cut: The piece of the file that is the subject's; None for all of it.
        single: Whether this file is of one image.
        fault: Why they cannot be read, instead of all this.
    """

    subject_id: str | None
    arrangement: str
    views: list[int] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    plans: list[CameraPlan] = field(default_factory=list)
    cut: Cut | None = None
    single: bool = False
    fault: CameraValueError | None = None


def at_path(node: object, path: Path) -> Any:
    """The value at a path whose keys may be spelt in other ways; None where there is none.

    Example:
        >>> at_path({"Cam": {"R_t": 1}}, ("cam", "rt"))
        1
    """
    for wanted in path:
        if not isinstance(node, dict):
            return None
        if wanted in node:
            node = node[wanted]
            continue
        word = normalise_key(wanted)
        node = next((value for key, value in node.items() if normalise_key(key) == word), None)
    return node


def is_label(value: object) -> bool:
    """Whether this is an entry of EG3D's `dataset.json`: a file's name and numbers."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], list)
    )


def shared_of(node: Node) -> dict[str, Any]:
    """What a subject's or a file's object says of all cameras below it."""
    large = len(node) > MAX_CAMERA_KEYS  # a collection: its objects are cameras or subjects
    roles = {k: role_of(k) for k, v in node.items() if not (large and isinstance(v, dict))}
    return {
        key: node[key]
        for key, role in roles.items()
        if role is not None
        and role.name in _SHARED
        and not (role.name == "wrapper" and not isinstance(node[key], dict))
    }


def child_of(node: Node, wanted: RoleName) -> tuple[Path, Any] | None:
    """The first list or object under a key of this role, unless this is a collection itself."""
    if len(node) > MAX_CAMERA_KEYS:
        return None
    for key, value in node.items():
        if isinstance(value, (list, dict)):
            role = role_of(key)
            if role is not None and role.name == wanted:
                return (key,), value
    return None
