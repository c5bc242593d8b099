"""Decode images, and re-encode them in another size or format with intrinsics that fit.

Open this when an export should write images in another way.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops

from geogen_hf.cameras.poses import resize_intrinsics
from geogen_hf.errors import ArchiveError, ImageError, UsageError
from geogen_hf.export.options import ExportOptions
from geogen_hf.images import decode_image, pixels_at_a_time
from geogen_hf.release.subjects import Subject
from geogen_hf.source.zip_reader import png_size

Size = tuple[int, int]
"""Width and height in pixels."""


def transcode_subject(
    subject: Subject, images: list[bytes], options: ExportOptions
) -> tuple[Subject, list[bytes], list[Size]]:
    """Bring the V images and intrinsics of one identity to the size and format of the options.

    Returns:
        The identity with the intrinsics of the returned images, V encoded images, V sizes.

    Raises:
        ArchiveError: An image does not decode.
        CameraError: The intrinsics do not fit the size of the stored images.
        UsageError: The format cannot hold an image.
    """
    stored = list(map(png_size, subject.images, images))
    if options.keeps_images:
        return subject, images, stored
    encoded = []
    for size, place, data in zip(stored, subject.places, images, strict=True):
        with pixels_at_a_time(size):
            encoded.append(_encode(place, _decode(place, data), options))
    sizes = [fit_size(size, options.image_size) for size in stored]
    intrinsics = np.stack(
        [
            resize_intrinsics(matrix, old, new)
            for matrix, old, new in zip(subject.intrinsics, stored, sizes, strict=True)
        ]
    )
    return replace(subject, intrinsics=intrinsics), encoded, sizes


def _decode(place: str, data: bytes) -> Image.Image:
    """Decode an image in its stored mode; palettes as RGB or RGBA."""
    try:
        image = decode_image(data, where=place)
    except ImageError as error:
        raise ArchiveError(str(error)) from error
    if image.mode == "P":  # the indices of colours cannot be averaged
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def fit_size(size: Size, longer_side: int | None) -> Size:
    """Scale a size to a longer side, keeping its proportions.

    Example:
        >>> fit_size((512, 512), 256), fit_size((640, 360), 320), fit_size((9, 5), None)
        ((256, 256), (320, 180), (9, 5))
    """
    if longer_side is None:
        return size
    scale = longer_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _encode(place: str, image: Image.Image, options: ExportOptions) -> bytes:
    new_size = fit_size(image.size, options.image_size)
    if new_size != image.size:
        # The support of Lanczos grows with the factor, so there is no aliasing (Pillow, "Filters").
        try:
            image = image.resize(new_size, Image.Resampling.LANCZOS)
        except ValueError as error:  # 16 bits, before Pillow 11.2 or so
            raise _unsuitable(place, image, "resizing", "8 bits a channel") from error
    buffer = io.BytesIO()
    if options.image_format == "png":
        image.save(buffer, "PNG")
    elif options.image_format == "jpeg":
        if image.mode not in ("RGB", "L"):
            raise _unsuitable(place, image, "jpeg", "RGB or grey")
        image.save(buffer, "JPEG", quality=options.quality, subsampling=0)
    else:
        if image.mode not in ("RGB", "RGBA"):
            raise _unsuitable(place, image, "webp", "RGB or RGBA")
        image.save(buffer, "WEBP", lossless=True, quality=40, method=1, exact=True)
        _check_lossless(place, image, buffer.getvalue())
    return buffer.getvalue()


def _check_lossless(place: str, image: Image.Image, encoded: bytes) -> None:
    decoded = Image.open(io.BytesIO(encoded)).convert(image.mode)
    if ImageChops.difference(decoded, image).getbbox(alpha_only=False) is not None:
        raise ArchiveError("WebP did not keep the pixels of an image", where=place)


def _unsuitable(place: str, image: Image.Image, name: str, expected: str) -> UsageError:
    return UsageError(
        f"{name} does not go with this image",
        where=place,
        expected=expected,
        found=f"mode {image.mode}",
        remedy="export as png, in the stored size",
    )
