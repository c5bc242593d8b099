"""Images in another size or format, with the cameras that go with them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops

from geogen_hf.cameras.intrinsics import resize_intrinsics
from geogen_hf.errors import ArchiveError, ImageError, UsageError, explain
from geogen_hf.export.options import ExportOptions
from geogen_hf.images import decode_image
from geogen_hf.release.subjects import Subject
from geogen_hf.source.zip_directory import Member
from geogen_hf.source.zip_reader import png_size

Size = tuple[int, int]
"""Width and height in pixels."""


def transcode_subject(
    subject: Subject, images: list[bytes], options: ExportOptions
) -> tuple[Subject, list[bytes], list[Size]]:
    """Bring one identity's images and intrinsics to the size and format asked for.

    Args:
        subject: The identity.
        images: V PNG files.
        options: What is asked for.

    Returns:
        The identity with the intrinsics of the images returned, V encoded images, V sizes.

    Raises:
        ArchiveError: An image does not decode.
        UsageError: The format cannot hold an image.
    """
    stored = [png_size(member, data) for member, data in zip(subject.images, images, strict=True)]
    if options.keeps_images:
        return subject, images, stored
    encoded = [
        _transcode(member, data, options)
        for member, data in zip(subject.images, images, strict=True)
    ]
    sizes = [fit_size(size, options.image_size) for size in stored]
    intrinsics = np.stack(
        [
            resize_intrinsics(matrix, old, new)
            for matrix, old, new in zip(subject.intrinsics, stored, sizes, strict=True)
        ]
    )
    return replace(subject, intrinsics=intrinsics), encoded, sizes


def fit_size(size: Size, longer_side: int | None) -> Size:
    """Scale a size so that its longer side is as asked, keeping its proportions.

    Example:
        >>> fit_size((512, 512), 256), fit_size((640, 360), 320), fit_size((9, 5), None)
        ((256, 256), (320, 180), (9, 5))
    """
    if longer_side is None:
        return size
    scale = longer_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _transcode(member: Member, data: bytes, options: ExportOptions) -> bytes:
    image = _decode(member, data)
    new_size = fit_size(image.size, options.image_size)
    if new_size != image.size:
        # Lanczos over a support that grows with the factor: no aliasing (Pillow, "Filters").
        try:
            image = image.resize(new_size, Image.Resampling.LANCZOS)
        except ValueError as error:  # 16 bits, before Pillow 11.2 or so
            raise _unsuitable(member, image, "resizing", "8 bits a channel") from error
    buffer = io.BytesIO()
    if options.image_format == "png":
        image.save(buffer, "PNG")
    elif options.image_format == "jpeg":
        if image.mode not in ("RGB", "L"):
            raise _unsuitable(member, image, "jpeg", "RGB or grey")
        image.save(buffer, "JPEG", quality=options.quality, subsampling=0)
    else:
        if image.mode not in ("RGB", "RGBA"):
            raise _unsuitable(member, image, "webp", "RGB or RGBA")
        image.save(buffer, "WEBP", lossless=True, quality=40, method=1, exact=True)
        _check_lossless(member, image, buffer.getvalue())
    return buffer.getvalue()


def _decode(member: Member, data: bytes) -> Image.Image:
    try:
        image = decode_image(data, where=member)
    except ImageError as error:
        raise ArchiveError(str(error)) from error
    if image.mode == "P":  # numbers of colours cannot be averaged
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def _check_lossless(member: Member, image: Image.Image, encoded: bytes) -> None:
    decoded = Image.open(io.BytesIO(encoded)).convert(image.mode)
    if ImageChops.difference(decoded, image).getbbox(alpha_only=False) is not None:
        raise ArchiveError(explain("WebP did not keep the pixels of an image", where=member))


def _unsuitable(member: Member, image: Image.Image, name: str, expected: str) -> UsageError:
    return UsageError(
        explain(
            f"{name} does not go with this image",
            where=member,
            expected=expected,
            found=f"mode {image.mode}",
            remedy="export as png, in the stored size",
        )
    )
