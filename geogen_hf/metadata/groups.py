"""Cameras that stand alike in the metadata, with their numbers taken out of the decoded JSON.

A whole release of decoded JSON would take gigabytes: objects are kept until a few have gathered,
then their numbers become arrays. A bad value is the fault of one camera and stops nobody else's.
Open this module to see how numbers are batched and how a fault is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.metadata.naming import Column, Label
from geogen_hf.metadata.plan import CameraPlan
from geogen_hf.metadata.stored_intrinsics import (
    StoredIntrinsics,
    compose_intrinsics,
    read_intrinsics,
)
from geogen_hf.metadata.stored_poses import (
    Poses,
    Statements,
    compose_poses,
    read_poses,
    read_statements,
)
from geogen_hf.metadata.tree import FoundCamera, Trail
from geogen_hf.metadata.values import CameraValueError, Node, dotted

_CHUNK = 64  # cameras whose objects are kept: more of them leave the processor's cache

_Numbers = list[tuple[FloatArray, ...]]
"""Of some cameras: the values of each pose, and last those of the intrinsics."""


@dataclass(frozen=True, eq=False)
class Composed:
    """Poses and intrinsics of those cameras of a group, by `rows`, in which nothing is wrong."""

    rows: NDArray[np.int64]
    poses: Poses
    intrinsics: StoredIntrinsics


class Group:
    """Cameras with the same pattern (the path to each) and plan.

    Attributes:
        documents: Of each, the number of its document.
        trails: Of each, the path in that.
        faults: What is wrong with single cameras, by row.
        lent: Intrinsics of each that stand elsewhere, where that is so.
        start: The first of its cameras among all that were chosen.
        composed: Their numbers, where they can be read.
    """

    def __init__(self, pattern: str, plan: CameraPlan) -> None:
        self.pattern, self.plan = pattern, plan
        self.documents: list[int] = []
        self.trails: list[Trail] = []
        self.faults: dict[int, CameraValueError] = {}
        self.lent: StoredIntrinsics | None = None
        self.start = 0
        self.composed: Composed | None = None
        self._known_trails: dict[Trail, Trail] = {}  # one object for what is alike in all files
        self._labels: dict[tuple[str, int], list[Label]] = {}
        self._nodes: list[Node] = []
        self._rows: list[Sequence[int]] = []
        self._chunks: list[_Numbers] = []
        self._said: Statements = {}
        self._form = ""
        self._intrinsics_in_pose = False

    def __len__(self) -> int:
        return len(self.trails)

    @property
    def usable(self) -> bool:
        """Whether any camera has a pose."""
        return bool(self._rows and self.plan.poses)

    @property
    def form(self) -> str:
        """Where pose and intrinsics are, to tell schemas apart."""
        return f"{self.pattern or 'root'}: {self.plan.keys}"

    def add(self, found: FoundCamera, document: int) -> None:
        """Add a camera of this pattern and plan."""
        row, where = len(self), found.where
        for place, label in zip(where.places, where.labels, strict=True):
            labels = self._labels.setdefault(place, [])
            if len(labels) <= row:  # the first of two places that are called alike
                labels.extend([None] * (row - len(labels)))
                labels.append(label)
        self.documents.append(document)
        self.trails.append(self._known_trails.setdefault(where.trail, where.trail))
        if self.plan.fault is not None:
            self.faults[row] = self.plan.fault
            return
        self._nodes.append(found.node)
        if len(self._nodes) >= _CHUNK:
            self.take_numbers()

    def take_numbers(self) -> None:
        """Take the numbers out of the objects at hand; of single bad ones, keep the fault."""
        nodes, self._nodes = self._nodes, []
        start = len(self) - len(nodes)
        if nodes and self._take(nodes, range(start, len(self))) is not None:
            for row, node in enumerate(nodes, start):
                fault = self._take([node], [row])
                if fault is not None:
                    self.faults[row] = fault

    def _take(self, nodes: list[Node], rows: Sequence[int]) -> CameraValueError | None:
        try:
            said = read_statements(self.plan, nodes)
            numbers = [*read_poses(self.plan, nodes), read_intrinsics(self.plan, nodes)]
        except CameraValueError as fault:
            return fault
        if self._chunks and said != self._said:
            return CameraValueError(0, f"{self._said}, as in others", str(said))
        if self._chunks and _dims(numbers) != _dims(self._chunks[0]):
            return CameraValueError(0, "numbers in the same form as in others", "another form")
        self._said = said
        self._form = "×".join(map(str, numbers[0][0].shape[1:])) if numbers[0] else ""
        self._chunks.append(numbers)
        self._rows.append(rows)
        return None

    def columns(self) -> list[Column]:
        """The labels of all cameras, by place; None where a camera has none there."""
        for labels in self._labels.values():
            labels.extend([None] * (len(self) - len(labels)))
        return [Column(place, labels, tier) for (place, tier), labels in self._labels.items()]

    def intrinsics(self) -> StoredIntrinsics:
        """The intrinsics of cameras without a pose.

        Raises:
            CameraValueError: Those of any camera cannot be read.
        """
        for fault in self.faults.values():
            raise fault
        return compose_intrinsics(self.plan, self._joined()[-1], len(self))

    def _joined(self) -> _Numbers:
        """All numbers in one array each; chunks are given up one value after the other."""
        self._labels = {}  # they have named what they can
        by_part = [list(part) for part in zip(*self._chunks, strict=True)]
        self._chunks.clear()
        joined: _Numbers = []
        while by_part:
            values = [list(value) for value in zip(*by_part.pop(0), strict=True)]
            joined.append(tuple(np.concatenate(values.pop(0)) for _ in range(len(values))))
        return joined

    def compose(self, subjects: NDArray[np.int64]) -> Composed:
        """Make poses and intrinsics of all numbers; a fault of a single camera is set aside.

        Args:
            subjects: Index of the identity of each camera.

        Raises:
            CameraValueError: It cannot be told what the numbers mean.
        """
        rows = np.fromiter(chain.from_iterable(self._rows), np.int64)
        numbers = self._joined()
        said = self._said
        while True:
            try:
                poses = compose_poses(self.plan, numbers[:-1], said, subjects[rows])
                intrinsics = compose_intrinsics(self.plan, numbers[-1], len(rows))
                break
            except CameraValueError as fault:
                if fault.row is None or len(self.faults) * 2 > len(self) or len(rows) < 2:
                    raise
                bad = fault.row
                self.faults[int(rows[bad])] = fault
                rows = np.delete(rows, bad)
                numbers = [tuple(np.delete(v, bad, axis=0) for v in part) for part in numbers]
        if self.lent is not None:
            intrinsics = self.lent.at(rows)
        elif poses.intrinsics is not None and intrinsics.kind == "absent":
            intrinsics = replace(intrinsics, kind="pixels", values=poses.intrinsics)
            self._intrinsics_in_pose = True
        self.faults |= {int(rows[row]): fault for row, fault in poses.faults.items()}
        return Composed(rows, poses, intrinsics)

    def describe(self) -> str:
        """Where pose and intrinsics are, in words."""
        stem = tuple(step for step in self.pattern.split(".") if step)
        pose, said = self.plan.poses[0], self.plan.intrinsics
        names = dotted([_words(stem, path) for path in pose.paths])
        form = self._form if pose.form == "matrix" else pose.form
        places = [_words(stem, p) if isinstance(p, tuple) else (f"{p:g}",) for p in said.paths]
        same = said.form == "label" or (said.form == "absent" and self._intrinsics_in_pose)
        elsewhere = "apart from the poses" if self.lent is not None else "none"
        intrinsics = "in the same numbers" if same else dotted(places) or elsewhere
        return f"pose = {names} ({form}), intrinsics = {intrinsics}"


def _words(stem: Sequence[str], path: Sequence[str]) -> tuple[str, ...]:
    return tuple(step for step in (*stem, *path) if step) or ("root",)


def _dims(numbers: _Numbers) -> list[tuple[int, ...]]:
    return [part.shape[1:] for values in numbers for part in values]
