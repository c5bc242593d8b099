"""What is in these parts: counts, sizes, splits and every problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from geogen_hf.errors import ArchiveError, one_line
from geogen_hf.members import Archives
from geogen_hf.parts import Part
from geogen_hf.release import Release, read_release
from geogen_hf.report import EXAMPLES, Problem, Report
from geogen_hf.splits import SPLITS, split_of

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
    """What was found.

    Attributes:
        archives: The parts.
        subjects: Identities with images and cameras.
        images: Images with a camera.
        views_per_subject: How many identities have so many views.
        image_sizes: How many images have so many pixels, as `"width x height"`.
        splits: Identities in each split.
        report: What does not add up.
    """

    archives: tuple[ArchiveSummary, ...]
    subjects: int
    images: int
    views_per_subject: dict[int, int]
    image_sizes: dict[str, int]
    splits: dict[str, int]
    report: Report

    def to_json(self) -> dict[str, Any]:
        """The same as plain values; of each kind of problem, the count and a few examples."""
        return {
            "archives": [asdict(archive) for archive in self.archives],
            "subjects": self.subjects,
            "images": self.images,
            "views_per_subject": {str(k): v for k, v in self.views_per_subject.items()},
            "image_sizes": self.image_sizes,
            "splits": self.splits,
            "problems": {
                kind: {
                    "count": len(problems),
                    "examples": [problem.detail for problem in problems[:EXAMPLES]],
                }
                for kind, problems in self.report.by_kind().items()
            },
        }


def inspect_release(
    locations: dict[Part, str], *, split_seed: int = 0, progress: Progress | None = None
) -> Inspection:
    """Read directories, metadata and the header of every image.

    Args:
        locations: Path of each part.
        split_seed: Seed of the split.
        progress: Told how far it is.

    Returns:
        What was found, problems included.

    Raises:
        ArchiveError: A part is not a zip archive.
    """
    release = read_release(locations)
    sizes, damaged = _image_sizes(release, progress)
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
        image_sizes=dict(sizes.most_common()),
        splits={split: splits[split] for split in SPLITS},
        report=Report((*release.report.problems, *damaged)),
    )


def _image_sizes(release: Release, progress: Progress | None) -> tuple[Counter[str], list[Problem]]:
    sizes: Counter[str] = Counter()
    damaged: list[Problem] = []
    pairs = [(s.subject_id, member) for s in release.subjects for member in s.images]
    with Archives() as archives:
        for done, (subject_id, member) in enumerate(pairs, start=1):
            try:
                width, height = archives.read_png_size(member)
                sizes[f"{width} x {height}"] += 1
            except ArchiveError as error:
                damaged.append(Problem("damaged image", subject_id, one_line(error)))
            if progress is not None:
                progress(done, len(pairs))
    return sizes, damaged
