"""`geogen verify`."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from geogen_hf.cli import console

_MOST_LISTED = 20
_LARGE_BYTES = 512 * 2**20


@console.command
def verify(
    folder: console.In,
    quick: bool = False,
    workers: Annotated[int | None, Option(min=1)] = None,
    as_json: console.AsJson = False,
) -> None:
    """Check an exported folder: files, images, cameras, splits.

    The exit status is 1 if anything is wrong.

    Example: geogen verify geogen

    Options:
        folder: An exported folder, or its URL (hf://datasets/…).
        quick: Check only checksums, counts and columns; decode no image.
        workers: Files to check at a time.  [default: number of cores]
    """
    from geogen_hf.export.verify import verify_export
    from geogen_hf.threads import worker_processes

    processes = 1 if quick else _processes(folder, workers)
    with (
        nullcontext() if processes == 1 else worker_processes(processes) as executor,
        console.progress_bar("verifying") as progress,
    ):
        found = verify_export(
            folder, quick=quick, workers=workers, executor=executor, progress=progress
        )
    if as_json:
        console.say_json(found.to_json())
    else:
        console.say(f"identities  {console.counts(found.subjects)}")
        for config, rows in found.rows.items():
            console.say(f"{config:12}{console.counts(rows)}")
        if not quick:
            console.say(f"images      {found.images:,} decoded")
            for views, identities in found.other_view_counts.items():
                console.say(f"views       {identities:,} identities have {views}, not 7")
        for title, lines in (("warning", found.warnings), ("failure", found.failures)):
            for line in lines[:_MOST_LISTED]:
                console.say(f"{title}: {line}")
            if len(lines) > _MOST_LISTED:
                console.say(f"… and {len(lines) - _MOST_LISTED:,} more {title}s; --json lists all")
        verdict = f"{len(found.failures):,} failures" if found.failures else "all promises kept"
        console.say(f"{found.folder}: {verdict}, {len(found.warnings):,} warnings")
    if found.failures:
        raise Exit(1)


def _processes(folder: str, workers: int | None) -> int:
    """Decide how many processes to start: 1 where a few images are decoded before they run."""
    size = 0
    with suppress(OSError):  # such as a name that is too long: verify_export says so
        size = sum(path.stat().st_size for path in Path(folder).glob("data/*/*.parquet"))
    return workers or os.cpu_count() or 1 if size > _LARGE_BYTES else 1
