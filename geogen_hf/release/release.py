"""Read a release: list its zips, read the metadata, join images and cameras, prove the convention.

No image is read except the few that prove the convention. `open_release` is the door for users: it
reads single identities by name, on disk or behind a URL, without loading the rest. The builder and
the exporter start at `read_release`. `geogen_hf.export.lookup.open_export` gives the same
`Identity` objects of an exported folder.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import (
    ArchiveError,
    FetchError,
    GeoGenError,
    ReleaseError,
    UsageError,
    did_you_mean,
    join_failures,
)
from geogen_hf.images import decode_rgb
from geogen_hf.metadata.reader import Document
from geogen_hf.release.convention import CameraOptions, ResolvedConvention, read_cameras
from geogen_hf.release.shards import Split, split_of
from geogen_hf.release.subjects import Subject, index_images, join_subjects, read_subject
from geogen_hf.report import Policy, Problem, Report, some_of
from geogen_hf.source.files import open_file
from geogen_hf.source.parts import (
    IMAGE_PARTS,
    METADATA_PART,
    Location,
    Part,
    Place,
    locate_parts,
    select_parts,
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
    """What the parts hold: every identity with images and cameras, and what does not add up."""

    directories: dict[Part, Directory]
    subjects: tuple[Subject, ...]  # in archive order
    report: Report
    camera_convention: ResolvedConvention  # where it is not known, extrinsics are as stored
    metadata_reading: str  # what was taken for subject, view, pose and intrinsics, in a line

    def sound_subjects(self, on_bad_subject: Policy = "raise") -> tuple[Subject, ...]:
        """The identities without problems; others raise, or are skipped and logged.

        Raises:
            ReleaseError: There are problems and they are not to be skipped, or nothing is left.
            CameraError: The camera convention is not proven, or not as stated.
        """
        left_out = self.report.enforce(on_bad_subject)
        sound = tuple(s for s in self.subjects if s.subject_id not in left_out)
        if not sound:
            raise ReleaseError(
                "no subject with images and cameras in these parts",
                where=", ".join(str(d.archive) for d in self.directories.values()),
                found=f"{len(left_out)} subjects, all with problems:\n{self.report}"
                if left_out
                else "no image",
            )
        self.camera_convention.require()
        return sound


def read_release(
    locations: Mapping[Part, Location], cameras: CameraOptions | None = None
) -> Release:
    """Index the archives, read the metadata, resolve the camera convention and join it all.

    The metadata part must be among the locations. The report holds every structural problem.

    Raises:
        ArchiveError: Parts are not zip archives (all such parts are named), or a metadata file is
            damaged.
        FetchError: Parts cannot be read from their host (all such parts are named).
        MetadataError: It cannot be told which cameras belong to which images, or where they are.
    """
    directories = _read_directories(locations)
    images, image_problems = index_images(
        directory for part, directory in directories.items() if part in IMAGE_PARTS
    )
    part = directories[METADATA_PART]
    document_problems = [
        Problem("refused member", None, f"{part.label}: {refused.name!a}: {refused.reason}")
        for refused in part.refused
    ]
    cameras = cameras or CameraOptions()
    if not isinstance(cameras, CameraOptions):
        remedy = f"pass cameras=CameraOptions({cameras!r})"
        raise UsageError("bad cameras", found=repr(cameras), remedy=remedy)
    complete = set(IMAGE_PARTS) <= set(locations)
    metadata, camera_convention = read_cameras(
        lambda: _documents(part), images, cameras, complete=complete
    )
    subjects, report = join_subjects(
        images,
        metadata,
        convention=camera_convention.convention,
        stated=camera_convention.stated is not None,
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
        damaged = any(isinstance(failure, ArchiveError) for failure in failures.values())
        raise (ArchiveError if damaged else FetchError)(join_failures(failures))
    return directories


def _list(location: Location, budget: DirectoryBudget) -> Directory:
    with closing(open_file(location)) as file:
        return read_directory(file, budget)


def _documents(directory: Directory) -> Iterator[Document]:
    """Read metadata files: all in one run, since all are needed, in as few requests as can be.

    Files that cannot be text are not read, and empty.
    """
    members: list[Member] = []
    for member in directory.members:
        if member.name.lower().endswith(_NO_TEXT):
            yield Document(f"{directory.label}: {member.name}", b"", member.name)
        else:
            members.append(member)
    held = sum(max(member.size, member.stop - member.start) for member in members)
    if held > MAX_METADATA_BYTES:
        raise ArchiveError(
            "the metadata is too large for this release",
            where=directory.archive,
            expected=f"at most {MAX_METADATA_BYTES:,} bytes, all files unpacked",
            found=f"{held:,} bytes in {len(members):,} files",
            remedy="choose another source with base_url, or download this part again",
        )
    with Archives() as archives:
        for records in archives.records([members]):
            for member, record in zip(members, records, strict=True):
                text = unpack_member(member, record)
                yield Document(f"{directory.label}: {member.name}", text, member.name)


class UnknownSubjectError(GeoGenError, KeyError):
    """No identity has this name."""

    __str__ = Exception.__str__  # KeyError shows the repr of its message


def unknown_subject(subject_id: object, known: Iterable[str]) -> UnknownSubjectError:
    """Describe that a name is none of those that are known, and suggest one that is."""
    known = list(known)
    return UnknownSubjectError(
        f"no subject {subject_id!r}",
        expected=f"one of {some_of(known)}",
        remedy=did_you_mean(subject_id, known),
    )


@dataclass(frozen=True)
class Identity:
    """One identity with its V views, read.

    Attributes:
        subject_id: Its name, as published.
        split: `"train"`, `"validation"` or `"test"`.
        view_ids: V view numbers, ascending.
        images: V encoded image files. From a release these are the published PNG files, bit for
            bit.
        extrinsics: `(V, 4, 4)` float64 world-to-camera matrices, OpenCV axes (x right, y down, z
            into the scene), in the release's unit of length.
        intrinsics: `(V, 3, 3)` float64, in pixels of the stored image.
        metadata: The publisher's JSON of this identity, untouched; empty where it was not stored.
    """

    subject_id: str
    split: Split
    view_ids: tuple[int, ...]
    images: tuple[bytes, ...]
    extrinsics: FloatArray
    intrinsics: FloatArray
    metadata: str

    def arrays(self) -> list[NDArray[np.uint8]]:
        """Decode the images.

        Returns:
            V arrays `(H, W, 3)` uint8 RGB.

        Raises:
            ImageError: An image is damaged; the message names subject and view.

        Example:
            >>> with open_release("parts") as release:
            ...     release["subj_00001"].arrays()[0].shape
            (32, 32, 3)
        """
        return [
            decode_rgb(data, where=f"subject {self.subject_id}, view {view}")
            for view, data in zip(self.view_ids, self.images, strict=True)
        ]

    def pil_images(self) -> list[Image.Image]:
        """Open the V images with Pillow, in their stored mode; each is decoded at its first use."""
        return [Image.open(io.BytesIO(data)) for data in self.images]


Opened = TypeVar("Opened", bound="Identities")


class Identities(Mapping[str, Identity]):
    """Identities by name; each is read when it is asked for. A context manager."""

    def __init__(self, subject_ids: Iterable[str]) -> None:
        self.subject_ids = tuple(subject_ids)  # in stored order
        self._known = frozenset(self.subject_ids)

    def __contains__(self, subject_id: object) -> bool:  # without reading it
        return subject_id in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self.subject_ids)

    def __len__(self) -> int:
        return len(self.subject_ids)

    def close(self) -> None:
        """Close what is open; nothing more can be read."""

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class ReleaseIdentities(Identities):
    """The identities of an opened release, in archive order, and the convention of its cameras.

    Use it in one process only: it holds open files and connections.
    """

    def __init__(self, release: Release, on_bad_subject: Policy, split_seed: int) -> None:
        self._subjects = {s.subject_id: s for s in release.sound_subjects(on_bad_subject)}
        self._split_seed = split_seed
        self.camera_convention = release.camera_convention
        super().__init__(self._subjects)
        self._archives = Archives()

    def __getitem__(self, subject_id: str) -> Identity:
        """Read one identity; from a remote release, one request reads a run of its images.

        Raises:
            UnknownSubjectError: No identity has this name.
            ArchiveError: An image is damaged.
            FetchError: A part cannot be read, or was replaced since the release was opened.
        """
        subject = self._subjects.get(subject_id)
        if subject is None:
            raise unknown_subject(subject_id, self._subjects)
        subject, images = read_subject(self._archives, subject)
        return Identity(
            subject_id=subject.subject_id,
            split=split_of(subject.subject_id, self._split_seed),
            view_ids=subject.view_ids,
            images=tuple(images),
            extrinsics=subject.extrinsics,
            intrinsics=subject.intrinsics,
            metadata=subject.metadata,
        )

    def close(self) -> None:
        """Close the parts; nothing more can be read."""
        self._archives.close()


def open_release(
    place: Place = None,
    *,
    parts: Iterable[int] | None = None,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    cameras: CameraOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ReleaseIdentities:
    """Open a release to read single identities: a few requests list it, a few more read one.

    Args:
        place: Folder with the zips, or a base URL; None for the publisher's host.
        parts: Numbers (1 … 7) of the image parts to use; None for all.
        split_seed: Seed of the split.
        on_bad_subject: `"raise"` on any structural problem, or `"skip"` the identities concerned.
        cameras: How to read the cameras; None finds it out from the metadata and the images.
        storage_options: Credentials by protocol: `{"hf": {"token": …}}`,
            `{"https": {"headers": {…}}}`, `{"s3": {"key": …}}`. Without them, the Hub gets the
            token that is stored or in `HF_TOKEN`.

    Returns:
        The identities by name.

    Raises:
        PartsError: A folder lacks parts.
        ArchiveError: Parts are not zip archives.
        FetchError: Parts cannot be read from their host.
        ReleaseError: Images and cameras do not add up.
        CameraError: The convention of the cameras cannot be settled.

    Example:
        >>> with open_release("parts") as release:
        ...     identity = release["subj_00001"]
        >>> release.subject_ids, len(identity.images), identity.extrinsics.shape
        (('subj_00000', 'subj_00001', 'subj_00002'), 7, (7, 4, 4))
    """
    locations = locate_parts(place, select_parts(parts), storage_options)
    return ReleaseIdentities(read_release(locations, cameras), on_bad_subject, split_seed)
