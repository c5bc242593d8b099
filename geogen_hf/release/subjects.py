"""Joining images and cameras into subjects, by exact name and view number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from geogen_hf.cameras.conventions import Convention, is_improper
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.validate import validate_extrinsics, validate_intrinsics
from geogen_hf.errors import CameraError, one_line
from geogen_hf.images import Pixels, decode_small
from geogen_hf.metadata.assembly import SubjectCameras, canonical_extrinsics
from geogen_hf.metadata.reader import Metadata
from geogen_hf.metadata.stored_intrinsics import (
    DefaultIntrinsics,
    StoredIntrinsics,
    pixel_intrinsics,
)
from geogen_hf.metadata.stored_poses import Claims
from geogen_hf.report import Problem, Report
from geogen_hf.source.zip_directory import MAX_SUBJECT_BYTES, Directory, Member
from geogen_hf.source.zip_reader import Archives, png_size, unpack_png

_VIEW_FILE = re.compile(r"([0-9]{1,9})\.png", re.ASCII | re.IGNORECASE)

ImageIndex = dict[str, dict[int, Member]]


@dataclass(frozen=True)
class Subject:
    """One identity: images still in their archives, cameras in canonical form."""

    subject_id: str
    view_ids: tuple[int, ...]  # V numbers, ascending
    images: tuple[Member, ...]
    extrinsics: FloatArray  # (V, 4, 4) world-to-camera, OpenCV axes, in the release's unit
    #: (V, 3, 3) in pixels of the stored image; nan until its size is known where they depend on it.
    intrinsics: FloatArray
    metadata: str  # the identity's JSON, untouched
    lens: StoredIntrinsics
    default_intrinsics: DefaultIntrinsics | None = None

    @property
    def places(self) -> list[str]:
        """Part, member, subject and view of each image, for messages."""
        return [
            f"{image}, subject {self.subject_id}, view {view}"
            for image, view in zip(self.images, self.view_ids, strict=True)
        ]

    def at_sizes(self, sizes_wh: Sequence[tuple[int, int]]) -> Subject:
        """The same with intrinsics in pixels of images of these V sizes.

        Raises:
            CameraError: The metadata is of another aspect, or the intrinsics are not plausible.
        """
        width, height = np.array(sizes_wh, dtype=np.float64).T
        try:
            intrinsics = pixel_intrinsics(self.lens, width, height, self.default_intrinsics)
            validate_intrinsics(intrinsics, width, height)
        except CameraError as error:
            error.args = (f"subject {self.subject_id}: {error}",)  # of its kind, with its choices
            raise
        return replace(self, intrinsics=intrinsics)


def read_subject(archives: Archives, subject: Subject) -> tuple[Subject, list[bytes]]:
    """Read all images of a subject in one run; the subject has its intrinsics in their pixels."""
    (records,) = archives.records([subject.images])
    images = list(map(unpack_png, subject.images, records))
    return subject.at_sizes(list(map(png_size, subject.images, images))), images


def decode_for_eye(
    encoded: Sequence[bytes], places: Sequence[object], intrinsics: FloatArray
) -> tuple[list[Pixels], FloatArray]:
    """Decode V images to be looked at, large ones reduced; with intrinsics in their pixels.

    An `ImageError` of a damaged one names its place.
    """
    small = [decode_small(data, where=at) for data, at in zip(encoded, places, strict=True)]
    scale = np.array([[factor, factor, 1.0] for _, factor in small])
    return [pixels for pixels, _ in small], intrinsics / scale[:, :, None]


def index_images(directories: Iterable[Directory]) -> tuple[ImageIndex, list[Problem]]:
    """Sort the members of all image parts by identity and view.

    A member is `…/<subject>/<view>.png`; folders above the subject's are tolerated. Identities are
    in archive order; every problem on the way is returned, too.
    """
    index: ImageIndex = {}
    problems: list[Problem] = []
    for directory in directories:
        for refused in directory.refused:
            place = _subject_and_view(refused.name)
            detail = f"{directory.label}: {refused.name!a}: {refused.reason}"
            problems.append(Problem("refused member", place[0] if place else None, detail))
        for member in directory.members:
            place = _subject_and_view(member.name)
            if place is None:
                detail = f"{directory.label}: {member.name!a} is not <subject>/<view number>.png"
                problems.append(Problem("unreadable name", None, detail))
                continue
            subject_id, view_id = place
            first = index.setdefault(subject_id, {}).setdefault(view_id, member)
            if first is not member:
                detail = f"{subject_id} view {view_id}: {first} and again {member}"
                problems.append(Problem("duplicate image", subject_id, detail))
    for subject_id, views in list(index.items()):
        size = sum(max(member.size, member.compressed_size) for member in views.values())
        if size > MAX_SUBJECT_BYTES:
            detail = f"{subject_id}: {size:,} bytes of images, over {MAX_SUBJECT_BYTES:,}"
            problems.append(Problem("refused member", subject_id, detail))
            del index[subject_id]  # before the proof of the convention reads them
    return index, problems


def _subject_and_view(name: str) -> tuple[str, int] | None:
    *_, subject_id, file_name = ("", "", *name.split("/"))
    matched = _VIEW_FILE.fullmatch(file_name)
    return (subject_id, int(matched[1])) if matched and subject_id else None


def join_subjects(
    images: ImageIndex,
    metadata: Metadata,
    *,
    convention: Convention | None,
    stated: bool,
    default_intrinsics: DefaultIntrinsics | None,
    complete: bool,
) -> tuple[tuple[Subject, ...], Report]:
    """Put images and cameras together.

    Args:
        images: Members by identity and view.
        metadata: Cameras by identity.
        convention: What the matrices mean; None leaves them as stored, and unchecked.
        stated: Whether the user said so: then it counts more than the keys of the metadata.
        default_intrinsics: As `pixel_intrinsics` takes it.
        complete: Whether `images` covers the whole release. If not, cameras without an image are
            in another part and no problem.

    Returns:
        Every identity that has both, in archive order; and a report of what does not match.
    """
    problems: list[Problem] = []
    subjects: list[Subject] = []
    for subject_id, views in images.items():
        found = metadata.cameras.get(subject_id)
        if found is None:
            detail = f"{subject_id}: {len(views)} images, no metadata of this name"
            problems.append(Problem("images without metadata", subject_id, detail))
            continue
        problems.extend(_unmatched_views(found, views, complete))
        try:
            if found.intrinsics.kind == "absent":  # refuses what is not to be assumed
                lens = replace(found.intrinsics, size_wh=None)
                pixel_intrinsics(lens, 1, 1, default_intrinsics)
            if stated:
                found = replace(found, claims=Claims())
            subjects.append(join_subject(found, views, convention, default_intrinsics))
        except CameraError as error:
            detail = f"{subject_id}: {one_line(error)}"
            problems.append(Problem("bad matrix", subject_id, detail))
    if complete:
        for subject_id, source in metadata.strangers.items():
            detail = f"{subject_id}: named in {source}, no image of it"
            problems.append(Problem("metadata without images", subject_id, detail))
    if convention is not None:
        problems.extend(_odd_ones_mirrored([metadata.cameras[s.subject_id] for s in subjects]))
        problems.extend(_bad_matrices(subjects))
    return tuple(subjects), Report(tuple(sorted(problems, key=lambda p: (p.kind, p.detail))))


def _unmatched_views(
    found: SubjectCameras, views: Mapping[int, Member], complete: bool
) -> Iterable[Problem]:
    have, given = views.keys(), set(found.view_ids)
    counts = f"{len(have)} images, {len(given)} cameras"
    for view_id in sorted(have - given):
        detail = f"{found.subject_id} view {view_id}: image, but no camera ({counts})"
        yield Problem("image without camera", found.subject_id, detail)
    for view_id in sorted(given - have) if complete else ():
        detail = f"{found.subject_id} view {view_id}: camera, but no image ({counts})"
        yield Problem("camera without image", found.subject_id, detail)


def join_subject(
    found: SubjectCameras,
    views: Mapping[int, Member],
    convention: Convention | None,
    default_intrinsics: DefaultIntrinsics | None,
) -> Subject:
    """Put the images and cameras of one identity together: the views that have both, ascending.

    `CameraError` if the convention contradicts what the keys say.
    """
    kept = [row for row, view_id in enumerate(found.view_ids) if view_id in views]
    stored = found if len(kept) == len(found.view_ids) else found.of_views(kept)
    lens = stored.intrinsics
    known = lens.kind == "pixels" and lens.size_wh is None
    return Subject(
        subject_id=found.subject_id,
        view_ids=stored.view_ids,
        images=tuple(views[view_id] for view_id in stored.view_ids),
        extrinsics=canonical_extrinsics(stored, convention) if convention else stored.matrices,
        intrinsics=lens.values if known else np.full((len(kept), 3, 3), np.nan),
        metadata=found.text,
        lens=lens,
        default_intrinsics=default_intrinsics,
    )


def _odd_ones_mirrored(stored: list[SubjectCameras]) -> Iterable[Problem]:
    """Find matrices of the other handedness than most: read one by one, each would pass."""
    if not stored:
        return
    improper = is_improper(np.concatenate([found.matrices for found in stored]))
    if not improper.any() or improper.all():
        return
    usual = bool(improper.mean() > 0.5)
    for found in stored:
        odd = np.flatnonzero(is_improper(found.matrices) != usual)
        for view_id in (found.view_ids[row] for row in odd):
            detail = f"{found.subject_id} view {view_id}: mirrored, unlike most of the release"
            yield Problem("bad matrix", found.subject_id, detail)


def _bad_matrices(subjects: list[Subject]) -> Iterable[Problem]:
    """Check all cameras of the release in one go, and one by one only if that fails."""
    if not subjects:
        return
    extrinsics = np.concatenate([subject.extrinsics for subject in subjects])
    intrinsics = np.concatenate([subject.intrinsics for subject in subjects])
    if _camera_fault(extrinsics, intrinsics) is None:
        return
    for subject in subjects:
        for row, view_id in enumerate(subject.view_ids):
            fault = _camera_fault(subject.extrinsics[row], subject.intrinsics[row])
            if fault is not None:
                detail = f"{subject.subject_id} view {view_id}: {fault}"
                yield Problem("bad matrix", subject.subject_id, detail)


def _camera_fault(extrinsics: FloatArray, intrinsics: FloatArray) -> str | None:
    try:
        validate_extrinsics(extrinsics)
        validate_intrinsics(intrinsics[~np.isnan(intrinsics).all(axis=(-2, -1))])
    except CameraError as error:
        return one_line(error)
    return None
