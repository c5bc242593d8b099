"""The metadata part: documents to cameras as stored, by identity, and every problem on the way.

Four steps: everything that could be a camera is found (`table`); those that stand alike are a
**group**; each group's labels are mapped onto the images (`naming`), and the group that fits is
taken; its numbers become poses and intrinsics (`stored_poses`, `stored_intrinsics`). Open this
module to see how one of several groups is chosen, and where intrinsics that stand apart come from.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geogen_hf.errors import MetadataError, one_line
from geogen_hf.metadata.assembly import Assembly, SubjectCameras
from geogen_hf.metadata.documents import JsonError, decode_document
from geogen_hf.metadata.groups import Group, find_apart, find_groups
from geogen_hf.metadata.keys import (
    SPHERICAL,
    CameraValueError,
    Choice,
    DoubtError,
    role_of,
)
from geogen_hf.metadata.naming import (
    NAMED,
    VIEW_LIMIT,
    Images,
    IntArray,
    Labels,
    Reading,
    find_readings,
)
from geogen_hf.metadata.schema import CameraSchema
from geogen_hf.metadata.table import Table
from geogen_hf.report import Problem, some_of

logger = logging.getLogger(__name__)

_NO_JSON = "neither JSON nor rows of numbers"
_WRITE_JSON = (
    "make a metadata_files.zip of JSON files, one an identity: "
    '{"name": "17", "cameras": {"0.png": {"extrinsics": 4x4, "intrinsics": 3x3}, …}}; '
    "see docs/cameras.md"
)


@dataclass(frozen=True)
class Document:
    """One metadata file, unpacked."""

    name: str  # where it is, for messages
    text: bytes
    path: str  # its name in the archive


@dataclass(frozen=True)
class Metadata:
    """What the metadata part holds: cameras by identity, and what is double or cannot be read."""

    cameras: dict[str, SubjectCameras]
    problems: list[Problem]
    description: str  # what was taken for subject, view, pose and intrinsics, in a line
    strangers: dict[str, str]  # names of identities that have no image, and where they are


def read_metadata(
    documents: Iterable[Document],
    views: Mapping[str, Iterable[int]],
    *,
    complete: bool = True,
    schema: CameraSchema | None = None,
) -> Metadata:
    """Read all documents and give each image its camera.

    `views` are the numbers of the images, by identity, that cameras are mapped onto, and `complete`
    says whether these are all images of the release. MetadataError where no cameras are found, they
    do not map onto the images, they do in several ways that disagree, or their numbers leave a
    doubt: the message names the `camera_schema` that settles it.

    Example:
        >>> text = b'{"1": {"w2c": [0,0,1,7, 1,0,0,8, 0,1,0,9], "camera_angle_x": 0.7}}'
        >>> found = read_metadata([Document("P8: x.json", text, "x.json")], {"x": [1]})
        >>> found.cameras["x"].claims.direction, found.cameras["x"].view_ids
        ('world_to_camera', (1,))
        >>> print(found.description)
        subject = file, view = key of root, pose = *.w2c (12), intrinsics = *.camera_angle_x
    """
    images = Images({name: tuple(each) for name, each in views.items()}, complete)
    search = _Search(images, schema or CameraSchema())
    # Half the time would go into walking over and over millions of decoded numbers in no cycle.
    was_on = gc.isenabled()
    gc.disable()
    try:
        for document in documents:
            search.add(document)
        return search.result()
    finally:
        if was_on:
            gc.enable()


class _Search:
    """All documents, and everything in them that could be a camera."""

    def __init__(self, images: Images, schema: CameraSchema) -> None:
        self._images, self._schema = images, schema
        self._table = Table(images.views, schema.keys)
        self._documents: list[tuple[str, str, str]] = []
        self._unread: list[str] = []
        self._problems: list[Problem] = []

    def add(self, document: Document) -> None:
        """Decode a document, and take what it holds into the table."""
        try:
            text, root = decode_document(document.text)
        except JsonError as error:
            if document.path.lower().endswith(".json"):
                broken = MetadataError(
                    f"{document.name}: cannot be read as camera metadata",
                    expected="JSON in UTF-8 with finite numbers",
                    found=str(error),
                )
                self._problems.append(Problem("bad metadata", None, one_line(broken)))
            else:
                self._unread.append(ascii(document.path))
            return
        self._table.add(len(self._documents), root)
        self._documents.append((text, document.name, document.path))

    def result(self) -> Metadata:
        """Choose the cameras that fit, and give each identity its own."""
        if self._unread and not self._documents:
            raise MetadataError(
                "the metadata holds no documents that can be read",
                expected="JSON, or rows of numbers",
                found=f"{some_of(self._unread, 4)}: {_NO_JSON}",
                remedy=_WRITE_JSON,
            )
        if not self._documents or not self._images.ids:
            return Metadata({}, self._problems, "none", {})
        groups = find_groups(self._table, self._schema)
        if (wanted := self._schema.cameras) is not None:
            stated_as = [_collections(group.pattern) for group in groups]
            level = 0 if any(wanted == collection for collection, _ in stated_as) else 1
            said = zip(groups, stated_as, strict=True)
            groups = [group for group, each in said if each[level] == wanted]
        if not any(group.usable for group in groups):
            raise self._nothing(groups)
        chosen, reading = self._choose(groups)
        for before, group in pairwise(chosen):
            group.start = before.start + len(before)
        main = max((group for group in chosen if group.usable), key=len)
        if main.intrinsics.form == "absent" and self._schema.intrinsics is None:
            used = {column for each in groups for pose in each.poses for column in pose.columns}
            if apart := find_apart(self._table, used, self._schema.claims):
                self._lend(apart, chosen, reading)
        for group in chosen:
            self._compose(group, reading, main)
        places = {"subjects": reading.subject.place, "views": reading.view}
        by_order = [word for word, place in places.items() if "order of " in place]
        note = f"; order is all that tells {' and '.join(by_order)}" if by_order else ""
        description = f"{reading}, {main.describe()}{note}"
        found = Assembly(self._images, self._documents, reading, chosen, main)
        problems = [*self._problems, *found.problems]
        have = {name: set(each.view_ids) for name, each in found.cameras.items()}
        if all(have.get(name, set()) >= set(views) for name, views in self._images.views.items()):
            description += self._left_out
        else:
            advice = "as cameras have to be: see docs/cameras.md"
            details = [f"{path} is {_NO_JSON}, {advice}" for path in self._unread]
            problems += [Problem("unreadable name", None, detail) for detail in details]
        logger.info("metadata: %s", description)
        return Metadata(found.cameras, problems, description, found.strangers)

    @property
    def _left_out(self) -> str:
        """Which documents were not read, for a message."""
        names = some_of(self._unread, 4)
        return f"; not read, since {_NO_JSON}: {names}" if names else ""

    def _compose(self, group: Group, reading: Reading, main: Group) -> None:
        rows = slice(group.start, group.start + len(group))
        try:
            group.composed = group.compose(reading.subjects[rows]) if group.usable else None
        except CameraValueError as fault:
            if group is not main:
                group.faults |= dict.fromkeys(range(len(group)), fault)
                return
            source = self._documents[group.documents[0]][1]
            raise DoubtError(
                "the cameras of the metadata leave a doubt",
                choices=fault.choices,
                where=f"{source}: {reading}, {group.describe()}",
                expected=fault.expected,
                found=fault.found,
            ) from fault

    def _choose(self, groups: list[Group]) -> tuple[list[Group], Reading]:
        """The cameras whose labels map onto the images, those under known keys first.

        Cameras of one pattern go together, even where the keys of some differ; where that does not
        fit, each form is tried alone.
        """
        patterns: dict[str, list[Group]] = {}
        for group in groups:
            patterns.setdefault(group.pattern, []).append(group)
        families = [each for each in patterns.values() if any(group.usable for group in each)]
        families += [
            [group] for each in families if len(each) > 1 for group in each if group.usable
        ]
        families.sort(key=lambda each: (each[0].guessed, -sum(map(len, each))))
        fitting: list[tuple[list[Group], list[Reading]]] = []
        subject, view = self._schema.subject, self._schema.view
        for family in families:
            if fitting and (
                family[0].guessed > fitting[0][0][0].guessed
                or family[0].pattern == fitting[0][0][0].pattern
            ):
                continue
            readings = find_readings(self._columns(family), self._images, subject, view)
            if any(group.faults for group in family) and not (readings and readings[0].exact == 1):
                # What lacks a value that others have may be no camera: a light, the head.
                sound = [group.without(group.faults) for group in family if group.usable]
                others = find_readings(self._columns(sound), self._images, subject, view)
                if others and others[0].exact == 1 and not self._share_names(family):
                    family, readings = sound, others
            if readings:
                fitting.append((family, readings))
        if not fitting:
            if copies := self._copies():
                once = [
                    group.without([row for row, at in enumerate(group.documents) if at in copies])
                    for group in groups
                ]
                if any(len(one) < len(group) for one, group in zip(once, groups, strict=True)):
                    return self._choose([group for group in once if len(group)])
            raise self._unmapped(families[0])
        family, readings = fitting[0]
        if len(readings) > 1:
            raise self._ambiguous(readings, self._columns(family))
        if len(fitting) > 1:
            raise self._several_sets([each[0] for each, _ in fitting])
        return family, readings[0]

    def _share_names(self, family: Sequence[Group]) -> bool:
        """Whether all that names a camera with a fault names one without, too."""
        labels = [each.labels for each in self._columns(family) if each.tier == NAMED]
        names: dict[bool, set[tuple[object, ...]]] = {True: set(), False: set()}
        faulty = (row in group.faults for group in family for row in range(len(group)))
        for bad, name in zip(faulty, zip(*labels, strict=True), strict=True):
            names[bad].add(name)
        return not names[True].isdisjoint(names[False])

    def _copies(self) -> set[int]:
        """Documents that are there before, with this text and name, in another folder."""
        first: dict[tuple[str, str], int] = {}
        keys = [(text, path.rpartition("/")[2]) for text, _, path in self._documents]
        return {at for at, key in enumerate(keys) if first.setdefault(key, at) != at}

    def _columns(self, groups: Sequence[Group]) -> list[Labels]:
        """Labels of all cameras of some groups, one group after the other."""
        paths = [path for _, _, path in self._documents]
        every = [{each.place: each for each in group.columns(paths)} for group in groups]
        return [
            Labels(
                place,
                [
                    label
                    for each, group in zip(every, groups, strict=True)
                    for label in (each[place].labels if place in each else [None] * len(group))
                ],
                next(each[place].tier for each in every if place in each),
            )
            for place in dict.fromkeys(place for each in every for place in each)
        ]

    def _lend(self, apart: list[Group], chosen: Sequence[Group], reading: Reading) -> None:
        """Give cameras intrinsics that stand apart: for all, for an identity, or for an image."""
        wanted = np.where(reading.codes >= 0, reading.codes, self._images.codes[0])
        try:
            for fault in (fault for group in apart for fault in group.faults.values()):
                raise fault
            lent = [
                group.stored_intrinsics(rows)
                for group in apart
                if (rows := self._places(group, wanted)) is not None
            ]
        except CameraValueError as fault:
            raise self._apart(apart, fault.found) from fault
        if len(lent) < len(apart) or not all(
            each.kind == lent[0].kind and np.array_equal(each.values, lent[0].values)
            for each in lent
        ):
            forms = ", ".join(group.form for group in apart[:3])
            raise self._apart(apart, f"{sum(map(len, apart))} in {forms}")
        for group in chosen:
            group.lent = lent[0].at(slice(group.start, group.start + len(group)))

    def _places(self, group: Group, wanted: IntArray) -> IntArray | None:
        """Which of a group's intrinsics each of the cameras `wanted` has; None if any has none."""
        if len(group) == 1:
            return np.zeros(len(wanted), dtype=np.int64)
        columns, images = self._columns([group]), self._images
        once = Images(dict.fromkeys(images.ids, (0,)), images.complete)
        alone = [*columns, Labels("once", [0] * len(group), NAMED)]
        by_identity = wanted - wanted % VIEW_LIMIT
        subject, view = self._schema.subject, self._schema.view
        for labels, of, codes, its_view in (
            (columns, images, wanted, view),
            (alone, once, by_identity, None),
        ):
            for stated in ((subject, its_view), (None, None)):
                readings = find_readings(labels, of, *stated)
                known = readings[0].codes if len(readings) == 1 else codes[:0]
                order = np.argsort(known, kind="stable")
                if len(known) and np.isin(codes, known).all():
                    return order[np.searchsorted(known[order], codes)]
        return None

    def _apart(self, groups: Sequence[Group], found: str) -> MetadataError:
        return MetadataError(
            "intrinsics that stand apart from the poses do not map one-to-one onto the images",
            where=", ".join(self._documents[group.documents[0]][1] for group in groups[:3]),
            expected=f"one for all, one an identity, or one for each of {self._images.sample}",
            found=found,
            remedy='leave them out with camera_schema={"intrinsics": {}}',
        )

    def _nothing(self, groups: list[Group]) -> MetadataError:
        faults = [fault for group in groups for fault in group.faults.values()]
        # Settings of all cameras are shorter than cameras.
        text, where, _ = max(self._documents, key=lambda document: len(document[0]))
        longest = json.loads(text)
        found = f"{type(longest).__name__} {longest!r}"[:80]
        if isinstance(longest, dict):
            found = f"keys {', '.join(map(repr, list(longest)[:8]))}"[:300]
        found = f"{len(self._documents)} files, the longest with {found}"
        remedy = (
            'say where they are with camera_schema={"extrinsics": "<key of the matrix>"} or '
            '{"rotation": "<key>", "translation": "<key>"}'
        )
        choices: Sequence[Choice] = ()
        if faults:
            found = f"{faults[0].found} (expected {faults[0].expected})"
            choices = faults[0].choices
        elif keys := _three_fractions(longest):
            found = f"{found}, and {', '.join(keys)} that could be a pose"
            choices = [dict(zip(SPHERICAL, keys, strict=True))]
        elif "{" not in text:  # no key could be named
            remedy = _WRITE_JSON
        elif self._unread:
            remedy = f"{remedy}; or {_WRITE_JSON}"
        return DoubtError(
            "the metadata holds no cameras that can be read",
            choices=choices,
            where=where,
            expected="a matrix of 4x4, 3x4, 16 or 12 numbers a camera, or a rotation and a "
            "translation under known keys",
            found=found + self._left_out,
            remedy=remedy,
        )

    def _several_sets(self, sets: Sequence[Group]) -> MetadataError:
        return DoubtError(
            "the metadata holds several sets of cameras that fit the images",
            where=self._documents[sets[0].documents[0]][1],
            expected="one camera an image",
            found=" and ".join(group.form for group in sets),
            choices=[{"cameras": _collections(group.pattern)[0]} for group in sets],
        )

    def _unmapped(self, groups: list[Group]) -> MetadataError:
        columns, count = self._columns(groups), sum(map(len, groups))
        possible = find_readings(columns, self._images, any_order=True)
        return DoubtError(
            "the cameras of the metadata do not map one-to-one onto the images",
            choices=[reading.stated for reading in possible],
            expected=f"cameras for {self._images.sample}",
            found=f"{count} cameras at {groups[0].pattern or 'root'}, {len(self._documents)} "
            f"files; the first camera has {_labels_of(columns, 0)}{self._left_out}",
            remedy="state where the names are with camera_schema (subject, view), or give all "
            "parts of one release",
        )

    def _ambiguous(self, readings: Sequence[Reading], columns: Sequence[Labels]) -> MetadataError:
        one, other, *_ = readings
        row = int(np.flatnonzero(one.codes != other.codes)[0])
        ids = self._images.ids
        names = [
            f"{ids[r.subjects[row]] if r.subjects[row] >= 0 else 'no identity'} view "
            f"{r.views[row]} by ({r})"
            for r in (one, other)
        ]
        return DoubtError(
            "the metadata can be read in several ways that disagree",
            expected="one way to map cameras onto images",
            found=f"the camera with {_labels_of(columns, row)} is {names[0]}, or {names[1]}",
            choices=[reading.stated for reading in readings],
        )


def _labels_of(columns: Sequence[Labels], row: int) -> str:
    return ", ".join(f"{c.place} {str(c.labels[row])[:60]!r}" for c in columns[:8])


def _collections(pattern: str) -> tuple[str, str]:
    """How a pattern may be stated: by its collection, or itself."""
    return (pattern.removesuffix("*").removesuffix(".") or "root", pattern or "root")


def _three_fractions(node: object, depth: int = 0) -> list[str]:
    """Keys of the first object with three fractions: two angles of unknown names, a distance."""
    if depth > 6 or not isinstance(node, (dict, list)):
        return []
    if isinstance(node, dict):
        fractions = {k: role_of(k) for k, value in node.items() if type(value) is float}
        found = [key for key, role in fractions.items() if role is None]
        found += [
            k for k, role in fractions.items() if k in "rR" or (role and role.name == "distance")
        ]
        if len(found) == len(SPHERICAL):
            return found
    children = list(node.values() if isinstance(node, dict) else node)[:16]
    return next((keys for child in children if (keys := _three_fractions(child, depth + 1))), [])
