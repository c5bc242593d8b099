"""What all commands share: printing, progress bars, and the options that several commands take."""

from __future__ import annotations

import io
import logging
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
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
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from geogen_hf.durable import write_durably, writing
from geogen_hf.errors import UsageError
from geogen_hf.report import Policy

if TYPE_CHECKING:
    from PIL.Image import Image

    from geogen_hf.release.convention import CameraOptions

LONGEST_LINE = 2000
"""Longer lines are cut: a name from an archive can be 65,535 bytes long."""


Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SRC",
        help="Folder with the eight zips, or a base URL.  [default: the publisher's host]",
        show_default=False,
    ),
]
ConventionName = Annotated[
    str,
    typer.Option(
        "--camera-convention",
        help='Convention of the stored matrices, such as "camera_to_world opengl"; it is checked '
        'unless "unchecked" follows; auto finds it out.',
    ),
]
SchemaFile = Annotated[
    Path | None,
    typer.Option(
        "--camera-schema", help="TOML or JSON file that says where the cameras are in the metadata."
    ),
]
UpstreamLens = Annotated[
    bool,
    typer.Option(
        "--default-intrinsics",
        help="Where the metadata has no intrinsics, assume 50 mm on a 36 mm sensor.",
    ),
]
PartNumbers = Annotated[
    list[int] | None,
    typer.Option("--part", help="Use only this image part (1 to 7). Repeatable."),
]
Subjects = Annotated[
    list[str] | None, typer.Option("--subject", help="Only this identity. Repeatable.")
]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Resize images to this longer side in pixels; intrinsics follow."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what this command wrote into OUT before.")
]
SplitSeed = Annotated[int, typer.Option("--split-seed", help="Seed of the splits.")]
OnBadSubject = Annotated[
    Policy,
    typer.Option(
        "--on-bad-subject", help="Stop if identities are damaged or incomplete, or skip them."
    ),
]


def camera_options(convention: str, schema: Path | None, upstream_lens: bool) -> CameraOptions:
    """Put the options on cameras together, for a command that can take its time."""
    from geogen_hf.release.convention import CameraOptions

    default = "upstream" if upstream_lens else None
    return CameraOptions(convention, schema, default)  # type: ignore[arg-type]


def printable(text: str) -> str:
    r"""Make text that may come from outside safe for a terminal, and short.

    Control characters (colours, window titles, NUL), format characters (bidirectional overrides)
    and lone surrogates become escapes; line breaks stay; lines are cut at `LONGEST_LINE`.

    Example:
        >>> print(printable("a\x1b[31mb\u202ec"))
        a\x1b[31mb\u202ec
    """
    return "\n".join(_printable_line(line) for line in text.split("\n"))


def _printable_line(line: str) -> str:
    cut = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} … (cut)"
    if cut.isascii() and cut.isprintable():
        return cut
    # Categories C*: control, format, surrogate, private, unassigned; Zl, Zp: line breaks.
    return "".join(
        ascii(c)[1:-1] if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" else c
        for c in cut
    )


def say(text: object = "") -> None:
    """Print a line, or several, on standard output."""
    print(printable(str(text)))


def counts(numbers: Mapping[str, int] | Mapping[int, int]) -> str:
    """Write numbers behind what they count, in a line."""
    return ", ".join(f"{key}: {number:,}" for key, number in numbers.items())


def complain(text: object) -> None:
    """Print a line, or several, on standard error."""
    print(printable(str(text)), file=sys.stderr)


def checked_picture_path(path: Path) -> Path:
    """Check, before anything is drawn, that a PNG picture can go to this path.

    Raises:
        UsageError: The path is a folder, or does not end in `.png`.
        OutputError: The file system knows no such paths.
    """
    with writing(path, resumes=False):
        folder = path.is_dir()
    if folder or path.suffix.lower() != ".png":
        raise UsageError(
            "a picture cannot be written there",
            where=path,
            expected="the name of a .png file",
            found="a folder" if folder else f"the ending {path.suffix!r}",
            remedy=f"name it {path / 'geogen.png' if folder else path.stem + '.png'}",
        )
    return path


def save_picture(picture: Image, path: Path) -> None:
    """Write a PNG, whole or not at all, and make its folder.

    Raises:
        OutputError: The file system refuses it.
    """
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    with writing(path, resumes=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, buffer.getvalue())


class PrintableFormatter(logging.Formatter):
    """A log formatter whose lines are safe for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, and escape what a terminal would obey."""
        return printable(super().format(record))


@contextmanager
def progress_bar(title: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while work goes on; nothing where stderr is not a terminal.

    The function that is yielded is told how much is done of how much, in pieces or in bytes.
    """
    console = Console(stderr=True)
    amounts = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
