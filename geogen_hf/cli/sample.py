"""`geogen sample` and `geogen demo`: a small release of rendered heads, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from typer import Argument, Option

from geogen_hf.cli import console
from geogen_hf.cli.view import preview

_Count = Annotated[int, Option(min=1)]


@console.command
def sample(
    folder: console.Out,
    subjects: _Count = 12,
    views: _Count = 7,
    size: Annotated[int, Option(min=8)] = 128,
    seed: int = 0,
    layout: Literal["by-subject", "by-view"] = "by-subject",
    schema: str = "list",
    convention: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write eight zips like the publisher's, with rendered heads.

    Their cameras are known exactly. The same arguments give the same bytes. No network is needed.

    Example: geogen sample parts --subjects 24 --size 128

    Options:
        folder: Folder for the eight zips.
        subjects: How many heads.
        views: Views of each head.
        size: Width and height of an image in pixels.
        seed: Another seed gives other heads and cameras.
        layout: Each image zip holds whole identities, or one view of each.
        schema: Layout of the metadata; geogen_hf.sample.schemas lists them.
        convention: Convention of the matrices, such as "camera_to_world opengl".
    """
    from geogen_hf.sample import write_release

    with console.progress_bar("rendering") as progress:
        write_release(
            folder,
            subjects=subjects,
            views=views,
            size=size,
            seed=seed,
            layout=layout,
            schema=schema,
            convention=convention,
            overwrite=overwrite,
            progress=progress,
        )
    console.say(f"{subjects} heads, {views} views each, {size} px: {folder}")


@console.command
def demo(
    folder: Annotated[Path, Argument(metavar="[OUT]", show_default=True)] = Path("geogen_demo"),
    subjects: _Count = 12,
    size: Annotated[int, Option(min=16)] = 128,
) -> None:
    """Render a small release, load it and draw it. No network is needed.

    Example: geogen demo

    Options:
        folder: Where to put it.
        subjects: How many heads.
        size: Width and height of an image in pixels.
    """
    import geogen
    from geogen_hf.sample import write_release

    with console.progress_bar("rendering") as progress:
        parts = write_release(
            folder / "parts", subjects=subjects, size=size, overwrite=True, progress=progress
        )
    console.say(f"1. rendered {subjects} heads into the eight zips of a release: {parts}")
    splits = geogen.load("sequences", data_dir=str(parts), cache_dir=str(folder / "cache"))
    console.say(f'2. geogen.load("sequences", data_dir="{parts}")')
    for split, dataset in splits.items():
        console.say(f"   {split:11}{len(dataset):4} identities")
    train = splits["train"]
    _say_values("features", train.features)
    _say_values("first row of train", {n: _describe(value) for n, value in train[0].items()})
    console.say("3. pictures to look at:")
    preview(str(parts), picture=folder / "contact_sheet.png")
    console.say(f'or in the browser: geogen view {parts} (pip install ".[view]")')
    load = f"geogen.load('views', split='train', data_dir='{parts}')"
    console.say(f"Next:\n  geogen inspect {parts}\n  geogen export {parts} {folder / 'geogen'}")
    console.say(f'  python -c "import geogen; print({load}[0])"')


def _say_values(title: str, values: Mapping[str, object]) -> None:
    console.say(f"   {title}:")
    for name, value in values.items():
        console.say(f"     {name:12}{value}")


def _describe(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and hasattr(value[0], "size"):
        return f"{len(value)} images of {value[0].size[0]} x {value[0].size[1]} px"
    array = np.asarray(value)
    return str(array.tolist()) if array.ndim < 2 else f"{array.shape}, first:\n{array[0].round(3)}"
