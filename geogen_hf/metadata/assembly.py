"""Cameras sorted by identity, with each identity's own text and every problem of single ones.

Open this module to see what becomes a problem of which identity, and how its JSON is cut out of a
file that holds several.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geogen_hf.cameras.conventions import Convention, canonicalise
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import CameraError, MetadataError, explain, one_line
from geogen_hf.metadata.groups import Composed, Group
from geogen_hf.metadata.json_text import Cutter, Trail, join_texts
from geogen_hf.metadata.naming import Images, Reading
from geogen_hf.metadata.stored_intrinsics import StoredIntrinsics
from geogen_hf.metadata.stored_poses import Claims
from geogen_hf.metadata.tree import Tree
from geogen_hf.metadata.values import CameraValueError
from geogen_hf.report import Kind, Problem


@dataclass(frozen=True, eq=False)
class SubjectCameras:
    """The cameras of one identity as its metadata gives them.

    Attributes:
        subject_id: The identity's name, as the images have it.
        view_ids: V view numbers, ascending.
        matrices: `(V, 4, 4)` float64 poses, in the convention they came in.
        intrinsics: Of V views, in the unit they came in.
        claims: What the keys say of the convention.
        text: The identity's JSON as it was written: the file; of a file with several subjects,
            the value that is this one's, or its cameras as an array or object (what the file says
            of all subjects is left out); of one file an image, those files as an array.
        source: Where it is, for messages.
    """

    subject_id: str
    view_ids: tuple[int, ...]
    matrices: FloatArray
    intrinsics: StoredIntrinsics
    claims: Claims
    text: str
    source: str

    def of_views(self, rows: Sequence[int]) -> SubjectCameras:
        """The same for some of the views, given by their places in `view_ids`."""
        return replace(
            self,
            view_ids=tuple(self.view_ids[row] for row in rows),
            matrices=self.matrices[list(rows)],
            intrinsics=self.intrinsics.at(list(rows)),
        )


def canonical_extrinsics(cameras: SubjectCameras, convention: Convention) -> FloatArray:
    """Bring a subject's matrices to canonical form.

    Args:
        cameras: As stored.
        convention: What their matrices mean.

    Returns:
        `(V, 4, 4)` float64 world-to-camera, OpenCV axes. They are not validated: see
        `geogen_hf.cameras.validate`.

    Raises:
        CameraError: The convention contradicts what the keys say.
    """
    if not cameras.claims.allow(convention):
        raise CameraError(
            explain(
                "the convention contradicts the keys of the metadata",
                where=cameras.source,
                expected=cameras.claims,
                found=convention,
                remedy="state direction and axes with camera_schema if the keys are wrong",
            )
        )
    return canonicalise(cameras.matrices, convention)


_Owner = int | str


@dataclass(frozen=True, eq=False)
class Part:
    """A group: the first of its cameras among all, and their numbers where they can be read."""

    group: Group
    start: int
    composed: Composed | None


class Assembly:
    """Gives each identity its cameras.

    Attributes:
        cameras: By identity.
        problems: Of single cameras and identities.
        strangers: Names without images, with where they are.
    """

    def __init__(
        self,
        images: Images,
        documents: Sequence[tuple[str, str, str]],
        tree: Tree,
        reading: Reading,
        parts: Sequence[Part],
        main: Group,
    ) -> None:
        self._images, self._documents = images, documents
        self._reading, self._main = reading, main
        self.cameras: dict[str, SubjectCameras] = {}
        self.problems: list[Problem] = []
        self.strangers: dict[str, str] = {}
        numbers = [number for part in parts for number in part.group.documents]
        trails = [trail for part in parts for trail in part.group.trails]
        owners: list[_Owner] = reading.subjects.tolist()
        for row in np.flatnonzero(reading.subjects < 0).tolist():
            owners[row] = name = reading.name_of(row)
            self.strangers.setdefault(name, documents[numbers[row]][1])
        texts = _Texts(documents, numbers, trails, owners, tree)
        for part in parts:
            self._faults(part)
            if part.composed is not None:
                self._subjects(part, part.composed, texts)
        for row in np.flatnonzero(reading.doubtful).tolist():
            name = images.ids[reading.subjects[row]]
            detail = f"{name}: in {documents[numbers[row]][1]}: its names contradict"
            self.problems.append(Problem("bad metadata", name, detail))

    def _source(self, part: Part, row: int) -> str:
        return self._documents[part.group.documents[row]][1]

    def _faults(self, part: Part) -> None:
        rows = slice(part.start, part.start + len(part.group))
        subjects, views = self._reading.subjects[rows], self._reading.views[rows]
        for row, fault in sorted(part.group.faults.items()):
            self._problem(part, row, int(subjects[row]), int(views[row]), fault)
        fault = CameraValueError(None, f"a view's number at {self._reading.view}", "none")
        for row in np.flatnonzero((subjects >= 0) & (views < 0)).tolist():
            self._problem(part, row, int(subjects[row]), -1, fault)

    def _problem(
        self, part: Part, row: int, subject: int, view: int, fault: CameraValueError
    ) -> None:
        name = self._images.ids[subject] if subject >= 0 else None
        which = f"view {view}" if view >= 0 else f"camera number {row}"
        message = explain(
            f"{self._source(part, row)}: cannot be read as camera metadata",
            where=which if name is None else f"{name[:100]} {which}",
            expected=fault.expected,
            found=fault.found,
            remedy=fault.remedy,
        )
        self.problems.append(Problem("bad metadata", name, one_line(MetadataError(message))))

    def _subjects(self, part: Part, composed: Composed, texts: _Texts) -> None:
        subjects = self._reading.subjects[composed.rows + part.start]
        views = self._reading.views[composed.rows + part.start]
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
            source = self._source(part, rows[low])
            if len(set(numbers[low:high])) < high - low:
                kept = self._once(name, kept, numbers, part, rows)
            if part.group is not self._main:
                forms = f"{part.group.form}, but most have {self._main.form}"
                detail = f"{name}: in {source}: {forms}"
                self.problems.append(Problem("mixed metadata", name, detail))
                if name in self.cameras:
                    continue
            place = slice(low, high) if len(kept) == high - low else kept
            files = len({part.group.documents[row] for row in rows[low:high]})
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
        self, name: str, rows: list[int], views: list[int], part: Part, cameras: list[int]
    ) -> list[int]:
        """The first camera of each view; the others are problems."""
        kept: dict[int, int] = {}
        for row in rows:
            first = kept.setdefault(views[row], row)
            if first != row:
                sources = [self._source(part, cameras[each]) for each in (first, row)]
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
        texts: Sequence[tuple[str, str, str]],
        documents: Sequence[int],
        trails: Sequence[Trail],
        owners: Sequence[_Owner],
        tree: Tree,
    ) -> None:
        self._documents, self._tree = texts, tree
        self._cutters: dict[int, Cutter] = {}
        self._heads: dict[_Owner, dict[tuple[int, Trail], None]] = {}
        sole: dict[int, _Owner | None] = {}
        for document, owner in zip(documents, owners, strict=True):
            if sole.setdefault(document, owner) != owner:
                sole[document] = None
        above: dict[tuple[int, Trail], _Owner | None] = {}
        for document, trail, owner in zip(documents, trails, owners, strict=True):
            if sole[document] is None:
                for length in range(1, len(trail) + 1):
                    key = (document, trail[:length])
                    if above.setdefault(key, owner) != owner:
                        above[key] = None
        for document, trail, owner in zip(documents, trails, owners, strict=True):
            length = 0
            if sole[document] is None:
                # The highest value that is this identity's alone.
                depths = range(1, len(trail) + 1)
                alone = (n for n in depths if above[document, trail[:n]] == owner)
                length = next(alone, len(trail))
            self._heads.setdefault(owner, {})[document, trail[:length]] = None

    def of(self, owner: _Owner) -> str:
        """The text of one identity."""
        heads = list(self._heads[owner])
        documents = {document for document, _ in heads}
        if len(heads) > 1 and len({(document, head[:-1]) for document, head in heads}) == 1:
            (document,), container = documents, heads[0][1][:-1]
            keys = [head[-1] for _, head in heads]
            try:
                return self._cutter(document).children(container, keys)
            except KeyError:
                pass  # one of arrays taken apart: it has no text of its own
        return join_texts(texts) if len(texts := [self._cut(*h) for h in heads]) > 1 else texts[0]

    def _cutter(self, document: int) -> Cutter:
        if document not in self._cutters:
            self._cutters[document] = Cutter(self._documents[document][0])
        return self._cutters[document]

    def _cut(self, document: int, head: Trail) -> str:
        text, _, path = self._documents[document]
        if not head:
            return text
        try:
            return self._cutter(document).value(head)
        except KeyError:
            found = self._tree.cameras(json.loads(text), path)
            return json.dumps(next(each.node for each in found if each.trail == head))
