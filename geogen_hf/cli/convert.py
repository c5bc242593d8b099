"""`geogen convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geogen_hf.cli import console
from geogen_hf.formats import FormatName


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Folder with the eight zips, their base URL, or a folder made by geogen export.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to.")],
    to: Annotated[FormatName, typer.Option("--to", help="The tool that is to read it.")],
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="Only this split: train, validation or test. Repeatable."),
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="Only this identity. Repeatable.")
    ] = None,
    split_seed: console.SplitSeed = 0,
    on_bad_subject: console.OnBadSubject = "raise",
    camera_convention: console.ConventionName = "auto",
    camera_schema: console.SchemaFile = None,
    default_intrinsics: console.UpstreamLens = False,
    masks: Annotated[
        bool | None,
        typer.Option(
            "--masks/--no-masks",
            help="Derive foreground masks from the even background. Default: for co3d only.",
        ),
    ] = None,
    holdout: Annotated[
        str,
        typer.Option(
            metavar="N|none", help="Views of each identity, its last, held out of training."
        ),
    ] = "2",
    centre: Annotated[
        bool, typer.Option("--centre", help="Move the world so that cameras look at its origin.")
    ] = False,
    radius: Annotated[
        float | None,
        typer.Option(
            help="With --centre: distance of the cameras. Default: what the tool expects."
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Scale images: pixels of the longer side.")
    ] = None,
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="Add mirrored copies, with their cameras (eg3d).")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where OUT holds another conversion.")
    ] = False,
) -> None:
    """Write images and cameras as another tool reads them.

    Images are not changed unless an option says so. Interrupted in any way, the same command goes
    on where it stopped. Of the views held out, the second half is for testing and the first half
    for validation.

    Example: geogen convert parts scenes --to nerfstudio --masks --holdout 1
    """
    from geogen_hf.formats.driver import convert as convert_source

    with console.progress_bar("converting") as progress:
        done = convert_source(
            source,
            folder,
            to,
            splits=split,  # type: ignore[arg-type]
            subjects=subject,
            split_seed=split_seed,
            on_bad_subject=on_bad_subject,
            cameras=console.camera_options(camera_convention, camera_schema, default_intrinsics),
            masks=masks,
            holdout=_held_out(holdout),
            centre=centre,
            radius=radius,
            image_size=image_size,
            mirrored=mirrored,
            overwrite=overwrite,
            progress=progress,
        )
    console.say(f"{done.subjects:,} subjects, {done.images:,} images for {done.to}: {done.folder}")
    console.say(f"licence and citation: {done.folder / 'ATTRIBUTION.md'}")
    console.say(f"to train on it: {done.train}")


def _held_out(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected a number or none, found {text!r}") from error
