"""Random poses and lenses that no test could pass by luck: never the identity, nothing centred."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import Convention
from geogen_hf.metadata.assembly import SubjectCameras, canonical_extrinsics
from geogen_hf.metadata.stored_intrinsics import DefaultIntrinsics, pixel_intrinsics

Array = NDArray[np.float64]

SEEDS = st.integers(0, 2**32 - 1)


def random_rotations(rng: np.random.Generator, count: int) -> Array:
    """Rotations by QR, which the package itself does not use."""
    rotations = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    rotations[..., 0] *= np.linalg.det(rotations)[:, None]
    return np.asarray(rotations)


def random_cameras(
    seed: int, width: int = 640, height: int = 360, count: int = 3
) -> tuple[Array, Array]:
    """Extrinsics that see the world's origin, and lenses with fx != fy and off-centre."""
    rng = np.random.default_rng(seed)
    extrinsics = np.tile(np.eye(4), (count, 1, 1))
    extrinsics[:, :3, :3] = random_rotations(rng, count)
    extrinsics[:, :3, 3] = rng.uniform([-1, -1, 5], [1, 1, 9], size=(count, 3))
    intrinsics = np.tile(np.eye(3), (count, 1, 1))
    intrinsics[:, 0, 0] = rng.uniform(1.0, 1.5, count) * width
    intrinsics[:, 1, 1] = rng.uniform(1.6, 2.0, count) * height
    intrinsics[:, 0, 2] = rng.uniform(0.35, 0.45, count) * width
    intrinsics[:, 1, 2] = rng.uniform(0.55, 0.65, count) * height
    return extrinsics, intrinsics


def to_canonical(
    cameras: SubjectCameras,
    convention: Convention,
    size_wh: tuple[int, int],
    default: DefaultIntrinsics | None = None,
) -> tuple[Array, Array]:
    """Extrinsics and pixel intrinsics of cameras as stored, all images of one size."""
    lens = pixel_intrinsics(cameras.intrinsics, *size_wh, default)
    return canonical_extrinsics(cameras, convention), lens


def turned(axis: str, angle: float) -> Array:
    """The rotation about an axis of the world, by its definition."""
    one, other = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}[axis.upper()]
    turn = np.eye(3)
    turn[[one, other, other, one], [one, other, one, other]] = [
        np.cos(angle),
        np.cos(angle),
        np.sin(angle),
        -np.sin(angle),
    ]
    return turn
