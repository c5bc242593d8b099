"""Maps of the rays through all pixels, on any device, by the maths of `geogen_hf.cameras.rays`."""

from __future__ import annotations

import torch
from torch import Tensor


def ray_maps(
    extrinsics: Tensor, intrinsics: Tensor, size_wh: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Compute the world rays through the centres of all pixels.

    Args:
        extrinsics: `(..., 4, 4)` float world-to-camera, OpenCV axes.
        intrinsics: `(..., 3, 3)` float, pixels.
        size_wh: Width and height of the image, pixels.

    Returns:
        origins (the camera centre, an expanded view) and unit directions, both `(..., 3, H, W)`,
        world frame, of the dtype and on the device of `extrinsics`.

    Example:
        >>> identity, intrinsics = torch.eye(4), torch.tensor([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]])
        >>> origins, directions = ray_maps(identity, intrinsics, (3, 2))
        >>> origins.shape, directions[:, 0, 0]
        (torch.Size([3, 2, 3]), tensor([-0.2357, -0.2357,  0.9428]))
    """
    width, height = size_wh
    like = {"dtype": extrinsics.dtype, "device": extrinsics.device}
    x_px = torch.arange(width, **like) + 0.5  # type: ignore[call-overload]
    y_px = torch.arange(height, **like) + 0.5  # type: ignore[call-overload]
    rotation_t = extrinsics[..., :3, :3].mT
    # Pixel (x, y) has the direction columns[0] x + columns[1] y + columns[2], before scaling.
    columns = (rotation_t @ torch.linalg.inv(intrinsics))[..., None, None, :]
    directions = columns[..., 0] * x_px + columns[..., 1] * y_px[:, None] + columns[..., 2]
    directions = directions / torch.linalg.vector_norm(directions, dim=-3, keepdim=True)
    origins = -(rotation_t @ extrinsics[..., :3, 3:])[..., None]
    return origins.expand_as(directions), directions


def plucker_maps(extrinsics: Tensor, intrinsics: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """Compute Pluecker coordinates of the same rays: direction `d`, then moment `o x d`.

    The order of Light Field Networks (Sitzmann et al. 2021). Others put the moment first.

    Args:
        extrinsics: As for `ray_maps`.
        intrinsics: As for `ray_maps`.
        size_wh: As for `ray_maps`.

    Returns:
        `(..., 6, H, W)`; the moment has the world's unit of length.

    Example:
        >>> plucker_maps(torch.eye(4), torch.eye(3), (3, 2)).shape
        torch.Size([6, 2, 3])
    """
    origins, directions = ray_maps(extrinsics, intrinsics, size_wh)
    moments = torch.linalg.cross(origins, directions, dim=-3)
    return torch.cat([directions, moments], dim=-3)
