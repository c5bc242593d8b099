"""Do the silhouettes of one subject belong together? Their visual hull, reprojected.

The visual hull is all of space that no silhouette rules out. Seen again by any of the cameras it
never exceeds that camera's silhouette, and if cameras and silhouettes are true it fills it:
whatever cast the silhouette is inside the hull. Wrong cameras carve too much away. This is the
silhouette coherence of Hernandez, Schmitt and Cipolla, "Silhouette Coherence for Camera
Calibration under Circular Motion" (PAMI 2007).

No voxels are needed for that: the hull fills a pixel exactly if somewhere along the pixel's ray
lies a point that no other silhouette rules out (Matusik et al., "Image-Based Visual Hulls", 2000).
Points outside of another camera's frame are not ruled out by it.

The focal length is not decided here: scaling all of them scales the hull, nearly, and the
silhouettes agree nearly as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras.poses import FloatArray, camera_centre, invert_rigid
from geogen_hf.cameras.silhouettes import Mask, Silhouette, grown, outline

_DEPTHS = 48  # along a ray; twice as many fill up to 0.015 more of an outline for wrong cameras
_INNER_STEP = 16  # inside the outline, one pixel stands for so many
_ROOM = 1.2  # depth searched, in half frames: heads are about as deep as they are wide


@dataclass(frozen=True)
class Coherence:
    """How much of a subject's silhouettes the hull fills, averaged over the views.

    Attributes:
        outline: Share of the pixels on the outline, 0..1. It tells conventions apart: what wrong
            cameras carve away is there.
        iou: Intersection over union of silhouette and reprojected hull, 0..1, to within a pixel.
    """

    outline: float
    iou: float


@dataclass(frozen=True, eq=False)
class _View:
    """A silhouette made ready, once for all candidates."""

    pixels: FloatArray  # (P, 2) centres of the pixels whose rays are tried
    weight: FloatArray  # (P,) pixels that each stands for
    on_outline: NDArray[np.bool_]  # (P,)
    framed: Mask  # the silhouette, and as much round it as outlines are uncertain, in a frame
    frame_px: int  # longer side of the mask
    intrinsics: FloatArray


class Silhouettes:
    """The silhouettes of one subject, to be tried with many cameras.

    Args:
        silhouettes: V silhouettes.
        intrinsics: `(V, 3, 3)` pixels of the pictures (not of the masks).
    """

    def __init__(self, silhouettes: Sequence[Silhouette], intrinsics: FloatArray) -> None:
        self._views = [
            _ready(silhouette, silhouette.intrinsics(lens))
            for silhouette, lens in zip(silhouettes, intrinsics, strict=True)
        ]

    def coherence(self, world_to_camera: FloatArray, centre: FloatArray) -> Coherence:
        """Try cameras.

        Args:
            world_to_camera: `(V, 4, 4)` extrinsics, OpenCV axes.
            centre: `(3,)` world point that the cameras look at, in front of them.

        Returns:
            How well the silhouettes agree.
        """
        camera_to_world = invert_rigid(world_to_camera)
        distance = np.linalg.norm(camera_centre(world_to_camera) - centre, axis=-1)
        views = self._views
        reach = max(
            float(d * view.frame_px / 2 / view.intrinsics[[0, 1], [0, 1]].min())
            for d, view in zip(distance, views, strict=True)
        )
        on_outline: list[float] = []
        overlap: list[float] = []
        for index, view in enumerate(views):
            depth = world_to_camera[index, 2] @ [*centre, 1.0]
            near = max(depth - _ROOM * reach, 0.05 * depth)
            depths = np.linspace(near, depth + _ROOM * reach, _DEPTHS, dtype=np.float32)
            left = np.ones((len(view.pixels), _DEPTHS), dtype=np.bool_)
            for other, judge in enumerate(views):
                if other != index:
                    between = world_to_camera[other] @ camera_to_world[index]
                    left &= _not_ruled_out(view, depths, between, judge)
            filled = np.asarray(left.any(axis=1))
            on_outline.append(float(filled[view.on_outline].mean()) if view.on_outline.any() else 1)
            overlap.append(float(np.average(filled, weights=view.weight)))
        return Coherence(float(np.mean(on_outline)), float(np.mean(overlap)))


def _ready(silhouette: Silhouette, intrinsics: FloatArray) -> _View:
    mask = silhouette.mask
    edge = outline(mask)
    inner = mask & ~edge
    inner_rows, inner_columns = np.nonzero(inner)
    sampled = (inner_columns + 4 * inner_rows) % _INNER_STEP == 0
    if not sampled.any():
        sampled = np.ones_like(sampled)
    edge_rows, edge_columns = np.nonzero(edge)
    rows = np.concatenate([edge_rows, inner_rows[sampled]])
    columns = np.concatenate([edge_columns, inner_columns[sampled]])
    # An outline is known to a pixel of the mask, and no better than to half a pixel of the picture.
    allowed = grown(mask)
    if silhouette.scale.max() > 2:
        allowed = grown(allowed)
    each = len(sampled) / max(int(np.count_nonzero(sampled)), 1)
    on_outline = np.arange(len(rows)) < len(edge_rows)
    return _View(
        pixels=np.stack([columns, rows], axis=-1) + 0.5,
        weight=np.where(on_outline, 1.0, each),
        on_outline=on_outline,
        framed=np.pad(allowed, 1, constant_values=True),
        frame_px=max(mask.shape),
        intrinsics=intrinsics,
    )


def _not_ruled_out(
    view: _View, depths: NDArray[np.float32], between: FloatArray, judge: _View
) -> NDArray[np.bool_]:
    """Which points on the rays of a view, `(P, D)`, another silhouette leaves standing."""
    ones = np.ones((len(view.pixels), 1))
    rays = np.concatenate([view.pixels, ones], axis=1) @ np.linalg.inv(view.intrinsics).T
    towards = (rays @ (judge.intrinsics @ between[:3, :3]).T).astype(np.float32)
    start = (judge.intrinsics @ between[:3, 3]).astype(np.float32)
    x, y, z = (towards[:, axis, None] * depths + start[axis] for axis in range(3))
    height, width = judge.framed.shape
    behind = z <= np.float32(1e-9)  # out of the camera's frame, and not to be divided by
    z[behind] = 1
    for coordinate, size in ((x, width), (y, height)):
        coordinate /= z
        coordinate += 1  # the frame round the mask
        coordinate[behind] = 0
        np.clip(coordinate, 0, size - 1, out=coordinate)
    place = y.astype(np.intp)
    place *= width
    place += x.astype(np.intp)
    return np.asarray(judge.framed.ravel()[place])
