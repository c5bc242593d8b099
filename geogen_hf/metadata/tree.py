"""Finding everything in a metadata document that could be a camera, with all that may name it.

Nothing is decided here: an object with a pose or intrinsics is found wherever it stands, a matrix
without a key too, and each comes with its **pattern** (the path to it, `*` for a step that differs
from camera to camera) and its labels (see `geogen_hf.metadata.naming`). Open this module when
cameras are arranged in a way that is not found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from geogen_hf.metadata.keys import ACCEPTED, BARE, SQUARES, has_digit, role_of
from geogen_hf.metadata.naming import MENTIONED, NAMED, ORDERED, Label
from geogen_hf.metadata.plan import CameraPlan, Planner
from geogen_hf.metadata.values import MAX_CAMERA_KEYS, Node, Path, dotted, shape_of, value_at

Trail = tuple[str | int, ...]
"""Keys and positions from a document's root."""
Places = tuple[tuple[str, int], ...]
"""Where labels stand, and what they are worth."""

_MAX_DEPTH = 10


class FoundCamera(NamedTuple):
    """What could be a camera, or intrinsics without a pose.

    Attributes:
        pattern: The path to it, with `*` for steps that differ.
        places: Where its labels stand.
        labels: One a place.
        trail: The path to it.
        node: Its object, with what all cameras share.
        plan: Where everything is in that.
    """

    pattern: str
    places: Places
    labels: tuple[Label, ...]
    trail: Trail
    node: Node
    plan: CameraPlan


@dataclass(frozen=True)
class _Where:
    """A place in a document.

    Attributes:
        trail: To it.
        pattern: Likewise, with `*` for steps that differ.
        places: Of the labels so far.
        labels: So far.
        shared: Keys and values that hold for all cameras below.
        names: Lists beside it that may have a name for each child.
    """

    trail: Trail
    pattern: Path
    places: Places
    labels: tuple[Label, ...]
    shared: Mapping[str, Any]
    names: Mapping[str, Any]

    @property
    def name(self) -> str:
        return ".".join(self.pattern) or "root"


class Tree:
    """Finds cameras in decoded documents.

    Args:
        planner: Finds poses in objects.
        names: Identities, which are no words of a schema.

    Example:
        >>> root = {"subj_1": {"3.png": {"c2w": [[0.0] * 4] * 4}}}
        >>> [found] = Tree(Planner()).cameras(root, "all.json")
        >>> found.pattern, [place for place, _ in found.places], found.labels
        ('*.*', ['file', 'key of root', 'key of *'], ('all.json', 'subj_1', '3.png'))
    """

    def __init__(self, planner: Planner, names: Collection[str] = ()) -> None:
        self._planner = planner
        self._names = {name.casefold() for name in names}

    def cameras(self, root: object, file: str) -> Iterator[FoundCamera]:
        """Yield everything that could be a camera in a document's value, `file` being its name."""
        yield from self._walk(root, _Where((), (), (("file", NAMED),), (file,), {}, {}))

    def _walk(self, node: object, where: _Where) -> Iterator[FoundCamera]:
        if len(where.trail) > _MAX_DEPTH:
            return
        if isinstance(node, dict):
            yield from self._object(node, where)
        elif isinstance(node, (list, str)):
            if shape_of(node) in (*BARE, *SQUARES):
                yield from self._object({"": node}, where)
            elif isinstance(node, list) and len(node) == 2 and isinstance(node[0], str):
                # An entry of EG3D's `dataset.json`: a file's name and numbers.
                inner = node[1] if isinstance(node[1], dict) else {"": node[1]}
                yield from self._object({"file": node[0], **inner}, where)
            elif isinstance(node, list):
                place = (f"order of {where.name}", ORDERED)
                yield from self._children(dict(enumerate(node)), node, where, place)

    def _object(self, node: dict[str, Any], where: _Where) -> Iterator[FoundCamera]:
        whole: Node = {**where.shared, **node} if where.shared else node
        plan = self._planner.plan(whole)
        if plan.poses or plan.fault or _has_intrinsics(node, plan):
            if plan.views:
                yield from self._unstacked(whole, plan, where)
            else:
                yield _camera(whole, plan, where)
        if len(node) > MAX_CAMERA_KEYS:
            keys = [key for key, value in node.items() if isinstance(value, (dict, list, str))]
        else:
            keys = [key for key in plan.inner if key in node]
        if not keys or set(node) == {""}:
            return
        lists = {path[0]: node.get(path[0]) for path, _ in plan.labels if len(path) == 1}
        names = {key: value for key, value in lists.items() if isinstance(value, list)}
        around = replace(
            _labelled(node, plan, where),
            shared={**where.shared, **{key: node[key] for key in plan.shared if key in node}},
        )
        named = [key for key in keys if self._is_name(key)]
        alike = 2 * sum(role_of(key) is None for key in keys) > len(keys) > 1 and _alike(node, keys)
        many = {key: node[key] for key in keys if (named or alike) and not _collects(key)}
        if many:
            place = (f"key of {where.name}", NAMED)
            yield from self._children(many, many, _without(around, many), place)
        for key in keys:
            if key not in many:
                below = replace(
                    _without(around, {key}),
                    trail=(*where.trail, key),
                    pattern=(*where.pattern, key),
                    names=names,
                )
                yield from self._walk(node[key], below)

    def _children(
        self,
        items: Mapping[Any, Any],
        many: Collection[Any],
        where: _Where,
        place: tuple[str, int],
    ) -> Iterator[FoundCamera]:
        """Each of many, with its own share of what lies beside or above them."""
        own = {key: value for key, value in where.shared.items() if _is_share(key, value, many)}
        above = "".join(f"{step}." for step in where.pattern[:-1])
        tagged = {key: value for key, value in where.names.items() if _is_share(key, value, many)}
        pattern = (*where.pattern, "*")
        name, trail = ".".join(pattern), where.trail
        worths = ((f"{above}{key}", NAMED if role_of(key) else MENTIONED) for key in tagged)
        places = (*where.places, place, *worths)
        shared = {key: value for key, value in where.shared.items() if key not in own}
        for key, item in items.items():
            labels = (*where.labels, key)
            if tagged:
                labels += tuple(tag[key] for tag in tagged.values())
            if type(item) is dict and not where.shared:
                # What nearly all are, without the steps that it can do without.
                plan = self._planner.plan(item)
                if plan.poses and not (plan.views or plan.inner or plan.labels):
                    yield FoundCamera(name, places, labels, (*trail, key), item, plan)
                    continue
            inner = {**shared, **{k: value[key] for k, value in own.items()}}
            yield from self._walk(item, _Where((*trail, key), pattern, places, labels, inner, {}))

    def _unstacked(self, node: Node, plan: CameraPlan, where: _Where) -> Iterator[FoundCamera]:
        """One object of arrays, taken apart into one object a view."""
        keys: Any = plan.views if isinstance(plan.views, tuple) else range(plan.views)
        many = len(keys)
        split = set(plan.stacked)
        split |= {path for path, _ in plan.labels if _is_list(value_at(node, path), many)}
        main: Any = (plan.poses[0] if plan.poses else plan.intrinsics).paths[0]
        name = dotted([(*where.pattern, *main)])
        place = ("key of ", NAMED) if isinstance(plan.views, tuple) else ("order of ", ORDERED)
        around = replace(
            where,
            pattern=(*where.pattern, "*"),
            places=(*where.places, (place[0] + name, place[1])),
        )
        for key in keys:
            one = _only(node, (), split, key)
            here = replace(around, trail=(*where.trail, key), labels=(*where.labels, key))
            yield _camera(one, self._planner.plan(one), here)

    def _is_name(self, key: str) -> bool:
        return (has_digit(key) and role_of(key) is None) or key.casefold() in self._names


def _camera(node: Node, plan: CameraPlan, where: _Where) -> FoundCamera:
    named = _labelled(node, plan, where)
    return FoundCamera(".".join(where.pattern), named.places, named.labels, where.trail, node, plan)


def _labelled(node: Node, plan: CameraPlan, where: _Where) -> _Where:
    """With the labels that an object has of its own."""
    labels: list[Label] = []
    places: list[tuple[str, int]] = []
    for path, known in plan.labels:
        try:
            value = value_at(node, path)
        except KeyError:
            continue
        kind = type(value)
        if kind is str or kind is int:
            labels.append(value)
            places.append((".".join((*where.pattern, *path)), NAMED if known else MENTIONED))
    if not labels:
        return where
    return replace(where, places=(*where.places, *places), labels=(*where.labels, *labels))


def _without(where: _Where, keys: Collection[str]) -> _Where:
    return replace(where, shared={k: value for k, value in where.shared.items() if k not in keys})


def _has_intrinsics(node: Node, plan: CameraPlan) -> bool:
    """Whether an object has intrinsics of its own, and not those that all around it share."""
    known = plan.intrinsics.form not in ("absent", "incomplete")
    paths = plan.intrinsics.keys
    return known and bool(paths) and paths[0][0] in node


def _alike(node: Node, keys: list[str]) -> bool:
    return bool(shape_of(node[keys[0]]) == shape_of(node[keys[1]]))


def _collects(key: str) -> bool:
    role = role_of(key)
    return role is not None and role.name in ("cameras", "subjects")


def _is_share(key: str, value: Any, many: Collection[Any]) -> bool:
    """Whether a value beside a list or an object of many has one item for each of them."""
    role = role_of(key)
    accepted = ACCEPTED.get(role.name, ()) if role is not None else ()
    if type(value) is not type(many) or not isinstance(value, (list, dict)):
        return False
    same = len(value) == len(many) if isinstance(value, list) else value.keys() == set(many)
    return same and shape_of(value) not in accepted


def _is_list(value: object, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


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
