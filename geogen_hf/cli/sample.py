"""`geogen sample` and `geogen demo`: a small release of rendered heads, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from geogen_hf.cli import console
from geogen_hf.cli.view import preview


def sample(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the eight zips.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many heads.")] = 12,
    views: Annotated[int, typer.Option(min=1, help="Views of each head.")] = 7,
    size: Annotated[int, typer.Option(min=8, help="Width and height of an image in pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Another seed gives other heads and cameras.")] = 0,
    layout: Annotated[
        Literal["by-subject", "by-view"],
        typer.Option(help="Each image zip holds whole identities, or one view of each."),
    ] = "by-subject",
    schema: Annotated[
        str,
        typer.Option(help="Layout of the metadata; geogen_hf.sample.schemas lists them."),
    ] = "list",
    convention: Annotated[
        str | None,
        typer.Option(help='Convention of the matrices, such as "camera_to_world opengl".'),
    ] = None,
    overwrite: console.Overwrite = False,
) -> None:
    """Write eight zips like the publisher's, with rendered heads.

    Their cameras are known exactly. The same arguments give the same bytes. No network is needed.

    Example: geogen sample parts --subjects 24 --size 128
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


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[OUT]", help="Where to put it.", show_default=True)
    ] = Path("geogen_demo"),
    subjects: Annotated[int, typer.Option(min=1, help="How many heads.")] = 12,
    size: Annotated[
        int, typer.Option(min=16, help="Width and height of an image in pixels.")
    ] = 128,
) -> None:
    """Render a small release, load it and draw it. No network is needed.

    Example: geogen demo
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
    console.say("Next:")
    console.say(f"  geogen inspect {parts}")
    console.say(f"  geogen export {parts} {folder / 'geogen'}")
    console.say(
        f"  python -c \"import geogen; print(geogen.load('views', split='train', "
        f"data_dir='{parts}')[0])\""
    )


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
