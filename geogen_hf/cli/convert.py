"""`geogen convert`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geogen_hf.cli.console import (
    BadSubject,
    ConventionName,
    OnBadSubject,
    SchemaFile,
    SplitSeed,
    UpstreamLens,
    camera_options,
    progress_bar,
    say,
)


class Target(str, Enum):
    """Tools whose layouts can be written."""

    eg3d = "eg3d"
    nerfstudio = "nerfstudio"
    blender = "blender"
    colmap = "colmap"
    co3d = "co3d"


class SplitName(str, Enum):
    """The splits of identities."""

    train = "train"
    validation = "validation"
    test = "test"


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Folder with the eight zips, their base URL, or a folder made by geogen export.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to.")],
    to: Annotated[Target, typer.Option("--to", help="The tool that is to read it.")],
    split: Annotated[
        list[SplitName] | None, typer.Option("--split", help="Only this split. Repeatable.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="Only this identity. Repeatable.")
    ] = None,
    split_seed: SplitSeed = 0,
    on_bad_subject: OnBadSubject = BadSubject.stop,
    camera_convention: ConventionName = "auto",
    camera_schema: SchemaFile = None,
    default_intrinsics: UpstreamLens = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where OUT holds another conversion.")
    ] = False,
) -> None:
    """Write images and cameras as another tool reads them. Images are not changed.

    Interrupted in any way, the same command goes on where it stopped. In scenes of nerfstudio and
    blender the last view is for testing and the one before it for validation.
    """
    from geogen_hf.formats.driver import convert as convert_source

    with progress_bar("converting") as progress:
        done = convert_source(
            source,
            folder,
            to.value,
            splits=None if split is None else [name.value for name in split],
            subjects=subject,
            split_seed=split_seed,
            on_bad_subject=on_bad_subject.value,
            cameras=camera_options(camera_convention, camera_schema, default_intrinsics),
            overwrite=overwrite,
            progress=progress,
        )
    say(f"{done.subjects:,} subjects, {done.images:,} images for {done.to}: {done.folder}")
