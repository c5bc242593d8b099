"""Private names of other packages that this package uses, each with a fallback.

Open this file when a new version of a dependency breaks something: each entry says in which
versions the name was seen, and what happens without it. Entries are sorted by package.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Generic, TypeVar

import datasets
import datasets.iterable_dataset
from datasets.exceptions import DatasetGenerationError

from geogen_hf.errors import GeoGenError

# --- datasets -----------------------------------------------------------------------------------


T = TypeVar("T")
Row = tuple[int, Any, dict[str, Any]]
"""The number of the shard that a row is from, among those given; a key; and the row."""
Reader = Callable[[list[Any], int], Iterator[Row]]
"""Reads shards in their order, without the first so many rows."""

# Public in datasets 5, which then also counts the rows of tables in the states of streams.
_ORDERED_SHUFFLE = (
    {"max_buffer_input_shards": 1}
    if "max_buffer_input_shards" in (inspect.signature(datasets.IterableDataset.shuffle).parameters)
    else {}
)
# All in datasets 3.6 to 5.2; None where a version has them no more.
_ExamplesIterable: Any = getattr(datasets.iterable_dataset, "ExamplesIterable", None)
_BufferShuffled: Any = getattr(datasets.iterable_dataset, "BufferShuffledExamplesIterable", None)
_Skip: Any = getattr(datasets.iterable_dataset, "SkipExamplesIterable", None)


class ResumableShards(_ExamplesIterable or object, Generic[T]):  # type: ignore[misc]
    """Rows of shards, read across the ends of shards, and from any row on.

    `datasets` hands a generator one shard at a time, and resumes by throwing away the rows before.
    Behind URLs that means waiting at the start of each shard, and downloading for nothing. This
    iterable passes the reader all shards and the number of rows to leave out. Its states are those
    of `datasets`: the shard, and how many of its rows were given out. Without `ExamplesIterable`
    streams are those of `datasets`, which resumes by reading a shard from its beginning.

    `read` is picklable; `split` divides a shard into smaller ones, for `IterableDataset.reshard`.
    """

    def __init__(self, read: Reader, shards: list[T], split: Callable[[T], list[T]]) -> None:
        super().__init__(read, {"shards": shards})
        self.read, self.shards, self.split = read, shards, split

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        state: dict[str, Any] = self._state_dict or {"shard_idx": 0, "shard_example_idx": 0}
        first = state["shard_idx"]
        for number, key, row in self.read(self.shards[first:], state["shard_example_idx"]):
            if first + number != state["shard_idx"]:
                state["shard_idx"], state["shard_example_idx"] = first + number, 0
            state["shard_example_idx"] += 1
            yield key, row
        state["shard_idx"], state["shard_example_idx"] = len(self.shards), 0

    def shuffle_data_sources(self, generator: Any) -> ResumableShards[T]:
        """Put the shards into another order."""
        order = list(range(len(self.shards)))
        deepcopy(generator).shuffle(order)
        return self._with([self.shards[index] for index in order])

    def shard_data_sources(self, *args: Any, **kwargs: Any) -> ResumableShards[T]:
        """Take the share of one worker or node."""
        return self._with(super().shard_data_sources(*args, **kwargs).kwargs["shards"])

    def reshard_data_sources(self) -> ResumableShards[T]:
        """Divide the shards into smaller ones."""
        return self._with([piece for shard in self.shards for piece in self.split(shard)])

    def _with(self, shards: list[T]) -> ResumableShards[T]:
        return ResumableShards(self.read, shards, self.split)


class BuilderHooks:
    """Overrides of private methods of `datasets.DatasetBuilder`, for a builder to inherit from.

    All were seen in `datasets` 3.6 to 5.2. A version that no longer calls one of them streams and
    prepares the same rows: it resumes by reading a shard from its beginning, starts processes for
    small splits too, or names the cause of an error in a process only in the log.
    """

    def resumable_shards(self, gen_kwargs: dict[str, Any]) -> Any:
        """Give the `ResumableShards` of a split."""
        raise NotImplementedError

    def processes(self, gen_kwargs: dict[str, Any], num_proc: int) -> int | None:
        """Say how many processes are to prepare a split, where `num_proc` were asked for."""
        raise NotImplementedError

    def _get_examples_iterable_for_split(self, split_generator: Any) -> Any:
        if _ExamplesIterable is None:
            return super()._get_examples_iterable_for_split(split_generator)  # type: ignore[misc]
        return self.resumable_shards(split_generator.gen_kwargs)

    def _prepare_split(
        self, split_generator: Any, *args: Any, num_proc: int | None = None, **kwargs: Any
    ) -> None:
        if num_proc:
            num_proc = self.processes(split_generator.gen_kwargs, num_proc)
        kwargs.pop("check_duplicate_keys", None)  # in datasets 3.6; tables have no keys
        super()._prepare_split(split_generator, *args, num_proc=num_proc, **kwargs)  # type: ignore[misc]

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from super()._prepare_split_single(*args, **kwargs)  # type: ignore[misc]
        except DatasetGenerationError as error:
            # Pickled back from a process, the error loses its cause: put it into the message.
            if isinstance(error.__cause__, GeoGenError):
                raise DatasetGenerationError(str(error.__cause__)) from error.__cause__
            raise


def raw_stream(
    stream: Any, parquet_reader: Callable[[Mapping[str, Any]], Reader]
) -> datasets.IterableDataset | None:
    """Read a stream without encoding and decoding each row by its features, and from any row on.

    Uses `_ex_iterable`, `_info` and the builder behind a stream of Parquet files (`datasets` 3.6 to
    5.2). Without one of them, or where the stream does not come straight from this package's
    builder or from Parquet files, the result is None. Else it has the same rows in the same order,
    images encoded, without features. `parquet_reader` makes a reader of Parquet files, given
    fsspec's options by protocol; its shards are paths and URLs.
    """
    rows = getattr(stream, "_ex_iterable", None)
    if not isinstance(rows, ResumableShards):
        rows = _parquet_rows(rows, parquet_reader)
    if rows is None or not hasattr(stream, "_info"):
        return None
    # A copy: copy() would share all attributes, as __setstate__ takes the original's dictionary.
    raw = stream.with_format(None)
    raw._ex_iterable, raw._info = rows, datasets.DatasetInfo()
    return raw


def _parquet_rows(rows: Any, reader: Callable[[Mapping[str, Any]], Reader]) -> Any:
    builder = getattr(getattr(rows, "generate_tables_fn", None), "__self__", None)
    files = getattr(rows, "kwargs", {}).get("files")
    config = getattr(builder, "config", None)
    if _ExamplesIterable is None or type(config).__name__ != "ParquetConfig" or files is None:
        return None
    # What `load_dataset(..., columns=…)` and the like ask for is left to `datasets`.
    plain = dict.fromkeys(("columns", "filters", "features", "fragment_scan_options"))
    groups = rows.kwargs.get("row_groups_list") or [None]  # not None after `reshard`
    if any(getattr(config, name, None) for name in plain) or any(g is not None for g in groups):
        return None
    # datasets 3.6 has an iterable of one path for each file.
    names = [name for file in files for name in ([file] if isinstance(file, str) else file)]
    if len(names) != len(files):
        return None
    return ResumableShards(reader(getattr(builder, "storage_options", None) or {}), names, _whole)


def _whole(file: str) -> list[str]:
    return [file]


def in_shuffled_shards(stream: Any, seed: int) -> Any:
    """Shuffle the order of a stream's shards, and nothing else, so that it can be resumed.

    Public in `datasets` 5. In 3.6 the shuffle buffer loses a row when a stream is resumed, even if
    it holds only one; it is taken out by `_ex_iterable` and `BufferShuffledExamplesIterable`.
    Without these names the order is the same, and resuming loses that row.
    """
    # One shard after the other: several at once cannot be resumed.
    stream = stream.shuffle(seed=seed, buffer_size=1, **_ORDERED_SHUFFLE)
    rows = getattr(stream, "_ex_iterable", None)
    if not _ORDERED_SHUFFLE and _BufferShuffled is not None and isinstance(rows, _BufferShuffled):
        stream._ex_iterable = rows.ex_iterable
    return stream


def counted_by_rows(stream: Any) -> Any:
    """Make the states of a stream exact to the row in `datasets` 3.6.

    There, the states of a stream of Arrow tables count whole tables, except below a
    `SkipExamplesIterable`. Without this name, or `_ex_iterable`, resuming such a stream leaves out
    the rest of a table. `datasets` 5 counts rows.
    """
    if _ORDERED_SHUFFLE or _Skip is None or not hasattr(stream, "_ex_iterable"):
        return stream
    stream = stream.with_format(None)  # a copy
    stream._ex_iterable = _Skip(
        stream._ex_iterable, 0, block_sources_order_when_shuffling=False, split_when_sharding=True
    )
    return stream


def with_features(dataset: datasets.Dataset, features: datasets.Features) -> datasets.Dataset:
    """Give a `Dataset` other features for the same Arrow table.

    Uses `_indices` (`datasets` 3.6 to 5.2), the rows selected and their order. Without it,
    `Dataset.cast` writes the table to disk once more.
    """
    if not hasattr(dataset, "_indices"):
        return dataset.cast(features)
    info = dataset.info.copy()
    info.features = features
    return datasets.Dataset(
        dataset.data, info=info, split=dataset.split, indices_table=dataset._indices
    )


def cached_file_name(url: str, etag: str | None) -> str | None:
    """Name the file in the download cache of `datasets` that holds a URL's content.

    `datasets.utils.file_utils.hash_url_to_filename`, seen in 3.6.0 to 5.2.0. None without that
    function: then the download manager of `datasets` fetches the parts, which works but starts a
    broken transfer again from zero. `etag` is as sent; None where the cache is to ignore it.
    """
    try:
        from datasets.utils.file_utils import hash_url_to_filename
    except ImportError:
        return None
    return str(hash_url_to_filename(url, etag))


def yaml_of(info: datasets.DatasetInfo) -> dict[str, Any]:
    """Spell features and splits as the YAML of a card has them.

    `DatasetInfo._to_yaml_dict` was seen in datasets 3.6 to 5.2. Without it the card states sizes
    alone; `datasets` takes the features from the Parquet files, where matrices are nested lists.
    """
    sizes = {"download_size": info.download_size, "dataset_size": info.dataset_size}
    values: dict[str, Any] = getattr(info, "_to_yaml_dict", lambda: sizes)()
    return values


# --- torch --------------------------------------------------------------------------------------


def maps_descriptors() -> bool:
    """Tell whether `bytes_of_descriptor` can be called."""
    import torch

    return hasattr(torch.UntypedStorage, "_new_shared_fd_cpu")


def bytes_of_descriptor(descriptor: int, size: int) -> Any:
    """Map a file in memory as a `(size,)` uint8 tensor that other processes get without a copy.

    `UntypedStorage._new_shared_fd_cpu` (seen in torch 2.2 to 2.13) is what PyTorch calls when
    shared memory arrives from another process. Without it, each batch is made in fresh memory.
    """
    import torch

    storage = torch.UntypedStorage._new_shared_fd_cpu(descriptor, size)  # type: ignore[attr-defined]
    return torch.empty(0, dtype=torch.uint8).set_(storage)
