"""Read the rows of many shards as one stream, from any row on.

`datasets` asks a builder for one shard after the other. Open this module to see how a stream out of
the zips reads on across the ends of shards, and how it goes on where it was left without reading
what came before. `geogen_hf.compat.ResumableShards` connects it with `datasets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from geogen_hf.release.shards import Shard
from geogen_hf.release.subjects import Subject

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
        """Read the rows of shards.

        Args:
            shards: In the order to read them.
            skip: How many rows of the first shard to leave out.

        Yields:
            The number of a row's shard among `shards`, its key, and the row.
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

    Args:
        shards: In order.
        rows: How many rows of the first shard have been seen.
        row_count: Says how many rows a subject has.

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
