"""Connect a data set with `ToTensors`: rows come out as tensors, and streams resume at any row.

Open this module to see in which order a stream is read, what is read ahead, and what the state of a
stream holds. `as_tensors` is the way in, for every kind of data set.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import datasets
import pyarrow.parquet as pq
from torch.utils.data import IterableDataset

from geogen_hf import compat
from geogen_hf.errors import UsageError
from geogen_hf.source.files import open_parquet
from geogen_hf.source.parts import Location
from geogen_hf.threads import read_ahead
from geogen_hf.training.choices import check_count, draw
from geogen_hf.training.transform import ToTensors

AHEAD_BYTES = 24 * 2**20
"""About how many bytes of images each worker holds of the rows that come next; at least one row."""
REQUEST_BYTES = 8 * 2**20
"""Row groups are read together up to about this: each of them may be a single identity."""
MOST_AHEAD = 64
"""Rows; at most so many are read ahead, however small they are."""


class TensorStream(IterableDataset[dict[str, Any]]):
    """A stream of rows of tensors, for `DataLoader` and `StatefulDataLoader`.

    `as_tensors` makes it from a stream of `datasets`, whose public states it keeps. A thread in
    each worker reads ahead, so that it waits for bytes and decodes images at the same time.

    Args:
        rows: An `IterableDataset` of `datasets` with encoded images.
        transform: Turns rows into tensors.
        shuffle_block: How many rows are shuffled together; None for the order of `rows`.
        batch_size: How many rows are transformed together.
    """

    def __init__(
        self, rows: Any, transform: ToTensors, shuffle_block: int | None, batch_size: int
    ) -> None:
        self._rows, self._transform = rows, transform
        self._block, self._batch_size = shuffle_block, batch_size
        self._start: dict[str, Any] | None = None
        # That of the rows before a block, and how many of the block were given out.
        self._state: dict[str, Any] = {"rows": None, "given": 0, "epoch": 0}

    @property
    def num_shards(self) -> int:
        """How many workers can share the stream."""
        return int(self._rows.num_shards)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: other views, crops and flips, and another order if it is shuffled.

        Reaches the transform, and workers that are running (`persistent_workers`).

        Args:
            epoch: Its number. The same number gives the same rows again.
        """
        self._rows.set_epoch(epoch)
        self._transform.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Say where the stream is, after the last row that it gave out.

        Returns:
            A state for `load_state_dict`, of this epoch.
        """
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration begin after the last row that was given out.

        Args:
            state: What `state_dict` returned. It counts in its own epoch only: call `set_epoch`
                with the same number before iterating.

        Raises:
            UsageError: It is the state of another kind of data set.
        """
        if not {"rows", "given", "epoch"} <= state.keys():
            raise UsageError(
                "this is not a state of a stream of tensors",
                expected="what its state_dict() returned",
                found=f"a dictionary with the keys {', '.join(map(str, state)) or 'none'}",
            )
        self._start = dict(state)
        self._rows.load_state_dict(state["rows"] or {})  # which is no state: from the beginning

    def __iter__(self) -> Iterator[dict[str, Any]]:
        start = self._start
        if start is None or start["epoch"] != int(self._transform.epoch):
            start = {"rows": None, "given": 0, "epoch": int(self._transform.epoch)}
        before, given = start["rows"], start["given"]
        self._state = dict(start)
        with closing(self._blocks()) as blocks:
            for block, after in blocks:
                for index, row in enumerate(self._tensors(block, given), start=given + 1):
                    done = index == len(block)
                    self._state["rows"] = after if done else before
                    self._state["given"] = 0 if done else index
                    yield row
                before, given = after, 0

    def _blocks(self) -> Generator[tuple[list[dict[str, Any]], Any], None, None]:
        """Yield the rows that are shuffled or transformed together, and the state after them."""
        # A state is taken at once: it moves on while its row waits to be used.
        rows_and_states = ((row, self._rows.state_dict()) for row in self._rows)
        with closing(read_ahead(rows_and_states, lambda found: _rows_ahead(found[0]))) as ahead:
            while found := list(islice(ahead, self._block or self._batch_size)):
                rows = [row for row, _ in found]
                yield (self._shuffled(rows) if self._block else rows), found[-1][1]

    def _shuffled(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = f"{rows[0]['subject_id']} {rows[0].get('view_id', '')}"
        chance = draw(self._transform.seed, int(self._transform.epoch), first, "order")
        return [rows[index] for index in chance.permutation(len(rows))]

    def _tensors(self, rows: list[dict[str, Any]], given: int) -> Iterator[dict[str, Any]]:
        """Yield the rows after the first `given`, transformed in the same batches as without."""
        size = self._batch_size
        for first in range(given - given % size, len(rows), size):
            batch = rows[first : first + size]
            columns = self._transform({name: [row[name] for row in batch] for name in batch[0]})
            for index in range(max(given - first, 0), len(batch)):
                yield {name: column[index] for name, column in columns.items()}


def _rows_ahead(row: dict[str, Any]) -> int:
    images = [row["image"]] if "image" in row else row.get("images", [])
    encoded = [image["bytes"] for image in images if isinstance(image, dict) and image["bytes"]]
    return max(1, min(MOST_AHEAD, AHEAD_BYTES // max(1, sum(map(len, encoded)))))


@dataclass(frozen=True)
class ParquetReader:
    """Reads the rows of an exported folder's Parquet files, from any row on; picklable.

    A file is read by runs of row groups, so that starting in its midst costs its footer and what
    comes from there on. The Hub is asked once for each file: it counts such requests. `options` are
    fsspec's by protocol, such as `{"hf": {"token": …}}`.
    """

    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, files: list[str], skip: int) -> Iterator[compat.Row]:
        """Read files (paths, URLs) without the first `skip` rows.

        Yields the number of a row's file among them, a key, and the row with encoded images.
        """
        for number, name in enumerate(files):
            location = Location(name, storage_options=self.options)
            with open_parquet(location) as parquet:
                for groups, seen in _runs(parquet.metadata, skip):
                    rows = parquet.read_row_groups(groups).slice(seen).to_pylist()
                    for index, row in enumerate(rows, start=seen):
                        yield number, f"{number} {groups[0]} {index}", row
            skip = 0


def _runs(footer: pq.FileMetaData, skip: int) -> Iterator[tuple[list[int], int]]:
    """Yield the row groups to read together, and how many of their rows to leave out."""
    groups, size = list[int](), 0
    for group in range(footer.num_row_groups):
        found = footer.row_group(group)
        if not groups and skip >= found.num_rows:
            skip -= found.num_rows
            continue
        groups.append(group)
        size += found.total_byte_size
        if size >= REQUEST_BYTES:
            yield groups, skip
            groups, size, skip = [], 0, 0
    if groups:
        yield groups, skip


def undecoded(dataset: Any) -> Any:
    """Leave images encoded: `{"bytes": …, "path": …}` where `datasets` would give pictures.

    Costs nothing: no row is read, copied or cached anew.

    Args:
        dataset: A `Dataset`, an `IterableDataset`, or a dictionary of them.

    Returns:
        The same kind.

    Raises:
        UsageError: The data set does not know its features, as after `map`.

    Example:
        >>> pictures = {"image": [{"bytes": b"x", "path": None}]}
        >>> features = datasets.Features({"image": datasets.Image()})
        >>> undecoded(datasets.Dataset.from_dict(pictures, features))[0]
        {'image': {'bytes': b'x', 'path': None}}
    """
    if isinstance(dataset, dict):
        return type(dataset)({name: undecoded(part) for name, part in dataset.items()})
    if dataset.features is None:
        raise UsageError(
            "a data set does not know its features", remedy="call undecoded before map"
        )
    features = datasets.Features(
        {name: _encoded(feature) for name, feature in dataset.features.items()}
    )
    if isinstance(dataset, datasets.IterableDataset):
        return dataset.cast(features)
    return compat.with_features(dataset, features)


def _encoded(feature: Any) -> Any:
    if isinstance(feature, datasets.Image):
        return datasets.Image(mode=feature.mode, decode=False)
    below = getattr(feature, "feature", None)  # of Sequence, and of List in later versions
    if isinstance(below, datasets.Image):
        return type(feature)(_encoded(below), length=feature.length)
    return feature


def as_tensors(
    dataset: Any, transform: ToTensors, *, shuffle_block: int | None = None, batch_size: int = 8
) -> Any:
    """Pass the rows of a data set through `transform`; images are not decoded before that.

    Args:
        dataset: A `Dataset`, an `IterableDataset`, or a dictionary of them; of the config
            `sequences` or `views`. Split it over nodes before, if at all
            (`datasets.distributed.split_dataset_by_node`).
        transform: What to do with the rows.
        shuffle_block: Shuffle a stream: the order of its shards, and the rows within blocks of so
            many, which each worker holds encoded in memory. None for the order of the stream. Both
            orders depend on the transform's seed and the epoch alone, and can be resumed: the
            shuffle buffer of `datasets` loses its rows.
        batch_size: Rows of a stream that are transformed together. A multiple of the loader's
            batch size, so that batches take the memory that images were decoded into.

    Returns:
        A `Dataset`, or a `TensorStream` for an `IterableDataset`, whose rows are what `ToTensors`
        returns. A stream goes on from its `state_dict` with exactly the rows that are missing, and
        reads at most one block, row group or subject again.

    Raises:
        UsageError: `shuffle_block` is given for a `Dataset`, which a sampler shuffles, or a number
            is below 1.

    Example:
        See `ToTensors`.
    """
    check_count("batch_size", batch_size)
    if shuffle_block is not None:
        check_count("shuffle_block", shuffle_block)
    if isinstance(dataset, dict):
        parts = {
            name: as_tensors(part, transform, shuffle_block=shuffle_block, batch_size=batch_size)
            for name, part in dataset.items()
        }
        return type(dataset)(parts)
    if isinstance(dataset, datasets.IterableDataset):
        rows = compat.raw_stream(dataset, ParquetReader)
        if rows is None:
            rows = compat.counted_by_rows(undecoded(dataset))
        if shuffle_block is not None:
            rows = compat.in_shuffled_shards(rows, transform.seed)
        return TensorStream(rows, transform, shuffle_block, batch_size)
    if shuffle_block is not None:
        raise UsageError(
            "shuffle_block is for streams",
            remedy="pass a sampler, or shuffle=True, to the DataLoader",
        )
    return undecoded(dataset).with_transform(transform)
