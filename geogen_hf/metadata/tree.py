"""Finding everything in a metadata document that could be a camera, with all that may name it.

Nothing is decided here: an object with a pose is found wherever it stands, a matrix without a key
too, and each comes with its **pattern** (the path to it, `*` for a step that differs from camera to
camera) and its labels (see `geogen_hf.metadata.naming`). Open this module when cameras are arranged
in a way that is not found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from geogen_hf.metadata.json_text import Trail
from geogen_hf.metadata.keys import role_of
from geogen_hf.metadata.naming import MENTIONED, NAMED, ORDERED, Label
from geogen_hf.metadata.plan import (
    ACCEPTED,
    BARE,
    MAX_CAMERA_KEYS,
    CameraPlan,
    Node,
    Path,
    Planner,
    dotted,
    has_digit,
    shape_of,
)

Places = tuple[tuple[str, int], ...]
"""Where labels stand, and what they are worth."""

_MAX_DEPTH = 10


class FoundCamera(NamedTuple):
    """What could be a camera.

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
        zipped: Keys and values that have one item for each child.
    """

    trail: Trail
    pattern: Path
    places: Places
    labels: tuple[Label, ...]
    shared: Mapping[str, Any]
    zipped: Mapping[str, Any]

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
        """Yield everything that could be a camera.

        Args:
            root: A document's value.
            file: Its name in the archive.
        """
        yield from self._walk(root, _Where((), (), (("file", NAMED),), (file,), {}, {}))

    def _walk(self, node: object, where: _Where) -> Iterator[FoundCamera]:
        if len(where.trail) > _MAX_DEPTH:
            return
        if isinstance(node, dict):
            yield from self._object(node, where)
        elif isinstance(node, (list, str)):
            if shape_of(node) in BARE:
                yield from self._object({"": node}, where)
            elif isinstance(node, list) and len(node) == 2 and isinstance(node[0], str):
                # An entry of EG3D's `dataset.json`: a file's name and numbers.
                inner = node[1] if isinstance(node[1], dict) else {"": node[1]}
                yield from self._object({"file": node[0], **inner}, where)
            elif isinstance(node, list):
                place = (f"order of {where.name}", ORDERED)
                below = replace(where, pattern=(*where.pattern, "*"), places=(*where.places, place))
                yield from self._children(enumerate(node), where, below)

    def _object(self, node: dict[str, Any], where: _Where) -> Iterator[FoundCamera]:
        whole: Node = {**where.shared, **node} if where.shared else node
        plan = self._planner.plan(whole)
        if plan.poses or plan.fault:
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
        around = _labelled(node, plan, where)
        shared = {**where.shared, **{key: node[key] for key in plan.shared if key in node}}
        named = [key for key in keys if self._is_name(key)]
        alike = 2 * sum(role_of(key) is None for key in keys) > len(keys) > 1 and _alike(node, keys)
        many = {key for key in keys if (named or alike) and not _collects(key)}
        if many:
            below = replace(
                around,
                pattern=(*where.pattern, "*"),
                places=(*around.places, (f"key of {where.name}", NAMED)),
                shared={key: value for key, value in shared.items() if key not in many},
            )
            yield from self._children(((k, node[k]) for k in keys if k in many), around, below)
        for key in keys:
            if key not in many:
                others = {name: value for name, value in shared.items() if name != key}
                zipped = _zipped(node, plan, key)
                below = replace(
                    around,
                    trail=(*where.trail, key),
                    pattern=(*where.pattern, key),
                    shared={name: v for name, v in others.items() if name not in zipped},
                    zipped=zipped,
                )
                yield from self._walk(node[key], below)

    def _children(
        self, items: Iterable[tuple[str | int, Any]], where: _Where, below: _Where
    ) -> Iterator[FoundCamera]:
        """Each of many, with its own share of what lies beside them."""
        zipped, trail, labels = where.zipped, where.trail, below.labels
        tagged = [key for key, value in zipped.items() if _is_text(value)]
        places = (*below.places, *((f"{_above(where)}{key}", _worth(key)) for key in tagged))
        plain, name = not (below.shared or zipped), ".".join(below.pattern)
        for key, item in items:
            if plain and type(item) is dict:
                # What nearly all are, without the steps that it can do without.
                plan = self._planner.plan(item)
                if plan.poses and not (plan.views or plan.inner or plan.labels):
                    yield FoundCamera(name, places, (*labels, key), (*trail, key), item, plan)
                    continue
            own = {k: v[key] for k, v in zipped.items() if k not in tagged}
            yield from self._walk(
                item,
                _Where(
                    (*trail, key),
                    below.pattern,
                    places,
                    (*labels, key, *(zipped[k][key] for k in tagged)),
                    {**below.shared, **own} if own else below.shared,
                    {},
                ),
            )

    def _unstacked(self, node: Node, plan: CameraPlan, where: _Where) -> Iterator[FoundCamera]:
        """One object of arrays, taken apart into one object a view."""
        keys: Any = plan.views if isinstance(plan.views, tuple) else range(plan.views)
        many = len(keys)
        split = set(plan.stacked)
        split |= {path for path, _ in plan.labels if _is_list(value_at(node, path), many)}
        name = dotted([(*where.pattern, *plan.poses[0].paths[0])])
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


def value_at(node: Node, path: Path) -> Any:
    """The value at a path of a plan made for this shape of object."""
    value: Any = node
    for key in path:
        value = value[key]
    return value


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


def _alike(node: Node, keys: list[str]) -> bool:
    return bool(shape_of(node[keys[0]]) == shape_of(node[keys[1]]))


def _collects(key: str) -> bool:
    role = role_of(key)
    return role is not None and role.name in ("cameras", "subjects")


def _zipped(node: Node, plan: CameraPlan, key: str) -> dict[str, Any]:
    """What lies beside a list or an object of many and has one item for each of them."""
    many = node[key]
    found: dict[str, Any] = {}
    for other in (*plan.shared, *(path[0] for path, _ in plan.labels if len(path) == 1)):
        value: Any = node.get(other)
        role = role_of(other)
        accepted = ACCEPTED.get(role.name, ()) if role is not None else ()
        if other == key or type(value) is not type(many) or not isinstance(value, (list, dict)):
            continue
        same = len(value) == len(many) if isinstance(value, list) else value.keys() == many.keys()
        if same and shape_of(value) not in accepted:
            found[other] = value
    return found


def _is_text(value: object) -> bool:
    items = list(value.values()) if isinstance(value, dict) else value
    return isinstance(items, list) and bool(items) and isinstance(items[0], str)


def _is_list(value: object, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _above(where: _Where) -> str:
    return "".join(f"{step}." for step in where.pattern[:-1])


def _worth(key: str) -> int:
    return NAMED if role_of(key) is not None else MENTIONED


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
