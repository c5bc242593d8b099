"""Where an identity's pictures stand in the world: the geometry that the viewer draws.

Open this module to change the shape of a frustum, the order of the pictures or the first view of
the scene. It knows no viewer. Lengths are in the release's unit, cameras have OpenCV axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.hull import SurfacePoints
from geogen_hf.cameras.poses import FloatArray, camera_centre
from geogen_hf.cameras.rigs import Orbit, fit_orbit
from geogen_hf.cameras.silhouettes import foreground
from geogen_hf.formats.prepare import surface_points
from geogen_hf.release.release import Identity

_DEPTH = 0.28  # of a frustum, as a part of the cameras' distance
_POINTS = 20_000
_MARGIN = 1.04  # the window shows a little more than the picture


@dataclass(frozen=True, eq=False)
class Frustum:
    """One picture, `(H, W, 3)` uint8 RGB, and its `(4, 4)` and `(3, 3)` float64 camera."""

    view_id: int
    pixels: NDArray[np.uint8]
    world_to_camera: FloatArray
    intrinsics: FloatArray
    azimuth_deg: float  # where the camera stands around the head; 0 is the rig's front
    distance: float  # from the point that the cameras look at
    depth: float  # of the drawn picture from the camera's centre

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the picture, pixels."""
        height, width = self.pixels.shape[:2]
        return width, height

    @property
    def position(self) -> FloatArray:
        """`(3,)` centre of the camera in the world."""
        return camera_centre(self.world_to_camera)

    @property
    def target(self) -> FloatArray:
        """`(3,)` world point on the optical axis, as far away as what the cameras look at."""
        return np.asarray(self.position + self.distance * self.world_to_camera[2, :3])

    @property
    def up(self) -> FloatArray:
        """`(3,)` world direction that is upwards in the picture."""
        return np.asarray(-self.world_to_camera[1, :3])

    def reduced(self, longest_px: int) -> Image.Image:
        """The picture, no side of it longer than this."""
        image = Image.fromarray(self.pixels)
        image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
        return image

    @property
    def tangents(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge of the picture at depth 1: x right, y down.

        The principal point need not be in the middle, so left is not always -right.
        """
        width, height = self.size_wh
        (fx, _, cx), (_, fy, cy) = self.intrinsics[:2].tolist()
        return -cx / fx, -cy / fy, (width - cx) / fx, (height - cy) / fy

    def corners(self) -> FloatArray:
        """`(4, 3)` corners of the drawn picture in the camera's frame, clockwise from top left."""
        left, top, right, bottom = self.tangents
        x, y = [left, right, right, left], [top, top, bottom, bottom]
        return self.depth * np.stack([x, y, np.ones(4)], axis=-1)

    def edges(self) -> FloatArray:
        """`(9, 2, 3)` lines of the frustum in the camera's frame; the last marks what is up."""
        corners = self.corners()
        rim = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
        rays = np.stack([np.zeros((4, 3)), corners], axis=1)
        top = corners[:2].mean(axis=0)
        mark = np.stack([top, top - [0.0, 0.08 * self.depth, 0.0]])
        return np.concatenate([rim, rays, mark[None]])

    def fov_rad(self, aspect: float) -> float:
        """Vertical field of view of a window, `aspect` its width over its height, for all of it."""
        left, top, right, bottom = self.tangents
        reach = max(-top, bottom, -left / aspect, right / aspect)
        return float(2 * np.arctan(_MARGIN * reach))


@dataclass(frozen=True, eq=False)
class IdentityFrustums:
    """One identity, ready to be drawn."""

    subject_id: str
    split: str
    frustums: tuple[Frustum, ...]  # in the order of azimuth
    orbit: Orbit
    distance: float  # median distance of the cameras from what they look at

    def overview_position(self) -> FloatArray:
        """`(3,)` world point from which all cameras are in sight: in front, beside and above."""
        side = np.cross(self.orbit.up, self.orbit.front)
        towards = self.orbit.front * 0.85 + side * 0.45 + self.orbit.up * 0.7
        return np.asarray(
            self.orbit.centre + 2.6 * self.distance * towards / np.linalg.norm(towards)
        )


def place_pictures(identity: Identity) -> IdentityFrustums:
    """Decode an identity's images and find where they stand; `ImageError` names a damaged one."""
    orbit = fit_orbit(identity.extrinsics)
    azimuth_deg, _, distances = orbit.angles(identity.extrinsics)
    distance = float(np.median(distances))
    pictures = identity.arrays()
    frustums = tuple(
        Frustum(
            view_id=identity.view_ids[view],
            pixels=pictures[view],
            world_to_camera=identity.extrinsics[view],
            intrinsics=identity.intrinsics[view],
            azimuth_deg=float(azimuth_deg[view]),
            distance=float(distances[view]),
            depth=_DEPTH * distance,
        )
        for view in np.argsort(azimuth_deg, kind="stable")
    )
    return IdentityFrustums(identity.subject_id, identity.split, frustums, orbit, distance)


def hull_points(shown: IdentityFrustums) -> SurfacePoints | None:
    """Sample the visual hull; None where too few outlines can be told from the background.

    If pictures and cameras belong together, the points cover each picture when it is looked
    through.
    """
    return surface_points(
        [frustum.pixels for frustum in shown.frustums],
        [foreground(frustum.pixels) for frustum in shown.frustums],
        np.stack([frustum.world_to_camera for frustum in shown.frustums]),
        np.stack([frustum.intrinsics for frustum in shown.frustums]),
        count=_POINTS,
    )
