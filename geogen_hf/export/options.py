"""The options of an export, and what those of the images do: re-encode them.

Add an option here that changes the exported files. How the release is read (cameras, split seed,
failure policy) is no option of the files: `export_release` takes it as an argument, as the other
functions do.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageChops

from geogen_hf.cameras.poses import resize_intrinsics
from geogen_hf.errors import ArchiveError, ImageError, UsageError, did_you_mean
from geogen_hf.images import LONGEST_PX, Size, decode_image, pixels_at_a_time
from geogen_hf.release.features import FEATURES
from geogen_hf.release.subjects import Subject
from geogen_hf.source.zip_reader import png_size

ImageFormat = Literal["png", "webp", "jpeg"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = ("png", "webp", "jpeg")
DEFAULT_CONFIGS = ("sequences", "cameras", "metadata")


@dataclass(frozen=True)
class ExportOptions:
    """How the exported files are written.

    Attributes:
        configs: The configs to write, of `sequences`, `views`, `cameras` and `metadata`. The first
            one is the default config of the folder.
        image_format: `"png"` keeps the published bytes (unless resized), `"webp"` is lossless,
            `"jpeg"` is lossy.
        image_size: Longer side of the images written, pixels; None keeps the stored size.
        quality: JPEG quality, 1 to 95.

    Raises:
        UsageError: A value is impossible.

    Example:
        >>> ExportOptions(("views",), image_format="webp", image_size=256).keeps_images
        False
    """

    configs: tuple[str, ...] = DEFAULT_CONFIGS
    image_format: ImageFormat = "png"
    image_size: int | None = None
    quality: int = 92

    def __post_init__(self) -> None:
        unknown = [name for name in self.configs if name not in FEATURES]
        if unknown or not self.configs or len(set(self.configs)) < len(self.configs):
            raise UsageError(
                "bad configs",
                expected=f"some of {', '.join(FEATURES)}, each once",
                found=", ".join(self.configs) or "none",
                remedy=did_you_mean("".join(unknown[:1]), FEATURES),
            )
        if self.image_format not in IMAGE_FORMATS:
            expected = ", ".join(IMAGE_FORMATS)
            raise UsageError("unknown image format", expected=expected, found=self.image_format)
        if self.image_size is not None and not 8 <= self.image_size <= LONGEST_PX:
            expected = f"8 to {LONGEST_PX} pixels"
            raise UsageError("bad image size", expected=expected, found=self.image_size)
        if not 1 <= self.quality <= 95:
            raise UsageError("bad JPEG quality", expected="1 to 95", found=self.quality)

    @property
    def keeps_images(self) -> bool:
        """Whether the images are written as they are stored."""
        return self.image_format == "png" and self.image_size is None

    def to_json(self, split_seed: int) -> dict[str, Any]:
        """Return the options with the split seed as JSON values, for `provenance.json`."""
        values = asdict(self)
        return {"configs": list(values.pop("configs")), "split_seed": split_seed, **values}


def transcode_subject(
    subject: Subject, images: list[bytes], options: ExportOptions
) -> tuple[Subject, list[bytes], list[Size]]:
    """Bring the V images of one identity to the size and format of the options.

    Returns:
        The identity with the intrinsics of the returned images, V encoded images, V sizes.
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
        decoded = Image.open(buffer).convert(image.mode)
        if ImageChops.difference(decoded, image).getbbox(alpha_only=False) is not None:
            raise ArchiveError("WebP did not keep the pixels of an image", where=place)
    return buffer.getvalue()


def _unsuitable(place: str, image: Image.Image, name: str, expected: str) -> UsageError:
    return UsageError(
        f"{name} does not go with this image",
        where=place,
        expected=expected,
        found=f"mode {image.mode}",
        remedy="export as png, in the stored size",
    )
