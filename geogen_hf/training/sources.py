"""What `datasets` is told so that rows come out as tensors, whichever kind of data set it is."""

from __future__ import annotations

from typing import Any

import datasets

from geogen_hf.errors import UsageError, explain
from geogen_hf.training.ahead import reading_ahead
from geogen_hf.training.order import in_order
from geogen_hf.training.transform import ToTensors


def undecoded(dataset: Any) -> Any:
    """Leave images encoded: `{"bytes": …, "path": …}` where `datasets` would give pictures.

    Costs nothing: no row is read, copied or cached anew.

    Args:
        dataset: A `Dataset`, an `IterableDataset`, or a dictionary of them.

    Returns:
        The same kind.

    Raises:
        UsageError: It does not know its features, as after `map`.

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
            explain("a data set does not know its features", remedy="call undecoded before map")
        )
    features = datasets.Features(
        {name: _encoded(feature) for name, feature in dataset.features.items()}
    )
    if isinstance(dataset, datasets.IterableDataset):
        return dataset.cast(features)
    # Dataset.cast would write all images to disk once more, to arrive at the same Arrow table.
    info = dataset.info.copy()
    info.features = features
    return datasets.Dataset(
        dataset.data, info=info, split=dataset.split, indices_table=dataset._indices
    )


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
    """Rows of `dataset` through `transform`, lazily; images are not decoded before that.

    A stream is read ahead in a thread, by some 24 MiB, so that waiting for bytes and decoding take
    place at the same time.

    Args:
        dataset: As for `undecoded`; of the config `sequences` or `views`. Split over nodes before,
            if at all.
        transform: What to do with the rows.
        shuffle_block: Shuffle a stream: the order of its shards, and the rows within blocks of so
            many, which each worker holds encoded in memory. None for the stored order. Depends on
            the transform's seed and epoch; the shards' order follows `set_epoch` of the stream too.
        batch_size: Rows transformed at a time, of a stream; resuming does a batch again.

    Returns:
        The same kind, whose rows are what `ToTensors` returns. It goes on from its `state_dict`
        with exactly the rows that are missing.

    Raises:
        UsageError: `shuffle_block` for a `Dataset`, which a sampler shuffles.

    Example:
        See `ToTensors`.
    """
    if isinstance(dataset, dict):
        parts = {
            name: as_tensors(part, transform, shuffle_block=shuffle_block, batch_size=batch_size)
            for name, part in dataset.items()
        }
        return type(dataset)(parts)
    dataset = undecoded(dataset)
    if isinstance(dataset, datasets.IterableDataset):
        columns = dataset.column_names
        rows = in_order(reading_ahead(dataset), shuffle_block, transform.seed, transform.epoch)
        return rows.map(transform, batched=True, batch_size=batch_size, remove_columns=columns)
    if shuffle_block is not None:
        raise UsageError(
            explain(
                "shuffle_block is for streams",
                remedy="pass a sampler, or shuffle=True, to the DataLoader",
            )
        )
    return dataset.with_transform(transform)
