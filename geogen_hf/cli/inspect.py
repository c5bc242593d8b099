"""`geogen inspect`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from geogen_hf.cli.console import (
    ConventionName,
    PartNumbers,
    SchemaFile,
    Source,
    SplitSeed,
    UpstreamLens,
    camera_options,
    checked_picture_path,
    complain,
    progress_bar,
    save_picture,
    say,
)


def inspect(
    source: Source = None,
    part: PartNumbers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="X.png", help="Draw the proof of the camera convention there."),
    ] = None,
    split_seed: SplitSeed = 0,
    camera_convention: ConventionName = "auto",
    camera_schema: SchemaFile = None,
    default_intrinsics: UpstreamLens = False,
) -> None:
    """Say what the zips hold: subjects, views, sizes, splits, camera convention, problems.

    The exit status is 1 if there are problems, or if the camera convention cannot be settled.

    Example: geogen inspect parts --picture proof.png
    """
    from geogen_hf import inspect_release
    from geogen_hf.release.proof_picture import proof_picture

    if picture is not None:
        checked_picture_path(picture)

    with progress_bar("reading headers") as progress:
        found = inspect_release(
            source,
            parts=part,
            cameras=camera_options(camera_convention, camera_schema, default_intrinsics),
            split_seed=split_seed,
            progress=progress,
        )
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), indent=2) + "\n")
    else:
        for archive in found.archives:
            say(f"{archive.name:24}{archive.size:>16,} bytes{archive.members:>9,} members")
        say(f"subjects           {found.subjects:,}")
        say(f"images             {found.images:,}")
        say(f"views per subject  {_counts(found.views_per_subject)}")
        say(f"image sizes        {_counts(found.image_sizes)}")
        say(f"splits             {_counts(found.splits)}")
        say(f"metadata           {found.metadata_reading}")
        say(str(found.camera_convention))
        say(f"problems           {len(found.report.problems):,}")
        if found.report.problems:
            say(str(found.report))
    if picture is not None:
        save_picture(proof_picture(found.release), picture)
        complain(f"{picture}: the cameras' proof, for the eye")
    if found.report.problems or found.camera_convention.convention is None:
        raise typer.Exit(1)


def _counts(counts: dict[str, int] | dict[int, int]) -> str:
    return ", ".join(f"{key}: {count:,}" for key, count in counts.items())
