"""What all commands share: options, help, printing, progress bars and pictures."""

from __future__ import annotations

import functools
import inspect
import io
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich import progress as bars
from rich.console import Console
from typer import Argument, Exit, Option

from geogen_hf.durable import write_durably, writing
from geogen_hf.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from geogen_hf.release.convention import CameraOptions

LONGEST_LINE = 2000
"""Longer lines are cut: a name from an archive can be 65,535 bytes long."""

Source = Annotated[str | None, Argument(metavar="SRC", show_default=False)]
In = Annotated[str, Argument(metavar="SRC")]
Out = Annotated[Path, Argument(metavar="OUT")]
AsJson = Annotated[bool, Option("--json")]

SHARED_OPTIONS = """
    source: Folder with the eight zips, or a base URL.  [default: the publisher's host]
    part: Use only this image part (1 to 7). Repeatable.
    subject: Only this identity. Repeatable.
    split_seed: Seed of the splits.
    on_bad_subject: Stop if identities are damaged or incomplete, or skip them.
    camera_convention: Convention of the stored matrices, such as "camera_to_world opengl"; it is
        checked unless "unchecked" follows; auto finds it out.
    camera_schema: TOML or JSON file that says where the cameras are in the metadata.
    default_intrinsics: Where the metadata has no intrinsics, assume 50 mm on a 36 mm sensor.
    image_size: Resize images to this longer side in pixels; intrinsics follow.
    overwrite: Replace what this command wrote into OUT before.
    as_json: Print JSON.
"""
"""Help of options that mean the same in several commands; a command's docstring comes first."""
_HELP = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def command(run: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function, with the section `Options:` of its docstring as their help.

    As with typer, a parameter without default is an argument, unless its annotation says otherwise;
    a `bool` is a flag that has no opposite. Ctrl-C ends the command with status 130.
    """
    text, _, options = inspect.cleandoc(run.__doc__ or "").partition("\n\nOptions:\n")
    helps = dict(_HELP.findall(f"{SHARED_OPTIONS}\n{options}"))
    annotations: dict[str, Any] = {}
    for name, parameter in inspect.signature(run, eval_str=True).parameters.items():
        kind, info = parameter.annotation, getattr(parameter.annotation, "__metadata__", ())
        if info:
            kind, given = kind.__origin__, copy(info[0])
        elif parameter.default is parameter.empty:
            given = Argument()
        else:
            given = Option(*([f"--{name.replace('_', '-')}"] if kind is bool else []))
        given.help = re.sub(r"\n +", " ", helps.get(name, ""))  # there is none with python -OO
        annotations[name] = Annotated[kind, given]
    run.__doc__, run.__annotations__ = text, annotations

    @functools.wraps(run)
    def interruptible(*args: Any, **kwargs: Any) -> None:
        try:
            run(*args, **kwargs)
        except KeyboardInterrupt:
            complain("interrupted; run the same command again to go on")
            raise Exit(130) from None

    return interruptible


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
    # Python takes no space but that of ASCII for printable.
    safe = (c.isprintable() or unicodedata.category(c) == "Zs" for c in cut)
    return "".join(c if fine else ascii(c)[1:-1] for c, fine in zip(cut, safe, strict=True))


def say(text: object = "") -> None:
    """Print a line, or several, on standard output."""
    print(printable(str(text)))


def say_json(value: object) -> None:
    """Print a value as JSON on standard output, whatever its length."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def counts(numbers: Mapping[str, int] | Mapping[int, int]) -> str:
    """Write numbers behind what they count, in a line."""
    return ", ".join(f"{key}: {number:,}" for key, number in numbers.items())


def complain(text: object) -> None:
    """Print a line, or several, on standard error."""
    print(printable(str(text)), file=sys.stderr)


def check_picture_path(path: Path) -> None:
    """Check, before anything is drawn, that a PNG picture can go to this path."""
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


def save_picture(picture: Image, path: Path) -> None:
    """Write a PNG, whole or not at all, and make its folder."""
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
    columns: list[bars.ProgressColumn] = [bars.TextColumn("{task.description}"), bars.BarColumn()]
    if of_bytes:
        columns += [bars.DownloadColumn(), bars.TransferSpeedColumn()]
    else:
        columns.append(bars.MofNCompleteColumn())
    columns.append(bars.TimeRemainingColumn())
    with bars.Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
