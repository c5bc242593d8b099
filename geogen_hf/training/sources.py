"""What `datasets` is told so that rows come out as tensors, whichever kind of data set it is."""

from __future__ import annotations

from typing import Any

import datasets

from geogen_hf.errors import UsageError, explain
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


def as_tensors(dataset: Any, transform: ToTensors, *, batch_size: int = 8) -> Any:
    """Rows of `dataset` through `transform`, lazily; the images are not decoded before that.

    Args:
        dataset: As for `undecoded`; of the config `sequences` or `views`.
        transform: What to do with the rows.
        batch_size: Rows transformed at a time, of a stream; resuming does a batch again.

    Returns:
        The same kind, whose rows are what `ToTensors` returns.

    Example:
        See `ToTensors`.
    """
    if isinstance(dataset, dict):
        return type(dataset)(
            {
                name: as_tensors(part, transform, batch_size=batch_size)
                for name, part in dataset.items()
            }
        )
    dataset = undecoded(dataset)
    if isinstance(dataset, datasets.IterableDataset):
        return dataset.map(
            transform, batched=True, batch_size=batch_size, remove_columns=dataset.column_names
        )
    return dataset.with_transform(transform)
