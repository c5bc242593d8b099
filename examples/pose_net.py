"""The network of `train_pose.py`, and angles as it answers them."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geogen_hf.cameras.rigs import fit_orbit


class PoseNet(nn.Module):
    """`(N, 3, H, W)` uint8 to sine and cosine of the azimuth, and the elevation: `(N, 3)`."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in itertools.pairwise((3, *widths)):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1)]
            layers += [nn.GroupNorm(8, width), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Linear(16 * widths[-1], 3)

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.head(self.features(images.float() / 127.5 - 1))
        return answers


def camera_angles(extrinsics: NDArray[np.float32]) -> Tensor:
    """Azimuths and elevations of all cameras of an identity: `(V, 4, 4)` to `(V, 2)` radians."""
    azimuth_deg, elevation_deg, _ = fit_orbit(extrinsics).angles(extrinsics)
    return torch.tensor(np.radians([azimuth_deg, elevation_deg]).T, dtype=torch.float32)


def targets(angles: Tensor) -> Tensor:
    """What `PoseNet` should answer for angles `(N, 2)`."""
    azimuth, elevation = angles.unbind(-1)
    return torch.stack([azimuth.sin(), azimuth.cos(), elevation], dim=-1)


def answered_angles(answers: Tensor) -> Tensor:
    """The angles `(N, 2)` that answers of `PoseNet` mean."""
    sine, cosine, elevation = answers.unbind(-1)
    return torch.stack([torch.atan2(sine, cosine), elevation], dim=-1)


def directions(angles: Tensor) -> Tensor:
    """Unit vectors `(N, 3)` from the head towards cameras at angles `(N, 2)`."""
    azimuth, elevation = angles.unbind(-1)
    flat = elevation.cos()
    return torch.stack([flat * azimuth.sin(), elevation.sin(), flat * azimuth.cos()], dim=-1)


def errors_deg(answered: Tensor, true: Tensor) -> Tensor:
    """Angles between unit vectors `(N, 3)` and `(N, 3)`, degrees."""
    return torch.rad2deg(torch.acos((answered * true).sum(dim=-1).clamp(-1, 1)))
