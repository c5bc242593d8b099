"""The metadata part: documents to cameras as stored, by identity, and every problem on the way.

Four steps: everything that could be a camera is found (`tree`); those that stand alike are a
**group**; each group's labels are mapped onto the images (`naming`), and the group that fits is
taken; its numbers become poses and intrinsics (`values`, `stored_intrinsics`). Open this module to
see how one of several groups is chosen, and how a single bad camera becomes a problem of its
identity alone.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from geogen_hf.cameras.validate import is_rotation
from geogen_hf.errors import MetadataError, explain, one_line
from geogen_hf.metadata.assembly import Assembly, SubjectCameras
from geogen_hf.metadata.groups import Group
from geogen_hf.metadata.json_text import JsonError, decode_document
from geogen_hf.metadata.naming import NAMED, Column, Images, Reading, find_readings, refuse
from geogen_hf.metadata.plan import CameraPlan, CameraValueError, Node, Planner, shape_of
from geogen_hf.metadata.schema import CameraSchema
from geogen_hf.metadata.stored_intrinsics import compose_intrinsics, read_intrinsics
from geogen_hf.metadata.tree import Tree
from geogen_hf.metadata.values import numbers
from geogen_hf.report import Problem

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Document:
    """One metadata file.

    Attributes:
        name: Where it is, for messages.
        text: Its bytes, unpacked.
        path: Its name in the archive.
    """

    name: str
    text: bytes
    path: str


@dataclass(frozen=True)
class Metadata:
    """What the metadata part holds.

    Attributes:
        cameras: By identity.
        problems: What could not be read, or names an identity or a view again.
        description: What was taken for subject, view, pose and intrinsics, in a line.
        strangers: Names of identities that have no image, and where they are.
    """

    cameras: dict[str, SubjectCameras]
    problems: list[Problem]
    description: str
    strangers: dict[str, str]


def read_metadata(
    documents: Iterable[Document],
    views: Mapping[str, Iterable[int]],
    *,
    complete: bool = True,
    schema: CameraSchema | None = None,
) -> Metadata:
    """Read all documents and give each image its camera.

    Args:
        documents: The files of the metadata part.
        views: View numbers of the images, by identity: what cameras are mapped onto.
        complete: Whether these are all images of the release.
        schema: What is stated of the metadata; None leaves all to the search.

    Returns:
        The cameras by identity, and the problems of single ones.

    Raises:
        MetadataError: No cameras are found, they do not map onto the images, they do in several
            ways that disagree, or their numbers leave a doubt. The message names the
            `camera_schema` that settles it.

    Example:
        >>> text = b'{"1": {"w2c": [0,0,1,7, 1,0,0,8, 0,1,0,9], "camera_angle_x": 0.7}}'
        >>> found = read_metadata([Document("P8: x.json", text, "x.json")], {"x": [1]})
        >>> found.cameras["x"].claims.direction, found.cameras["x"].view_ids
        ('world_to_camera', (1,))
        >>> print(found.description)
        subject = file, view = key of root, pose = *.w2c (12), intrinsics = *.camera_angle_x
    """
    images = Images({name: tuple(each) for name, each in views.items()}, complete)
    search = _Search(images, schema)
    with _collector_paused():
        for document in documents:
            search.add(document)
        return search.result()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Half the time would go into walking over and over millions of decoded numbers in no cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Search:
    """All documents, and everything in them that could be a camera."""

    def __init__(self, images: Images, schema: CameraSchema | None) -> None:
        self._images, self._schema = images, schema
        self._planner = Planner(schema.make_plan if schema else None)
        self._tree = Tree(self._planner, images.views)
        self._groups: dict[tuple[str, int], Group] = {}
        self._plans: dict[Any, CameraPlan] = {}
        self._documents: list[tuple[str, str, str]] = []
        self._first: object = None
        self._problems: list[Problem] = []
        self._intrinsics: list[tuple[str, Node]] = []

    def add(self, document: Document) -> None:
        """Decode a document, and sort what it holds into groups."""
        try:
            text, root = decode_document(document.text)
        except JsonError as error:
            self._problems.append(_unreadable(document, error))
            return
        number = len(self._documents)
        self._first = root if number == 0 else self._first
        self._documents.append((text, document.name, document.path))
        stated = None if self._schema is None else self._schema.cameras
        posed = False
        for found in self._tree.cameras(root, document.path):
            if stated is not None and stated not in _collections(found.pattern):
                continue
            group = self._groups.get((found.pattern, id(found.plan)))
            if group is None:
                plan = self._same(found.plan)
                group = self._groups.get((found.pattern, id(plan)), Group(found.pattern, plan))
                self._groups[found.pattern, id(plan)] = group
                self._groups[found.pattern, id(found.plan)] = group
            group.add(found, number)
            posed = True
        if not posed and (self._schema is None or self._schema.intrinsics is None):
            node = root if isinstance(root, dict) else {"K": root}
            if self._planner.plan(node).intrinsics.form not in ("absent", "incomplete"):
                self._intrinsics.append((document.path, node))

    def _same(self, plan: CameraPlan) -> CameraPlan:
        """One plan for all shapes in which everything is at the same place."""
        what = (plan.poses, plan.intrinsics, plan.size, plan.said, plan.zeros, str(plan.fault))
        return self._plans.setdefault(what, plan)

    def result(self) -> Metadata:
        """Choose the cameras that fit, and give each identity its own."""
        groups = list({id(group): group for group in self._groups.values()}.values())
        for group in groups:
            group.take_numbers()
        if not self._documents or not self._images.ids:
            return Metadata({}, self._problems, "none", {})
        if not any(group.usable for group in groups):
            raise self._nothing(groups)
        chosen, reading = self._choose(groups)
        main = max((group for group in chosen if group.usable), key=len)
        if main.plan.intrinsics.form == "absent" and self._intrinsics:
            self._lend(chosen, reading)
        assembly = Assembly(self._images, self._documents, self._tree)
        start = 0
        for group in chosen:
            rows = slice(start, start + len(group))
            start += len(group)
            try:
                assembly.add(group, reading, rows, main=group is main)
            except CameraValueError as fault:
                raise MetadataError(
                    explain(
                        "the cameras of the metadata leave a doubt",
                        where=f"{self._documents[group.documents[0]][1]}: {reading}, "
                        f"{group.describe()}",
                        expected=fault.expected,
                        found=fault.found,
                        remedy=fault.remedy,
                    )
                ) from fault
        by_order = [place for place in (reading.subject, reading.view) if "order of " in place]
        note = "; order is all that tells " * bool(by_order) + " and ".join(
            word
            for word, place in (("subjects", reading.subject), ("views", reading.view))
            if place in by_order
        )
        description = f"{reading}, {main.describe()}{note}"
        logger.info("metadata: %s", description)
        cameras, problems, strangers = assembly.result(reading, main)
        return Metadata(cameras, [*self._problems, *problems], description, strangers)

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
        families.sort(key=lambda each: (each[0].plan.guessed, -sum(map(len, each))))
        fitting: list[tuple[list[Group], list[Reading]]] = []
        schema = self._schema
        for family in families:
            if fitting and (
                family[0].plan.guessed > fitting[0][0][0].plan.guessed
                or family[0].pattern == fitting[0][0][0].pattern
            ):
                continue
            readings = find_readings(
                _columns(family),
                self._images,
                schema.subject if schema else None,
                schema.view if schema else None,
            )
            if readings:
                fitting.append((family, readings))
        if not fitting:
            raise refuse([], _columns(families[0]), self._images, self._found(families[0]))
        family, readings = fitting[0]
        if len(readings) > 1:
            raise refuse(readings, _columns(family), self._images, self._found(family))
        if len(fitting) > 1:
            raise self._two_sets(family[0], fitting[1][0][0])
        return family, readings[0]

    def _lend(self, chosen: Sequence[Group], reading: Reading) -> None:
        """Give cameras the intrinsics of documents without a pose: one for all, or by file name."""
        paths = [path for path, _ in self._intrinsics]
        nodes = [node for _, node in self._intrinsics]
        wanted = np.where(reading.codes >= 0, reading.codes, self._images.codes[0])
        if len(nodes) == 1:
            rows = np.zeros(len(wanted), dtype=np.int64)
        else:
            found = find_readings([Column("file", paths, NAMED)], self._images)
            known = found[0].codes if len(found) == 1 else wanted[:0]
            order = np.argsort(known, kind="stable")
            places = np.searchsorted(known[order], wanted)
            if not len(known) or not np.isin(wanted, known).all():
                raise self._apart(paths)
            rows = order[places]
        try:
            plan = self._planner.plan(nodes[0])
            if any(self._planner.plan(node).intrinsics != plan.intrinsics for node in nodes):
                raise self._apart(paths)
            stored = compose_intrinsics(plan, read_intrinsics(plan, nodes), len(nodes))
        except CameraValueError as fault:
            raise self._apart(paths) from fault
        start = 0
        for group in chosen:
            group.lend(stored.at(rows[start : start + len(group)]))
            start += len(group)

    def _apart(self, paths: Sequence[str]) -> MetadataError:
        return MetadataError(
            explain(
                "intrinsics in files of their own do not map one-to-one onto the images",
                where=", ".join(paths[:3]),
                expected=f"one file for all, or one for each of {self._images.sample}",
                found=f"{len(paths)} files",
                remedy='leave them out with camera_schema={"intrinsics": {}}',
            )
        )

    def _nothing(self, groups: list[Group]) -> MetadataError:
        faults = [fault for group in groups for fault in group.faults.values()]
        found = f"{len(self._documents)} files, the first with {_keys_of(self._first)}"
        remedy = (
            'say where they are with camera_schema={"extrinsics": "<key of the matrix>"} or '
            '{"rotation": "<key>", "translation": "<key>"}'
        )
        if keys := _parts_of(self._first):
            found = f"{found}, and {', '.join(keys.values())} that could be a pose"
            said = ", ".join(f'"{role}": "{key}"' for role, key in keys.items())
            remedy = f"if they are, state them with camera_schema={{{said}}}"
        if faults:
            found = f"{faults[0].found} (expected {faults[0].expected})"
            remedy = faults[0].remedy or remedy
        return MetadataError(
            explain(
                "the metadata holds no cameras that can be read",
                where=self._documents[0][1],
                expected="a matrix of 4x4, 3x4, 16 or 12 numbers a camera, or a rotation and a "
                "translation under known keys",
                found=found,
                remedy=remedy,
            )
        )

    def _two_sets(self, one: Group, other: Group) -> MetadataError:
        stated = [
            f'camera_schema={{"cameras": "{_collections(each.pattern)[0]}"}}'
            for each in (one, other)
        ]
        return MetadataError(
            explain(
                "the metadata holds two sets of cameras that fit the images",
                where=self._documents[0][1],
                expected="one camera an image",
                found=f"{one.form} and {other.form}",
                remedy=f"say which with {stated[0]} or {stated[1]}",
            )
        )

    def _found(self, groups: list[Group]) -> str:
        count = sum(map(len, groups))
        return f"{count} cameras at {groups[0].pattern or 'root'}, {len(self._documents)} files"


def _columns(groups: Sequence[Group]) -> list[Column]:
    """Labels of all cameras of some groups, one group after the other."""
    every = [{column.place: column for column in group.columns()} for group in groups]
    places = dict.fromkeys(place for each in every for place in each)
    columns: list[Column] = []
    for place in places:
        tier = next(each[place].tier for each in every if place in each)
        labels = [
            label
            for each, group in zip(every, groups, strict=True)
            for label in (each[place].labels if place in each else [None] * len(group))
        ]
        columns.append(Column(place, labels, tier))
    return columns


def _collections(pattern: str) -> tuple[str, str]:
    """How a pattern may be stated: by its collection, or itself."""
    return (pattern.removesuffix("*").removesuffix(".") or "root", pattern or "root")


def _keys_of(root: object) -> str:
    if isinstance(root, dict):
        return f"keys {', '.join(map(repr, list(root)[:8]))}"[:300]
    return f"{type(root).__name__} {root!r}"[:80]


def _parts_of(node: object, depth: int = 0) -> dict[str, str]:
    """Keys of the first object that has a rotation, three numbers, and perhaps another 3x3."""
    if depth > 6 or not isinstance(node, (dict, list)):
        return {}
    if isinstance(node, dict):
        square = {key: value for key, value in node.items() if shape_of(value) == (3, 3)}
        three = [key for key, value in node.items() if shape_of(value) == (3,)]
        turns = [key for key, value in square.items() if _is_rotation(value)]
        if len(turns) == 1 and len(three) == 1:
            others = [key for key in square if key not in turns]
            more = {"intrinsics": others[0]} if len(others) == 1 else {}
            return {"rotation": turns[0], "translation": three[0], **more}
    children = list(node.values() if isinstance(node, dict) else node)[:16]
    return next((found for child in children if (found := _parts_of(child, depth + 1))), {})


def _is_rotation(value: object) -> bool:
    try:
        return bool(is_rotation(numbers([value], "it", [(3, 3)])[0]).all())
    except CameraValueError:
        return False


def _unreadable(document: Document, error: JsonError) -> Problem:
    if not document.path.lower().endswith(".json"):
        detail = f"{document.name!a} is neither JSON nor rows of numbers"
        return Problem("unreadable name", None, detail)
    message = explain(
        f"{document.name}: cannot be read as camera metadata",
        expected="JSON in UTF-8 with finite numbers",
        found=str(error),
    )
    return Problem("bad metadata", None, one_line(MetadataError(message)))
