"""The cameras of one subject: which view each is of, and with what they share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from geogen_hf.metadata.json_text import Cut
from geogen_hf.metadata.keys import role_of
from geogen_hf.metadata.names import Place, read_place, subject_of_file
from geogen_hf.metadata.nodes import FoundCameras, Hints, at_path, is_label
from geogen_hf.metadata.plan import CameraPlan, CameraValueError, Node
from geogen_hf.metadata.planner import Planner
from geogen_hf.metadata.stacks import unstack
from geogen_hf.metadata.values import value_at


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
