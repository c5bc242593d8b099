"""`geogen download`."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from geogen_hf.cli import console


@console.command
def download(
    folder: console.Out,
    part: list[int] | None = None,
    base_url: str | None = None,
    jobs: Annotated[int, Option(min=1, max=16)] = 4,
    locked: bool = False,
    accept_changes: bool = False,
    verify: bool = False,
) -> None:
    """Download the eight zips, or some of them, into a folder.

    An interrupted run continues when the same command is run again. OUT/parts.lock.json records
    the size and SHA-256 of each zip, so that a later run notices when one has changed.

    Example: geogen download parts --part 1 --part 8

    Options:
        folder: Folder for the zips.
        part: Fetch only this part: 1 to 7 are images, 8 is the cameras. Repeatable.
        base_url: Base URL of a mirror (https://, hf://, s3://).  [default: the publisher's]
        jobs: Parts to fetch at a time.
        locked: Refuse zips that differ from OUT/parts.lock.json.
        accept_changes: Accept zips that have changed since the last download.
        verify: Check the SHA-256 of zips that are here already.
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
