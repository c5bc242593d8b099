"""Finding subjects and their cameras in a metadata file, however it is arranged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

from geogen_hf.metadata.json_text import Cut
from geogen_hf.metadata.keys import RoleName, normalise_key, role_of
from geogen_hf.metadata.names import place_of_file, read_place
from geogen_hf.metadata.nodes import FoundCameras, Hints, at_path, child_of, is_label, shared_of
from geogen_hf.metadata.plan import CameraValueError, Node, Path
from geogen_hf.metadata.planner import Planner
from geogen_hf.metadata.stacks import is_stack
from geogen_hf.metadata.values import value_at
from geogen_hf.metadata.views import Views

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
