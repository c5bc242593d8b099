"""Try candidates for the camera convention, and readings that are wrong on purpose, on pictures.

`geogen_hf.cameras.proof` decides; this module computes the misfits it asks for, each once.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.cameras.conventions import CANDIDATES, Convention, canonicalise
from geogen_hf.cameras.deviations import Looked
from geogen_hf.cameras.hull import Adjusted, Silhouettes
from geogen_hf.cameras.poses import FloatArray, as_stack
from geogen_hf.cameras.rigs import geometry_of, measure_rigs, read_rigs
from geogen_hf.cameras.scores import STANDING_SHARE
from geogen_hf.cameras.silhouettes import silhouette
from geogen_hf.errors import CameraError, explain

logger = logging.getLogger(__name__)

Pictures = Sequence[NDArray[np.uint8]]
ImageSource = Mapping[int, Pictures | None] | Callable[[int], Pictures | None]
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


@dataclass(frozen=True, eq=False)
class Stored:
    """The matrices of all subjects, as stored.

    Attributes:
        matrices: `(M, 4, 4)`, one subject after the other.
        starts: `(S,)` where each subject's begin.
        views: `(S,)` how many it has.
        subject_ids: S names.
        view_ids: Numbers of each subject's views.
    """

    matrices: FloatArray
    starts: NDArray[np.intp]
    views: NDArray[np.intp]
    subject_ids: Sequence[str]
    view_ids: Sequence[Sequence[int]]

    @classmethod
    def of(
        cls,
        matrices: Sequence[ArrayLike],
        subject_ids: Sequence[str] | None,
        view_ids: Sequence[Sequence[int]] | None,
    ) -> Stored:
        """Check the shapes and join the matrices of all subjects."""
        stacks = [as_stack(each, "stored camera matrices", 4, 4) for each in matrices]
        views = np.array([len(stack) if stack.ndim == 3 else 0 for stack in stacks], dtype=np.intp)
        if not len(views) or not views.all():
            found = stacks[int(np.argmin(views))].shape if stacks else "no subject"
            what = "stored camera matrices cannot be scored"
            raise CameraError(explain(what, expected="(V, 4, 4) for each subject", found=found))
        names = subject_ids or [f"subject {index}" for index in range(len(stacks))]
        numbers = view_ids or [range(int(count)) for count in views]
        return cls(np.concatenate(stacks), np.cumsum(views) - views, views, names, numbers)

    def of_subject(self, index: int) -> FloatArray:
        """The `(V, 4, 4)` matrices of one subject."""
        start = self.starts[index]
        return self.matrices[start : start + self.views[index]]


def order_of_subjects(usable: NDArray[np.bool_], images: ImageSource, count: int) -> list[int]:
    """Whose pictures to look at: `count` spread evenly over the release, then as many spares.

    The first three are spread as well: most releases are settled by them.
    """
    indices = np.flatnonzero(usable)
    if isinstance(images, Mapping):
        indices = np.intersect1d(indices, list(images))
    if not len(indices):
        return []
    spread = np.unique(np.linspace(0, len(indices) - 1, 2 * count).round().astype(np.intp))
    first = np.unique(np.linspace(0, len(spread) - 1, FIRST_LOOK).round().astype(np.intp))
    rest = np.setdiff1d(np.arange(len(spread)), first)
    return [int(indices[spread[place]]) for place in (*first, *rest[::2], *rest[1::2])]


@dataclass(frozen=True, eq=False)
class Seen:
    """A subject whose pictures were looked at.

    Attributes:
        index: Of the subject.
        rows: `(V,)` which of its views these are.
        matrices: `(V, 4, 4)` as stored.
        silhouettes: Of the views.
    """

    index: int
    rows: NDArray[np.intp]
    matrices: FloatArray
    silhouettes: Silhouettes

    def read(self, convention: Convention, matrices: FloatArray | None = None) -> _Read | None:
        """Its cameras under a convention; None if they could not stand like this."""
        stored = self.matrices if matrices is None else matrices
        world_to_camera = canonicalise(stored, convention)
        rigs = measure_rigs(world_to_camera, np.zeros(1, dtype=np.intp))
        return _Read(world_to_camera, rigs.centre[0]) if rigs.sound[0] else None


@dataclass(frozen=True, eq=False)
class _Read:
    world_to_camera: FloatArray
    centre: FloatArray


def with_silhouettes(
    stored: Stored,
    intrinsics_px: Sequence[ArrayLike],
    images: ImageSource,
    order: Sequence[int],
) -> Iterator[Seen]:
    """The subjects whose pictures have a head before an even background, read when asked for."""
    for index in order:
        pictures = images[index] if isinstance(images, Mapping) else images(index)
        if pictures is None:
            continue
        matrices = stored.of_subject(index)
        intrinsics = as_stack(intrinsics_px[index], "intrinsics", 3, 3)
        if not len(pictures) == len(intrinsics) == len(matrices):
            raise CameraError(
                explain(
                    "pictures, intrinsics and matrices of a subject do not fit together",
                    where=stored.subject_ids[index],
                    expected=f"{len(matrices)} of each",
                    found=f"{len(pictures)} pictures, {len(intrinsics)} intrinsics",
                )
            )
        few = np.unique(np.linspace(0, len(matrices) - 1, _MOST_VIEWS).round().astype(np.intp))
        outlines = [silhouette(pictures[view]) for view in few]
        if all(each.plausible for each in outlines):
            yield Seen(index, few, matrices[few], Silhouettes(outlines, intrinsics[few]))
        else:
            logger.debug("%s: no head before an even background", stored.subject_ids[index])


class Trials:
    """Misfits of candidates and of null readings, each computed once, when it is asked for."""

    def __init__(self, stored: Stored, candidates: Sequence[Convention]) -> None:
        self.stored = stored
        self.candidates = candidates
        self.seen: list[Seen] = []
        self._plain: dict[tuple[int, Convention], float] = {}
        self._adjusted: dict[tuple[int, Convention], Adjusted] = {}
        self._nulls: dict[tuple[int, Convention], NullReading] = {}
        self._blocks: list[Convention] | None = None

    def plain(self, seen: Seen, convention: Convention) -> float:
        """The misfit as stated."""
        key = seen.index, convention
        if key not in self._plain:
            read = seen.read(convention)
            self._plain[key] = (
                FARTHEST
                if read is None
                else seen.silhouettes.misfit(read.world_to_camera, read.centre)
            )
        return self._plain[key]

    def adjusted(self, seen: Seen, convention: Convention) -> Adjusted:
        """The misfit with corrected intrinsics, and the corrections."""
        key = seen.index, convention
        if key not in self._adjusted:
            read = seen.read(convention)
            self._adjusted[key] = (
                Adjusted(FARTHEST, np.zeros((len(seen.matrices), 3)))
                if read is None
                else seen.silhouettes.adjust(read.world_to_camera, read.centre)
            )
        return self._adjusted[key]

    def null(self, seen: Seen, convention: Convention) -> NullReading:
        """The least misfit of all null readings, and which order of the views that is.

        None stands for transposed rotation blocks.
        """
        key = seen.index, convention
        if key not in self._nulls:
            self._nulls[key] = self._best_null(seen, convention)
        return self._nulls[key]

    def _best_null(self, seen: Seen, convention: Convention) -> NullReading:
        read = seen.read(convention)
        readings: list[tuple[_Read, tuple[int, ...] | None]] = []
        if read is not None:
            for order in _exchanges(read):
                moved = _Read(read.world_to_camera[list(order)], read.centre)
                readings.append((moved, order))
        blocks = _blocks_transposed(seen.matrices)
        others = [seen.read(block, blocks) for block in self._block_conventions()]
        readings.extend((other, None) for other in others if other is not None)
        misfit, adjust = seen.silhouettes.misfit, seen.silhouettes.adjust
        tried = [misfit(each.world_to_camera, each.centre) for each, _ in readings]
        best: NullReading = (FARTHEST, None)
        for place in np.argsort(tried, kind="stable")[:_NULLS_ADJUSTED]:
            each, order_ = readings[int(place)]
            found = adjust(each.world_to_camera, each.centre).misfit
            best = min(best, (found, order_), key=lambda pair: pair[0])
        return best

    def _block_conventions(self) -> list[Convention]:
        """Candidates that make sound rigs of matrices whose rotation blocks are transposed."""
        if self._blocks is None:
            few = self.stored.starts[:_NULL_SUBJECTS]
            end = int(few[-1] + self.stored.views[len(few) - 1])
            blocks = _blocks_transposed(self.stored.matrices[:end])
            readings = read_rigs(blocks, few, CANDIDATES)
            self._blocks = [
                candidate
                for candidate in CANDIDATES
                if readings[geometry_of(candidate)].geometry.sound >= STANDING_SHARE
            ]
        return self._blocks

    def looked(self, convention: Convention) -> list[Looked]:
        """Everything measured on the subjects under the winner, for warnings."""
        found = []
        for seen in self.seen:
            read = seen.read(convention)
            if read is None:
                continue
            numbers, misfit = self.stored.view_ids[seen.index], self.plain(seen, convention)
            found.append(
                Looked(
                    subject_id=self.stored.subject_ids[seen.index],
                    view_ids=tuple(numbers[row] for row in seen.rows),
                    silhouettes=seen.silhouettes,
                    world_to_camera=read.world_to_camera,
                    centre=read.centre,
                    misfit=misfit,
                    adjusted=self.adjusted(seen, convention)
                    if misfit > _WORTH_ADJUSTING
                    else Adjusted(misfit, np.zeros((len(seen.matrices), 3))),
                    null=self._nulls.get((seen.index, convention)),
                )
            )
        return found


def _exchanges(read: _Read) -> Iterator[tuple[int, ...]]:
    """Orders of the views: every two exchanged, and all moved on round the circle."""
    count = len(read.world_to_camera)
    for one, other in itertools.combinations(range(count), 2):
        order = list(range(count))
        order[one], order[other] = other, one
        yield tuple(order)
    rotation = read.world_to_camera[:, :3, :3]
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
