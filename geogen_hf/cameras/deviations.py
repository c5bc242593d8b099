"""Measure what is a little wrong with cameras that were proven right on the whole, and say it.

The numbers themselves are handed out as published; these warnings tell how far to trust them. They
follow from the corrections of `geogen_hf.cameras.hull.Silhouettes.adjust` and from readings with
views exchanged. Lengths are percentages of the picture's longer side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from geogen_hf.cameras.conventions import Convention
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.scores import CameraWarning, percent
from geogen_hf.cameras.trials import NullReading, Seen

# In %. Outlines frayed by 1 px of 96 bring corrections of 0.6 % and 1.0 % where nothing is wrong.
_LEAST_SHIFT, _LEAST_SCATTER, _LEAST_FOCAL = 0.5, 0.8, 1.1
_LEAST_SOFTNESS = 0.25
_LEAST_GAIN = 0.3  # of the misfit that corrections take away, else it is the outlines
_LEVEL_ERROR = 0.6  # a shift less certain than this is not told
_ROUNDS = 5
_WORTH_ADJUSTING = 0.08  # pixels of the masks: what fits better has nothing to tell


@dataclass(frozen=True, eq=False)
class _Looked:
    """A subject whose pictures were looked at, under the convention that was proven."""

    seen: Seen
    world_to_camera: FloatArray  # (V, 4, 4)
    centre: FloatArray  # (3,) world point that the cameras look at
    misfit: float  # as stated, in pixels of the masks
    adjusted: float  # with corrected intrinsics
    null: NullReading | None  # None where none was tried


def _looked(seen: Seen, convention: Convention) -> _Looked | None:
    read, misfit = seen.read(convention), seen.plain(convention)
    if read is None:
        return None
    adjusted = seen.adjusted(convention) if misfit > _WORTH_ADJUSTING else misfit
    null = seen.nulls.get(convention)
    return _Looked(seen, read.world_to_camera, read.centre, misfit, adjusted, null)


def camera_warnings(seen: Sequence[Seen], convention: Convention) -> tuple[CameraWarning, ...]:
    """Say what is a little wrong with the cameras of these subjects.

    Args:
        seen: A few of the release, whose pictures were looked at.
        convention: That was proven.

    Returns:
        The warnings; none where the pictures show nothing wrong.
    """
    subjects = [looked for each in seen if (looked := _looked(each, convention)) is not None]
    odd = list(_odd_subjects(subjects))
    names = {warning.numbers["subject_id"] for warning in odd}
    return (
        *(_mirrored() if convention.mirrored else ()),
        *_common(subjects=[s for s in subjects if s.seen.subject_id not in names]),
        *odd,
    )


def _mirrored() -> Iterator[CameraWarning]:
    yield CameraWarning(
        "mirrored",
        "The pictures fit only left-handed camera axes: either the metadata was written so, or the "
        "images are mirrored. The world handed out is mirrored with them, so that projections fit.",
    )


def _odd_subjects(subjects: Sequence[_Looked]) -> Iterator[CameraWarning]:
    """Subjects that fit worse than the others do, and whether exchanged views explain it."""
    usual = float(np.median([each.adjusted for each in subjects])) if subjects else 0.0
    for each in subjects:
        own, subject_id = each.adjusted, each.seen.subject_id
        null, order = each.null or (own, None)
        numbers = {"subject_id": subject_id, "misfit": _percent(own)}
        moved = [] if order is None else [v for v, to in enumerate(order) if v != to]
        if null < 0.6 * own and own - null > 0.2 and moved:
            views = [each.seen.view_ids[row] for row in moved]
            text = (
                f"Views {views[0]} and {views[1]} of {subject_id} look exchanged"
                if len(views) == 2
                else f"The cameras of {subject_id} look shuffled between its views"
            )
            fits = f"misfit {_percent(own):.1f} %, exchanged {_percent(null):.1f} %"
            yield CameraWarning("exchanged_views", f"{text} ({fits}).", {**numbers, "views": views})
        elif own > max(3 * usual, usual + 0.5):
            text = (
                f"The cameras of {subject_id} do not fit its pictures: its outlines misfit by "
                f"{_percent(own):.1f} %, those of other subjects by {_percent(usual):.1f} %."
            )
            yield CameraWarning("odd_subject", text, numbers)


def _common(subjects: Sequence[_Looked]) -> Iterator[CameraWarning]:
    if not subjects:
        return
    stated = float(np.mean([each.misfit for each in subjects]))
    adjusted = float(np.mean([each.adjusted for each in subjects]))
    if stated - adjusted > max(_LEAST_GAIN * stated, 0.02):
        yield from _intrinsics(subjects)
    if adjusted > _LEAST_SOFTNESS:
        text = (
            f"Outlines fit the cameras to {_percent(adjusted):.2f} % of the picture only, which is "
            "usual for soft hair; smaller errors of the cameras cannot be seen."
        )
        yield CameraWarning("soft_outlines", text, {"misfit": _percent(adjusted)})


def _intrinsics(subjects: Sequence[_Looked]) -> Iterator[CameraWarning]:
    shift, error = _common_shift(subjects)
    told = [
        _percent(v) if _percent(e) < _LEVEL_ERROR else None
        for v, e in zip(shift, error, strict=True)
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
    corrections = np.concatenate(
        [
            each.seen.silhouettes.adjust(
                each.world_to_camera, each.centre, stiffness=0.1
            ).corrections
            for each in subjects
        ]
    )
    scatter = _percent(float(np.sqrt(corrections[:, :2].var(axis=0).mean())))
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


def _common_shift(subjects: Sequence[_Looked]) -> tuple[FloatArray, FloatArray]:
    """The shift of all principal points that fits best, and its standard error, pixels of masks."""
    shift = np.zeros(2)
    for _ in range(_ROUNDS):
        parts = [
            each.seen.silhouettes.common_shift(each.world_to_camera, each.centre, shift)
            for each in subjects
        ]
        matrix = sum((part[0] for part in parts), 1e-3 * np.eye(2))
        shift = shift + np.linalg.solve(matrix, sum(part[1] for part in parts)).clip(-2, 2)
    # Pixels of an outline err together: about one in ten counts.
    return shift, np.sqrt(10 * np.diag(np.linalg.inv(matrix)))


def _percent(pixels: float) -> float:
    """Rounded, so that the last bits of a sum do not reach `provenance.json`."""
    return round(percent(float(pixels)), 3)
