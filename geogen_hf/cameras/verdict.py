"""What the evidence says about the convention of stored cameras, and whether that is enough.

**When it is decisive.** The best candidate wins only if all of this holds, and nobody wins else:

- it makes a sound rig of at least 80 % of the subjects (`SOUND_SHARE`);
- its cameras fill at least 98.5 % of the outlines of the silhouettes (`LEAST_OUTLINE`), or 99.5 %
  where there is one subject to look at (`LEAST_OUTLINE_OF_ONE`);
- the runner-up misses at least 0.01 more of them, and at least three times as much
  (`LEAST_MARGIN`, `LEAST_RATIO`);
- it is the best for at least three quarters of the subjects looked at (`LEAST_VOTES`).

**Why these numbers.** Measured on the sample's heads, two subjects of seven views at a time, 100
subjects of ten seeds, pictures of 128 px. Right cameras fill 100.0 % of the outlines, every time,
and the runner-up misses 6.7 % or more (15 % at most). Input that is wrong by intent: shuffled
cameras fill 90 % at most, two cameras swapped in each subject 96.6 %, rotation blocks transposed
96.6 %, 30 degrees of noise 88 %. One subject alone comes to 98.0 % at worst. Right cameras fill
less where pictures are 16 px (98.4 %) or the focal length is stated 20 % too short (98.6 %). A
principal point off by 1 % of the width leaves 94 to 97 %: undecided.

**Where it ends.** Cameras exactly level with one point that all look at leave up and down undecided
(margin 0.000); within 3 degrees of level the right ones win by 0.045. But the nearer to level, the
less a transposed rotation block changes in a world with y up: within 3 degrees it goes unnoticed,
at the sample's -10 to 25 degrees it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from geogen_hf.cameras.conventions import Convention, Direction
from geogen_hf.errors import CameraError, explain

STANDING_SHARE = 0.5
"""A candidate stays in the running if it makes sound rigs of so many of the subjects."""

HEADER = (
    f"{'candidate':<45} {'sound':>6} {'miss':>6} {'ahead':>6} {'ups':>6} {'gap':>5} "
    f"{'outline':>8} {'IoU':>6}"
)
"""Over the rows as text."""


@dataclass(frozen=True)
class Geometry:
    """What the rigs of all subjects look like, read by one convention.

    Attributes:
        formed: Share of the matrices that are rigid transforms at all, 0..1. The other measures are
            of subjects all of whose matrices are, and nan where there is none.
        sound: Share of the subjects whose cameras could stand like this round a head, 0..1.
        miss: Median over subjects of how far optical axes pass the point they come nearest to, as
            a part of the distance.
        ahead: Share of cameras that have it in front.
        distance_spread: Median of the standard deviation of distances, as a part of their mean.
        up_agreement: Median of the length of the mean up vector of a subject, 0..1.
        up_over_release: The same of all subjects' up directions.
        gap_deg: Median of the largest gap in azimuth, in degrees.
    """

    formed: float
    sound: float
    miss: float
    ahead: float
    distance_spread: float
    up_agreement: float
    up_over_release: float
    gap_deg: float


@dataclass(frozen=True)
class Pixels:
    """What the silhouettes say (see `geogen_hf.cameras.hull`); one value a subject looked at.

    Attributes:
        outlines: Share of the outline that the visual hull reaches, 0..1.
        ious: Intersection over union of silhouettes and reprojected hull, 0..1.
    """

    outlines: tuple[float, ...]
    ious: tuple[float, ...]

    @property
    def outline(self) -> float:
        """Median over subjects: a minority whose silhouettes came out wrong does not move it."""
        return float(np.median(self.outlines))

    @property
    def iou(self) -> float:
        """Mean over subjects."""
        return float(np.mean(self.ious))


@dataclass(frozen=True)
class Scored:
    """One row of the scoreboard.

    Attributes:
        convention: The candidate.
        geometry: Of all subjects.
        pixels: Of a few subjects; None where geometry rules the candidate out, or without images.
    """

    convention: Convention
    geometry: Geometry
    pixels: Pixels | None

    @property
    def standing(self) -> bool:
        """Whether geometry leaves the candidate in the running."""
        return self.geometry.sound >= STANDING_SHARE

    @property
    def score(self) -> float:
        """0..1, to rank by: the share of sound rigs, times that of the outlines reached."""
        return self.geometry.sound * (1.0 if self.pixels is None else self.pixels.outline)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, None where there is no measure."""
        pixels = self.pixels
        return {
            "convention": self.convention.name,
            "score": self.score,
            "geometry": {
                name: value if math.isfinite(value) else None
                for name, value in asdict(self.geometry).items()
            },
            "outline": None if pixels is None else pixels.outline,
            "silhouette_iou": None if pixels is None else pixels.iou,
        }

    def __str__(self) -> str:
        geometry, pixels = self.geometry, self.pixels
        values = [
            f"{geometry.sound:6.1%}",
            f"{geometry.miss:6.3f}",
            f"{geometry.ahead:6.1%}",
            f"{geometry.up_agreement:6.3f}",
            f"{geometry.gap_deg:4.0f}°",
            f"{pixels.outline:8.3f} {pixels.iou:6.3f}" if pixels else "       –      –",
        ]
        shown = " ".join("     –" if "nan" in value else value for value in values)
        return f"{self.convention.name:<45} {shown}"


SOUND_SHARE = 0.8
LEAST_OUTLINE = 0.985
LEAST_OUTLINE_OF_ONE = 0.995
LEAST_MARGIN = 0.01
LEAST_RATIO = 3.0
LEAST_VOTES = 0.75

_ROWS_OF_THE_FALLEN = 3
_FOCAL_NOTE = "Silhouettes do not decide the focal length: it is taken as stated."


@dataclass(frozen=True)
class Verdict:
    """The scoreboard and what follows from it.

    Attributes:
        winner: The convention that the evidence proves; None where it proves none.
        reason: One sentence: by how much it won, or why nobody did.
        scoreboard: Every candidate, best first.
        margin: How much more of the outlines the first reaches than the second, 0..1; None where
            pixels did not compare two.
        subjects: How many subjects geometry looked at (those with three views or more).
        pixel_subjects: Indices of the subjects whose silhouettes were looked at.
        stated_direction: What a key said, if one did.
        contradicted: Whether the evidence decisively says another direction than the key.
        mirrored_world: Whether the winner needs the world's x flipped to leave proper rotations.
    """

    winner: Convention | None
    reason: str
    scoreboard: tuple[Scored, ...]
    margin: float | None
    subjects: int
    pixel_subjects: tuple[int, ...]
    stated_direction: Direction | None = None
    contradicted: bool = False
    mirrored_world: bool = False

    @property
    def decisive(self) -> bool:
        """Whether there is a winner."""
        return self.winner is not None

    def contradicts(self, convention: Convention) -> bool:
        """Whether the evidence decisively says another convention than this one."""
        return self.winner is not None and self.winner != convention

    def settle(self) -> Convention:
        """The winner, for whoever cannot go on without.

        Raises:
            CameraError: There is none; the message has the scoreboard and the remedy.
        """
        if self.winner is not None:
            return self.winner
        raise CameraError(
            explain(
                f"the camera convention cannot be told from the evidence\n{self}",
                remedy="name it: camera_convention='DIRECTION AXES', as in the first column",
            )
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "decisive": self.decisive,
            "winner": None if self.winner is None else self.winner.name,
            "reason": self.reason,
            "margin": self.margin,
            "subjects": self.subjects,
            "pixel_subjects": list(self.pixel_subjects),
            "stated_direction": self.stated_direction,
            "contradicted": self.contradicted,
            "mirrored_world": self.mirrored_world,
            "note": _FOCAL_NOTE,
            "scoreboard": [row.to_json() for row in self.scoreboard],
        }

    def __str__(self) -> str:
        head = self.winner.name if self.winner else "not decided"
        lines = [
            f"camera convention: {head}",
            f"  {self.reason}",
            f"  {self.subjects:,} subjects judged by geometry, {len(self.pixel_subjects)} by "
            f"silhouettes. {_FOCAL_NOTE}",
            "",
            f"  {HEADER}",
        ]
        shown = [row for row in self.scoreboard if row.standing]
        fallen = [row for row in self.scoreboard if not row.standing]
        lines.extend(f"  {row}" for row in (*shown, *fallen[:_ROWS_OF_THE_FALLEN]))
        if len(fallen) > _ROWS_OF_THE_FALLEN:
            more = len(fallen) - _ROWS_OF_THE_FALLEN
            lines.append(f"  … and {more} more that geometry rules out")
        return "\n".join(lines)


def decide(
    rows: Sequence[Scored],
    *,
    subjects: int,
    pixel_subjects: Sequence[int] = (),
    stated_direction: Direction | None = None,
) -> Verdict:
    """Judge a scoreboard by the rules at the top of this module.

    A stated direction is believed, so that only candidates of that direction compete. It is checked
    as well: if among all candidates one of the other direction wins, nobody does.

    Args:
        rows: The candidates, in any order.
        subjects: How many subjects geometry looked at.
        pixel_subjects: Whose silhouettes were looked at.
        stated_direction: What a key said.

    Returns:
        The verdict.
    """
    ranked = sorted(rows, key=lambda row: (not row.standing, -row.score))
    winner, reason, margin = _best(ranked, subjects)
    contradicted = False
    if stated_direction is not None:
        contradicted = winner is not None and winner.direction != stated_direction
        if contradicted:
            reason = f"the keys say {stated_direction}, but the evidence {winner}: {reason}"
            winner = None
        elif winner is None:
            of_direction = [r for r in ranked if r.convention.direction == stated_direction]
            winner, reason, margin = _best(of_direction, subjects)
            reason = f"the keys say {stated_direction}; within that, {reason}"
    return Verdict(
        winner=winner,
        reason=reason,
        scoreboard=tuple(ranked),
        margin=margin,
        subjects=subjects,
        pixel_subjects=tuple(pixel_subjects),
        stated_direction=stated_direction,
        contradicted=contradicted,
    )


def _best(ranked: Sequence[Scored], subjects: int) -> tuple[Convention | None, str, float | None]:
    """The winner if there is one, why or why not, and the margin."""
    if not subjects:
        return None, "no subject has three views or more, fewer show nothing", None
    standing = [row for row in ranked if row.standing]
    if not standing:
        what = "no candidate makes the optical axes of most subjects meet in front of the cameras"
        if all(row.geometry.formed < STANDING_SHARE for row in ranked):
            what = (
                "most of the matrices are not rotations with a translation, however they are read"
            )
        return None, what, None
    first, rest = standing[0], standing[1:]
    if first.pixels is None:
        names = ", ".join(row.convention.name for row in standing)
        without = (
            "no pictures were looked at, and geometry cannot tell mirrored or turned axes apart"
        )
        return None, f"{without}: {names}", None
    outline = first.pixels.outline
    second = max((row.pixels.outline for row in rest if row.pixels), default=0.0)
    margin = outline - second
    least = LEAST_OUTLINE if len(first.pixels.outlines) > 1 else LEAST_OUTLINE_OF_ONE
    found = f"{first.convention} reaches {outline:.1%} of the outlines, the next {second:.1%}"
    if first.geometry.sound < SOUND_SHARE:
        why = f"only {first.geometry.sound:.0%} of the subjects agree"
    elif outline < least:
        why = f"{least:.1%} is the least for cameras and pictures that belong together"
    elif margin < LEAST_MARGIN or 1 - second < LEAST_RATIO * (1 - outline):
        why = "that is too close"
    elif _votes(first, rest) < LEAST_VOTES:
        why = f"it is the best for only {_votes(first, rest):.0%} of the subjects"
    else:
        return first.convention, found, margin
    return None, f"{found}: {why}", margin


def _votes(first: Scored, rest: Sequence[Scored]) -> float:
    """Share of subjects for which the first reaches most of the outline."""
    table = np.array([row.pixels.outlines for row in (first, *rest) if row.pixels is not None])
    return float((table[0] >= table.max(axis=0)).mean())
