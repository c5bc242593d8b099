"""Read a release: list its zips, read the metadata, join images and cameras, prove the convention.

No image is read except the few that prove the convention. `open_release` in
`geogen_hf.release.identities` is the door for users; the builder and the exporter start here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from geogen_hf.errors import ArchiveError, FetchError, ReleaseError, explain
from geogen_hf.metadata.reader import Document, read_metadata
from geogen_hf.metadata.schema import load_camera_schema
from geogen_hf.release.convention import CameraOptions, ResolvedConvention, resolve_convention
from geogen_hf.release.subjects import Subject, index_images, join_subjects
from geogen_hf.report import Policy, Problem, Report
from geogen_hf.source.download import join_failures
from geogen_hf.source.location import Location
from geogen_hf.source.parts import (
    IMAGE_PARTS,
    METADATA_PART,
    Part,
)
from geogen_hf.source.zip_directory import (
    Directory,
    DirectoryBudget,
    Member,
    read_directory,
)
from geogen_hf.source.zip_reader import Archives, unpack_member

logger = logging.getLogger(__name__)

_NO_TEXT = (".png", ".jpg", ".jpeg", ".webp", ".exr", ".npy", ".npz", ".pkl", ".zip", ".pdf")
"""Endings of files that cannot hold cameras as text: they are not read."""

MAX_METADATA_BYTES = 256 * 2**20
"""Limit of all metadata unpacked, since its text is held in memory: 75,000 cameras of 3.5 kB, where
two matrices with all their digits take 1 kB."""


@dataclass(frozen=True)
class Release:
    """What the parts hold.

    Attributes:
        directories: The archives listed, by part.
        subjects: Every identity that has images and cameras, in archive order.
        report: What does not add up.
        camera_convention: What the camera matrices mean, and how that is known. Where it is not,
            the subjects' extrinsics are as stored.
        metadata_reading: What was taken for subject, view, pose and intrinsics, in a line.
    """

    directories: dict[Part, Directory]
    subjects: tuple[Subject, ...]
    report: Report
    camera_convention: ResolvedConvention
    metadata_reading: str

    def sound_subjects(self, on_bad_subject: Policy = "raise") -> tuple[Subject, ...]:
        """The identities without problems.

        Args:
            on_bad_subject: `"raise"` if there is any problem at all, or `"skip"` the identities
                concerned and log which.

        Raises:
            ReleaseError: There are problems and they are not to be skipped, or nothing is left.
            CameraError: The camera convention is not proven, or not as stated.
        """
        left_out = self.report.enforce(on_bad_subject)
        sound = tuple(s for s in self.subjects if s.subject_id not in left_out)
        if not sound:
            raise ReleaseError(
                explain(
                    "no subject with images and cameras in these parts",
                    where=", ".join(str(d.archive) for d in self.directories.values()),
                    found=f"{len(left_out)} subjects, all with problems:\n{self.report}"
                    if left_out
                    else "no image",
                )
            )
        self.camera_convention.require()
        return sound


def read_release(
    locations: Mapping[Part, Location], cameras: CameraOptions | None = None
) -> Release:
    """Index the archives, read the metadata, resolve the camera convention and join it all.

    Args:
        locations: Where each part is, the metadata part among them (`locate_parts`).
        cameras: How to read them; None lets keys and evidence speak.

    Returns:
        The release; its report holds every structural problem.

    Raises:
        ArchiveError: Parts are not zip archives (all such parts are named), or a metadata file is
            damaged.
        FetchError: Parts cannot be read from their host (all such parts are named).
        MetadataError: It cannot be told which cameras belong to which images, or where they are.
    """
    directories = _read_directories(locations)
    images, image_problems = index_images(
        directory for part, directory in directories.items() if part.kind == "images"
    )
    part = directories[METADATA_PART]
    members, document_problems = _document_members(part)
    cameras = cameras or CameraOptions()
    schema = None if cameras.schema is None else load_camera_schema(cameras.schema)
    complete = set(IMAGE_PARTS) <= set(locations)
    documents = _documents(part, members)
    metadata = read_metadata(documents, images, complete=complete, schema=schema)
    camera_convention = resolve_convention(metadata.cameras, images, cameras)
    subjects, report = join_subjects(
        images,
        metadata,
        convention=camera_convention.convention,
        default_intrinsics=cameras.default_intrinsics,
        complete=complete,
    )
    problems = (*image_problems, *document_problems, *metadata.problems, *report.problems)
    logger.info("%d subjects, %d problems", len(subjects), len(problems))
    return Release(directories, subjects, Report(problems), camera_convention, metadata.description)


def _read_directories(locations: Mapping[Part, Location]) -> dict[Part, Directory]:
    """List all archives at a time: behind URLs, that is mostly waiting."""
    ordered = sorted(locations.items(), key=lambda item: item[0].number)
    directories: dict[Part, Directory] = {}
    failures: dict[str, ArchiveError | FetchError] = {}
    budget = DirectoryBudget()
    with ThreadPoolExecutor(max(1, len(ordered))) as pool:
        listings = {part: pool.submit(_list, location, budget) for part, location in ordered}
    for part, listing in listings.items():
        try:
            directories[part] = listing.result()
        except (ArchiveError, FetchError) as error:
            failures[part.name] = error
    if failures:
        first = next(iter(failures.values()))
        damaged = any(isinstance(failure, ArchiveError) for failure in failures.values())
        raise (ArchiveError if damaged else FetchError)(join_failures(failures)) from first
    return directories


def _list(location: Location, budget: DirectoryBudget) -> Directory:
    with closing(location.open()) as file:
        return read_directory(file, budget)


def _document_members(directory: Directory) -> tuple[list[Member], list[Problem]]:
    problems = [
        Problem("refused member", None, f"{directory.label}: {refused.name!a}: {refused.reason}")
        for refused in directory.refused
    ]
    wanted: list[Member] = []
    for member in directory.members:
        if not member.name.lower().endswith(_NO_TEXT):
            wanted.append(member)
        else:
            detail = f"{directory.label}: {member.name!a} holds no text"
            problems.append(Problem("unreadable name", None, detail))
    return wanted, problems


def _documents(directory: Directory, members: list[Member]) -> Iterator[Document]:
    """Read metadata files: all in one run, since all are needed, in as few requests as can be.

    Raises:
        ArchiveError: They are more than `MAX_METADATA_BYTES`, of which none was read; or damaged.
    """
    held = sum(max(member.size, member.stop - member.start) for member in members)
    if held > MAX_METADATA_BYTES:
        raise ArchiveError(
            explain(
                "the metadata is too large for this release",
                where=directory.archive,
                expected=f"at most {MAX_METADATA_BYTES:,} bytes, all files unpacked",
                found=f"{held:,} bytes in {len(members):,} files",
                remedy="choose another source with base_url, or download this part again",
            )
        )
    with Archives() as archives:
        for records in archives.records([members]):
            for member, record in zip(members, records, strict=True):
                text = unpack_member(member, record)
                yield Document(f"{directory.label}: {member.name}", text, member.name)
