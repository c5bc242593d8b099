"""Which views of an identity to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geogen_hf.errors import UsageError, explain

Indices = NDArray[np.intp]
"""Places in a row, not numbers of views."""


class ViewChoice(Protocol):
    """Chooses among the views of a row; picklable."""

    def choose(self, count: int, chance: np.random.Generator) -> Indices:
        """Choose among `count` views.

        Args:
            count: Views that the row has.
            chance: To draw from, if anything is drawn.

        Returns:
            `(V,)` indices below `count`.

        Raises:
            UsageError: There are too few.
        """
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

    Example:
        >>> RandomViews(3).choose(7, np.random.default_rng(0))
        array([3, 4, 6])
    """

    views: int

    def __post_init__(self) -> None:
        _check_count("RandomViews.views", self.views)

    def choose(self, count: int, chance: np.random.Generator) -> Indices:
        """See `ViewChoice.choose`."""
        _check_enough(self.views, count)
        return np.sort(chance.choice(count, self.views, replace=False))


@dataclass(frozen=True)
class SourceTargetViews:
    """Random source views, then random target views; none of them twice.

    Of the `V = sources + targets` views that come out, the first `sources` are the sources.

    Attributes:
        sources: How many are given to a model.
        targets: How many it is to predict.

    Example:
        >>> SourceTargetViews(1, 2).choose(7, np.random.default_rng(0))
        array([2, 4, 3])
    """

    sources: int = 1
    targets: int = 1

    def __post_init__(self) -> None:
        _check_count("SourceTargetViews.sources", self.sources)
        _check_count("SourceTargetViews.targets", self.targets)

    def choose(self, count: int, chance: np.random.Generator) -> Indices:
        """See `ViewChoice.choose`."""
        _check_enough(self.sources + self.targets, count)
        return chance.permutation(count)[: self.sources + self.targets]


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(explain(f"bad {name}", expected="1 or more", found=value))


def _check_enough(wanted: int, count: int) -> None:
    if wanted > count:
        raise UsageError(
            explain(
                "a row has too few views",
                expected=f"{wanted} or more",
                found=count,
                remedy="choose fewer views, or use the config 'sequences', or filter the rows",
            )
        )
