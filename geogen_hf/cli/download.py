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
        typer.Option(
            "--part", help="Fetch only this part: 1 to 7 are images, 8 is the cameras. Repeatable."
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Base URL of a mirror (https://, hf://, s3://).  [default: the publisher's]"
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Parts to fetch at a time.")] = 4,
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse zips that differ from OUT/parts.lock.json.")
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Accept zips that have changed since the last download."
        ),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the SHA-256 of zips that are here already.")
    ] = False,
) -> None:
    """Download the eight zips, or some of them, into a folder.

    An interrupted run continues when the same command is run again. OUT/parts.lock.json records
    the size and SHA-256 of each zip, so that a later run notices when one has changed.

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
