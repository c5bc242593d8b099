"""`geogen demo`, `sample` and `inspect`."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geogen_hf.cli.console import (
    ConventionName,
    PartNumbers,
    SchemaFile,
    Source,
    UpstreamLens,
    camera_options,
    out,
    progress_bar,
)


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
    """Write a small release of rendered heads: upstream's eight zips, exact cameras, no network.

    The same arguments give the same bytes. Try: geogen sample parts && geogen inspect parts
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
    out.print(f"{subjects} heads, {views} views each, {size} px: {folder}")


def inspect(
    source: Source = None,
    part: PartNumbers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    split_seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    camera_convention: ConventionName = "auto",
    camera_schema: SchemaFile = None,
    default_intrinsics: UpstreamLens = False,
) -> None:
    """Say what is in these parts: subjects, views, sizes, splits, camera convention, problems.

    Exits with 1 if there are problems or the evidence does not settle the camera convention.
    """
    from geogen_hf.release.inspection import inspect_release
    from geogen_hf.source.parts import UPSTREAM_URL, parts_at_url, select_parts

    locations = parts_at_url(source or UPSTREAM_URL, select_parts(part))
    with progress_bar("reading headers") as progress:
        found = inspect_release(
            locations,
            cameras=camera_options(camera_convention, camera_schema, default_intrinsics),
            split_seed=split_seed,
            progress=progress,
        )
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), indent=2) + "\n")
    else:
        for archive in found.archives:
            out.print(f"{archive.name:24}{archive.size:>16,} bytes{archive.members:>9,} members")
        out.print(f"subjects           {found.subjects:,}")
        out.print(f"images             {found.images:,}")
        out.print(f"views per subject  {_counts(found.views_per_subject)}")
        out.print(f"image sizes        {_counts(found.image_sizes)}")
        out.print(f"splits             {_counts(found.splits)}")
        out.print(str(found.judgement), markup=False)
        out.print(f"problems           {len(found.report.problems):,}")
        if found.report.problems:
            out.print(str(found.report), markup=False)
    if found.report.problems or found.judgement.convention is None:
        raise typer.Exit(1)


def _counts(counts: dict[str, int] | dict[int, int]) -> str:
    return ", ".join(f"{key}: {count:,}" for key, count in counts.items())


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[OUT]", help="Where to put it.", show_default=True)
    ] = Path("geogen_demo"),
    subjects: Annotated[int, typer.Option(min=1, help="How many heads.")] = 12,
    size: Annotated[int, typer.Option(min=16, help="Side of an image, pixels.")] = 128,
) -> None:
    """Render a small release, load it, look at it. No network."""
    from geogen_hf.cli.demo import run_demo

    with progress_bar("rendering") as progress:
        result = run_demo(folder, subjects=subjects, size=size, progress=progress)
    out.print(f"1. rendered {subjects} heads into the eight zips of a release: {result.parts}")
    out.print(f'2. geogen.load("sequences", data_dir="{result.parts}")')
    for split, dataset in result.splits.items():
        out.print(f"   {split:11}{len(dataset):4} identities")
    out.print("   features:")
    for name, feature in result.features.items():
        out.print(f"     {name:12}{feature}", markup=False)
    out.print("   first row of train:")
    for name, value in result.first_row.items():
        out.print(f"     {name:12}{value}", markup=False)
    out.print("3. pictures to look at:")
    for picture in result.pictures:
        out.print(f"   {picture}")
    out.print("Next:")
    out.print(f"  geogen inspect {result.parts}")
    out.print(f"  geogen export {result.parts} {folder / 'geogen'}")
    out.print(
        f"  python -c \"import geogen; print(geogen.load('views', split='train', "
        f"data_dir='{result.parts}')[0])\""
    )
