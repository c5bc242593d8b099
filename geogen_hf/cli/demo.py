"""`geogen demo`: render a small release, load it and draw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from geogen_hf.cli.console import progress_bar, save_picture, say

if TYPE_CHECKING:
    from geogen_hf.release.preview import Views


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[OUT]", help="Where to put it.", show_default=True)
    ] = Path("geogen_demo"),
    subjects: Annotated[int, typer.Option(min=1, help="How many heads.")] = 12,
    size: Annotated[int, typer.Option(min=16, help="Side of an image, pixels.")] = 128,
) -> None:
    """Render a small release, load it and draw it. No network is needed.

    Example: geogen demo
    """
    with progress_bar("rendering") as progress:
        result = _run(folder, subjects=subjects, size=size, progress=progress)
    say(f"1. rendered {subjects} heads into the eight zips of a release: {result.parts}")
    say(f'2. geogen.load("sequences", data_dir="{result.parts}")')
    for split, dataset in result.splits.items():
        say(f"   {split:11}{len(dataset):4} identities")
    say("   features:")
    for name, feature in result.features.items():
        say(f"     {name:12}{feature}")
    say("   first row of train:")
    for name, value in result.first_row.items():
        say(f"     {name:12}{value}")
    say("3. pictures to look at:")
    for picture in result.pictures:
        say(f"   {picture}")
    say(f'   or in the browser: geogen view {result.parts} (pip install ".[view]")')
    say("Next:")
    say(f"  geogen inspect {result.parts}")
    say(f"  geogen export {result.parts} {folder / 'geogen'}")
    say(
        f"  python -c \"import geogen; print(geogen.load('views', split='train', "
        f"data_dir='{result.parts}')[0])\""
    )


@dataclass(frozen=True)
class _Demo:
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


def _run(
    folder: Path, *, subjects: int, size: int, progress: Callable[[int, int], None] | None = None
) -> _Demo:
    """Render a release into `folder/parts`, load it, and draw two pictures of it.

    Args:
        folder: Made if need be; files of an earlier demo are replaced.
        subjects: Number of heads.
        size: Side of an image, pixels.
        progress: Told how many images of how many are rendered.

    Returns:
        What was made.
    """
    import geogen
    from geogen_hf.release.preview import camera_rig, contact_sheet
    from geogen_hf.sample import write_release

    parts = write_release(folder / "parts", subjects=subjects, size=size, progress=progress)
    splits = geogen.load("sequences", data_dir=str(parts), cache_dir=str(folder / "cache"))
    train = splits["train"]
    row = train[0]
    shown = [_views(train[index]) for index in range(min(6, len(train)))]
    pictures = (folder / "contact_sheet.png", folder / "camera_rig.png")
    save_picture(contact_sheet(shown), pictures[0])
    save_picture(camera_rig(shown[0]), pictures[1])
    return _Demo(
        parts=parts,
        splits=dict(splits),
        features={name: str(feature) for name, feature in train.features.items()},
        first_row={name: _describe(value) for name, value in row.items()},
        pictures=pictures,
    )


def _views(row: dict[str, Any]) -> Views:
    from geogen_hf.release.preview import Views

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
