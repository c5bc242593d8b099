"""How an image is cut, scaled and flipped, with the camera that goes with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from geogen_hf.cameras import FloatArray
from geogen_hf.intrinsics import crop_intrinsics, mirror, resize_intrinsics
from geogen_hf.training.decode import Pixels

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Framing:
    """What is done to one image, in this order: cut, scale, flip.

    Attributes:
        left: Columns cut off on the left.
        top: Rows cut off above.
        crop_wh: Size of what is left after cutting.
        size_wh: Size after scaling.
        flip: Whether left and right are exchanged.
    """

    left: int
    top: int
    crop_wh: Size
    size_wh: Size
    flip: bool

    def apply(self, pixels: Pixels, out: NDArray[np.uint8]) -> None:
        """Write the framed image into `out`.

        Scaling is bilinear over a support that grows with the factor, so that nothing aliases, and
        keeps the image's edges where they are.

        Args:
            pixels: `(H, W, 3)` uint8.
            out: `(height, width, 3)` uint8 of `size_wh`.
        """
        width, height = self.crop_wh
        pixels = pixels[self.top : self.top + height, self.left : self.left + width]
        if self.size_wh != self.crop_wh:
            pixels = _resized(pixels, self.size_wh)
        out[...] = pixels[:, ::-1] if self.flip else pixels

    def apply_to_camera(
        self, extrinsics: FloatArray, intrinsics: FloatArray, mirror_normal: tuple[float, ...]
    ) -> tuple[FloatArray, FloatArray]:
        """The camera of the framed image.

        Args:
            extrinsics: `(..., 4, 4)` world-to-camera.
            intrinsics: `(..., 3, 3)` pixels of the stored image.
            mirror_normal: World direction; see `geogen_hf.intrinsics.mirror`.

        Returns:
            Extrinsics, of the mirrored world where the image is flipped, and intrinsics.
        """
        intrinsics = crop_intrinsics(intrinsics, self.left, self.top)
        intrinsics = resize_intrinsics(intrinsics, self.crop_wh, self.size_wh)
        if self.flip:
            return mirror(extrinsics, intrinsics, self.size_wh[0], mirror_normal)
        return extrinsics, intrinsics


def _resized(pixels: Pixels, size_wh: Size) -> Pixels:
    # Shaped (1, 3, H, W) over memory in (H, W, 3) order, which PyTorch scales without rearranging.
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    scaled = interpolate(image, size_wh[::-1], mode="bilinear", antialias=True)
    return np.asarray(scaled[0].permute(1, 2, 0).numpy())
