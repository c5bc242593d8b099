"""Cameras that stand alike in the metadata, with their numbers taken out of the decoded JSON.

A whole release of decoded JSON would take gigabytes: objects are kept until some thousands have
gathered, then their numbers become arrays. A bad value is the fault of one camera and stops
nobody else's. Open this module to see how numbers are batched and how a fault is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.metadata.json_text import Trail
from geogen_hf.metadata.naming import Column, Label
from geogen_hf.metadata.plan import CameraPlan, CameraValueError, Node, dotted
from geogen_hf.metadata.stored_intrinsics import (
    StoredIntrinsics,
    compose_intrinsics,
    read_intrinsics,
)
from geogen_hf.metadata.tree import FoundCamera, Places
from geogen_hf.metadata.values import (
    Poses,
    Statements,
    compose_poses,
    read_statements,
    read_values,
)

_CHUNK = 2048  # cameras whose objects are kept until their numbers are taken out

_Numbers = tuple[list[tuple[FloatArray, ...]], tuple[FloatArray, ...]]
"""Of some cameras: the values of each pose, and those of the intrinsics."""


@dataclass(frozen=True, eq=False)
class Composed:
    """Poses and intrinsics of a group's good cameras.

    Attributes:
        rows: Which cameras of the group these are.
        poses: Theirs.
        intrinsics: Theirs.
    """

    rows: NDArray[np.int64]
    poses: Poses
    intrinsics: StoredIntrinsics


class Group:
    """Cameras with the same pattern and plan.

    Args:
        pattern: The path to each.
        plan: Where everything is in each.

    Attributes:
        documents: Of each, the number of its document.
        trails: Of each, the path in that.
        faults: What is wrong with single cameras, by row.
    """

    def __init__(self, pattern: str, plan: CameraPlan) -> None:
        self.pattern, self.plan = pattern, plan
        self.documents: list[int] = []
        self.trails: list[Trail] = []
        self.faults: dict[int, CameraValueError] = {}
        self._known_trails: dict[Trail, Trail] = {}  # one object for what is alike in all files
        self._labels: list[tuple[Label, ...]] = []
        self._layouts: dict[Places, int] = {}
        self._layout_of: list[int] = []
        self._nodes: list[Node] = []
        self._rows: list[int] = []
        self._chunks: list[_Numbers] = []
        self._said: Statements | None = None
        self._form = ""
        self._intrinsics_in_pose = False
        self._lent: StoredIntrinsics | None = None

    def __len__(self) -> int:
        return len(self.trails)

    @property
    def usable(self) -> bool:
        """Whether any camera has a pose."""
        return bool(self._rows)

    @property
    def form(self) -> str:
        """Where pose and intrinsics are, to tell schemas apart."""
        return f"{self.pattern or 'root'}: {self.plan.keys}"

    def add(self, found: FoundCamera, document: int) -> None:
        """Add a camera of this pattern and plan."""
        self._layout_of.append(self._layouts.setdefault(found.places, len(self._layouts)))
        self._labels.append(found.labels)
        self.documents.append(document)
        self.trails.append(self._known_trails.setdefault(found.trail, found.trail))
        if self.plan.fault is not None:
            self.faults[len(self) - 1] = self.plan.fault
            return
        self._nodes.append(found.node)
        if len(self._nodes) >= _CHUNK:
            self.take_numbers()

    def take_numbers(self) -> None:
        """Take the numbers out of the objects at hand; of single bad ones, keep the fault."""
        nodes, self._nodes = self._nodes, []
        start = len(self) - len(nodes)
        if nodes and self._take(nodes, range(start, len(self))) is not None:
            for offset, node in enumerate(nodes):
                fault = self._take([node], [start + offset])
                if fault is not None:
                    self.faults[start + offset] = fault

    def _take(self, nodes: list[Node], rows: Iterable[int]) -> CameraValueError | None:
        try:
            said = read_statements(self.plan, nodes)
            numbers = (read_values(self.plan, nodes), read_intrinsics(self.plan, nodes))
        except CameraValueError as fault:
            return fault
        if self._chunks and said != self._said:
            return CameraValueError(0, f"{self._said}, as in others", str(said))
        if self._chunks and _dims(numbers) != _dims(self._chunks[0]):
            return CameraValueError(0, "numbers in the same form as in others", "another form")
        self._said = said
        self._form = "×".join(map(str, numbers[0][0][0].shape[1:]))
        self._chunks.append(numbers)
        self._rows.extend(rows)
        return None

    def lend(self, intrinsics: StoredIntrinsics) -> None:
        """Give all cameras intrinsics that stand in other documents."""
        self._lent = intrinsics

    def columns(self) -> list[Column]:
        """The labels of all cameras, by place; None where a camera has none there."""
        tiers = {place: tier for layout in self._layouts for place, tier in layout}
        found: list[Column] = []
        for place, tier in tiers.items():
            at = [
                next((i for i, (p, _) in enumerate(layout) if p == place), None)
                for layout in self._layouts
            ]
            if len(at) == 1 and at[0] is not None:
                only = at[0]
                labels: list[Label] = [row[only] for row in self._labels]
            else:
                labels = [
                    None if (i := at[layout]) is None else row[i]
                    for row, layout in zip(self._labels, self._layout_of, strict=True)
                ]
            found.append(Column(place, labels, tier))
        return found

    def compose(self, subjects: NDArray[np.int64]) -> Composed:
        """Make poses and intrinsics of all numbers; a fault of a single camera is set aside.

        Args:
            subjects: Index of the identity of each camera.

        Raises:
            CameraValueError: It cannot be told what the numbers mean.
        """
        rows = np.array(self._rows, dtype=np.int64)
        values = [
            tuple(np.concatenate(parts) for parts in zip(*each, strict=True))
            for each in zip(*(chunk[0] for chunk in self._chunks), strict=True)
        ]
        numbers = tuple(
            np.concatenate(parts)
            for parts in zip(*(chunk[1] for chunk in self._chunks), strict=True)
        )
        self._chunks.clear()
        while True:
            try:
                poses = compose_poses(self.plan, values, self._said or Statements(), subjects[rows])
                intrinsics = compose_intrinsics(self.plan, numbers, len(rows))
                break
            except CameraValueError as fault:
                if fault.row is None or len(self.faults) * 2 > len(self) or len(rows) < 2:
                    raise
                bad = fault.row
                self.faults[int(rows[bad])] = fault
                rows = np.delete(rows, bad)
                values = [tuple(np.delete(part, bad, axis=0) for part in each) for each in values]
                numbers = tuple(np.delete(part, bad, axis=0) for part in numbers)
        if self._lent is not None:
            intrinsics = self._lent.at(rows)
        elif poses.intrinsics is not None and intrinsics.kind == "absent":
            intrinsics = replace(intrinsics, kind="pixels", values=poses.intrinsics)
            self._intrinsics_in_pose = True
        self.faults |= {int(rows[row]): fault for row, fault in poses.faults.items()}
        return Composed(rows, poses, intrinsics)

    def describe(self) -> str:
        """Where pose and intrinsics are, in words."""
        stem = tuple(step for step in self.pattern.split(".") if step)
        pose, said = self.plan.poses[0], self.plan.intrinsics
        names = dotted([_joined(stem, path) for path in pose.paths])
        form = self._form if pose.form == "matrix" else pose.form
        places = [_joined(stem, p) if isinstance(p, tuple) else (f"{p:g}",) for p in said.paths]
        same = said.form == "label" or (said.form == "absent" and self._intrinsics_in_pose)
        elsewhere = "in files of their own" if self._lent is not None else "none"
        intrinsics = "in the same numbers" if same else dotted(places) or elsewhere
        return f"pose = {names} ({form}), intrinsics = {intrinsics}"


def _joined(stem: Sequence[str], path: Sequence[str]) -> tuple[str, ...]:
    return tuple(step for step in (*stem, *path) if step) or ("root",)


def _dims(numbers: Any) -> list[tuple[int, ...]]:
    return [part.shape[1:] for values in (*numbers[0], numbers[1]) for part in values]
