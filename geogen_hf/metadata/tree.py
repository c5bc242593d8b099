"""Finding everything in a metadata document that could be a camera, with all that may name it.

Nothing is decided here: an object with a pose or intrinsics is found wherever it stands, a matrix
without a key too, and each comes with its **pattern** (the path to it, `*` for a step that differs
from camera to camera) and its labels (see `geogen_hf.metadata.naming`). Open this module when
cameras are arranged in a way that is not found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from geogen_hf.metadata.keys import ACCEPTED, BARE, SQUARES, has_digit, role_of
from geogen_hf.metadata.naming import MENTIONED, NAMED, ORDERED, Label
from geogen_hf.metadata.plan import CameraPlan, Planner
from geogen_hf.metadata.values import MAX_CAMERA_KEYS, Node, Path, dotted, shape_of, value_at

Trail = tuple[str | int, ...]
"""Keys and positions from a document's root."""

_MAX_DEPTH = 10


class Where(NamedTuple):
    """A place in a document.

    Attributes:
        trail: The path to it.
        pattern: Likewise, with `*` for steps that differ.
        places: Where labels stand, and what they are worth.
        labels: One a place.
        shared: Keys and values above that hold for all cameras below.
    """

    trail: Trail
    pattern: Path
    places: tuple[tuple[str, int], ...]
    labels: tuple[Label, ...]
    shared: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The pattern in words."""
        return ".".join(self.pattern) or "root"


class FoundCamera(NamedTuple):
    """What could be a camera, or intrinsics without a pose: with what all cameras share."""

    where: Where
    node: Node
    plan: CameraPlan


class Tree:
    """Finds cameras in decoded documents.

    Args:
        planner: Finds poses in objects.
        names: Identities, which are no words of a schema.

    Example:
        >>> root = {"subj_1": {"3.png": {"c2w": [[0.0] * 4] * 4}}}
        >>> [found] = Tree(Planner()).cameras(root, "all.json")
        >>> found.where.name, [place for place, _ in found.where.places], found.where.labels
        ('*.*', ['file', 'key of root', 'key of *'], ('all.json', 'subj_1', '3.png'))
    """

    def __init__(self, planner: Planner, names: Collection[str] = ()) -> None:
        self._planner = planner
        self._names = {name.casefold() for name in names}

    def cameras(self, root: object, file: str) -> Iterator[FoundCamera]:
        """Yield everything that could be a camera in a document's value, `file` being its name."""
        yield from self._walk(root, Where((), (), (("file", NAMED),), (file,), {}))

    def _walk(self, node: object, where: Where) -> Iterator[FoundCamera]:
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

    def _object(self, node: dict[str, Any], where: Where) -> Iterator[FoundCamera]:
        whole: Node = {**where.shared, **node} if where.shared else node
        plan = self._planner.plan(whole)
        if plan.poses or plan.fault or _has_intrinsics(node, plan):
            if plan.views:
                yield from self._unstacked(whole, plan, where)
            else:
                yield FoundCamera(_labelled(whole, plan, where), whole, plan)
        if len(node) > MAX_CAMERA_KEYS:
            keys = [key for key, value in node.items() if isinstance(value, (dict, list, str))]
        else:
            keys = [key for key in plan.inner if key in node]
        if not keys or set(node) == {""}:
            return
        shared = {**where.shared, **{key: node[key] for key in plan.shared if key in node}}
        around = _labelled(node, plan, where)
        named = [key for key in keys if self._is_name(key)]
        alike = 2 * sum(role_of(key) is None for key in keys) > len(keys) > 1 and (
            shape_of(node[keys[0]]) == shape_of(node[keys[1]])
        )
        many = {key: node[key] for key in keys if (named or alike) and not _collects(key)}
        if many:
            beside = {key: value for key, value in shared.items() if key not in many}
            place = (f"key of {where.name}", NAMED)
            yield from self._children(many, many, around._replace(shared=beside), place)
        for key in keys:
            if key not in many:
                yield from self._walk(
                    node[key],
                    around._replace(
                        trail=(*where.trail, key),
                        pattern=(*where.pattern, key),
                        shared={other: value for other, value in shared.items() if other != key},
                    ),
                )

    def _children(
        self,
        items: Mapping[Any, Any],
        many: Collection[Any],
        where: Where,
        place: tuple[str, int],
    ) -> Iterator[FoundCamera]:
        """Each of many, with its own share of what lies beside or above them."""
        own = {key: value for key, value in where.shared.items() if _is_share(key, value, many)}
        shared = {key: value for key, value in where.shared.items() if key not in own}
        pattern, places, trail = (*where.pattern, "*"), (*where.places, place), where.trail
        for key, item in items.items():
            inner = {**shared, **{name: value[key] for name, value in own.items()}}
            below = Where((*trail, key), pattern, places, (*where.labels, key), inner)
            if type(item) is dict and not inner:
                # What nearly all are, without the steps that it can do without.
                plan = self._planner.plan(item)
                if plan.poses and not (plan.views or plan.inner or plan.labels):
                    yield FoundCamera(below, item, plan)
                    continue
            yield from self._walk(item, below)

    def _unstacked(self, node: Node, plan: CameraPlan, where: Where) -> Iterator[FoundCamera]:
        """One object of arrays, taken apart into one object a view."""
        keys: Any = plan.views if isinstance(plan.views, tuple) else range(plan.views)
        split = set(plan.stacked)
        for path, _ in plan.labels:
            value = value_at(node, path)
            if isinstance(value, list) and len(value) == len(keys):
                split.add(path)
        main: Any = (plan.poses[0] if plan.poses else plan.intrinsics).paths[0]
        name = dotted([(*where.pattern, *main)])
        order = isinstance(plan.views, int)
        place = (f"order of {name}", ORDERED) if order else (f"key of {name}", NAMED)
        items = {key: _only(node, (), split, key) for key in keys}
        yield from self._children(items, (), where._replace(shared={}), place)

    def _is_name(self, key: str) -> bool:
        return (has_digit(key) and role_of(key) is None) or key.casefold() in self._names


def _labelled(node: Node, plan: CameraPlan, where: Where) -> Where:
    """With the labels that an object has of its own."""
    labels: list[Label] = []
    places: list[tuple[str, int]] = []
    for path, known in plan.labels:
        try:
            value = value_at(node, path)
        except KeyError:
            continue
        if type(value) is str or type(value) is int:
            labels.append(value)
            places.append((".".join((*where.pattern, *path)), NAMED if known else MENTIONED))
    if not labels:
        return where
    return where._replace(places=(*where.places, *places), labels=(*where.labels, *labels))


def _has_intrinsics(node: Node, plan: CameraPlan) -> bool:
    """Whether an object has intrinsics of its own, and not those that all around it share."""
    known = plan.intrinsics.form not in ("absent", "incomplete")
    return known and any(path[0] in node for path in plan.intrinsics.keys[:1])


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
