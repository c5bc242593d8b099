"""Hold what the candidates for the camera convention came to, as data, text and JSON.

`geogen_hf.cameras.proof` makes these objects; open this module to see what their columns mean.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from geogen_hf.cameras.conventions import Convention, Direction
from geogen_hf.cameras.rigs import Geometry
from geogen_hf.cameras.silhouettes import LONG_SIDE_PX
from geogen_hf.errors import CameraError

WarningKind = Literal[
    "principal_point", "scattered_views", "focal_lengths", "soft_outlines", "exchanged_views",
    "odd_subject", "mirrored", "not_checked", "not_proven", "denied_by_keys", "settled_by_images",
]  # fmt: skip

STANDING_SHARE = 0.5
"""A candidate is tried on pictures if it makes sound rigs of so many of the subjects."""
SOUND_SHARE = 0.8
"""A winner makes sound rigs of so many of the subjects."""

_ROWS_RULED_OUT = 3
_HEADER = (
    f"{'candidate':<45} {'sound':>6} {'miss':>6} {'ahead':>6} {'ups':>6} {'gap':>5} "
    f"{'as stated':>9} {'adjusted':>9}"
)
_NOTE = "Silhouettes do not show a focal length that is wrong in all views alike."
_LEGEND = (
    "sound      subjects whose optical axes meet at a point in front of all their cameras",
    "miss       how far the axes pass that point, as a part of the distance",
    "ahead      cameras that have the point in front",
    "ups        agreement of the up directions of a subject, 0 to 1",
    "gap        largest gap in azimuth",
    "as stated  misfit of the silhouettes, in % of the picture's longer side: less is better",
    "adjusted   the same with the small corrections of the intrinsics that suit the candidate best",
)


def percent(misfit_px: float) -> float:
    """Pixels of the masks as a percentage of the picture's longer side."""
    return 100 * misfit_px / LONG_SIDE_PX


def rounded_percent(misfit_px: float) -> float:
    """The same, rounded, so that the last bits of a sum do not reach `provenance.json`."""
    return round(percent(float(misfit_px)), 3)


@dataclass(frozen=True)
class CameraWarning:
    """Something about a release's cameras that a user should know, as a sentence.

    The numbers are what was measured, by name; lengths in % of the picture's longer side.
    """

    kind: WarningKind
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ConventionScore:
    """What one candidate comes to.

    Misfits are in pixels of the masks, one a subject that was looked at: as stated (none where
    geometry rules the candidate out), and with corrected intrinsics (none where that was not
    needed).
    """

    convention: Convention
    geometry: Geometry
    misfits: tuple[float, ...] = ()
    adjusted: tuple[float, ...] = ()

    @property
    def standing(self) -> bool:
        """Whether geometry leaves the candidate in the running."""
        return self.geometry.sound >= STANDING_SHARE

    @property
    def misfit(self) -> float:
        """The median misfit of the subjects, corrected where it was; infinite without subjects."""
        return float(np.median(self.adjusted or self.misfits or (np.inf,)))

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, misfits in percent, None where there is no measure."""
        stated, adjusted = (
            rounded_percent(float(np.median(misfits))) if misfits else None
            for misfits in (self.misfits, self.adjusted)
        )
        return {
            "convention": self.convention.name,
            "geometry": {
                name: value if math.isfinite(value) else None
                for name, value in asdict(self.geometry).items()
            },
            "misfit_percent": stated,
            "adjusted_percent": adjusted,
        }

    def __str__(self) -> str:
        of = self.geometry
        values = [f"{of.sound:6.1%}", f"{of.miss:6.3f}", f"{of.ahead:6.1%}"]
        values += [f"{of.up_agreement:6.3f}", f"{of.gap_deg:4.0f}°"]
        shown = " ".join("     –" if "nan" in value else value for value in values)
        for misfits in (self.misfits, self.adjusted):
            shown += f" {percent(float(np.median(misfits))):8.2f}%" if misfits else "         –"
        return f"{self.convention.name:<45} {shown}"


@dataclass(frozen=True)
class ConventionResult:
    """The scores of all candidates and what follows from them."""

    convention: Convention | None  # the one that is proven
    reason: str  # one sentence: by how much it won, or why nothing is settled
    scores: tuple[ConventionScore, ...]  # best first
    #: How much less the first misfits than the second, 0..1; None where pictures did not compare.
    margin: float | None
    subjects: int  # that geometry was measured on: those with three views or more
    pixel_subjects: tuple[int, ...]  # indices of those whose silhouettes were looked at
    warnings: tuple[CameraWarning, ...] = ()
    stated_direction: Direction | None = None  # what a key said
    contradicted: bool = False  # the evidence clearly says another direction than the key
    mirrored_world: bool = False  # the world's x is flipped to leave proper rotations

    @property
    def settled(self) -> bool:
        """Whether a convention is proven."""
        return self.convention is not None

    def contradicts(self, convention: Convention) -> bool:
        """Whether the evidence clearly says that the matrices are in another convention.

        That is so if another is proven, or if geometry rules this one out and leaves another.
        """
        if self.convention is not None:
            return self.convention != convention
        sound = {score.convention: score.geometry.sound for score in self.scores}
        return max(sound.values()) >= SOUND_SHARE and sound.get(convention, 0.0) < 0.2

    def require(self) -> Convention:
        """The proven convention; `CameraError`, with the scores and the remedy, if none is."""
        if self.convention is not None:
            return self.convention
        best = next((str(score.convention) for score in self.scores if score.standing), None)
        raise CameraError(
            f"the camera convention cannot be told from the data\n{self}",
            remedy="look at them (geogen inspect SRC --picture proof.png), then name it: "
            f"camera_convention='{best or 'DIRECTION AXES'} unchecked'"
            + (" takes the first row" if best else ", or state the poses with camera_schema"),
        )

    def found(self) -> list[str]:
        """Plain sentences: why, and what was looked at."""
        looked = (
            f"Geometry was measured on {self.subjects:,} subjects and silhouettes on "
            f"{len(self.pixel_subjects)}. {_NOTE}"
        )
        return [f"{self.reason[0].upper()}{self.reason[1:]}.", looked]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "settled": self.settled,
            "convention": None if self.convention is None else self.convention.name,
            "reason": self.reason,
            "margin": None if self.margin is None else round(self.margin, 3),
            "subjects": self.subjects,
            "pixel_subjects": list(self.pixel_subjects),
            "stated_direction": self.stated_direction,
            "contradicted": self.contradicted,
            "mirrored_world": self.mirrored_world,
            "warnings": [asdict(warning) for warning in self.warnings],
            "scores": [score.to_json() for score in self.scores],
        }

    def table(self) -> list[str]:
        """The scores as lines of text, with a legend below."""
        shown = [score for score in self.scores if score.standing]
        ruled_out = [score for score in self.scores if not score.standing]
        lines = [_HEADER, *map(str, (*shown, *ruled_out[:_ROWS_RULED_OUT]))]
        more = len(ruled_out) - _ROWS_RULED_OUT
        also = [f"… and {more} more that geometry rules out"] if more > 0 else []
        return [*lines, *also, *_LEGEND]

    def __str__(self) -> str:
        head = f"camera convention: {self.convention or 'not settled'}"
        warnings = (warning.text for warning in self.warnings)
        return "\n  ".join([head, *self.found(), *warnings, "", *self.table()])
