"""Cameras sorted by identity, with each identity's own text and every problem of single ones.

Open this module to see what becomes a problem of which identity, and how its JSON is cut out of a
file that holds several.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geogen_hf.cameras.conventions import Convention, canonicalise
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import CameraError, one_line
from geogen_hf.metadata.documents import join_texts
from geogen_hf.metadata.groups import Composed, Group
from geogen_hf.metadata.keys import CameraValueError, DoubtError
from geogen_hf.metadata.naming import Images, Reading
from geogen_hf.metadata.stored_intrinsics import StoredIntrinsics
from geogen_hf.metadata.stored_poses import Claims
from geogen_hf.metadata.table import Trail
from geogen_hf.report import Kind, Problem

_SCANNER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, eq=False)
class SubjectCameras:
    """The cameras of one identity as its metadata gives them.

    `text` is its JSON as it was written: the file; of a file with several subjects, the value that
    is this one's, or its cameras as an array or object (what the file says of all subjects is left
    out); of one file an image, those files as an array.
    """

    subject_id: str  # as the images have it
    view_ids: tuple[int, ...]  # ascending
    matrices: FloatArray  # (V, 4, 4) float64, in the convention they came in
    intrinsics: StoredIntrinsics
    claims: Claims
    text: str
    source: str  # where it is, for messages

    def of_views(self, rows: Sequence[int]) -> SubjectCameras:
        """The same for some of the views, given by their places in `view_ids`."""
        return replace(
            self,
            view_ids=tuple(self.view_ids[row] for row in rows),
            matrices=self.matrices[list(rows)],
            intrinsics=self.intrinsics.at(list(rows)),
        )


def canonical_extrinsics(cameras: SubjectCameras, convention: Convention) -> FloatArray:
    """A subject's `(V, 4, 4)` float64 matrices world-to-camera with OpenCV axes, not validated.

    CameraError where what they are said to mean contradicts what the keys say.
    """
    if not cameras.claims.allow(convention):
        raise CameraError(
            "the convention contradicts the keys of the metadata",
            where=cameras.source,
            expected=cameras.claims,
            found=convention,
            remedy="state direction and axes with camera_schema if the keys are wrong",
        )
    return canonicalise(cameras.matrices, convention)


class Assembly:
    """Gives each identity its cameras; `strangers` are names without images, and where they are."""

    def __init__(
        self,
        images: Images,
        documents: Sequence[tuple[str, str, str]],
        reading: Reading,
        groups: Sequence[Group],
        main: Group,
    ) -> None:
        self._images, self._documents = images, documents
        self._reading, self._main = reading, main
        self.cameras: dict[str, SubjectCameras] = {}
        self.problems: list[Problem] = []
        self.strangers: dict[str, str] = {}
        numbers = [number for group in groups for number in group.documents]
        owners: list[int | str] = reading.subjects.tolist()
        for row in np.flatnonzero(reading.subjects < 0).tolist():
            owners[row] = name = reading.name_of(row)
            self.strangers.setdefault(name, documents[numbers[row]][1])
        texts = _Texts(documents, groups, owners)
        for group in groups:
            if group.composed is not None:
                self._subjects(group, group.composed, texts)
        for group in groups:
            self._faults(group)
        for row in np.flatnonzero(reading.doubtful).tolist():
            name = images.ids[reading.subjects[row]]
            detail = f"{name}: in {documents[numbers[row]][1]}: its names contradict"
            self.problems.append(Problem("bad metadata", name, detail))

    def _has_all(self, name: str) -> bool:
        found = self.cameras.get(name)
        return found is not None and set(found.view_ids) >= set(self._images.views[name])

    def _source(self, group: Group, row: int) -> str:
        return self._documents[group.documents[row]][1]

    def _faults(self, group: Group) -> None:
        rows = slice(group.start, group.start + len(group))
        subjects, views = self._reading.subjects[rows], self._reading.views[rows]
        unnamed = CameraValueError(None, f"a view's number at {self._reading.view}", "none")
        faults = sorted(group.faults.items())
        faults += [(row, unnamed) for row in np.flatnonzero((subjects >= 0) & (views < 0)).tolist()]
        for row, fault in faults:
            which = f"view {views[row]}" if views[row] >= 0 else f"camera number {row}"
            name = self._images.ids[subjects[row]] if subjects[row] >= 0 else None
            if name is not None and views[row] < 0 and self._has_all(name):
                continue  # what names no view is no camera, but a light, a mirrored image
            error = DoubtError(
                f"{self._source(group, row)}: cannot be read as camera metadata",
                where=which if name is None else f"{name[:100]} {which}",
                expected=fault.expected,
                found=fault.found,
                choices=fault.choices,
            )
            self.problems.append(Problem("bad metadata", name, one_line(error)))

    def _subjects(self, group: Group, composed: Composed, texts: _Texts) -> None:
        subjects = self._reading.subjects[composed.rows + group.start]
        views = self._reading.views[composed.rows + group.start]
        known = np.flatnonzero((subjects >= 0) & (views >= 0))
        known = known[np.lexsort((composed.rows[known], views[known], subjects[known]))]
        bounds = np.flatnonzero(np.diff(subjects[known], prepend=-1, append=-1))
        # Every identity's cameras are a slice of arrays in this order.
        matrices, intrinsics = composed.poses.matrices, composed.intrinsics
        if len(known) < len(matrices) or (np.diff(known) < 0).any():
            matrices, intrinsics = matrices[known], intrinsics.at(known)
        numbers = views[known].tolist()
        rows = composed.rows[known].tolist()
        for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            subject = int(subjects[known[low]])
            name = self._images.ids[subject]
            kept = list(range(low, high))
            source = self._source(group, rows[low])
            if len(set(numbers[low:high])) < high - low:
                kept = self._once(name, kept, numbers, group, rows)
            if group is not self._main:
                forms = f"{group.form}, but most have {self._main.form}"
                detail = f"{name}: in {source}: {forms}"
                self.problems.append(Problem("mixed metadata", name, detail))
                if name in self.cameras:
                    continue
            place = slice(low, high) if len(kept) == high - low else kept
            files = len({group.documents[row] for row in rows[low:high]})
            self.cameras[name] = SubjectCameras(
                subject_id=name,
                view_ids=tuple(numbers[each] for each in kept),
                matrices=matrices[place],
                intrinsics=intrinsics.at(place),
                claims=composed.poses.claims,
                text=texts.of(subject),
                source=source + (f" and {files - 1} more" if files > 1 else ""),
            )

    def _once(
        self, name: str, rows: list[int], views: list[int], group: Group, cameras: list[int]
    ) -> list[int]:
        """The first camera of each view; others are problems, but for a copy of a document."""
        kept: dict[int, int] = {}
        for row in rows:
            first = kept.setdefault(views[row], row)
            if first != row:
                one, other = (group.documents[cameras[each]] for each in (first, row))
                if one != other and self._documents[one][0] == self._documents[other][0]:
                    continue
                sources = [self._documents[number][1] for number in (one, other)]
                twice = sources[0] == sources[1]
                kind: Kind = "bad metadata" if twice else "duplicate metadata"
                where = f"twice in {sources[0]}" if twice else f"in {sources[0]} and {sources[1]}"
                detail = f"{name}: view {views[row]} {where}"
                self.problems.append(Problem(kind, name, detail))
        return list(kept.values())


class _Texts:
    """The JSON of each identity, as it was written."""

    def __init__(
        self,
        documents: Sequence[tuple[str, str, str]],
        groups: Sequence[Group],
        owners: Sequence[int | str],
    ) -> None:
        self._documents, self._groups = documents, groups
        self._roots: dict[int, Any] = {}
        self._spans: dict[tuple[int, Trail], dict[str | int, tuple[int, int, int]]] = {}
        numbers = [number for group in groups for number in group.documents]
        trails = [trail for group in groups for trail in group.trails]
        self._heads: dict[int | str, dict[tuple[int, Trail], int]] = {}
        rows_of: dict[int, list[int]] = {}
        for row, number in enumerate(numbers):
            rows_of.setdefault(number, []).append(row)
        for number, rows in rows_of.items():
            above: dict[Trail, int | str | None] = {}
            for row in rows:
                for length in range(len(trails[row]) + 1):
                    if above.setdefault(trails[row][:length], owners[row]) != owners[row]:
                        above[trails[row][:length]] = None
            for row in rows:
                # The highest value that is this identity's alone.
                heads = (trails[row][:length] for length in range(len(trails[row])))
                head = next((each for each in heads if above[each] == owners[row]), trails[row])
                self._heads.setdefault(owners[row], {})[number, head] = row

    def of(self, owner: int) -> str:
        """The text of one identity."""
        heads = list(self._heads[owner])
        number, head = heads[0]
        if len(heads) > 1 and {(each, above[:-1]) for each, above in heads} == {
            (number, head[:-1])
        }:
            try:
                return self._children(number, head[:-1], [above[-1] for _, above in heads])
            except KeyError:
                pass  # one of arrays taken apart: it has no text of its own
        texts = [self._cut(*each, self._heads[owner][each]) for each in heads]
        return join_texts(texts) if len(texts) > 1 else texts[0]

    def _cut(self, number: int, head: Trail, row: int) -> str:
        text, _, _ = self._documents[number]
        if not head:
            return text
        try:
            _, start, stop = self._spans_in(number, head[:-1])[head[-1]]
            return text[start:stop]
        except KeyError:
            pass  # it has no text of its own
        try:
            if number not in self._roots:
                self._roots[number] = json.loads(text)
            group = next(each for each in self._groups if row < each.start + len(each))
            return json.dumps(group.taken_apart(row - group.start, self._roots[number]))
        except (KeyError, TypeError):
            return self._cut(number, head[:-1], row)  # nor values: they were part of a key or text

    def _children(self, number: int, container: Trail, keys: Sequence[str | int]) -> str:
        """Cut some children out of an object or array, as one of the same kind."""
        text, spans = self._documents[number][0], self._spans_in(number, container)
        start, (opening, closing) = (1, "[]") if isinstance(next(iter(spans)), int) else (0, "{}")
        pieces = (text[spans[key][start] : spans[key][2]] for key in keys)
        return opening + ",\n".join(pieces) + closing

    def _spans_in(self, number: int, container: Trail) -> dict[str | int, tuple[int, int, int]]:
        """Where every child's key starts, and where its value starts and ends."""
        if (number, container) not in self._spans:
            above = self._spans_in(number, container[:-1]) if container else {}
            start = above[container[-1]][1] if container else 0
            self._spans[number, container] = _scan(self._documents[number][0], start)
        return self._spans[number, container]


def _scan(text: str, at: int) -> dict[str | int, tuple[int, int, int]]:
    at = _skip(text, at)
    spans: dict[str | int, tuple[int, int, int]] = {}
    if text[at] not in "{[":
        return spans
    is_object, at = text[at] == "{", _skip(text, at + 1)
    while text[at] not in "]}":
        key, key_start = len(spans), at
        if is_object:
            key, at = _SCANNER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        _, stop = _SCANNER.raw_decode(text, at)
        spans[key] = (key_start, at, stop)
        at = _skip(text, stop)
        at = _skip(text, at + 1) if text[at] == "," else at
    return spans


def _skip(text: str, at: int) -> int:
    return _BLANK.match(text, at).end()  # type: ignore[union-attr]  # matches nothing too
