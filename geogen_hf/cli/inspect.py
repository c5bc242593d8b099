"""`geogen inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from geogen_hf.cli import console


@console.command
def inspect(
    source: console.Source = None,
    part: list[int] | None = None,
    as_json: console.AsJson = False,
    picture: Annotated[Path | None, Option(metavar="X.png")] = None,
    split_seed: int = 0,
    camera_convention: str = "auto",
    camera_schema: Path | None = None,
    default_intrinsics: bool = False,
) -> None:
    """Say what the zips hold, and every problem in them.

    Prints the number of subjects and views, image sizes, splits and the camera convention with its
    evidence.

    The exit status is 1 if there are problems, or if the camera convention is not certain.

    Example: geogen inspect parts --picture proof.png

    Options:
        picture: Also draw heads over their outlines, to see that the cameras fit.
    """
    from geogen_hf import inspect_release

    if picture is not None:
        console.check_picture_path(picture)
    with console.progress_bar("reading headers") as progress:
        found = inspect_release(
            source,
            parts=part,
            cameras=console.camera_options(camera_convention, camera_schema, default_intrinsics),
            split_seed=split_seed,
            progress=progress,
        )
    if as_json:
        console.say_json(found.to_json())
    else:
        for archive in found.archives:
            console.say(f"{archive.name:24}{archive.size:>16,} bytes{archive.members:>9,} members")
        console.say(f"subjects           {found.subjects:,}")
        console.say(f"images             {found.images:,}")
        console.say(f"views per subject  {console.counts(found.views_per_subject)}")
        console.say(f"image sizes        {console.counts(found.image_sizes)}")
        console.say(f"splits             {console.counts(found.splits)}")
        console.say(f"metadata           {found.metadata_reading}")
        console.say(str(found.camera_convention))
        console.say(f"problems           {len(found.report.problems):,}")
        if found.report.problems:
            console.say(str(found.report))
    if picture is not None:
        console.save_picture(found.proof(), picture)
        console.complain(f"{picture}: the cameras' proof, for the eye")
    if found.report.stops or found.camera_convention.convention is None:
        raise Exit(1)
