"""What the commands share: consoles, the progress bar, arguments that several take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from geogen_hf.release.convention import CameraOptions

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SRC",
        help="Folder with the eight zips, or a base URL. Default: the publisher's host.",
        show_default=False,
    ),
]
ConventionName = Annotated[
    str,
    typer.Option(
        "--camera-convention",
        help='What the matrices mean, such as "camera_to_world opengl"; auto asks the evidence.',
    ),
]
SchemaFile = Annotated[
    Path | None,
    typer.Option(
        "--camera-schema", help="TOML or JSON that says where the metadata has its cameras."
    ),
]
UpstreamLens = Annotated[
    bool,
    typer.Option(
        "--default-intrinsics", help="Where there are none, assume 50 mm on a 36 mm sensor."
    ),
]
PartNumbers = Annotated[
    list[int] | None,
    typer.Option("--part", help="Use only this image part (1 to 7). Repeatable."),
]


def camera_options(convention: str, schema: Path | None, upstream_lens: bool) -> CameraOptions:
    """Put the options on cameras together, for a command that can take its time."""
    from geogen_hf.release.convention import CameraOptions

    default = "upstream" if upstream_lens else None
    return CameraOptions(convention, schema, default, pixel_subjects=6)  # type: ignore[arg-type]


@contextmanager
def byte_progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """As `progress_bar`, for bytes: with amounts and rate."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with _bar(title, *columns) as show:
        yield show


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while work goes on; nothing where stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with _bar(title, *columns) as show:
        yield show


@contextmanager
def _bar(title: str, *columns: ProgressColumn) -> Iterator[Callable[[int, int], None]]:
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield show
