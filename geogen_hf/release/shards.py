"""Divide subjects into shards, and read the images of a shard.

A shard is what one worker reads. It is picklable and holds no open file, so that it can be sent
to a DataLoader worker, to a process that prepares Arrow files, or to a machine of a cluster.

`datasets` asks a builder for one shard after the other. `ShardReader` reads on across the ends of
shards, and goes on where a stream was left without reading what came before;
`geogen_hf.compat.ResumableShards` connects it with `datasets`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any, TypeVar

from geogen_hf.errors import ArchiveError, CameraError
from geogen_hf.release.splits import SPLITS, Split, split_of
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy
from geogen_hf.source.zip_directory import Member
from geogen_hf.source.zip_reader import Archives, Record, png_size, unpack_png
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")

MAX_SHARDS = 64
SUBJECTS_PER_SHARD = 8
"""Roughly the fewest subjects in a shard, so that their bytes are fetched in large ranges."""
WORKER_MULTIPLE = 8
"""With a count divisible by this, 2, 4 or 8 nodes and workers get equal shares."""


@dataclass(frozen=True)
class Shard:
    """A run of subjects of one split, in archive order.

    Attributes:
        subjects: The subjects, each with everything that is needed to read it.
        on_bad_subject: Whether damaged bytes raise, or leave their subject out.
    """

    subjects: tuple[Subject, ...]
    on_bad_subject: Policy = "raise"


def shard_count(subjects: int) -> int:
    """Decide how many shards a split has.

    Args:
        subjects: Number of subjects in the split.

    Returns:
        0 for none, else 1 to 64.

    Example:
        >>> [shard_count(n) for n in (0, 7, 40, 100, 8000)]
        [0, 1, 5, 8, 64]
    """
    if subjects == 0:
        return 0
    count = min(MAX_SHARDS, max(1, subjects // SUBJECTS_PER_SHARD))
    return count - count % WORKER_MULTIPLE if count > WORKER_MULTIPLE else count


def make_shards(
    subjects: Sequence[Subject],
    *,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    count_of: Callable[[int], int] = shard_count,
) -> dict[Split, list[Shard]]:
    """Divide subjects into splits, and each split into shards whose sizes differ by one at most.

    Args:
        subjects: In archive order, which is kept.
        split_seed: Seed of the split.
        on_bad_subject: Passed on to the shards.
        count_of: Decides the number of shards of a split by its number of subjects.

    Returns:
        The shards of every split; an empty list for a split without subjects.
    """
    of_split: dict[Split, list[Subject]] = {split: [] for split in SPLITS}
    for subject in subjects:
        of_split[split_of(subject.subject_id, split_seed)].append(subject)
    return {
        split: [
            Shard(tuple(run), on_bad_subject) for run in _even_runs(members, count_of(len(members)))
        ]
        for split, members in of_split.items()
    }


def split_shard(shard: Shard) -> list[Shard]:
    """Divide a shard into the smallest ones that are still read in few requests.

    Args:
        shard: The shard to divide.

    Returns:
        Shards of about `SUBJECTS_PER_SHARD` subjects, in order.
    """
    count = max(1, len(shard.subjects) // SUBJECTS_PER_SHARD)
    return [replace(shard, subjects=tuple(run)) for run in _even_runs(shard.subjects, count)]


def _even_runs(subjects: Sequence[Subject], count: int) -> list[Sequence[Subject]]:
    bounds = [len(subjects) * i // count for i in range(count + 1)] if count else [0]
    return [subjects[a:b] for a, b in pairwise(bounds)]


def read_images(
    shard: Shard, control: Control | None = None
) -> Generator[tuple[Subject, list[bytes]], None, None]:
    """Read the images of a shard; from remote archives, they are fetched ahead of their use.

    Args:
        shard: The shard.
        control: Checked before each subject, to stop early; None never stops.

    Yields:
        Each subject with its V encoded images, bit for bit as in the archives.

    Raises:
        ArchiveError: A member is damaged or not a PNG, and is not to be skipped.
        CameraError: Intrinsics do not go with the size of the images.
        FetchError: An archive cannot be read, or was replaced since it was listed; never skipped.
    """
    return read_each(shard, lambda subject, images: (subject, images), control)


def read_each(
    shard: Shard, use: Callable[[Subject, list[bytes]], T], control: Control | None = None
) -> Generator[T, None, None]:
    """As `read_images`, but yield what `use` returns for each subject and its images.

    What `use` raises of damaged images or cameras obeys the shard's policy, too.
    """
    with Archives() as archives, control.watching(archives) if control else nullcontext():
        records = archives.records([subject.images for subject in shard.subjects])
        for found in _unpack_each(shard, records, unpack_png, png_size, use):
            if control is not None:
                control.check()
            yield found


def read_image_sizes(shard: Shard) -> Iterator[tuple[Subject, list[tuple[int, int]]]]:
    """Read the headers of a shard's images.

    Yields:
        Each subject with V pairs of width and height in pixels.

    Raises:
        ArchiveError: As `read_images`.
        FetchError: As `read_images`.
    """
    with Archives() as archives:
        heads = archives.heads([subject.images for subject in shard.subjects])
        yield from _unpack_each(
            shard,
            heads,
            archives.png_size_from,
            lambda _, size: size,
            lambda subject, sizes: (subject, sizes),
        )


def _unpack_each(
    shard: Shard,
    records: Iterable[Sequence[Record]],
    unpack: Callable[[Member, Record], U],
    size_of: Callable[[Member, U], tuple[int, int]],
    use: Callable[[Subject, list[U]], T],
) -> Iterator[T]:
    for subject, found in zip(shard.subjects, records, strict=True):
        try:
            images = list(map(unpack, subject.images, found))
            subject = subject.at_sizes(list(map(size_of, subject.images, images)))
            result = use(subject, images)
        except (ArchiveError, CameraError) as error:
            if shard.on_bad_subject == "raise":
                raise
            logger.warning("left out subject %s: %s", subject.subject_id, error)
            continue
        yield result


RowCount = Callable[[Subject], int]
"""Says how many rows a subject has that is not damaged."""


@dataclass(frozen=True)
class ShardReader:
    """Reads shards as one, without the rows that have been seen; picklable.

    Attributes:
        generate: Yields the keys and rows of a list of shards; each row has a `subject_id`.
        row_count: Says how many rows a subject has.
    """

    generate: Callable[[list[Shard]], Iterator[tuple[str, dict[str, Any]]]]
    row_count: RowCount

    def __call__(self, shards: list[Shard], skip: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Yield the number of a row's shard among `shards`, its key, and the row.

        So many rows of the first shard are left out as `skip` says.
        """
        rest, discard = skip_rows(shards, skip, self.row_count)
        if not rest.subjects:
            return
        places = ((n, s.subject_id) for n, shard in enumerate(shards) for s in shard.subjects)
        number, subject_id = next(places)
        for key, row in islice(self.generate([rest]), discard, None):
            while subject_id != row["subject_id"]:
                number, subject_id = next(places)
            yield number, key, row


def skip_rows(shards: list[Shard], rows: int, row_count: RowCount) -> tuple[Shard, int]:
    """Join shards, without the subjects that come before a row of the first shard.

    Returns:
        The shards as one, and how many of its rows to discard. Where damaged subjects are left out,
        only reading tells how many rows a subject had, so no subject is dropped.
    """
    if not shards:
        return Shard(()), 0
    policy = shards[0].on_bad_subject
    subjects = [subject for shard in shards for subject in shard.subjects]
    first = 0
    while policy == "raise" and first < len(subjects) and rows >= row_count(subjects[first]):
        rows -= row_count(subjects[first])
        first += 1
    return Shard(tuple(subjects[first:]), policy), rows
