"""What is drawn at random for a row: which views, and the generators for everything else.

All depends on the seed, the epoch and the subject alone, so every worker and node draws the same.
Open this module to add another way of choosing views.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from geogen_hf.errors import UsageError

Indices = NDArray[np.intp]
"""Places in a row, not numbers of views."""


class ViewChoice(Protocol):
    """Chooses among the views of a row; picklable."""

    def choose(self, count: int, chance: np.random.Generator) -> Indices:
        """Choose `(V,)` indices below `count`, the number of the row's views, or `UsageError`."""
        ...


@dataclass(frozen=True)
class AllViews:
    """Every view, in the row's order.

    Example:
        >>> AllViews().choose(4, np.random.default_rng(0))
        array([0, 1, 2, 3])
    """

    def choose(self, count: int, chance: np.random.Generator) -> Indices:
        """See `ViewChoice.choose`."""
        return np.arange(count)


@dataclass(frozen=True)
class RandomViews:
    """A random subset of the views, in the row's order.

    Attributes:
        views: How many.

    Raises:
        UsageError: `views` is not an integer, or below 1.

    Example:
        >>> RandomViews(3).choose(7, np.random.default_rng(0))
        array([3, 4, 6])
    """

    views: int

    def __post_init__(self) -> None:
        check_count("RandomViews.views", self.views)

    def choose(self, count: int, chance: np.random.Generator) -> Indices:
        """See `ViewChoice.choose`."""
        _check_enough(self.views, count)
        return np.sort(chance.choice(count, self.views, replace=False))


@dataclass(frozen=True)
class SourceTargetViews:
    """Random source views, then random target views: pairs for novel view synthesis.

    Of the `V = sources + targets` views of each row, the first `sources` are the sources and the
    others the targets; no view is both. So a batch is divided along its second dimension, images
    and cameras alike.

    Attributes:
        sources: How many views are given to a model.
        targets: How many views it is to predict.

    Raises:
        UsageError: One of them is not an integer, or below 1.

    Example:
        >>> import geogen
        >>> from torch.utils.data import DataLoader
        >>> from geogen_hf.training import ToTensors, as_tensors, collate
        >>> rows = geogen.load(split="train", data_dir="parts", streaming=True)
        >>> stream = as_tensors(rows, ToTensors(views=SourceTargetViews(sources=2, targets=1)))
        >>> batch = next(iter(DataLoader(stream, batch_size=2, collate_fn=collate)))
        >>> source_images, target_images = batch["images"].split([2, 1], dim=1)
        >>> source_poses, target_poses = batch["extrinsics"].split([2, 1], dim=1)
        >>> source_images.shape, target_poses.shape
        (torch.Size([2, 2, 3, 32, 32]), torch.Size([2, 1, 4, 4]))
    """

    sources: int = 1
    targets: int = 1

    def __post_init__(self) -> None:
        check_count("SourceTargetViews.sources", self.sources)
        check_count("SourceTargetViews.targets", self.targets)

    def choose(self, count: int, chance: np.random.Generator) -> Indices:
        """See `ViewChoice.choose`."""
        _check_enough(self.sources + self.targets, count)
        return chance.permutation(count)[: self.sources + self.targets]


def check_count(name: str, value: object) -> None:
    """Refuse what is not an integer of 1 or more."""
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"bad {name}", expected="an integer, 1 or more", found=repr(value))


def _check_enough(wanted: int, count: int) -> None:
    if wanted > count:
        raise UsageError(
            "a row has too few views",
            expected=f"{wanted} or more",
            found=count,
            remedy="choose fewer views, or use the config 'sequences', or filter the rows",
        )


class Epoch:
    """The number of the current epoch, seen by workers that are already running.

    Kept in shared memory, as `datasets` keeps its own, so that `persistent_workers` see it change.
    """

    def __init__(self) -> None:
        self._shared = torch.tensor(0, dtype=torch.int64)
        self._shared.share_memory_()  # type: ignore[no-untyped-call]

    def set(self, number: int) -> None:
        """Move on to epoch `number`, here and in every worker that has a copy."""
        self._shared.fill_(number)

    def __int__(self) -> int:
        return int(self._shared)

    def __repr__(self) -> str:
        return f"Epoch({int(self)})"

    def __deepcopy__(self, memo: dict[int, object]) -> Epoch:
        return self  # datasets copies transforms deeply: the copies keep the same epoch


def draw(seed: int, epoch: int, subject_id: str, purpose: str) -> np.random.Generator:
    """A random generator that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{subject_id}:{purpose}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
