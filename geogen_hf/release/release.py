"""Single identities out of a release, on disk or behind a URL, without loading the rest."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import ArchiveError, FetchError, GeoGenError, ReleaseError, explain
from geogen_hf.metadata.camera_schema import load_camera_schema
from geogen_hf.metadata.reader import Document, read_metadata
from geogen_hf.release.convention import CameraOptions, Judgement, judge_cameras
from geogen_hf.release.subjects import Subject, index_images, join_subjects
from geogen_hf.report import Policy, Problem, Report, some_of
from geogen_hf.source.credentials import Credentials
from geogen_hf.source.parts import (
    IMAGE_PARTS,
    METADATA_PART,
    UPSTREAM_URL,
    Part,
    parts_at_url,
    select_parts,
)
from geogen_hf.source.zip_directory import Directory, Member, read_directory
from geogen_hf.source.zip_reader import Archives, png_size, unpack_member, unpack_png

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """What the parts hold.

    Attributes:
        directories: The archives listed, by part.
        subjects: Every identity that has images and cameras, in archive order.
        report: What does not add up.
        judgement: What the camera matrices mean, and the evidence for it. Where it settles nothing,
            the subjects' extrinsics are as stored.
    """

    directories: dict[Part, Directory]
    subjects: tuple[Subject, ...]
    report: Report
    judgement: Judgement

    def sound_subjects(self, on_bad_subject: Policy = "raise") -> tuple[Subject, ...]:
        """The identities without problems.

        Args:
            on_bad_subject: `"raise"` if there is any problem at all, or `"skip"` the identities
                concerned and log which.

        Raises:
            ReleaseError: There are problems and they are not to be skipped, or nothing is left.
            CameraError: The evidence does not settle the convention of the cameras.
        """
        left_out = self.report.settle(on_bad_subject)
        sound = tuple(s for s in self.subjects if s.subject_id not in left_out)
        if not sound:
            raise ReleaseError(
                explain(
                    "no subject with images and cameras in these parts",
                    where=", ".join(d.archive for d in self.directories.values()),
                    found=f"{len(left_out)} subjects, all with problems:\n{self.report}"
                    if left_out
                    else "no image",
                )
            )
        self.judgement.settle()
        return sound


def read_release(
    locations: Mapping[Part, str],
    cameras: CameraOptions | None = None,
    credentials: Credentials | None = None,
) -> Release:
    """Index the archives, read the metadata, judge the cameras and join it all.

    Args:
        locations: Path or URL of each part, the metadata part among them.
        cameras: How to read them; None lets keys and evidence speak.
        credentials: What the hosts of URLs want to be shown; None for what the environment holds.

    Returns:
        The release; its report holds every structural problem.

    Raises:
        ArchiveError: Parts are not zip archives (all such parts are named), or a metadata file is
            damaged.
        FetchError: Parts cannot be read from their host (all such parts are named).
    """
    directories = _read_directories(locations, credentials)
    images, image_problems = index_images(
        directory for part, directory in directories.items() if part.kind == "images"
    )
    documents, document_problems = _read_documents(directories[METADATA_PART])
    cameras = cameras or CameraOptions()
    schema = None if cameras.schema is None else load_camera_schema(cameras.schema)
    stored, metadata_problems = read_metadata(documents, schema)
    judgement = judge_cameras(stored, images, cameras)
    subjects, report = join_subjects(
        images,
        stored,
        convention=judgement.convention,
        default_intrinsics=cameras.default_intrinsics,
        complete=set(IMAGE_PARTS) <= set(locations),
    )
    problems = (*image_problems, *document_problems, *metadata_problems, *report.problems)
    logger.info("%d subjects, %d problems", len(subjects), len(problems))
    return Release(directories, subjects, Report(problems), judgement)


def _read_directories(
    locations: Mapping[Part, str], credentials: Credentials | None
) -> dict[Part, Directory]:
    """List all archives at a time: behind URLs, that is mostly waiting."""
    ordered = sorted(locations.items(), key=lambda item: item[0].number)
    directories: dict[Part, Directory] = {}
    failures: list[ArchiveError | FetchError] = []
    with ThreadPoolExecutor(max(1, len(ordered))) as pool:
        listings = {
            part: pool.submit(read_directory, location, credentials) for part, location in ordered
        }
    for part, listing in listings.items():
        try:
            directories[part] = listing.result()
        except (ArchiveError, FetchError) as error:
            failures.append(error)
    if failures:
        damaged = any(isinstance(failure, ArchiveError) for failure in failures)
        kind = ArchiveError if damaged else FetchError
        raise kind("\n".join(map(str, failures))) from failures[0]
    return directories


def _read_documents(directory: Directory) -> tuple[list[Document], list[Problem]]:
    problems = [
        Problem("refused member", None, f"{directory.label}: {refused.name!a}: {refused.reason}")
        for refused in directory.refused
    ]
    wanted: list[Member] = []
    for member in directory.members:
        if member.name.lower().endswith(".json"):
            wanted.append(member)
        else:
            detail = f"{directory.label}: {member.name!a} is not a .json file"
            problems.append(Problem("unreadable name", None, detail))
    with Archives() as archives:
        # All in one run, since all are needed: as few requests as can be.
        documents = [
            Document(
                f"{directory.label}: {member.name}", unpack_member(member, record), member.name
            )
            for records in archives.records([wanted])
            for member, record in zip(wanted, records, strict=True)
        ]
    return documents, problems


class UnknownSubjectError(GeoGenError, KeyError):
    """The release has no identity of this name."""

    __str__ = Exception.__str__  # KeyError shows the repr of its message


@dataclass(frozen=True)
class Identity:
    """One identity, read.

    Attributes:
        subject_id: Its name.
        view_ids: V view numbers, ascending.
        images: V encoded PNG files, bit for bit as published.
        extrinsics: `(V, 4, 4)` float64 world-to-camera, OpenCV axes (x right, y down, z forward),
            in the release's unit of length.
        intrinsics: `(V, 3, 3)` float64, in pixels of the stored image.
        metadata: Its JSON, untouched.
    """

    subject_id: str
    view_ids: tuple[int, ...]
    images: tuple[bytes, ...]
    extrinsics: FloatArray
    intrinsics: FloatArray
    metadata: str


class OpenRelease(Mapping[str, Identity]):
    """Identities by name, read when asked for; a context manager, for one process.

    Attributes:
        subject_ids: All names, in archive order.
    """

    def __init__(self, subjects: Iterable[Subject]) -> None:
        self._subjects = {subject.subject_id: subject for subject in subjects}
        self.subject_ids = tuple(self._subjects)
        self._archives = Archives()

    def __getitem__(self, subject_id: str) -> Identity:
        """Read one identity: from a remote release in a request a run of its images.

        Raises:
            UnknownSubjectError: It is not there.
            ArchiveError: An image is damaged.
            FetchError: A part cannot be read, or was replaced since the release was opened.
        """
        subject = self._subjects.get(subject_id)
        if subject is None:
            raise UnknownSubjectError(
                explain(
                    f"no subject {subject_id!r} in this release",
                    expected=f"one of {some_of(self._subjects)}",
                )
            )
        (records,) = self._archives.records([subject.images])
        images = tuple(map(unpack_png, subject.images, records))
        subject = subject.at_sizes(list(map(png_size, subject.images, images)))
        return Identity(
            subject_id=subject.subject_id,
            view_ids=subject.view_ids,
            images=images,
            extrinsics=subject.extrinsics,
            intrinsics=subject.intrinsics,
            metadata=subject.metadata,
        )

    def __contains__(self, subject_id: object) -> bool:
        return subject_id in self._subjects

    def __iter__(self) -> Iterator[str]:
        return iter(self.subject_ids)

    def __len__(self) -> int:
        return len(self.subject_ids)

    def close(self) -> None:
        """Close the parts; nothing more can be read."""
        self._archives.close()

    def __enter__(self) -> OpenRelease:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def open_release(
    source: str | os.PathLike[str] | None = None,
    parts: Iterable[int] | None = None,
    *,
    on_bad_subject: Policy = "raise",
    cameras: CameraOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> OpenRelease:
    """Open a release to read single identities: a few requests list it, a few more read one.

    Args:
        source: Folder with the zips, or a base URL; None for the publisher's host.
        parts: Numbers (1 … 7) of the image parts to use; None for all.
        on_bad_subject: `"raise"` on any structural problem, or `"skip"` the identities concerned.
        cameras: How to read them; None lets keys and evidence speak.
        storage_options: What hosts want to be shown, by protocol: `{"hf": {"token": …}}`,
            `{"https": {"headers": {…}}}`, `{"s3": {"key": …}}`. Without, the Hub is shown the token
            that is stored or in `HF_TOKEN`.

    Returns:
        The identities by name.

    Raises:
        PartsError: A folder lacks parts.
        ArchiveError: Parts are not zip archives.
        FetchError: Parts cannot be read from their host.
        ReleaseError: Images and cameras do not add up.

    Example:
        >>> from geogen_hf.sample import write_release
        >>> with open_release(write_release(tmp_path, subjects=3, size=16)) as release:
        ...     identity = release["subj_00001"]
        >>> release.subject_ids, len(identity.images), identity.extrinsics.shape
        (('subj_00000', 'subj_00001', 'subj_00002'), 7, (7, 4, 4))
    """
    locations = parts_at_url(os.fspath(source or UPSTREAM_URL), select_parts(parts))
    release = read_release(locations, cameras, Credentials(storage_options or {}))
    return OpenRelease(release.sound_subjects(on_bad_subject))
