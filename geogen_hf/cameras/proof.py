"""Find out which convention stored camera matrices are in, from their geometry and the pictures.

Geometry of all subjects rules candidates out; silhouettes of three, six or twelve subjects decide
between the rest. A candidate wins not by an absolute misfit, since outlines are soft and intrinsics
a little wrong, but by how much better it is than everything else (`_objection`), its **null
readings** among them: the same cameras with two views exchanged, moved on round the circle, or with
their rotation blocks transposed. They suffer from the same blur and the same lens, so one that fits
better shows that the cameras belong to other views. docs/cameras.md explains it to users, and
`python -m benchmarks.evidence` measures it on rendered heads.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from geogen_hf.cameras.conventions import CANDIDATES, Convention, Direction, is_improper
from geogen_hf.cameras.rigs import LEAST_VIEWS, geometry_of, read_rigs
from geogen_hf.cameras.scores import (
    SOUND_SHARE,
    STANDING_SHARE,
    ConventionResult,
    ConventionScore,
    percent,
)
from geogen_hf.cameras.trials import (
    FARTHEST,
    FIRST_LOOK,
    LEAST_VIEWS_SEEN,
    ImageSource,
    Seen,
    Stored,
    camera_warnings,
    order_of_subjects,
    seen_subjects,
)

logger = logging.getLogger(__name__)

MOST_SUBJECTS = 12
# Thresholds, in pixels of the masks (of 96) and shares. Measured by `benchmarks.evidence`: right
# cameras come to 0.02 … 0.05 as stated where nothing is wrong, and adjusted to 0.5 at most, with
# 0.02 … 0.58 of the second's misfit; wrong ones to 0.4 and more, and 0.63 and more of the second's.
_CLEAR_MISFIT, _CLEAR_RATIO = 0.12, 0.25
_MOST_MISFIT, MOST_RATIO, _MOST_RATIO_OF_FEW = 0.8, 0.62, 0.4
_LEAST_VOTES = 0.75
_ENOUGH_SUBJECTS = 4
_LEAST_NULL_RATIO = 1.0
_NULL_FLOOR = 0.02


def score_conventions(
    matrices: Sequence[ArrayLike],
    images: ImageSource | None = None,
    *,
    pictured: Collection[int] | None = None,
    candidates: Sequence[Convention] = CANDIDATES,
    stated_direction: Direction | None = None,
    pixel_subjects: int = MOST_SUBJECTS,
    subject_ids: Sequence[str] | None = None,
    view_ids: Sequence[Sequence[int]] | None = None,
) -> ConventionResult:
    """Score every candidate convention, and say which one is right if that can be said.

    Args:
        matrices: `(V, 4, 4)` for each subject, as stored; V may vary.
        images: Asked for a few subjects only, in threads, and only once geometry has left more than
            nothing. Without, there is geometry only, and no winner.
        pictured: Subjects that have pictures; None for all.
        candidates: What to choose from.
        stated_direction: What a key of the metadata says; believed, and checked.
        pixel_subjects: How many subjects' pictures to look at, at most.
        subject_ids: For warnings, as the next.
        view_ids: Numbers of the views of each subject; their places without.

    Raises:
        CameraError: Shapes are wrong or do not fit together.
        UsageError: A picture is not `(H, W, 3)` uint8.

    Example:
        >>> from geogen_hf.sample import render_view, subject_cameras
        >>> from geogen_hf.cameras.conventions import express
        >>> ids = ["subj_00000", "subj_00001"]
        >>> cameras = [subject_cameras(name, views=7, size=32) for name in ids]
        >>> stored = [express(extrinsics, CANDIDATES[3]) for extrinsics, _ in cameras]
        >>> def images(i):
        ...     pictures = [render_view(ids[i], view, views=7, size=32) for view in range(7)]
        ...     return pictures, cameras[i][1]
        >>> print(score_conventions(stored, images).convention)
        camera_to_world opengl
    """
    stored = Stored.of(matrices, subject_ids, view_ids)
    readings = read_rigs(stored.matrices, stored.starts, candidates)
    scores = [ConventionScore(c, readings[geometry_of(c)][1]) for c in candidates]
    seen: list[Seen] = []
    subjects = int(np.count_nonzero(stored.views >= LEAST_VIEWS))
    outcome = _decide(scores, seen, subjects, stated_direction)
    standing = [score.convention for score in scores if score.standing]
    if standing and images is not None:
        usable = np.any([readings[geometry_of(c)][0] for c in standing], axis=0)
        usable &= stored.views >= LEAST_VIEWS_SEEN
        order = order_of_subjects(usable, pictured, pixel_subjects)
        look = min(FIRST_LOOK, pixel_subjects)
        while order:
            while order and (missing := look - len(seen)):
                seen += seen_subjects(stored, images, order[:missing])
                del order[:missing]
            outcome = _decide(scores, seen, subjects, stated_direction)
            if outcome.settled or outcome.contradicted or look >= pixel_subjects:
                break
            look = min(2 * look, pixel_subjects)
        outcome = _explained(outcome, seen)
    logger.info("camera convention: %s", outcome.reason)
    if outcome.convention is None:
        return outcome
    return replace(
        outcome,
        warnings=camera_warnings(seen, outcome.convention),
        mirrored_world=bool(is_improper(stored.matrices[0]) != outcome.convention.mirrored),
    )


def _decide(
    scores: Sequence[ConventionScore],
    seen: Sequence[Seen],
    subjects: int,
    stated_direction: Direction | None,
) -> ConventionResult:
    """Rank the candidates and apply the rules.

    A stated direction is believed, so that only candidates of that direction compete. It is checked
    as well: if among all candidates one of the other direction wins, nobody does.
    """
    ranked = _ranked(scores, seen)
    winner, reason, margin = _settled(ranked, seen, subjects)
    contradicted = False
    if stated_direction is not None:
        contradicted = winner is not None and winner.direction != stated_direction
        if contradicted:
            reason = f"the keys say {stated_direction}, but the evidence says {winner}: {reason}"
            winner = None
        elif winner is None:
            of_direction = [r for r in ranked if r.convention.direction == stated_direction]
            winner, reason, margin = _settled(of_direction, seen, subjects)
            reason = f"the keys say {stated_direction}; within that, {reason}"
    return ConventionResult(
        convention=winner,
        reason=reason,
        scores=tuple(ranked),
        margin=margin,
        subjects=subjects,
        pixel_subjects=tuple(each.index for each in seen),
        stated_direction=stated_direction,
        contradicted=contradicted,
    )


def _ranked(scores: Sequence[ConventionScore], seen: Sequence[Seen]) -> list[ConventionScore]:
    """The candidates with their misfits, best first; adjusted ones only if they are needed."""

    def ranked(scores: Iterable[ConventionScore]) -> list[ConventionScore]:
        return sorted(scores, key=lambda score: (score.misfit, -score.geometry.sound))

    standing = ranked(
        replace(score, misfits=tuple(each.plain(score.convention) for each in seen))
        for score in scores
        if score.standing
    )
    if seen and not _clear(standing):
        standing = ranked(
            replace(score, adjusted=tuple(each.adjusted(score.convention) for each in seen))
            for score in standing
        )
    return [*standing, *ranked(score for score in scores if not score.standing)]


def _clear(standing: Sequence[ConventionScore]) -> bool:
    """Whether one candidate fits as stated and no other comes near."""
    table = np.array([score.misfits for score in standing])
    best = table[0]
    rest = table[1:].min(axis=0, initial=FARTHEST)
    return bool((best <= np.minimum(_CLEAR_MISFIT, _CLEAR_RATIO * rest)).all())


def _settled(
    ranked: Sequence[ConventionScore], seen: Sequence[Seen], subjects: int
) -> tuple[Convention | None, str, float | None]:
    """The winner if there is one, why or why not, and the margin."""
    standing = [score for score in ranked if score.standing]
    if not subjects:
        return None, "no subject has three views or more, and fewer show nothing", None
    if not standing:
        what = "no candidate makes the optical axes of most subjects meet in front of the cameras"
        if all(score.geometry.formed < STANDING_SHARE for score in ranked):
            what = (
                "most of the matrices are not rotations with a translation, however they are read"
            )
        return None, what, None
    first, rest = standing[0], standing[1:]
    if not first.misfits:
        names = ", ".join(score.convention.name for score in standing)
        without = "no pictures were looked at, and geometry cannot tell mirrored or turned axes"
        return None, f"{without} apart: {names}", None
    second = rest[0] if rest else None
    margin = 1 - first.misfit / max(second.misfit, 1e-9) if second else 1.0
    found = f"the outlines misfit by {percent(first.misfit):.2f} % as {first.convention}"
    if second:
        found += f", by {percent(second.misfit):.2f} % as {second.convention}, the next best"
    why = _objection(first, rest, seen)
    if why is None:
        return first.convention, found, margin
    return None, f"{found}: {why}", margin


def _objection(
    first: ConventionScore, rest: Sequence[ConventionScore], seen: Sequence[Seen]
) -> str | None:
    """Why the best candidate is not proven; None if it is."""
    if first.geometry.sound < SOUND_SHARE:
        return f"only {first.geometry.sound:.0%} of the subjects agree"
    if not first.adjusted:
        return None  # the case of `_clear`
    own = np.array(first.adjusted)
    others = np.array([score.adjusted for score in rest]).min(axis=0, initial=FARTHEST)
    enough = len(own) >= _ENOUGH_SUBJECTS
    second = rest[0].misfit if rest else FARTHEST
    if first.misfit > _MOST_MISFIT:
        return "no reading fits, so the cameras are imprecise or belong to other pictures"
    if first.misfit > MOST_RATIO * second if enough else (own > _MOST_RATIO_OF_FEW * others).any():
        difference = first.convention.difference(rest[0].convention)
        return f"that is too close; the two differ in {difference}"
    votes = float((own <= others).mean())
    if votes < _LEAST_VOTES:
        return f"it is the best for only {votes:.0%} of the subjects"
    return _wrong_on_purpose(first, seen)


def _explained(outcome: ConventionResult, seen: Sequence[Seen]) -> ConventionResult:
    """Add to the reason why nothing is settled how null readings fit better.

    Where the two best candidates are close, the null reading of either that fits best is told.
    """
    first, second = (*outcome.scores, outcome.scores[0])[:2]
    if outcome.settled or outcome.contradicted or not first.adjusted:
        return outcome
    close = [first, second] if second.misfit < 1.2 * first.misfit else [first]
    nulls = {
        score.convention: np.median([each.null(score.convention)[0] for each in seen])
        for score in close
    }
    why = _wrong_on_purpose(min(close, key=lambda score: nulls[score.convention]), seen)
    if why is None or why in outcome.reason:
        return outcome
    return replace(outcome, reason=f"{outcome.reason}; {why}")


def _wrong_on_purpose(first: ConventionScore, seen: Sequence[Seen]) -> str | None:
    """How null readings fit better than the best candidate; None if they do not."""
    nulls = [each.null(first.convention) for each in seen]
    own = np.array([each.adjusted(first.convention) for each in seen])
    ratios = (np.array([null for null, _ in nulls]) + _NULL_FLOOR) / (own + _NULL_FLOOR)
    better = ratios < _LEAST_NULL_RATIO
    if better.mean() <= (0.5 if len(own) >= _ENOUGH_SUBJECTS else 0.0):
        return None
    orders = [order for (_, order), wins in zip(nulls, better, strict=True) if wins]
    of = f"{len(orders)} of {len(nulls)} subjects"
    if sum(order is None for order in orders) > len(orders) / 2:
        remedy = (
            'camera_schema={"layout": "column-major"} reads those so that have a key of their own'
        )
        return (
            f"the rotation blocks look transposed: transposed once more, {of} fit better ({remedy})"
        )
    pairs = [o for o in orders if o is not None and sum(v != i for i, v in enumerate(o)) == 2]
    if len(pairs) > len(orders) / 2 and float(np.median(ratios[better])) < 0.5:
        return f"two views of each subject look exchanged: exchanged once more, {of} fit better"
    return f"the cameras look shuffled: given to other views, {of} fit better"
