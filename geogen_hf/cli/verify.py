"""`geogen verify`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from geogen_hf.cli.console import progress_bar, say

if TYPE_CHECKING:
    from geogen_hf.export.verify import Verification

_MOST_LISTED = 20


def verify(
    folder: Annotated[
        str, typer.Argument(metavar="SRC", help="An exported folder, or its URL (hf://datasets/…).")
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Checksums, counts and schema only; decode nothing.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Files at a time.  [default: one a core]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check everything that an exported folder promises: files, rows, images, cameras, splits.

    The exit status is 1 if anything is wrong.

    Example: geogen verify geogen
    """
    from geogen_hf.export.verify import verify_export

    with progress_bar("verifying") as progress:
        found = verify_export(folder, quick=quick, workers=workers, progress=progress)
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), indent=2) + "\n")
    else:
        _print(found, quick)
    if found.failures:
        raise typer.Exit(1)


def _print(found: Verification, quick: bool) -> None:
    say(f"identities  {_counts(found.subjects)}")
    for config, rows in found.rows.items():
        say(f"{config:12}{_counts(rows)}")
    if not quick:
        say(f"images      {found.images:,} decoded")
        for views, identities in found.other_view_counts.items():
            say(f"views       {identities:,} identities have {views}, not 7")
    for title, lines in (("warning", found.warnings), ("failure", found.failures)):
        for line in lines[:_MOST_LISTED]:
            say(f"{title}: {line}")
        if len(lines) > _MOST_LISTED:
            say(f"… and {len(lines) - _MOST_LISTED:,} more {title}s; --json lists all")
    verdict = f"{len(found.failures):,} failures" if found.failures else "all promises kept"
    say(f"{found.folder}: {verdict}, {len(found.warnings):,} warnings")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{key}: {count:,}" for key, count in counts.items())
