"""Try candidates for the camera convention, and readings that are wrong on purpose, on pictures.

`geogen_hf.cameras.proof` decides; this module computes the misfits it asks for, each once.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.cameras.conventions import CANDIDATES, Convention, canonicalise
from geogen_hf.cameras.hull import Silhouettes
from geogen_hf.cameras.poses import FloatArray, as_stack
from geogen_hf.cameras.rigs import geometry_of, measure_rigs, read_rigs
from geogen_hf.cameras.scores import STANDING_SHARE
from geogen_hf.cameras.silhouettes import silhouette
from geogen_hf.errors import CameraError, explain

logger = logging.getLogger(__name__)

ImageSource = Callable[[int], Sequence[NDArray[np.uint8]] | None]
"""The decoded pictures `(H, W, 3)` uint8 of a subject, one a view, by its index; sizes may vary.
None where they cannot be had: then another subject is looked at."""

FIRST_LOOK = 3
FARTHEST = 9.0
"""Misfit of cameras that could not stand like this round a head."""
#: Of a subject's pictures. With five, shuffled cameras now and then make as good a rig as the right
#: ones (an even circle shifted by one is a turned circle). Time grows with the square of it.
LEAST_VIEWS_SEEN, _MOST_VIEWS = 6, 12
_NULL_SUBJECTS = 64  # whose geometry tells which transposed rotation blocks are worth trying
_NULLS_ADJUSTED = 3
_WORTH_ADJUSTING = 0.08  # pixels of the masks: what fits better has nothing to tell

NullReading = tuple[float, tuple[int, ...] | None]
"""A misfit, and the order of the views it was found in; None for transposed rotation blocks."""


class Rig(NamedTuple):
    """Cameras `(V, 4, 4)` of a subject, OpenCV axes, and the `(3,)` point that they look at."""

    world_to_camera: FloatArray
    centre: FloatArray


def read_rig(matrices: FloatArray, convention: Convention) -> Rig | None:
    """Read `(V, 4, 4)` matrices as stored; None if the cameras could not stand like this."""
    world_to_camera = canonicalise(matrices, convention)
    rigs = measure_rigs(world_to_camera, np.zeros(1, dtype=np.intp))
    return Rig(world_to_camera, rigs.centre[0]) if rigs.sound[0] else None


@dataclass(frozen=True, eq=False)
class Stored:
    """The matrices of all subjects, as stored.

    Attributes:
        matrices: `(M, 4, 4)`, one subject after the other.
        starts: `(S,)` where each subject's begin.
        views: `(S,)` how many it has.
    """

    matrices: FloatArray
    starts: NDArray[np.intp]
    views: NDArray[np.intp]

    @classmethod
    def of(cls, matrices: Sequence[ArrayLike]) -> Stored:
        """Check the shapes and join the matrices of all subjects."""
        stacks = [as_stack(each, "stored camera matrices", 4, 4) for each in matrices]
        views = np.array([len(stack) if stack.ndim == 3 else 0 for stack in stacks], dtype=np.intp)
        if not len(views) or not views.all():
            found = stacks[int(np.argmin(views))].shape if stacks else "no subject"
            what = "stored camera matrices cannot be scored"
            raise CameraError(explain(what, expected="(V, 4, 4) for each subject", found=found))
        return cls(np.concatenate(stacks), np.cumsum(views) - views, views)

    def of_subject(self, index: int) -> FloatArray:
        """The `(V, 4, 4)` matrices of one subject."""
        start = self.starts[index]
        return self.matrices[start : start + self.views[index]]

    @cached_property
    def block_conventions(self) -> list[Convention]:
        """Candidates that make sound rigs of matrices whose rotation blocks are transposed."""
        few = self.starts[:_NULL_SUBJECTS]
        end = int(few[-1] + self.views[len(few) - 1])
        readings = read_rigs(_blocks_transposed(self.matrices[:end]), few, CANDIDATES)
        return [c for c in CANDIDATES if readings[geometry_of(c)][1].sound >= STANDING_SHARE]


class Seen:
    """A subject whose pictures were looked at; each of its misfits is computed once, if asked for.

    Args:
        stored: All subjects.
        index: Which one this is.
        rows: `(V,)` which of its views were looked at.
        silhouettes: Of these views.

    Attributes:
        nulls: The null readings that were asked for, by convention.
    """

    def __init__(
        self, stored: Stored, index: int, rows: NDArray[np.intp], silhouettes: Silhouettes
    ) -> None:
        self._stored, self.index, self.rows, self.silhouettes = stored, index, rows, silhouettes
        self._matrices = stored.of_subject(index)[rows]
        self.nulls: dict[Convention, NullReading] = {}
        self.plain, self.adjusted = cache(self._plain), cache(self._adjusted)

    def read(self, convention: Convention) -> Rig | None:
        """Its cameras under a convention; None if they could not stand like this."""
        return read_rig(self._matrices, convention)

    def _plain(self, convention: Convention) -> float:
        """The misfit as stated."""
        rig = self.read(convention)
        return FARTHEST if rig is None else self.silhouettes.misfit(*rig)

    def _adjusted(self, convention: Convention) -> float:
        """The misfit with corrected intrinsics."""
        rig = self.read(convention)
        return FARTHEST if rig is None else self.silhouettes.adjust(*rig).misfit

    def corrected(self, convention: Convention) -> float:
        """The misfit with corrected intrinsics, or as stated where that leaves nothing to tell."""
        plain = self.plain(convention)
        return self.adjusted(convention) if plain > _WORTH_ADJUSTING else plain

    def null(self, convention: Convention) -> NullReading:
        """The least misfit of all null readings, and which order of the views that is."""
        if convention not in self.nulls:
            self.nulls[convention] = self._best_null(convention)
        return self.nulls[convention]

    def _best_null(self, convention: Convention) -> NullReading:
        readings: list[tuple[Rig, tuple[int, ...] | None]] = []
        if (rig := self.read(convention)) is not None:
            for order in _exchanges(rig):
                readings.append((Rig(rig.world_to_camera[list(order)], rig.centre), order))
        blocks = _blocks_transposed(self._matrices)
        others = [read_rig(blocks, block) for block in self._stored.block_conventions]
        readings.extend((other, None) for other in others if other is not None)
        tried = [self.silhouettes.misfit(*each) for each, _ in readings]
        few = [readings[place] for place in np.argsort(tried, kind="stable")[:_NULLS_ADJUSTED]]
        adjusted = [(self.silhouettes.adjust(*each).misfit, order) for each, order in few]
        return min([(FARTHEST, None), *adjusted], key=lambda found: found[0])


def seen_subjects(
    stored: Stored,
    intrinsics_px: Callable[[int], ArrayLike],
    images: ImageSource,
    indices: Sequence[int],
    subject_ids: Sequence[str],
) -> list[Seen]:
    """Those of some subjects whose pictures have a head before an even background.

    Each is read in a thread: while one waits for its pictures, others are decoded.
    """

    def see(index: int) -> Seen | None:
        pictures = images(index)
        if pictures is None:
            return None
        matrices = stored.of_subject(index)
        intrinsics = as_stack(intrinsics_px(index), "intrinsics", 3, 3)
        if not len(pictures) == len(intrinsics) == len(matrices):
            raise CameraError(
                explain(
                    "pictures, intrinsics and matrices of a subject do not fit together",
                    where=subject_ids[index],
                    expected=f"{len(matrices)} of each",
                    found=f"{len(pictures)} pictures, {len(intrinsics)} intrinsics",
                )
            )
        rows = np.unique(np.linspace(0, len(matrices) - 1, _MOST_VIEWS).round().astype(np.intp))
        outlines = [silhouette(pictures[row]) for row in rows]
        if all(each.plausible for each in outlines):
            return Seen(stored, index, rows, Silhouettes(outlines, intrinsics[rows]))
        logger.debug("%s: no head before an even background", subject_ids[index])
        return None

    with ThreadPoolExecutor(FIRST_LOOK) as threads:
        return [seen for seen in threads.map(see, indices) if seen is not None]


def order_of_subjects(
    usable: NDArray[np.bool_], pictured: Collection[int] | None, count: int
) -> list[int]:
    """Whose pictures to look at: `count` spread evenly over the release, then as many spares.

    The first three are spread as well: most releases are settled by them.
    """
    indices = np.flatnonzero(usable)
    if pictured is not None:
        indices = np.intersect1d(indices, list(pictured))
    if not len(indices):
        return []
    spread = np.unique(np.linspace(0, len(indices) - 1, 2 * count).round().astype(np.intp))
    first = np.unique(np.linspace(0, len(spread) - 1, FIRST_LOOK).round().astype(np.intp))
    rest = np.setdiff1d(np.arange(len(spread)), first)
    return [int(indices[spread[place]]) for place in (*first, *rest[::2], *rest[1::2])]


def _exchanges(rig: Rig) -> Iterator[tuple[int, ...]]:
    """Orders of the views: every two exchanged, and all moved on round the circle."""
    count = len(rig.world_to_camera)
    for one, other in itertools.combinations(range(count), 2):
        order = list(range(count))
        order[one], order[other] = other, one
        yield tuple(order)
    rotation = rig.world_to_camera[:, :3, :3]
    up = -rotation[:, 1].mean(axis=0)
    ahead = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    x, y = rotation[:, 2] @ ahead, rotation[:, 2] @ np.cross(up, ahead)
    circle = np.argsort(np.arctan2(y / max(float(np.linalg.norm(up)), 1e-12), x))
    for steps in range(1, count):
        moved = np.empty(count, dtype=np.intp)
        moved[circle] = np.roll(circle, steps)
        yield tuple(moved.tolist())


def _blocks_transposed(matrices: FloatArray) -> FloatArray:
    transposed = np.array(matrices)
    transposed[:, :3, :3] = np.swapaxes(matrices[:, :3, :3], -1, -2)
    return transposed
