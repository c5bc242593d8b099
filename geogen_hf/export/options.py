"""What an export may vary, and the names of what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from geogen_hf.errors import UsageError, explain
from geogen_hf.release.features import FEATURES

ImageFormat = Literal["png", "webp", "jpeg"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = ("png", "webp", "jpeg")
DEFAULT_CONFIGS = ("sequences", "cameras")


@dataclass(frozen=True)
class ExportOptions:
    """Everything that decides the exported bytes, besides the release itself.

    Attributes:
        configs: Which configs to write, of `sequences`, `views` and `cameras`; the first one is the
            default config of the folder.
        split_seed: Seed of the split.
        image_format: `"png"` keeps the published bytes (unless resized), `"webp"` is lossless,
            `"jpeg"` is not.
        image_size: Longer side of the images written, pixels; None keeps the stored size.
        quality: Of JPEG, 1 to 95.
    """

    configs: tuple[str, ...] = DEFAULT_CONFIGS
    split_seed: int = 0
    image_format: ImageFormat = "png"
    image_size: int | None = None
    quality: int = 92

    def __post_init__(self) -> None:
        for complaint in self._complaints():
            raise UsageError(complaint)

    def _complaints(self) -> Iterator[str]:
        unknown = [name for name in self.configs if name not in FEATURES]
        if unknown or not self.configs or len(set(self.configs)) < len(self.configs):
            yield explain("bad configs", expected=f"some of {', '.join(FEATURES)}, each once",
                          found=", ".join(self.configs) or "none")  # fmt: skip
        if self.image_format not in IMAGE_FORMATS:
            yield explain("unknown image format", expected=", ".join(IMAGE_FORMATS),
                          found=self.image_format)  # fmt: skip
        if self.image_size is not None and not 8 <= self.image_size <= 8192:
            yield explain("bad image size", expected="8 to 8192 pixels", found=self.image_size)
        if not 1 <= self.quality <= 95:
            yield explain("bad JPEG quality", expected="1 to 95", found=self.quality)

    @property
    def keeps_images(self) -> bool:
        """Whether images go through untouched."""
        return self.image_format == "png" and self.image_size is None

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "configs": list(self.configs)}


def shard_name(config: str, split: str, index: int, count: int) -> str:
    """Path of a Parquet file in the folder.

    Example:
        >>> shard_name("views", "train", 3, 64)
        'data/views/train-00003-of-00064.parquet'
    """
    return f"data/{config}/{split}-{index:05d}-of-{count:05d}.parquet"
