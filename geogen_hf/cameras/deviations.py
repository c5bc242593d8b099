"""Measure what is a little wrong with cameras that were proven right on the whole, and say it.

The numbers themselves are handed out as published; these warnings tell how far to trust them. They
follow from the corrections of `geogen_hf.cameras.hull.Silhouettes.adjust` and from readings with
views exchanged. Lengths are percentages of the picture's longer side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from geogen_hf.cameras.conventions import Convention
from geogen_hf.cameras.hull import Silhouettes
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.scores import CameraWarning, rounded_percent
from geogen_hf.cameras.trials import Rig, Seen

# In %. Outlines frayed by 1 px of 96 bring corrections of 0.6 % and 1.0 % where nothing is wrong.
_LEAST_SHIFT, _LEAST_SCATTER, _LEAST_FOCAL = 0.5, 0.8, 1.1
_LEAST_SOFTNESS = 0.25
_LEAST_GAIN = 0.3  # of the misfit that corrections take away, else it is the outlines
_LEVEL_ERROR = 0.6  # a shift less certain than this is not told
_ROUNDS = 5


def camera_warnings(
    seen: Sequence[Seen],
    convention: Convention,
    subject_ids: Sequence[str],
    view_ids: Sequence[Sequence[int]],
) -> tuple[CameraWarning, ...]:
    """Say what is a little wrong with the cameras of these subjects.

    Args:
        seen: A few of the release, whose pictures were looked at.
        convention: That was proven.
        subject_ids: Names of all subjects.
        view_ids: Numbers of their views.

    Returns:
        The warnings; none where the pictures show nothing wrong.
    """
    mirrored = CameraWarning(
        "mirrored",
        "The pictures fit only left-handed camera axes: either the metadata was written so, or the "
        "images are mirrored. The world handed out is mirrored with them, so that projections fit.",
    )
    rigs = {each: rig for each in seen if (rig := each.read(convention)) is not None}
    usual = float(np.median([each.corrected(convention) for each in rigs])) if rigs else 0.0
    odd: list[CameraWarning] = []
    for each in list(rigs):
        ids = subject_ids[each.index], [view_ids[each.index][row] for row in each.rows]
        if (warning := _odd_subject(each, convention, usual, *ids)) is not None:
            odd.append(warning)
            del rigs[each]
    common = _common(rigs, convention) if rigs else ()
    return (*([mirrored] if convention.mirrored else []), *common, *odd)


def _odd_subject(
    seen: Seen, convention: Convention, usual: float, subject_id: str, view_ids: Sequence[int]
) -> CameraWarning | None:
    """Whether a subject fits worse than others usually do, and exchanged views explain it."""
    own = seen.corrected(convention)
    null, order = seen.nulls.get(convention, (own, None))
    numbers = {"subject_id": subject_id, "misfit": rounded_percent(own)}
    views = [view_ids[row] for row, to in enumerate(order or ()) if row != to]
    if null < 0.6 * own and own - null > 0.2 and views:
        text = (
            f"Views {views[0]} and {views[1]} of {subject_id} look exchanged"
            if len(views) == 2
            else f"The cameras of {subject_id} look shuffled between its views"
        )
        fits = f"misfit {rounded_percent(own):.1f} %, exchanged {rounded_percent(null):.1f} %"
        return CameraWarning("exchanged_views", f"{text} ({fits}).", {**numbers, "views": views})
    if own > max(3 * usual, usual + 0.5):
        text = (
            f"The cameras of {subject_id} do not fit its pictures: its outlines misfit by "
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
    adjusted = [silhouettes.adjust(*rig, stiffness=0.1) for silhouettes, rig in subjects]
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
    for _ in range(_ROUNDS):
        parts = [silhouettes.common_shift(*rig, shift) for silhouettes, rig in subjects]
        matrix = sum((part[0] for part in parts), 1e-3 * np.eye(2))
        shift = shift + np.linalg.solve(matrix, sum(part[1] for part in parts)).clip(-2, 2)
    # Pixels of an outline err together: about one in ten counts.
    return shift, np.sqrt(10 * np.diag(np.linalg.inv(matrix)))
