"""The command line: the only place that prints."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from geogen_hf import __version__
from geogen_hf.errors import GeoGenError

app = typer.Typer(
    name="geogen",
    help="Microsoft's GeoGen data set for Hugging Face datasets. Start with: geogen demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Layout(str, Enum):
    """How identities are spread over the image zips."""

    by_subject = "by-subject"
    by_view = "by-view"


Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SRC",
        help="Folder with the eight zips, or a base URL. Default: the publisher's host.",
        show_default=False,
    ),
]
PartNumbers = Annotated[
    list[int] | None,
    typer.Option("--part", help="Use only this image part (1 to 7). Repeatable."),
]


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while work goes on; nothing where stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield show


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the eight zips.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many heads.")] = 12,
    views: Annotated[int, typer.Option(min=1, help="Views of each.")] = 7,
    size: Annotated[int, typer.Option(min=8, help="Side of an image, pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Other heads, other cameras.")] = 0,
    layout: Annotated[
        Layout, typer.Option(help="Whole identities in each image zip, or one view of each.")
    ] = Layout.by_subject,
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
            progress=progress,
        )
    out.print(f"{subjects} heads, {views} views each, {size} px: {folder}")


@app.command()
def inspect(
    source: Source = None,
    part: PartNumbers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    split_seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
) -> None:
    """Say what is in these parts: archives, subjects, views, sizes, splits, problems.

    Exits with 1 if there are problems.
    """
    from geogen_hf.inspection import inspect_release
    from geogen_hf.parts import UPSTREAM_URL, parts_at_url, select_parts

    locations = parts_at_url(source or UPSTREAM_URL, select_parts(part))
    with progress_bar("reading headers") as progress:
        found = inspect_release(locations, split_seed=split_seed, progress=progress)
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
        out.print(f"problems           {len(found.report.problems):,}")
        if found.report.problems:
            out.print(str(found.report), markup=False)
    if found.report.problems:
        raise typer.Exit(1)


def _counts(counts: dict[str, int] | dict[int, int]) -> str:
    return ", ".join(f"{key}: {count:,}" for key, count in counts.items())


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[OUT]", help="Where to put it.", show_default=True)
    ] = Path("geogen_demo"),
    subjects: Annotated[int, typer.Option(min=1, help="How many heads.")] = 12,
    size: Annotated[int, typer.Option(min=16, help="Side of an image, pixels.")] = 128,
) -> None:
    """Render a small release, load it, look at it. No network."""
    from geogen_hf.demo import run_demo

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
    out.print(
        f"  python -c \"import geogen; print(geogen.load('views', split='train', "
        f"data_dir='{result.parts}')[0])\""
    )


def main() -> None:
    """Run the command line; a known error ends with its message and status 1."""
    if not err.is_terminal:
        # Read by datasets when it is imported: its own bars would fill a log file.
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except GeoGenError as error:
        err.print(f"error: {error}", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
