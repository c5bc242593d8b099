"""The options of an export, and the names of the files that it writes.

Add an option here that changes the exported files. How the release is read (cameras, split seed,
failure policy) is no option of the files: `export_release` takes it as an argument, as the other
functions do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from geogen_hf.errors import UsageError, did_you_mean, explain
from geogen_hf.images import LONGEST_PX
from geogen_hf.release.features import FEATURES

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
        for fault in self._faults():
            raise UsageError(fault)

    def _faults(self) -> Iterator[str]:
        unknown = [name for name in self.configs if name not in FEATURES]
        if unknown or not self.configs or len(set(self.configs)) < len(self.configs):
            yield explain("bad configs", expected=f"some of {', '.join(FEATURES)}, each once",
                          found=", ".join(self.configs) or "none",
                          remedy=did_you_mean("".join(unknown[:1]), FEATURES))  # fmt: skip
        if self.image_format not in IMAGE_FORMATS:
            yield explain("unknown image format", expected=", ".join(IMAGE_FORMATS),
                          found=self.image_format)  # fmt: skip
        if self.image_size is not None and not 8 <= self.image_size <= LONGEST_PX:
            expected = f"8 to {LONGEST_PX} pixels"
            yield explain("bad image size", expected=expected, found=self.image_size)
        if not 1 <= self.quality <= 95:
            yield explain("bad JPEG quality", expected="1 to 95", found=self.quality)

    @property
    def keeps_images(self) -> bool:
        """Whether the images are written as they are stored."""
        return self.image_format == "png" and self.image_size is None

    def to_json(self, split_seed: int) -> dict[str, Any]:
        """Return the options with the split seed as JSON values, for `provenance.json`."""
        values = asdict(self)
        return {"configs": list(values.pop("configs")), "split_seed": split_seed, **values}


def shard_name(config: str, split: str, index: int, count: int) -> str:
    """Return the path of a Parquet file in the folder.

    Example:
        >>> shard_name("views", "train", 3, 64)
        'data/views/train-00003-of-00064.parquet'
    """
    return f"data/{config}/{split}-{index:05d}-of-{count:05d}.parquet"
