"""The command line: the only place that prints."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Annotated

import typer

from geogen_hf._version import __version__
from geogen_hf.cli import console
from geogen_hf.cli.convert import convert
from geogen_hf.cli.download import download
from geogen_hf.cli.export import export
from geogen_hf.cli.inspect import inspect
from geogen_hf.cli.push import push
from geogen_hf.cli.sample import demo, sample
from geogen_hf.cli.verify import verify
from geogen_hf.cli.view import preview, view
from geogen_hf.errors import GeoGenError

app = typer.Typer(
    name="geogen",
    help="Microsoft's GeoGen data set for Hugging Face datasets. Start with: geogen demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.say(__version__)
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
    handler = logging.StreamHandler()
    form = "%(levelname)s %(name)s: %(message)s" if verbose else "%(levelname)s: %(message)s"
    handler.setFormatter(console.PrintableFormatter(form))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


for _command in (demo, sample, download, inspect, export, verify, preview, view, convert, push):
    app.command()(_command)


def main() -> None:
    """Run the command line; a known error ends with its message and status 1."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows ? for what it lacks, and nothing fails.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not sys.stderr.isatty():
        # Read by datasets when it is imported: its own bars would fill a log file.
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except GeoGenError as error:
        console.complain(f"error: {error}")
        sys.exit(1)
