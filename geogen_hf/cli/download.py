"""`geogen download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geogen_hf.cli import console


def download(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the zips.")],
    part: Annotated[
        list[int] | None,
        typer.Option("--part", help="Fetch only this part, 1 to 8 (8: cameras). Repeatable."),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="A mirror: any URL fsspec opens.  [default: the publisher's]")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Parts at a time.")] = 4,
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse what differs from OUT/parts.lock.json.")
    ] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Take parts that changed upstream.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash parts that are there already.")
    ] = False,
) -> None:
    """Download the eight zips, or some of them, into a folder.

    Interrupted in any way, the same command goes on where it stopped. Each part is checked before
    it gets its name. OUT/parts.lock.json keeps sizes, validators and SHA-256 as first seen.

    Example: geogen download parts --part 1 --part 8
    """
    from geogen_hf import fetch_parts

    with console.progress_bar("downloading", of_bytes=True) as progress:
        paths = fetch_parts(
            folder,
            place=base_url,
            parts=part,
            jobs=jobs,
            locked=locked,
            accept_changes=accept_changes,
            verify=verify,
            progress=progress,
        )
    for path in paths.values():
        console.say(f"{path}  {path.stat().st_size:,} bytes")
    console.say(f"lock file: {folder / 'parts.lock.json'}")
