"""Which convention are these matrices in? Asked of the cameras' own geometry and of the pictures.

Geometry is asked of all subjects: read rightly, optical axes nearly meet, at a point in front of
every camera. That settles the direction of the map, transposition, and forward from backward, but
never right from left nor up from down (see `geogen_hf.cameras`). For these, silhouettes of a
few subjects are asked, and only about the candidates that geometry leaves standing. When the answer
counts as one is said in `geogen_hf.cameras.verdict`. The focal length is not decided by any of
this, and neither is the world's frame.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geogen_hf.cameras.conventions import (
    CANDIDATES,
    Convention,
    Direction,
    canonicalise,
    flips_world,
)
from geogen_hf.cameras.hull import Coherence, Silhouettes
from geogen_hf.cameras.poses import FloatArray, as_stack
from geogen_hf.cameras.rigs import LEAST_VIEWS, BoolArray, Rigs, measure_rigs, well_formed
from geogen_hf.cameras.silhouettes import silhouette
from geogen_hf.cameras.verdict import STANDING_SHARE, Geometry, Pixels, Scored, Verdict, decide
from geogen_hf.errors import CameraError, explain

logger = logging.getLogger(__name__)

Pictures = Sequence[NDArray[np.uint8]]
ImageSource = Mapping[int, Pictures | None] | Callable[[int], Pictures | None]
"""The decoded pictures `(H, W, 3)` uint8 of a subject, one a view, by its index; sizes may vary.
None where they cannot be had: then another subject is asked."""

PIXEL_SUBJECTS = 6
#: Of a subject's pictures. With five, shuffled cameras now and then make as good a rig as the right
#: ones (an even circle shifted by one is a turned circle). Time grows with the square of it.
_LEAST_VIEWS, _MOST_VIEWS = 6, 12


def score_conventions(
    matrices: Sequence[ArrayLike],
    intrinsics_px: Sequence[ArrayLike] | None = None,
    images: ImageSource | None = None,
    *,
    candidates: Sequence[Convention] = CANDIDATES,
    stated_direction: Direction | None = None,
    pixel_subjects: int = PIXEL_SUBJECTS,
) -> Verdict:
    """Score every candidate convention, and say which one is right if that can be said.

    Args:
        matrices: `(V, 4, 4)` for each subject, as stored; or `(N, V, 4, 4)`. V may vary.
        intrinsics_px: `(V, 3, 3)` for each subject, in pixels of its pictures.
        images: Pictures of the subjects, by index. A callable is asked for a few subjects only,
            and only once geometry has left more than nothing; of a mapping, only its keys are used.
            Subjects with fewer than six views are not asked. Without pictures or intrinsics there
            is geometry only, and no winner.
        candidates: What to choose from.
        stated_direction: What a key of the metadata says; believed, and checked.
        pixel_subjects: How many subjects' pictures to look at.

    Returns:
        The verdict.

    Raises:
        CameraError: Shapes are wrong or do not fit together.
        UsageError: A picture is not `(H, W, 3)` uint8.

    Example:
        >>> from geogen_hf.sample import render_view, subject_cameras
        >>> from geogen_hf.cameras.conventions import express
        >>> ids = ["subj_00000", "subj_00001"]
        >>> cameras = [subject_cameras(name, views=7, size=32) for name in ids]
        >>> stored = [express(extrinsics, CANDIDATES[3]) for extrinsics, _ in cameras]
        >>> pictures = lambda i: [render_view(ids[i], v, views=7, size=32) for v in range(7)]
        >>> print(score_conventions(stored, [lens for _, lens in cameras], pictures).winner)
        camera_to_world opengl
    """
    release = _Stored.of(matrices)
    groups = {_geometry_of(candidate): candidate for candidate in candidates}
    readings = {key: _Reading.of(release, candidate) for key, candidate in groups.items()}
    geometry = {key: reading.summary() for key, reading in readings.items()}
    standing = [c for c in candidates if geometry[_geometry_of(c)].sound >= STANDING_SHARE]
    seen: list[_Seen] = []
    if standing and images is not None and intrinsics_px is not None:
        usable = np.any([readings[_geometry_of(c)].sound for c in standing], axis=0)
        usable &= release.views >= _LEAST_VIEWS
        order = _order_of_subjects(usable, images, pixel_subjects)
        seen = _with_silhouettes(release, intrinsics_px, images, order, pixel_subjects)
    rows = [
        Scored(c, geometry[_geometry_of(c)], _try(seen, c) if c in standing else None)
        for c in candidates
    ]
    verdict = decide(
        rows,
        subjects=int(np.count_nonzero(release.views >= LEAST_VIEWS)),
        pixel_subjects=[each.index for each in seen],
        stated_direction=stated_direction,
    )
    logger.info("camera convention: %s", verdict.reason)
    if verdict.winner is None:
        return verdict
    return replace(verdict, mirrored_world=flips_world(release.matrices[:1], verdict.winner))


@dataclass(frozen=True, eq=False)
class _Stored:
    """All matrices one after the other; where each subject's start; and how many it has."""

    matrices: FloatArray
    starts: NDArray[np.intp]
    views: NDArray[np.intp]

    @classmethod
    def of(cls, matrices: Sequence[ArrayLike]) -> _Stored:
        stacks = [as_stack(each, "stored camera matrices", 4, 4) for each in matrices]
        views = np.array([len(stack) if stack.ndim == 3 else 0 for stack in stacks], dtype=np.intp)
        if not len(views) or not views.all():
            found = stacks[int(np.argmin(views))].shape if stacks else "no subject"
            what = "stored camera matrices cannot be scored"
            raise CameraError(explain(what, expected="(V, 4, 4) for each subject", found=found))
        return cls(np.concatenate(stacks), np.cumsum(views) - views, views)

    def of_subject(self, index: int) -> FloatArray:
        start = self.starts[index]
        return self.matrices[start : start + self.views[index]]


_GeometryKey = tuple[Direction, bool, bool]


def _geometry_of(convention: Convention) -> _GeometryKey:
    """What geometry can see of a convention: the rest of it moves no axis and no centre."""
    return convention.direction, convention.transposed, convention.looks_forward


@dataclass(frozen=True, eq=False)
class _Reading:
    """All rigs as one convention has them; cameras that are no rigid transforms stand for none.

    Attributes:
        rigs: Of all subjects.
        formed: `(M,)` which matrices are rigid transforms.
        whole: `(S,)` which subjects have only such.
        sound: `(S,)` which of those have a sound rig.
    """

    rigs: Rigs
    formed: BoolArray
    whole: BoolArray
    sound: BoolArray

    @classmethod
    def of(cls, release: _Stored, convention: Convention) -> _Reading:
        formed = well_formed(release.matrices, transposed=convention.transposed)
        readable = np.where(formed[:, None, None], release.matrices, np.eye(4))
        rigs = measure_rigs(canonicalise(readable, convention), release.starts)
        whole = np.logical_and.reduceat(formed, release.starts)
        return cls(rigs, formed, whole, whole & rigs.sound)

    def summary(self) -> Geometry:
        """Over the subjects that have views enough to judge."""
        judged = self.rigs.views >= LEAST_VIEWS
        sound = float(self.sound[judged].mean()) if judged.any() else 0.0
        formed, counted, nan = float(self.formed.mean()), judged & self.whole, float("nan")
        if not counted.any():
            return Geometry(formed, sound, nan, nan, nan, nan, nan, nan)
        rigs = self.rigs
        up = rigs.up[counted] / np.maximum(rigs.up_agreement[counted], 1e-12)[:, None]
        return Geometry(
            formed=formed,
            sound=sound,
            miss=float(np.median(rigs.miss[counted])),
            ahead=float(np.average(rigs.ahead[counted], weights=rigs.views[counted])),
            distance_spread=float(np.median(rigs.distance_spread[counted])),
            up_agreement=float(np.median(rigs.up_agreement[counted])),
            up_over_release=float(np.linalg.norm(up.mean(axis=0))),
            gap_deg=float(np.median(rigs.gap_deg[counted])),
        )


def _order_of_subjects(usable: BoolArray, images: ImageSource, count: int) -> list[int]:
    """Whose pictures to look at: `count` spread evenly over the release, then as many spares."""
    indices = np.flatnonzero(usable)
    if isinstance(images, Mapping):
        indices = np.intersect1d(indices, list(images))
    if not len(indices):
        return []
    spread = np.unique(np.linspace(0, len(indices) - 1, 2 * count).round().astype(np.intp))
    return [int(indices[place]) for place in (*spread[::2], *spread[1::2])]


@dataclass(frozen=True, eq=False)
class _Seen:
    """A subject whose pictures were looked at: its matrices as stored, and its silhouettes."""

    index: int
    matrices: FloatArray
    silhouettes: Silhouettes


def _with_silhouettes(
    release: _Stored,
    intrinsics_px: Sequence[ArrayLike],
    images: ImageSource,
    order: Sequence[int],
    count: int,
) -> list[_Seen]:
    """The first `count` subjects whose pictures have a head before an even background."""
    found: list[_Seen] = []
    for index in order:
        pictures = images[index] if isinstance(images, Mapping) else images(index)
        if pictures is None:
            continue
        matrices = release.of_subject(index)
        lenses = as_stack(intrinsics_px[index], "intrinsics", 3, 3)
        if not len(pictures) == len(lenses) == len(matrices):
            raise CameraError(
                explain(
                    "pictures, intrinsics and matrices of a subject do not fit together",
                    where=f"index {index}",
                    expected=f"{len(matrices)} of each",
                    found=f"{len(pictures)} pictures, {len(lenses)} intrinsics",
                )
            )
        few = np.unique(np.linspace(0, len(matrices) - 1, _MOST_VIEWS).round().astype(np.intp))
        outlines = [silhouette(pictures[view]) for view in few]
        if all(each.plausible for each in outlines):
            found.append(_Seen(index, matrices[few], Silhouettes(outlines, lenses[few])))
        else:
            logger.debug("subject %d: no head before an even background", index)
        if len(found) == count:
            break
    return found


def _try(subjects: Sequence[_Seen], convention: Convention) -> Pixels | None:
    """What the silhouettes of all subjects say of a convention."""
    tried = [_coherence(subject, convention) for subject in subjects]
    if not tried:
        return None
    return Pixels(tuple(each.outline for each in tried), tuple(each.iou for each in tried))


def _coherence(subject: _Seen, convention: Convention) -> Coherence:
    world_to_camera = canonicalise(subject.matrices, convention)
    rigs = measure_rigs(world_to_camera, np.zeros(1, dtype=np.intp))
    if not rigs.sound[0]:  # nothing in front of the cameras to look for
        return Coherence(0.0, 0.0)
    return subject.silhouettes.coherence(world_to_camera, rigs.centre[0])
