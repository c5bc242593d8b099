"""Cameras stored as one array a quantity, taken apart: `{"extrinsics": V×4×4, "intrinsics": …}`."""

from __future__ import annotations

from typing import Any

from geogen_hf.metadata.plan import CameraPlan, Node, Path
from geogen_hf.metadata.values import value_at

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
        >>> from geogen_hf.metadata.planner import make_plan
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
