"""Divide subjects into splits and shards, and read the images of a shard.

A shard is what one worker reads. It is picklable and holds no open file, so that it can be sent
to a DataLoader worker, to a process that prepares Arrow files, or to a machine of a cluster.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any, Literal, TypeVar

from geogen_hf.errors import ArchiveError, CameraError
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy
from geogen_hf.source.zip_directory import Member
from geogen_hf.source.zip_reader import Archives, Record, png_size, unpack_png
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
MAX_SHARDS = 64
SUBJECTS_PER_SHARD = 8
"""Roughly the fewest subjects in a shard, so that their bytes are fetched in large ranges."""
WORKER_MULTIPLE = 8
"""With a count divisible by this, 2, 4 or 8 nodes and workers get equal shares."""


def split_position(subject_id: str, seed: int = 0) -> float:
    """Map an identity to a number in [0, 1), evenly; another seed gives an independent one.

    It is the first 8 bytes, big-endian, of SHA-256 over `"{seed}:{subject_id}"`, divided by 2**64.

    Example:
        >>> round(split_position("subj_1"), 6)
        0.175799
    """
    digest = hashlib.sha256(f"{seed}:{subject_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(subject_id: str, seed: int = 0) -> Split:
    """Name the split of an identity: 80 % train, 10 % validation, 10 % test.

    Depends on nothing but its arguments: the same with one part or all eight, in every config,
    whatever other identities there are.
    """
    position = split_position(subject_id, seed)
    return "train" if position < 0.8 else "validation" if position < 0.9 else "test"


@dataclass(frozen=True)
class Shard:
    """A run of subjects of one split, in archive order, with all that is needed to read them.

    `on_bad_subject` says whether damaged bytes raise, or leave their subject out.
    """

    subjects: tuple[Subject, ...]
    on_bad_subject: Policy = "raise"


def shard_count(subjects: int) -> int:
    """Decide how many shards a split of so many subjects has.

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

    The order of the subjects is kept. `count_of` decides the number of shards of a split by its
    number of subjects; a split without subjects has none.
    """
    of_split: dict[Split, list[Subject]] = {split: [] for split in SPLITS}
    for subject in subjects:
        of_split[split_of(subject.subject_id, split_seed)].append(subject)
    return {
        split: _even_runs(Shard(tuple(members), on_bad_subject), count_of(len(members)))
        for split, members in of_split.items()
    }


def split_shard(shard: Shard) -> list[Shard]:
    """Divide a shard into the smallest ones that are still read in few requests."""
    return _even_runs(shard, max(1, len(shard.subjects) // SUBJECTS_PER_SHARD))


def _even_runs(shard: Shard, count: int) -> list[Shard]:
    bounds = [len(shard.subjects) * i // count for i in range(count + 1)] if count else [0]
    return [replace(shard, subjects=shard.subjects[a:b]) for a, b in pairwise(bounds)]


def read_images(shard: Shard) -> Iterator[tuple[Subject, list[bytes]]]:
    """Read the images of a shard; from remote archives, they are fetched ahead of their use.

    Yields:
        Each subject with its V encoded images, bit for bit as in the archives.

    Raises:
        ArchiveError: A member is damaged or not a PNG, and is not to be skipped.
        CameraError: Intrinsics do not go with the size of the images.
        FetchError: An archive cannot be read, or was replaced since it was listed; never skipped.
    """
    return read_each(shard, lambda subject, images: (subject, images))


def read_each(
    shard: Shard, use: Callable[[Subject, list[bytes]], T], control: Control | None = None
) -> Generator[T, None, None]:
    """As `read_images`, but yield what `use` returns for each subject and its images.

    What `use` raises of damaged images or cameras obeys the shard's policy, too. `control` is
    checked before each subject, to stop early.
    """
    with Archives() as archives, control.watching(archives.abort) if control else nullcontext():
        records = archives.records([subject.images for subject in shard.subjects])
        for found in _unpack_each(shard, records, unpack_png, png_size, use):
            if control is not None:
                control.check()
            yield found


def read_image_sizes(shard: Shard) -> Iterator[tuple[Subject, list[tuple[int, int]]]]:
    """Read the headers of a shard's images: each subject with V widths and heights in pixels.

    It raises what `read_images` raises.
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
    runs = iter(records)
    for subject in shard.subjects:
        found = next(runs)  # not by `zip`, which would hold the records while the images are used
        try:
            images = list(map(unpack, subject.images, found))
            del found
            subject = subject.at_sizes(list(map(size_of, subject.images, images)))
            result = use(subject, images)
        except (ArchiveError, CameraError) as error:
            if shard.on_bad_subject == "raise":
                raise
            logger.warning("left out subject %s: %s", subject.subject_id, error)
            continue
        yield result


@dataclass(frozen=True)
class ShardReader:
    """Reads shards as one, without the rows that have been seen; picklable.

    `datasets` asks a builder for one shard after the other. This reads on across the ends of
    shards; `geogen_hf.compat.ResumableShards` connects it with `datasets`.
    """

    #: Yields the keys and rows of a list of shards; each row has a `subject_id`.
    generate: Callable[[list[Shard]], Iterator[tuple[str, dict[str, Any]]]]
    #: Says how many rows a subject has that is not damaged.
    row_count: Callable[[Subject], int]

    def __call__(self, shards: list[Shard], skip: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Yield the number of a row's shard among `shards`, its key, and the row.

        So many rows of the first shard are left out as `skip` says.
        """
        places = [(n, subject) for n, shard in enumerate(shards) for subject in shard.subjects]
        # Where damaged subjects are left out, only reading tells how many rows a subject had.
        whole = bool(shards) and shards[0].on_bad_subject == "raise"
        first = 0
        while whole and first < len(places) and skip >= self.row_count(places[first][1]):
            skip -= self.row_count(places[first][1])
            first += 1
        if first == len(places):
            return
        rest = replace(shards[0], subjects=tuple(subject for _, subject in places[first:]))
        following = iter(places)
        number, subject = next(following)
        for key, row in islice(self.generate([rest]), skip, None):
            while subject.subject_id != row["subject_id"]:
                number, subject = next(following)
            yield number, key, row
