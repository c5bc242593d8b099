"""`geogen sample`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geogen_hf.cli.console import progress_bar, say


class Layout(str, Enum):
    """How identities are spread over the image zips."""

    by_subject = "by-subject"
    by_view = "by-view"


def sample(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the eight zips.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many heads.")] = 12,
    views: Annotated[int, typer.Option(min=1, help="Views of each.")] = 7,
    size: Annotated[int, typer.Option(min=8, help="Side of an image, pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Other heads, other cameras.")] = 0,
    layout: Annotated[
        Layout, typer.Option(help="Whole identities in each image zip, or one view of each.")
    ] = Layout.by_subject,
    schema: Annotated[
        str,
        typer.Option(help="How the metadata is written (geogen_hf.sample.schemas)."),
    ] = "list",
    convention: Annotated[
        str | None, typer.Option(help='Of the matrices written, such as "camera_to_world opengl".')
    ] = None,
) -> None:
    """Write a small release of rendered heads: the publisher's eight zips, with exact cameras.

    The same arguments give the same bytes. No network is needed.

    Example: geogen sample parts --subjects 24 --size 128
    """
    from geogen_hf.sample import write_release

    with progress_bar("rendering") as progress:
        write_release(
            folder,
            subjects=subjects,
            views=views,
            size=size,
            seed=seed,
            layout=layout.value,
            schema=schema,
            convention=convention,
            progress=progress,
        )
    say(f"{subjects} heads, {views} views each, {size} px: {folder}")
