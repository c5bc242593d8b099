"""`geogen convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from geogen_hf.cli import console
from geogen_hf.formats import FormatName
from geogen_hf.report import Policy


@console.command
def convert(
    source: console.In,
    folder: console.Out,
    to: Annotated[FormatName, Option()],
    split: list[str] | None = None,
    subject: list[str] | None = None,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    camera_convention: str = "auto",
    camera_schema: Path | None = None,
    default_intrinsics: bool = False,
    masks: bool | None = None,
    holdout: Annotated[str, Option(metavar="N|none")] = "2",
    centre: bool = False,
    radius: float | None = None,
    image_size: int | None = None,
    mirrored: bool = False,
    overwrite: bool = False,
) -> None:
    """Write images and cameras as another tool reads them.

    Images are not changed unless an option says so. Of the views that are held out of training,
    the first half is for validation and the second half for testing.
    An interrupted run continues when the same command is run again.

    Example: geogen convert parts scenes --to nerfstudio --masks --holdout 1

    Options:
        source: Folder with the eight zips, their base URL, or an exported folder.
        folder: Folder to write to.
        to: Format to write: blender is NeRF's, co3d is PyTorch3D's, 3DGS reads colmap.
        split: Only this split: train, validation or test. Repeatable.
        masks: Write foreground masks, found from the plain background.  [default: for co3d]
        holdout: How many views of each identity, the last ones, are held out of training.
        centre: Move the world so that the cameras look at its origin.
        radius: Distance of the cameras, with --centre.  [default: what the tool expects]
        mirrored: Add mirrored images with mirrored cameras (eg3d).
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
        raise BadParameter(f"expected a number or none, found {text!r}") from error
