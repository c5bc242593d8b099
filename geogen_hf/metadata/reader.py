"""The metadata part: JSON files to cameras as stored, by subject, and every problem on the way."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from geogen_hf.cameras.conventions import Convention, canonicalise
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import CameraError, MetadataError, explain, one_line
from geogen_hf.metadata.camera_schema import CameraSchema, load_camera_schema
from geogen_hf.metadata.json_text import Cutter, JsonError, decode_json, join_texts
from geogen_hf.metadata.lenses import StoredIntrinsics, read_intrinsics
from geogen_hf.metadata.plan import CameraValueError, Planner, dotted
from geogen_hf.metadata.tree import FoundCameras, Tree
from geogen_hf.metadata.values import Claims, demand_zeros, read_poses
from geogen_hf.report import Problem


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

    Example:
        >>> from geogen_hf.cameras.conventions import CANONICAL
        >>> from geogen_hf.metadata.reader import Document, parse_document
        >>> text = b'{"1": {"w2c": [0,0,1,7, 1,0,0,8, 0,1,0,9], "lens": 50, "sensor_width": 36}}'
        >>> cameras = parse_document(Document("subj_x.json", text))
        >>> canonical_extrinsics(cameras, CANONICAL)[0, :3, 3].tolist()
        [7.0, 8.0, 9.0]
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


@dataclass(frozen=True)
class Document:
    """One metadata file.

    Attributes:
        name: Where it is, for messages.
        text: Its bytes, unpacked.
        path: Its name in the archive, which may hold subject and view; None where `name` is that.
    """

    name: str
    text: bytes
    path: str | None = None


@dataclass(frozen=True, eq=False)
class SubjectCameras:
    """The cameras of one identity as its metadata gives them.

    Attributes:
        subject_id: The identity's name, exactly as written.
        view_ids: V view numbers, ascending.
        matrices: `(V, 4, 4)` float64 poses, in the convention they came in.
        intrinsics: Of V views, in the unit they came in.
        claims: What the keys say of the convention.
        schema: Arrangement, keys and form, in a line: the same for all subjects of a release.
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
    schema: str
    text: str
    source: str

    def of_views(self, rows: Sequence[int]) -> SubjectCameras:
        """The same for some of the views, given by their places in `view_ids`."""
        return replace(
            self,
            view_ids=tuple(self.view_ids[row] for row in rows),
            matrices=self.matrices[list(rows)],
            intrinsics=self.intrinsics.rows(rows),
        )


def read_metadata(
    documents: Iterable[Document],
    camera_schema: Mapping[str, Any] | CameraSchema | None = None,
) -> tuple[dict[str, SubjectCameras], list[Problem]]:
    """Read every metadata file: of one subject, of one image, or of all.

    Args:
        documents: The files of the metadata part.
        camera_schema: Where cameras are, for metadata whose keys do not say; see
            `geogen_hf.metadata.camera_schema`.

    Returns:
        The cameras by identity; and a problem for everything that could not be read, that names
        an identity or a view again, or that has another schema than most.

    Example:
        >>> text = b'{"1": {"w2c": [0,0,1,7, 1,0,0,8, 0,1,0,9], "camera_angle_x": 0.7}}'
        >>> cameras, problems = read_metadata([Document("subj_x.json", text)])
        >>> cameras["subj_x"].claims.direction, cameras["subj_x"].view_ids, problems
        ('world_to_camera', (1,), [])
    """
    reader = _Reader(camera_schema)
    cameras: dict[str, SubjectCameras] = {}
    problems: list[Problem] = []
    with _collector_paused():
        for item in reader.read(documents):
            if isinstance(item, Problem):
                problems.append(item)
                continue
            first = cameras.setdefault(item.subject_id, item)
            if first is not item:
                detail = f"{item.subject_id}: in {first.source} and again in {item.source}"
                problems.append(Problem("duplicate metadata", item.subject_id, detail))
    return cameras, [*problems, *_mixed_schemas(cameras)]


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


def parse_document(
    document: Document, camera_schema: Mapping[str, Any] | CameraSchema | None = None
) -> SubjectCameras:
    """Read a file that holds one subject, or one image of it.

    Args:
        document: The file.
        camera_schema: As for `read_metadata`.

    Returns:
        The cameras of the identity it names.

    Raises:
        MetadataError: It is not JSON, not of one subject, or cannot be read without doubt.
    """
    reader = _Reader(camera_schema)
    items = list(reader.read([document]))
    if reader.errors:
        raise reader.errors[0]
    subjects = [item for item in items if isinstance(item, SubjectCameras)]
    if len(subjects) != 1:
        what = f"{document.name}: not a file of one subject"
        raise MetadataError(explain(what, expected="1 subject", found=len(subjects)))
    return subjects[0]


class _Reader:
    """Reads files one after the other, and remembers the shapes of their keys."""

    def __init__(self, camera_schema: Mapping[str, Any] | CameraSchema | None) -> None:
        schema = None if camera_schema is None else load_camera_schema(camera_schema)
        self._planner = Planner(schema.make_plan if schema else None)
        self._tree = Tree(self._planner, schema.hints if schema else None)
        self.errors: list[MetadataError] = []

    def read(self, documents: Iterable[Document]) -> Iterator[SubjectCameras | Problem]:
        singles: dict[str, list[tuple[FoundCameras, str, str]]] = {}
        for document in documents:
            try:
                text, root = decode_json(document.text)
            except JsonError as error:
                fault = CameraValueError(None, "JSON in UTF-8 with finite numbers", str(error))
                yield self._problem(document.name, None, None, fault)
                continue
            cutter = Cutter(text)
            for found in self._find(document, root):
                if found.fault is not None:
                    yield self._problem(document.name, found.subject_id, None, found.fault)
                elif found.single and found.subject_id is not None:
                    part = (found, text, document.name)
                    singles.setdefault(found.subject_id, []).append(part)
                else:
                    own = text if found.cut is None else cutter.cut(found.cut)
                    yield self._assemble(found, own, document.name)
        for subject_id, parts in singles.items():
            yield self._combine(subject_id, parts)

    def _find(self, document: Document, root: object) -> Iterator[FoundCameras]:
        path = document.path or document.name.rpartition(": ")[2]
        try:
            yield from self._tree.find(root, path)
        except CameraValueError as fault:
            yield FoundCameras(None, "", fault=fault)

    def _combine(
        self, subject_id: str, parts: list[tuple[FoundCameras, str, str]]
    ) -> SubjectCameras | Problem:
        """One subject of its images' files."""
        parts = sorted(parts, key=lambda part: part[0].views)
        whole = FoundCameras(
            subject_id,
            " or ".join(sorted({found.arrangement for found, _, _ in parts})),
            [found.views[0] for found, _, _ in parts],
            [found.nodes[0] for found, _, _ in parts],
            [found.plans[0] for found, _, _ in parts],
        )
        more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
        texts = [text for _, text, _ in parts]
        return self._assemble(whole, join_texts(texts), f"{parts[0][2]}{more}")

    def _assemble(self, found: FoundCameras, text: str, source: str) -> SubjectCameras | Problem:
        """Read the values of one subject's cameras."""
        order = sorted(range(len(found.views)), key=found.views.__getitem__)
        views = tuple(found.views[row] for row in order)
        nodes = [found.nodes[row] for row in order]
        try:
            for row, view_id in enumerate(views[1:], start=1):
                if view_id == views[row - 1]:
                    raise CameraValueError(row, "every view once", f"view {view_id} twice")
            plans = [found.plans[row] for row in order]
            for row, plan in enumerate(plans):
                if plan.pose is None:
                    raise _no_pose(row, dotted([(key,) for key in nodes[row]]))
                if plan is not plans[0] and plan != plans[0]:
                    raise CameraValueError(row, f"the keys {plans[0].keys}, as others", plan.keys)
            plan = plans[0]
            matrices, claims = read_poses(plan, nodes)
            intrinsics = read_intrinsics(plan, nodes)
            demand_zeros(plan, nodes)
        except CameraValueError as fault:
            view = None if fault.row is None else views[fault.row]
            return self._problem(source, found.subject_id, view, fault)
        schema = f"{found.arrangement}; {plan.keys}; intrinsics {intrinsics.kind}"
        return SubjectCameras(
            subject_id=found.subject_id or "",
            view_ids=views,
            matrices=matrices,
            intrinsics=intrinsics,
            claims=claims,
            schema=schema,
            text=text,
            source=source,
        )

    def _problem(
        self, source: str, subject_id: str | None, view: int | None, fault: CameraValueError
    ) -> Problem:
        where = [] if subject_id is None else [subject_id[:100]]
        if view is not None:
            where.append(f"view {view}")
        elif fault.row is not None:
            where.append(f"camera number {fault.row}")
        error = MetadataError(
            explain(
                f"{source}: cannot be read as camera metadata",
                where=" ".join(where) or None,
                expected=fault.expected,
                found=fault.found,
                remedy=fault.remedy,
            )
        )
        self.errors.append(error)
        return Problem("bad metadata", subject_id, one_line(error))


def _no_pose(row: int, keys: str) -> CameraValueError:
    return CameraValueError(
        row,
        "a pose under a known key",
        f"keys {keys}" if keys else "no keys",
        'say where it is with camera_schema: {"extrinsics": "<key>"}',
    )


def _mixed_schemas(cameras: Mapping[str, SubjectCameras]) -> Iterator[Problem]:
    """One release has one schema and makes one claim; report every subject that differs."""
    counted = Counter((found.schema, found.claims) for found in cameras.values())
    if len(counted) < 2:
        return
    (usual, usual_claims), _ = counted.most_common(1)[0]
    for found in cameras.values():
        if (found.schema, found.claims) != (usual, usual_claims):
            same = found.schema == usual
            ours, theirs = (found.claims, usual_claims) if same else (found.schema, usual)
            detail = f"{found.subject_id}: in {found.source}: {ours}, but most have {theirs}"
            yield Problem("mixed metadata", found.subject_id, detail)
