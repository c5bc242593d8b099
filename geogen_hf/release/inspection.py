"""Summarise what the zips of a release hold, with every problem, for `geogen inspect`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from geogen_hf.cameras.rigs import LEAST_VIEWS
from geogen_hf.cameras.silhouettes import evenly_spread
from geogen_hf.errors import ArchiveError, one_line
from geogen_hf.release.convention import CameraOptions, ResolvedConvention
from geogen_hf.release.pictures import proof_picture, views_of
from geogen_hf.release.release import Release, read_release
from geogen_hf.release.shards import SPLITS, Shard, read_each, split_of
from geogen_hf.report import EXAMPLES, Problem, Report
from geogen_hf.source.parts import Place, locate_parts, select_parts
from geogen_hf.source.zip_directory import Member
from geogen_hf.source.zip_reader import Archives

REMOTE_SAMPLE = 64
"""Number of image headers read from remote parts, where each costs a request."""
_MOST_TRIED = 8  # subjects, until two can be drawn

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all."""


@dataclass(frozen=True)
class ArchiveSummary:
    """One part: file name, size in bytes, number of members."""

    name: str
    size: int
    members: int


@dataclass(frozen=True)
class Inspection:
    """What the zips hold."""

    archives: tuple[ArchiveSummary, ...]
    subjects: int  # identities with images and cameras
    images: int  # with a camera
    views_per_subject: dict[int, int]  # how many identities have so many views
    headers_read: int  # of all images or, behind URLs, of a sample spread evenly over the release
    image_sizes: dict[str, int]  # how many of those have so many pixels, as "width x height"
    splits: dict[str, int]  # identities in each
    report: Report  # what does not add up
    camera_convention: ResolvedConvention
    metadata_reading: str  # what was taken for subject, view, pose and intrinsics, in a line
    release: Release

    def to_json(self) -> dict[str, Any]:
        """The same as plain values; of each kind of problem, the count and a few examples."""
        return {
            "archives": [asdict(archive) for archive in self.archives],
            "subjects": self.subjects,
            "images": self.images,
            "views_per_subject": {str(k): v for k, v in self.views_per_subject.items()},
            "headers_read": self.headers_read,
            "image_sizes": self.image_sizes,
            "splits": self.splits,
            "metadata_reading": self.metadata_reading,
            "camera_convention": self.camera_convention.to_json(),
            "problems": {
                kind: {
                    "count": len(problems),
                    "examples": [problem.detail for problem in problems[:EXAMPLES]],
                }
                for kind, problems in self.report.by_kind().items()
            },
        }

    def proof(self) -> Image.Image:
        """Draw the proof of the camera convention, for some subjects spread over the release.

        `ReleaseError` if none of them shows a head before an even background.
        """
        subjects = [s for s in self.release.subjects if len(s.images) >= LEAST_VIEWS]
        shard = Shard(tuple(subjects[i] for i in evenly_spread(len(subjects), _MOST_TRIED)), "skip")
        with closing(read_each(shard, views_of)) as shown:
            return proof_picture(shown, self.camera_convention, subjects=2)


def inspect_release(
    place: Place = None,
    *,
    parts: Iterable[int] | None = None,
    cameras: CameraOptions | None = None,
    split_seed: int = 0,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Say what the zips of a release hold: counts, sizes, splits, convention and every problem.

    It reads the zips' directories, the metadata and the header of every image; of images behind
    URLs, where each costs a request, the headers of `REMOTE_SAMPLE` of them.

    Args:
        place: Folder with the zips, or a base URL; None for the publisher's host.
        parts: Numbers (1 … 7) of the image parts to use; None for all.
        cameras: How to read the cameras; None finds it out from the metadata and the images.
        split_seed: Seed of the split.
        storage_options: Credentials by protocol, as for `open_release`.
        progress: Called with the number of images done and of all.

    Returns:
        What was found, problems included.

    Raises:
        PartsError: A folder lacks parts.
        ArchiveError: A part is not a zip archive.
        FetchError: A part cannot be read from its host.

    Example:
        >>> found = inspect_release("parts")
        >>> found.images, found.image_sizes, len(found.report.problems)
        (21, {'32 x 32': 21}, 0)
    """
    locations = locate_parts(place, select_parts(parts), storage_options)
    release = read_release(locations, cameras)
    remote = any(location.remote for location in locations.values())
    looked_at = _images(release, REMOTE_SAMPLE if remote else None)
    sizes, damaged = _image_sizes(looked_at, progress)
    splits = Counter(split_of(subject.subject_id, split_seed) for subject in release.subjects)
    views = Counter(len(subject.view_ids) for subject in release.subjects)
    return Inspection(
        archives=tuple(
            ArchiveSummary(directory.label, directory.size, len(directory.members))
            for directory in release.directories.values()
        ),
        subjects=len(release.subjects),
        images=sum(len(subject.images) for subject in release.subjects),
        views_per_subject=dict(sorted(views.items())),
        headers_read=len(looked_at),
        image_sizes=dict(sizes.most_common()),
        splits={split: splits[split] for split in SPLITS},
        report=Report((*release.report.problems, *damaged)),
        camera_convention=release.camera_convention,
        metadata_reading=release.metadata_reading,
        release=release,
    )


def _images(release: Release, most: int | None) -> list[tuple[str, Member]]:
    """Images with the identity they show: all, or so many at even distances."""
    images = [(s.subject_id, member) for s in release.subjects for member in s.images]
    return images if most is None else [images[i] for i in evenly_spread(len(images), most)]


def _image_sizes(
    images: list[tuple[str, Member]], progress: Progress | None
) -> tuple[Counter[str], list[Problem]]:
    sizes: Counter[str] = Counter()
    damaged: list[Problem] = []
    with Archives() as archives:
        heads = archives.heads([[member] for _, member in images])
        for done, ((subject_id, member), (head,)) in enumerate(
            zip(images, heads, strict=True), start=1
        ):
            try:
                width, height = archives.png_size_from(member, head)
                sizes[f"{width} x {height}"] += 1
            except ArchiveError as error:
                damaged.append(Problem("damaged image", subject_id, one_line(error)))
            if progress is not None:
                progress(done, len(images))
    return sizes, damaged
