"""What was measured of each candidate convention: a row for each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from geogen_hf.candidates import Convention

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
    """What the silhouettes say (see `geogen_hf.evidence.hull`); one value a subject looked at.

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
