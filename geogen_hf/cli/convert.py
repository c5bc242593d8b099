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
            help="Folder with the eight zips, their base URL, or an exported folder.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to.")],
    to: Annotated[
        FormatName,
        typer.Option(
            "--to",
            help="Format to write: blender is NeRF's, co3d is PyTorch3D's, 3DGS reads colmap.",
        ),
    ],
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="Only this split: train, validation or test. Repeatable."),
    ] = None,
    subject: console.Subjects = None,
    split_seed: console.SplitSeed = 0,
    on_bad_subject: console.OnBadSubject = "raise",
    camera_convention: console.ConventionName = "auto",
    camera_schema: console.SchemaFile = None,
    default_intrinsics: console.UpstreamLens = False,
    masks: Annotated[
        bool | None,
        typer.Option(
            "--masks/--no-masks",
            help="Write foreground masks, found from the plain background.  [default: for co3d]",
        ),
    ] = None,
    holdout: Annotated[
        str,
        typer.Option(
            metavar="N|none",
            help="How many views of each identity, the last ones, are held out of training.",
        ),
    ] = "2",
    centre: Annotated[
        bool,
        typer.Option("--centre", help="Move the world so that the cameras look at its origin."),
    ] = False,
    radius: Annotated[
        float | None,
        typer.Option(
            help="Distance of the cameras, with --centre.  [default: what the tool expects]"
        ),
    ] = None,
    image_size: console.ImageSize = None,
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="Add mirrored images with mirrored cameras (eg3d).")
    ] = False,
    overwrite: console.Overwrite = False,
) -> None:
    """Write images and cameras as another tool reads them.

    Images are not changed unless an option says so. Of the views that are held out of training,
    the first half is for validation and the second half for testing.
    An interrupted run continues when the same command is run again.

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
