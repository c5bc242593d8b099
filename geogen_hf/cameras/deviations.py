"""Measure what is a little wrong with cameras that were proven right on the whole, and say it.

The numbers themselves are handed out as published; these warnings tell how far to trust them. They
follow from the corrections of `geogen_hf.cameras.hull.Silhouettes.adjust` and from readings with
views exchanged. Lengths are percentages of the picture's longer side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from geogen_hf.cameras.hull import Adjusted, Silhouettes
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.silhouettes import LONG_SIDE_PX

WarningKind = Literal[
    "principal_point", "scattered_views", "focal_lengths", "soft_outlines", "exchanged_views",
    "odd_subject", "mirrored", "not_checked", "not_proven",
]  # fmt: skip

# In %. Outlines frayed by 1 px of 96 bring corrections of 0.6 % and 1.0 % where nothing is wrong.
_LEAST_SHIFT, _LEAST_SCATTER, _LEAST_FOCAL = 0.5, 0.8, 1.1
_LEAST_SOFTNESS = 0.25
_LEAST_GAIN = 0.3  # of the misfit that corrections take away, else it is the outlines
_LEVEL_ERROR = 0.6  # a shift less certain than this is not told
_ROUNDS = 5


@dataclass(frozen=True)
class CameraWarning:
    """Something about a release's cameras that a user should know.

    Attributes:
        kind: A word for programs.
        text: A sentence.
        numbers: What was measured, by name; lengths in % of the picture's longer side.
    """

    kind: WarningKind
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Looked:
    """A subject whose pictures were looked at, under the convention that was proven.

    Attributes:
        subject_id: Its name.
        view_ids: Numbers of the V views.
        silhouettes: Of the views.
        world_to_camera: `(V, 4, 4)` extrinsics.
        centre: `(3,)` world point that the cameras look at.
        misfit: As stated, in pixels of the masks.
        adjusted: With corrected intrinsics.
        null: Least misfit of readings that are wrong on purpose, and the order of the views there;
            None where none was tried.
    """

    subject_id: str
    view_ids: tuple[int, ...]
    silhouettes: Silhouettes
    world_to_camera: FloatArray
    centre: FloatArray
    misfit: float
    adjusted: Adjusted
    null: tuple[float, tuple[int, ...] | None] | None


def camera_warnings(subjects: Sequence[Looked], *, mirrored: bool) -> tuple[CameraWarning, ...]:
    """Say what is a little wrong with the cameras of these subjects.

    Args:
        subjects: A few of the release, read in its convention.
        mirrored: Whether that convention has left-handed camera axes.

    Returns:
        The warnings; none where the pictures show nothing wrong.
    """
    odd = list(_odd_subjects(subjects))
    names = {warning.numbers["subject_id"] for warning in odd}
    return (
        *(_mirrored() if mirrored else ()),
        *_common(subjects=[s for s in subjects if s.subject_id not in names]),
        *odd,
    )


def _mirrored() -> Iterator[CameraWarning]:
    yield CameraWarning(
        "mirrored",
        "The pictures fit only left-handed camera axes: either the metadata was written so, or the "
        "images are mirrored. The world handed out is mirrored with them, so that projections fit.",
    )


def _odd_subjects(subjects: Sequence[Looked]) -> Iterator[CameraWarning]:
    """Subjects that fit worse than the others do, and whether exchanged views explain it."""
    usual = float(np.median([each.adjusted.misfit for each in subjects])) if subjects else 0.0
    for each in subjects:
        own = each.adjusted.misfit
        null, order = each.null or (own, None)
        numbers = {"subject_id": each.subject_id, "misfit": _percent(own)}
        moved = [] if order is None else [v for v, to in enumerate(order) if v != to]
        if null < 0.6 * own and own - null > 0.2 and moved:
            views = [each.view_ids[row] for row in moved]
            text = (
                f"Views {views[0]} and {views[1]} of {each.subject_id} look exchanged"
                if len(views) == 2
                else f"The cameras of {each.subject_id} look shuffled between its views"
            )
            fits = f"misfit {_percent(own):.1f} %, exchanged {_percent(null):.1f} %"
            yield CameraWarning("exchanged_views", f"{text} ({fits}).", {**numbers, "views": views})
        elif own > max(3 * usual, usual + 0.5):
            text = (
                f"The cameras of {each.subject_id} do not fit its pictures: its outlines misfit by "
                f"{_percent(own):.1f} %, those of other subjects by {_percent(usual):.1f} %."
            )
            yield CameraWarning("odd_subject", text, numbers)


def _common(subjects: Sequence[Looked]) -> Iterator[CameraWarning]:
    if not subjects:
        return
    stated = float(np.mean([each.misfit for each in subjects]))
    adjusted = float(np.mean([each.adjusted.misfit for each in subjects]))
    if stated - adjusted > max(_LEAST_GAIN * stated, 0.02):
        yield from _intrinsics(subjects)
    if adjusted > _LEAST_SOFTNESS:
        text = (
            f"Outlines fit the cameras to {_percent(adjusted):.2f} % of the picture only, which is "
            "usual for soft hair; smaller errors of the cameras cannot be seen."
        )
        yield CameraWarning("soft_outlines", text, {"misfit": _percent(adjusted)})


def _intrinsics(subjects: Sequence[Looked]) -> Iterator[CameraWarning]:
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
            each.silhouettes.adjust(each.world_to_camera, each.centre, stiffness=0.1).corrections
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


def _common_shift(subjects: Sequence[Looked]) -> tuple[FloatArray, FloatArray]:
    """The shift of all principal points that fits best, and its standard error, pixels of masks."""
    shift = np.zeros(2)
    for _ in range(_ROUNDS):
        parts = [
            each.silhouettes.common_shift(each.world_to_camera, each.centre, shift)
            for each in subjects
        ]
        matrix = sum((part[0] for part in parts), 1e-3 * np.eye(2))
        shift = shift + np.linalg.solve(matrix, sum(part[1] for part in parts)).clip(-2, 2)
    # Pixels of an outline err together: about one in ten counts.
    return shift, np.sqrt(10 * np.diag(np.linalg.inv(matrix)))


def _percent(pixels: float) -> float:
    """Rounded, so that the last bits of a sum do not reach `provenance.json`."""
    return round(100 * float(pixels) / LONG_SIDE_PX, 3)
