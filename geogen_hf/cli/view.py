"""`geogen view`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from geogen_hf.cli.console import (
    ConventionName,
    SchemaFile,
    Source,
    UpstreamLens,
    camera_options,
    say,
)
from geogen_hf.errors import UsageError, explain


def view(
    source: Source = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(help="Show this identity. Repeatable.  [default: all of them]"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="X.html",
            help="Write one identity as a file that needs no server, and end.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port to listen on; 0 for any free one.  [default: 8080, or any if it is taken]"
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    camera_convention: ConventionName = "auto",
    camera_schema: SchemaFile = None,
    default_intrinsics: UpstreamLens = False,
) -> None:
    """Look at identities in the browser: pictures at the poses of their cameras, in 3-D.

    SRC may be an exported folder, too. Ctrl-C ends it. Needs viser: pip install "geogen-hf[view]".

    Example: geogen view parts --subject 17 --html 17.html
    """
    from geogen_hf.viewer.server import view as open_viewer

    if html is not None and subject is not None and len(subject) > 1:
        raise UsageError(
            explain(
                "--html writes one identity",
                found=f"{len(subject)} of them",
                remedy="give --subject once, and run the command once for each",
            )
        )
    cameras = camera_options(camera_convention, camera_schema, default_intrinsics)
    port = 0 if html is not None else port
    with open_viewer(source, subjects=subject, port=port, host=host, cameras=cameras) as viewer:
        if html is not None:
            size = viewer.save_html(html).stat().st_size
            say(f"{html}  {viewer.subject_id}, {size / 1e6:.1f} MB")
            return
        try:
            say(f"{viewer.url}  open this in a browser; Ctrl-C ends it")
            sys.stdout.flush()
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            say("stopped")
