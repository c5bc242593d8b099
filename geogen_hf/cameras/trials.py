"""Try candidates for the camera convention, and readings that are wrong on purpose, on pictures.

`geogen_hf.cameras.proof` decides; this module computes the misfits it asks for, each once. Of the
candidate that was proven, `camera_warnings` says what is a little wrong: the numbers are handed out
as published, and the warnings tell how far to trust them.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.cameras.conventions import CANDIDATES, Convention
from geogen_hf.cameras.hull import Silhouettes
from geogen_hf.cameras.poses import FloatArray, as_stack
from geogen_hf.cameras.rigs import Rig, azimuth_deg, geometry_of, read_rig, read_rigs
from geogen_hf.cameras.scores import STANDING_SHARE, CameraWarning, rounded_percent
from geogen_hf.cameras.silhouettes import evenly_spread, silhouette
from geogen_hf.errors import CameraError

logger = logging.getLogger(__name__)

ImageSource = Callable[[int], tuple[Sequence[NDArray[np.uint8]], ArrayLike] | None]
"""The decoded pictures `(H, W, 3)` uint8 of a subject, one a view, and its intrinsics `(V, 3, 3)`
in their pixels, by its index; sizes may vary. None where they cannot be had: then another subject
is looked at."""

FIRST_LOOK = 3
FARTHEST = 9.0
"""Misfit of cameras that could not stand like this round a head."""
#: Of a subject's pictures. With five, shuffled cameras now and then make as good a rig as the right
#: ones (an even circle shifted by one is a turned circle). Time grows with the square of it.
LEAST_VIEWS_SEEN, _MOST_VIEWS = 6, 12
_NULL_SUBJECTS = 64  # whose geometry tells which transposed rotation blocks are worth trying
_NULLS_ADJUSTED = 3
_WORTH_ADJUSTING = 0.08  # pixels of the masks: what fits better has nothing to tell

# In %. Outlines frayed by 1 px of 96 bring corrections of 0.6 % and 1.0 % where nothing is wrong.
_LEAST_SHIFT, _LEAST_SCATTER, _LEAST_FOCAL = 0.5, 0.8, 1.1
_LEAST_SOFTNESS = 0.25
_LEAST_GAIN = 0.3  # of the misfit that corrections take away, else it is the outlines
_LEVEL_ERROR = 0.6  # a shift less certain than this is not told
_SHIFT_ROUNDS = 5

NullReading = tuple[float, tuple[int, ...] | None]
"""A misfit, and the order of the views it was found in; None for transposed rotation blocks."""


@dataclass(frozen=True, eq=False)
class Stored:
    """The matrices of S subjects, as stored; names and numbers of views are for warnings."""

    matrices: FloatArray  # (M, 4, 4), one subject after the other
    starts: NDArray[np.intp]  # (S,) where each subject's begin
    views: NDArray[np.intp]  # (S,) how many it has
    names: Sequence[str]
    view_ids: Sequence[Sequence[int]]

    @classmethod
    def of(
        cls,
        matrices: Sequence[ArrayLike],
        names: Sequence[str] | None = None,
        view_ids: Sequence[Sequence[int]] | None = None,
    ) -> Stored:
        """Check the shapes and join the matrices of all subjects."""
        stacks = [as_stack(each, "stored camera matrices", 4, 4) for each in matrices]
        views = np.array([len(stack) if stack.ndim == 3 else 0 for stack in stacks], dtype=np.intp)
        if not len(views) or not views.all():
            found = stacks[int(np.argmin(views))].shape if stacks else "no subject"
            what = "stored camera matrices cannot be scored"
            raise CameraError(what, expected="(V, 4, 4) for each subject", found=found)
        names = names or [f"subject {index}" for index in range(len(views))]
        view_ids = view_ids or [range(int(count)) for count in views]
        return cls(np.concatenate(stacks), np.cumsum(views) - views, views, names, view_ids)

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

    It is number `index` of those stored, and `silhouettes` are those of its views `rows`.
    """

    def __init__(
        self, stored: Stored, index: int, rows: NDArray[np.intp], silhouettes: Silhouettes
    ) -> None:
        self._stored, self.index, self.rows, self.silhouettes = stored, index, rows, silhouettes
        self.name = stored.names[index]
        self.view_ids = [stored.view_ids[index][row] for row in rows]
        self._matrices = stored.of_subject(index)[rows]
        self.nulls: dict[Convention, NullReading] = {}  # those that were asked for
        # The misfits as stated, and with corrected intrinsics.
        self.plain = cache(partial(self._measure, self.silhouettes.misfit))
        self.adjusted = cache(partial(self._measure, lambda rig: silhouettes.adjust(rig).misfit))

    def read(self, convention: Convention) -> Rig | None:
        """Its cameras under a convention; None if they could not stand like this."""
        return read_rig(self._matrices, convention)

    def _measure(self, misfit: Callable[[Rig], float], convention: Convention) -> float:
        rig = self.read(convention)
        return FARTHEST if rig is None else misfit(rig)

    def corrected(self, convention: Convention) -> float:
        """The misfit with corrected intrinsics; as stated where it is too small to need that."""
        plain = self.plain(convention)
        return self.adjusted(convention) if plain > _WORTH_ADJUSTING else plain

    def null(self, convention: Convention) -> NullReading:
        """The least misfit of all null readings, and which order of the views that is."""
        if convention in self.nulls:
            return self.nulls[convention]
        readings: list[tuple[Rig, tuple[int, ...] | None]] = []
        if (rig := self.read(convention)) is not None:
            for order in _exchanges(rig):
                readings.append((Rig(rig.world_to_camera[list(order)], rig.centre), order))
        blocks = _blocks_transposed(self._matrices)
        others = [read_rig(blocks, block) for block in self._stored.block_conventions]
        readings.extend((other, None) for other in others if other is not None)
        tried = [self.silhouettes.misfit(each) for each, _ in readings]
        few = [readings[place] for place in np.argsort(tried, kind="stable")[:_NULLS_ADJUSTED]]
        adjusted = [(self.silhouettes.adjust(each).misfit, order) for each, order in few]
        best = min([(FARTHEST, None), *adjusted], key=lambda found: found[0])
        return self.nulls.setdefault(convention, best)


def seen_subjects(stored: Stored, images: ImageSource, indices: Sequence[int]) -> list[Seen]:
    """Look at some subjects; keep those that show a head before an even background.

    Each is read in a thread: while one waits for its pictures, others are decoded.
    """

    def see(index: int) -> Seen | None:
        if (found := images(index)) is None:
            return None
        pictures, matrices = found[0], stored.of_subject(index)
        intrinsics = as_stack(found[1], "intrinsics", 3, 3)
        if not len(pictures) == len(intrinsics) == len(matrices):
            raise CameraError(
                "pictures, intrinsics and matrices of a subject do not fit together",
                where=stored.names[index],
                expected=f"{len(matrices)} of each",
                found=f"{len(pictures)} pictures, {len(intrinsics)} intrinsics",
            )
        rows = evenly_spread(len(matrices), _MOST_VIEWS)
        outlines = [silhouette(pictures[row]) for row in rows]
        if all(each.plausible for each in outlines):
            return Seen(stored, index, rows, Silhouettes(outlines, intrinsics[rows]))
        logger.debug("%s: no head before an even background", stored.names[index])
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
    spread = indices[evenly_spread(len(indices), 2 * count)]
    first = evenly_spread(len(spread), FIRST_LOOK)
    rest = np.setdiff1d(np.arange(len(spread)), first)
    return [int(spread[place]) for place in (*first, *rest[::2], *rest[1::2])]


def _exchanges(rig: Rig) -> Iterator[tuple[int, ...]]:
    """Orders of the views: every two exchanged, and all moved on round the circle."""
    count = len(rig.world_to_camera)
    for one, other in itertools.combinations(range(count), 2):
        order = list(range(count))
        order[one], order[other] = other, one
        yield tuple(order)
    up = -rig.world_to_camera[:, 1, :3].mean(axis=0, keepdims=True)
    circle = np.argsort(azimuth_deg(rig.world_to_camera[:, 2, :3], up, np.zeros(count, np.intp)))
    for steps in range(1, count):
        moved = np.empty(count, dtype=np.intp)
        moved[circle] = np.roll(circle, steps)
        yield tuple(moved.tolist())


def _blocks_transposed(matrices: FloatArray) -> FloatArray:
    transposed = np.array(matrices)
    transposed[:, :3, :3] = np.swapaxes(matrices[:, :3, :3], -1, -2)
    return transposed


def camera_warnings(seen: Sequence[Seen], convention: Convention) -> tuple[CameraWarning, ...]:
    """Say what is a little wrong with the cameras of these subjects, as the pictures show it."""
    mirrored = CameraWarning(
        "mirrored",
        "The pictures fit only left-handed camera axes: either the metadata was written so, or the "
        "images are mirrored. The world handed out is mirrored with them, so that projections fit.",
    )
    rigs = {each: rig for each in seen if (rig := each.read(convention)) is not None}
    usual = float(np.median([each.corrected(convention) for each in rigs])) if rigs else 0.0
    odd: list[CameraWarning] = []
    for each in list(rigs):
        if (warning := _odd_subject(each, convention, usual)) is not None:
            odd.append(warning)
            del rigs[each]
    common = _common(rigs, convention) if rigs else ()
    return (*([mirrored] if convention.mirrored else []), *common, *odd)


def _odd_subject(seen: Seen, convention: Convention, usual: float) -> CameraWarning | None:
    """Whether a subject fits worse than others usually do, and exchanged views explain it."""
    own = seen.corrected(convention)
    null, order = seen.nulls.get(convention, (own, None))
    numbers = {"subject_id": seen.name, "misfit": rounded_percent(own)}
    views = [seen.view_ids[row] for row, to in enumerate(order or ()) if row != to]
    if null < 0.6 * own and own - null > 0.2 and views:
        text = (
            f"Views {views[0]} and {views[1]} of {seen.name} look exchanged"
            if len(views) == 2
            else f"The cameras of {seen.name} look shuffled between its views"
        )
        fits = f"misfit {rounded_percent(own):.1f} %, exchanged {rounded_percent(null):.1f} %"
        return CameraWarning("exchanged_views", f"{text} ({fits}).", {**numbers, "views": views})
    if own > max(3 * usual, usual + 0.5):
        text = (
            f"The cameras of {seen.name} do not fit its pictures: its outlines misfit by "
            f"{rounded_percent(own):.1f} %, those of other subjects by "
            f"{rounded_percent(usual):.1f} %."
        )
        return CameraWarning("odd_subject", text, numbers)
    return None


def _common(rigs: dict[Seen, Rig], convention: Convention) -> Iterator[CameraWarning]:
    stated = float(np.mean([each.plain(convention) for each in rigs]))
    corrected = float(np.mean([each.corrected(convention) for each in rigs]))
    if stated - corrected > max(_LEAST_GAIN * stated, 0.02):
        yield from _intrinsics([(each.silhouettes, rig) for each, rig in rigs.items()])
    if corrected > _LEAST_SOFTNESS:
        text = (
            f"Outlines fit the cameras to {rounded_percent(corrected):.2f} % of the picture only, "
            "which is usual for soft hair; smaller errors of the cameras cannot be seen."
        )
        yield CameraWarning("soft_outlines", text, {"misfit": rounded_percent(corrected)})


def _intrinsics(subjects: Sequence[tuple[Silhouettes, Rig]]) -> Iterator[CameraWarning]:
    told = [
        rounded_percent(shift) if rounded_percent(error) < _LEVEL_ERROR else None
        for shift, error in zip(*_common_shift(subjects), strict=True)
    ]
    if any(value is not None and abs(value) >= _LEAST_SHIFT for value in told):
        x, y = ("?" if v is None else f"{v:+.1f} %" for v in told)
        unknown = " (? cannot be measured on this rig)" if None in told else ""
        yield CameraWarning(
            "principal_point",
            f"The stated principal point is off by about ({x}, {y}) of the picture's longer side"
            f"{unknown}: the true one is that much further right and down.",
            {"x": told[0], "y": told[1]},
        )
    adjusted = [silhouettes.adjust(rig, stiffness=0.1) for silhouettes, rig in subjects]
    corrections = np.concatenate([each.corrections for each in adjusted])
    scatter = rounded_percent(float(np.sqrt(corrections[:, :2].var(axis=0).mean())))
    focal = round(100 * float(corrections[:, 2].std()), 3)
    if scatter >= _LEAST_SCATTER:
        yield CameraWarning(
            "scattered_views",
            f"Single views are off by about {scatter:.1f} % of the picture, each in another "
            "direction: principal points differ between views, or rotations are imprecise.",
            {"scatter": scatter},
        )
    if focal >= _LEAST_FOCAL and focal >= 2 * scatter:
        yield CameraWarning(
            "focal_lengths",
            f"The stated focal lengths seem to be an average: views differ from it by at least "
            f"{focal:.1f} % (standard deviation).",
            {"focal": focal},
        )


def _common_shift(subjects: Sequence[tuple[Silhouettes, Rig]]) -> tuple[FloatArray, FloatArray]:
    """The shift of all principal points that fits best, and its standard error, pixels of masks."""
    shift = np.zeros(2)
    for _ in range(_SHIFT_ROUNDS):
        parts = [silhouettes.common_shift(rig, shift) for silhouettes, rig in subjects]
        matrix = sum((part[0] for part in parts), 1e-3 * np.eye(2))
        shift = shift + np.linalg.solve(matrix, sum(part[1] for part in parts)).clip(-2, 2)
    # Pixels of an outline err together: about one in ten counts.
    return shift, np.sqrt(10 * np.diag(np.linalg.inv(matrix)))
