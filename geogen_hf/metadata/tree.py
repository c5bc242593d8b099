"""Finding subjects and their cameras in a metadata file, however it is arranged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from geogen_hf.metadata.json_text import Cut
from geogen_hf.metadata.keys import RoleName, normalise_key, role_of
from geogen_hf.metadata.plan import (
    MAX_CAMERA_KEYS,
    CameraPlan,
    CameraValueError,
    Node,
    Path,
    Planner,
)
from geogen_hf.metadata.values import value_at

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


_VIEW = re.compile(
    r"(?:(?P<folders>.*)[/\\])?(?:view|camera|cam|image|img|frame|render|r)?[-_ ]?0*"
    r"(?P<number>[0-9]{1,9})(?:\.[a-z0-9]{1,5})?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_STEM = re.compile(r"(?P<subject>.+)[-_.](?P<number>[0-9]{1,9})", re.ASCII | re.DOTALL)
_DECORATION = re.compile(
    r"^(?:metadata|cameras?|meta|transforms)[-_](?=.)|(?<=.)[-_](?:metadata|cameras?|meta|transforms)$",
    re.IGNORECASE,
)
#: Folders and files that are called so whatever the subject.
_PLAIN = frozenset(
    [
        ".",
        "..",
        "images",
        "image",
        "imgs",
        "img",
        "rgb",
        "renders",
        "frames",
        "views",
        "train",
        "val",
        "validation",
        "test",
        "data",
        "metadata",
        "metadata_files",
        "cameras",
        "camera",
        "transforms",
        "transforms_train",
        "transforms_val",
        "transforms_test",
        "dataset",
        "meta",
        "info",
        "params",
    ]
)


@dataclass(frozen=True)
class Place:
    """A view, and its subject where the name says that too."""

    subject_id: str | None
    view_id: int


def read_place(name: object) -> Place | None:
    """Read a view number, a view's name or a file name; None where it is none of these.

    Example:
        >>> read_place("subj_x/3.png"), read_place("./train/cam_03")
        (Place(subject_id='subj_x', view_id=3), Place(subject_id=None, view_id=3))
        >>> read_place(7).view_id, read_place("left"), read_place(True), read_place(1.5)
        (7, None, None, None)
    """
    if type(name) is int:
        return Place(None, name) if 0 <= name < 10**9 else None
    if not isinstance(name, str) or not (found := _VIEW.fullmatch(name[:1000])):
        return None
    return Place(_last_name(found["folders"] or ""), int(found["number"]))


def subject_of_file(path: str) -> str | None:
    """The subject that a metadata file's own name or folder gives.

    Example:
        >>> subject_of_file("m/subj_x.json"), subject_of_file("metadata_subj_x.json")
        ('subj_x', 'subj_x')
        >>> subject_of_file("m/subj_x/transforms.json"), subject_of_file("dataset.json")
        ('subj_x', None)
    """
    folders, stem = _split(path)
    return _plain_name(stem) or _last_name(folders)


def place_of_file(path: str) -> Place | None:
    """Subject and view that the name of one image's metadata file gives.

    Example:
        >>> place_of_file("m/subj_x/3.json")
        Place(subject_id='subj_x', view_id=3)
        >>> place_of_file("metadata_subj_1_004.json")
        Place(subject_id='subj_1', view_id=4)
        >>> place_of_file("m/notes.json") is None
        True
    """
    folders, stem = _split(path)
    alone = read_place(stem)
    if alone is not None:
        return Place(_last_name(folders), alone.view_id)
    found = _STEM.fullmatch(stem)
    return Place(_plain_name(found["subject"]), int(found["number"])) if found else None


def _split(path: str) -> tuple[str, str]:
    folders, _, name = path.replace("\\", "/").rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return folders, stem if dot else name


def _last_name(folders: str) -> str | None:
    """The innermost folder that is not called `images` or so."""
    names = folders.replace("\\", "/").split("/")
    return next((name for name in reversed(names) if name and name.lower() not in _PLAIN), None)


def _plain_name(stem: str) -> str | None:
    bare = _DECORATION.sub("", stem)
    return bare if bare and bare.lower() not in _PLAIN else None


# How deep one camera's value is nested, and how long it is where it is flat.
_DEPTHS: dict[str, tuple[int, tuple[int, ...]]] = {
    "matrix": (2, (9, 12, 16)),
    "rotation": (2, (9,)),
    "quaternion": (1, ()),
    "label": (1, ()),
    "focal": (1, ()),
}


def unstack(node: Node, plan: CameraPlan) -> list[tuple[str | None, dict[str, Any]]] | None:
    """Take an object that holds all poses of a subject apart into one object a view.

    Args:
        node: With arrays of V values, or objects with the views' names for keys.
        plan: Of its keys.

    Returns:
        Name (None in arrays) and object of each view; None where it is a single camera. What is
        not as long or has other keys is shared by all.

    Example:
        >>> from geogen_hf.metadata.plan import make_plan
        >>> node = {"poses": [[[1]], [[2]]], "K": [[5]]}
        >>> unstack(node, make_plan(node))
        [(None, {'poses': [[1]], 'K': [[5]]}), (None, {'poses': [[2]], 'K': [[5]]})]
    """
    if plan.pose is None or not is_stack(node, plan):
        return None
    first = value_at(node, plan.pose.paths[0])
    keys: list[Any] = list(first) if isinstance(first, dict) else list(range(len(first)))
    split = {path for path in plan.pose.paths if _fits(value_at(node, path), keys)}
    lens = _DEPTHS.get(plan.lens.form, (0, ()))
    sized = {len(plan.size) == 1: (1, ())}.get(True, (0, ()))
    others: list[tuple[Path, tuple[int, tuple[int, ...]]]] = [
        *((path, lens) for path in plan.lens.paths),
        *((path, sized) for path in plan.size),
        *((path, (0, ())) for path in plan.names.values()),
    ]
    for path, depth in others:
        value = value_at(node, path)
        if _stacked(value, *depth) and _fits(value, keys):
            split.add(path)
    return [(key if isinstance(key, str) else None, _only(node, (), split, key)) for key in keys]


def is_stack(node: Node, plan: CameraPlan) -> bool:
    """Whether an object holds the poses of several views."""
    if plan.pose is None:
        return False
    first = value_at(node, plan.pose.paths[0])
    return bool(first) and _stacked(first, *_DEPTHS[plan.pose.form])


def _stacked(value: object, depth: int, flat_lengths: tuple[int, ...]) -> bool:
    if isinstance(value, dict):
        return not {key.lower() for key in value} >= set("wxyz")
    nested, inner = 0, value
    last: object = None
    while isinstance(inner, list) and inner and nested <= depth:
        nested, last, inner = nested + 1, inner, inner[0]
    if nested == depth and nested > 1:
        return isinstance(last, list) and len(last) in flat_lengths
    return nested > depth


def _fits(value: object, keys: list[Any]) -> bool:
    if isinstance(value, dict):
        return list(value) == keys or set(value) == set(keys)
    return isinstance(value, list) and len(value) == len(keys) and isinstance(keys[0], int)


def _only(node: Node, path: Path, split: set[Path], key: Any) -> dict[str, Any]:
    """The object with one view's value wherever a path is split."""
    one: dict[str, Any] = {}
    for name, value in node.items():
        here = (*path, name)
        if here in split:
            one[name] = value[key]
        elif isinstance(value, dict) and any(other[: len(here)] == here for other in split):
            one[name] = _only(value, here, split, key)
        else:
            one[name] = value
    return one


class _Camera(NamedTuple):
    """One camera as the collection has it."""

    position: int
    place: Place | None
    node: Node
    plan: CameraPlan


class Views:
    """Names the views of subjects.

    Args:
        planner: Finds the keys that name a view.
        hints: What is stated.

    Example:
        >>> cameras = {"3.png": {"c2w": []}, "4.png": {"c2w": []}}
        >>> [found] = Views(Planner()).of_collection(cameras, {}, "subj_1", None).values()
        >>> found.views
        [3, 4]
    """

    def __init__(self, planner: Planner, hints: Hints | None = None) -> None:
        self._planner, self._hints = planner, hints or Hints()

    def said_subject(self, node: object) -> str | None:
        """The name that a subject's object gives it.

        Raises:
            CameraValueError: It is no text.
        """
        if not isinstance(node, dict):
            return None
        if self._hints.subject is not None:
            value = at_path(node, self._hints.subject)
            names = [] if value is None else [value]
        else:
            roles = {role_of(key): key for key in node}
            by_name = {role.name: node[key] for role, key in roles.items() if role is not None}
            names = [by_name[role] for role in ("subject", "name", "id") if role in by_name]
        if names and (not isinstance(names[0], str) or not names[0]):
            raise CameraValueError(
                None, "the name of a subject to be a string", repr(names[0])[:80]
            )
        return names[0] if names else None

    def of_collection(
        self, container: object, shared: Node, name: str | None, path: str | None
    ) -> dict[str, FoundCameras]:
        """Sort cameras by subject, and name their views.

        Args:
            container: A list of cameras, or an object of them, or of one array a quantity.
            shared: Keys that hold for all of them.
            name: The subject, where it is known.
            path: The file's name, which may give the subject too.

        Returns:
            By subject; more than one only where file names or a key in each camera say so. The
            cut of each holds positions in the container only.

        Raises:
            CameraValueError: There is no camera, or a view or a subject cannot be told.
        """
        cameras = list(self._cameras(container, shared))
        if not cameras:
            expected = "cameras to be a list or an object of cameras"
            raise CameraValueError(None, expected, repr(container)[:80])
        grouped: dict[str | None, FoundCameras] = {}
        positions: dict[str | None, list[int]] = {}
        for camera in cameras:
            mode, subject_id, view_id = self._view(camera)
            owner = self._owner(camera, subject_id, name)
            found = grouped.setdefault(owner, FoundCameras(owner, f"views by {mode}"))
            if found.arrangement != f"views by {mode}":
                expected = f"{found.arrangement}, as in the views before"
                raise CameraValueError(camera.position, expected, f"by {mode}")
            found.views.append(view_id)
            found.nodes.append(camera.node)
            found.plans.append(camera.plan)
            positions.setdefault(owner, []).append(camera.position)
        form: Literal["array", "object"] = "object" if isinstance(container, dict) else "array"
        for owner, found in grouped.items():
            found.cut = Cut((), tuple(positions[owner]), form)
        return self._named(grouped, path)

    def _named(
        self, grouped: dict[str | None, FoundCameras], path: str | None
    ) -> dict[str, FoundCameras]:
        unnamed = grouped.pop(None, None)
        if unnamed is not None:
            owner = None if grouped or path is None else subject_of_file(path)
            if owner is None:
                expected = "a subject's name: under `name`, as a key, or in a file's name"
                found = "some cameras with one and some without" if grouped else f"none in {path}"
                raise CameraValueError(
                    None, expected, found, 'say where with camera_schema: {"subject": "<key>"}'
                )
            grouped[owner] = unnamed
            unnamed.subject_id = owner
        return {owner: found for owner, found in grouped.items() if owner is not None}

    def _cameras(self, container: object, shared: Node) -> Iterator[_Camera]:
        if isinstance(container, dict) and self._planner.is_camera(container):
            whole = {**shared, **container}
            stack = unstack(whole, self._planner.plan(whole))
            if stack is None:
                raise CameraValueError(None, "a list or an object of cameras", "a single camera")
            for position, (key, one) in enumerate(stack):
                place = None if key is None else self._place(position, key)
                yield _Camera(position, place, one, self._planner.plan(one))
            return
        items: Any = container.items() if isinstance(container, dict) else ()
        items = ((None, item) for item in container) if isinstance(container, list) else items
        for position, (key, item) in enumerate(items):
            place = None if key is None else read_place(key)
            if key is not None and place is None:
                if not self._planner.is_camera(item):
                    continue  # a note beside the cameras
                if self._hints.view != "list" and self._hints.view_key is None:
                    place = self._place(position, key)
            if is_label(item):
                node: Node = {"file": item[0], "label": item[1]}
            elif key is not None and isinstance(item, list):
                node = {"label": item}
            elif isinstance(item, dict):
                node = {**shared, **item} if shared else item
            else:
                raise CameraValueError(position, "an object that holds a camera", repr(item)[:80])
            yield _Camera(position, place, node, self._planner.plan(node))

    def _place(self, position: int, key: str) -> Place:
        place = read_place(key)
        if place is None:
            expected = "a view's number or file name for a key"
            raise CameraValueError(position, expected, repr(key)[:80])
        return place

    def view(self, node: Node, plan: CameraPlan) -> tuple[str, str | None, int] | None:
        """How a camera's own keys name its view: mode, subject or None, and number.

        Raises:
            CameraValueError: They do, but not in a way that can be read.
        """
        if self._hints.view_key is not None:
            return self._read("view_key", at_path(node, self._hints.view_key))
        for role in ("file", "view", "name"):
            value = value_at(node, plan.names[role]) if role in plan.names else None
            if value is not None and not isinstance(value, (dict, list)):
                return self._read("file" if role == "name" else role, value)
        return None

    def _read(self, mode: str, value: object) -> tuple[str, str | None, int]:
        place = read_place(value)
        if place is None:
            raise CameraValueError(
                None,
                "a view's number or file name",
                repr(value)[:80],
                'say how views are named with camera_schema: {"view": "list"} for their order',
            )
        return mode, place.subject_id, place.view_id

    def _view(self, camera: _Camera) -> tuple[str, str | None, int]:
        if self._hints.view == "list":
            return "list", None, camera.position
        try:
            if camera.place is not None and self._hints.view_key is None:
                return "key", camera.place.subject_id, camera.place.view_id
            own = self.view(camera.node, camera.plan)
        except CameraValueError as fault:
            fault.row = camera.position
            raise
        if own is None and self._hints.view is not None:
            raise CameraValueError(
                camera.position, f"a view named by {self._hints.view}", "no name"
            )
        return own or ("list", None, camera.position)

    def _owner(self, camera: _Camera, folder: str | None, name: str | None) -> str | None:
        """The subject of a camera, from all places that may say so."""
        path = camera.plan.names.get("subject", self._hints.subject)
        if path is None and folder is None:
            return name
        own = at_path(camera.node, self._hints.subject or path) if path is not None else None
        said = [each for each in (name, own, folder) if isinstance(each, str)]
        if len(set(said)) > 1:
            expected = f"one subject, {said[0][:60]!r}"
            raise CameraValueError(camera.position, expected, repr(said[1])[:60])
        return said[0] if said else None


Kind = Literal["camera", "subject", "release"]

_ABOUT = frozenset(["info", "meta", "metadata", "version", "license", "description", "notes"])
_WHOLE = Cut((), (), "value")
_SAMPLE = 16  # children looked at before an object counts as unknown


class Tree:
    """Finds cameras in decoded metadata files.

    Example:
        >>> root = {"subj_1": {"3.png": {"c2w": [], "K": []}}}
        >>> [found] = Tree(Planner()).find(root, "all.json")
        >>> found.subject_id, found.views, found.cut.container
        ('subj_1', [3], ())
    """

    def __init__(self, planner: Planner, hints: Hints | None = None) -> None:
        self._planner, self._hints = planner, hints or Hints()
        self._views = Views(planner, hints)

    def find(self, root: object, path: str) -> Iterator[FoundCameras]:
        """Yield every subject of a file.

        Args:
            root: Its value.
            path: Its name in the archive, which may hold subject and view.

        Raises:
            CameraValueError: There are no cameras under any known key, or two keys could hold
                the same.
        """
        if self._hints.subjects is not None:
            yield from self._release(at_path(root, self._hints.subjects), self._hints.subjects, {})
            return
        kind = self._kind(root, 4)
        if kind == "release":
            yield from self._inner_release(root)
        elif kind == "camera" and isinstance(root, dict):
            yield self._image(root, path)
        elif kind is not None:
            yield from self._subject(root, None, path, _WHOLE, {})
        else:
            found = f"keys {sorted(root)[:8]}" if isinstance(root, dict) else type(root).__name__
            raise CameraValueError(
                None,
                "an object or a list with cameras under a known key",
                found[:300],
                'say where they are with camera_schema: {"cameras": "<key of their list>", '
                '"extrinsics": "<key of the matrix>"}',
            )

    def _kind(self, node: object, depth: int) -> Kind | None:
        if depth == 0:
            return None
        if isinstance(node, list):
            if any(is_label(child) for child in node[:_SAMPLE]):
                return "subject"
            return self._kind_around(node[:_SAMPLE], depth)
        if not isinstance(node, dict):
            return None
        collection = self._collection(node)
        if collection is not None:
            inner = self._kind(collection[1], depth - 1)
            return "release" if inner == "release" else "subject"
        if self._hints.cameras is None and child_of(node, "subjects"):
            return "release"
        if self._planner.is_camera(node):
            return "subject" if self._is_stack(node) else "camera"
        return self._kind_around(node.values(), depth)

    def _is_stack(self, node: Node) -> bool:
        try:
            return is_stack(node, self._planner.plan(node))
        except CameraValueError:
            return False  # told where it is read

    def _kind_around(self, children: Iterable[object], depth: int) -> Kind | None:
        """What a collection is, by its first children that can be told."""
        looked = 0
        for child in children:
            if not isinstance(child, (dict, list)) or looked >= _SAMPLE:
                continue
            looked += 1
            kind = self._kind(child, depth - 1)
            if kind is not None:
                return "subject" if kind == "camera" else "release"
        return None

    def _collection(self, node: Node) -> tuple[Path, Any] | None:
        """A subject's cameras: the path to them and what is there."""
        if self._hints.cameras is not None:
            value = at_path(node, self._hints.cameras)
            return None if value is None else (self._hints.cameras, value)
        found = child_of(node, "cameras")
        if found is None:
            found = child_of(node, "wrapper")
            found = found if found is not None and isinstance(found[1], list) else None
        return found

    def _inner_release(self, root: Any) -> Iterator[FoundCameras]:
        """Go down to where the subjects are: `{"subjects": …}`, `{"cameras": {"subj_1": …}}`."""
        path: Path = ()
        shared: dict[str, Any] = {}
        while isinstance(root, dict):
            step = child_of(root, "subjects") or self._collection(root)
            if step is None:
                break
            shared |= shared_of(root)
            path, root = (*path, *step[0]), step[1]
        yield from self._release(root, path, shared)

    def _release(self, container: object, path: Path, shared: Node) -> Iterator[FoundCameras]:
        if not isinstance(container, (dict, list)):
            raise CameraValueError(None, "a collection of subjects", repr(container)[:80])
        children = container.items() if isinstance(container, dict) else enumerate(container)
        nothing = True
        for position, (key, child) in enumerate(children):
            name = key if isinstance(key, str) else None
            place = name if name is not None else f"subject number {position}"
            cut = Cut(path, (position,), "value")
            kind = self._kind(child, 3)
            if kind != "subject":
                known = name is not None and (role_of(name) or normalise_key(name) in _ABOUT)
                if known and kind is None:
                    continue  # a note beside the subjects, or what they share
                nothing = False
                fault = CameraValueError(None, f"cameras of {place[:80]}", repr(child)[:80])
                yield FoundCameras(name, "", fault=fault)
                continue
            nothing = False
            yield from self._subject(child, name, None, cut, shared)
        if nothing:
            raise CameraValueError(None, "a collection of subjects", repr(container)[:80])

    def _image(self, root: dict[str, Any], path: str) -> FoundCameras:
        """A file of one camera."""
        plan = self._planner.plan(root)
        roles: tuple[RoleName, ...] = ("subject", "name")
        subject, name = (
            value_at(root, plan.names[role]) if role in plan.names else None for role in roles
        )
        if self._hints.subject is not None:
            subject = self._views.said_subject(root)
        if "file" in plan.names or "view" in plan.names or read_place(name) is None:
            subject = subject or name  # then the name is the subject's, not the view's
            names: dict[RoleName, Path] = dict(plan.names)
            names.pop("name", None)
            plan = replace(plan, names=names)
        if subject is not None and not isinstance(subject, str):
            raise CameraValueError(None, "the name of a subject to be a string", repr(subject)[:80])
        own, by_path = self._views.view(root, plan), place_of_file(path)
        if own is None and by_path is None:
            raise CameraValueError(None, "a view's number in the file's name or under `view`", path)
        folder = own[1] if own is not None else None
        subject = subject or folder or (by_path.subject_id if by_path else None)
        if subject is None:
            raise CameraValueError(
                None, "a subject's name in the file's name or under `name`", path
            )
        view_id = own[2] if own is not None else by_path.view_id if by_path else 0
        mode = f"one file an image, views by {own[0] if own else 'file'}"
        return FoundCameras(subject, mode, [view_id], [root], [plan], single=True)

    def _subject(
        self, node: Any, key: str | None, path: str | None, cut: Cut, shared: Node
    ) -> Iterator[FoundCameras]:
        """The cameras of one subject, or of several whose file names hold them apart."""
        whole, name = path is not None, key
        try:
            name = self._views.said_subject(node) or key
            collection = self._collection(node) if isinstance(node, dict) else None
            steps, container = collection or ((), node)
            stacked = collection is None and self._planner.is_camera(node)
            if stacked:  # its name is the subject's and no view's
                container = {key: node[key] for key in node if not _is_name(key, node[key])}
            common = {**shared, **(shared_of(node) if isinstance(node, dict) else {})}
            grouped = self._views.of_collection(container, {} if stacked else common, name, path)
        except CameraValueError as fault:
            yield FoundCameras(name, "", fault=fault)
            return
        inner = cut.container + (() if whole else (cut.children[0] if key is None else key,))
        for found in grouped.values():
            if len(grouped) == 1:
                found.cut = None if whole else cut
            elif found.cut is not None:
                found.cut = replace(found.cut, container=(*inner, *steps))
            yield found


def _is_name(key: str, value: object) -> bool:
    role = role_of(key)
    return role is not None and role.name in ("name", "subject", "id") and isinstance(value, str)
