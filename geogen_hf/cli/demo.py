"""The main job on a release made on the spot: render, load, look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import geogen
from geogen_hf.release.preview import Views, camera_rig, contact_sheet
from geogen_hf.sample import write_release


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        parts: Folder with the eight zips.
        splits: The loaded `sequences`, by split.
        features: Column name to feature, as text.
        first_row: Column name to a short description of the first training row's value.
        pictures: The PNG files written.
    """

    parts: Path
    splits: dict[str, Any]
    features: dict[str, str]
    first_row: dict[str, str]
    pictures: tuple[Path, ...]


def run_demo(
    folder: Path, *, subjects: int, size: int, progress: Callable[[int, int], None] | None = None
) -> DemoResult:
    """Render a release into `folder/parts`, load it, and draw two pictures of it.

    Args:
        folder: Made if need be; files of an earlier demo are replaced.
        subjects: Number of heads.
        size: Side of an image, pixels.
        progress: Told how many images of how many are rendered.

    Returns:
        What was made.
    """
    parts = write_release(folder / "parts", subjects=subjects, size=size, progress=progress)
    splits = geogen.load("sequences", data_dir=str(parts), cache_dir=str(folder / "cache"))
    train = splits["train"]
    row = train[0]
    shown = [_views(train[index]) for index in range(min(6, len(train)))]
    pictures = (folder / "contact_sheet.png", folder / "camera_rig.png")
    contact_sheet(shown).save(pictures[0])
    camera_rig(shown[0]).save(pictures[1])
    return DemoResult(
        parts=parts,
        splits=dict(splits),
        features={name: str(feature) for name, feature in train.features.items()},
        first_row={name: _describe(value) for name, value in row.items()},
        pictures=pictures,
    )


def _views(row: dict[str, Any]) -> Views:
    extrinsics = np.asarray(row["extrinsics"], dtype=np.float64)
    intrinsics = np.asarray(row["intrinsics"], dtype=np.float64)
    images = [image.convert("RGB") for image in row["images"]]
    return Views(row["subject_id"], images, extrinsics, intrinsics)


def _describe(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and hasattr(value[0], "size"):
        return f"{len(value)} images of {value[0].size[0]} x {value[0].size[1]} px"
    array = np.asarray(value)
    return str(array.tolist()) if array.ndim < 2 else f"{array.shape}, first:\n{array[0].round(3)}"
