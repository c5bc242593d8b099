"""`geogen push`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geogen_hf.cli.console import byte_progress_bar, complain, progress_bar, say

if TYPE_CHECKING:
    from geogen_hf.hub.options import Pushed, PushOptions


class GateName(str, Enum):
    """Who may read the files."""

    auto = "auto"
    manual = "manual"
    off = "off"


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="OUT", help="An exported folder; the zips, with --raw.")
    ],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="Such as lab/geogen.")],
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public",
            help="Who may see it.  [default: private if new, else as it is]",
            show_default=False,
        ),
    ] = None,
    gated: Annotated[
        GateName | None,
        typer.Option(
            help="Whom the gate lets in: all who accept the terms, those you pick, anybody."
            "  [default: auto if new, else as it is]"
        ),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Name for the commit, such as v1.0.0.")] = None,
    revision: Annotated[str, typer.Option(metavar="BRANCH", help="Branch.")] = "main",
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request instead.")
    ] = False,
    token: Annotated[
        str | None, typer.Option(help="With write access.  [default: HF_TOKEN, or as logged in]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; list what would be done.")
    ] = False,
    accept_license: Annotated[
        bool,
        typer.Option(
            "--accept-license",
            help="Without a gate: I bind every recipient to the R-UDA myself.",
        ),
    ] = False,
    remove_script: Annotated[
        bool,
        typer.Option("--remove-script", help="Remove a script that datasets 4 stumbles over."),
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="OUT holds the eight original zips: mirror those.")
    ] = False,
) -> None:
    """Publish an exported folder on the Hub: one commit, gated before anything is uploaded, tagged.

    Interrupted in any way, the same command continues. An unchanged folder makes no commit.
    """
    from geogen_hf.hub.options import PushOptions

    options = PushOptions(
        private=private,
        gated=None if gated is None else gated.value,
        tag=tag,
        revision=revision,
        create_pr=create_pr,
        dry_run=dry_run,
        accept_license=accept_license,
        remove_script=remove_script,
    )
    pushed = _push(folder, repo_id, options, token, raw)
    _print(pushed, options)


def _push(folder: Path, repo_id: str, options: PushOptions, token: str | None, raw: bool) -> Pushed:
    from geogen_hf.hub.push import push_export, push_parts

    run = push_parts if raw else push_export
    with ExitStack() as bars:
        checking = _bar_in(bars, progress_bar, "checking")
        progress = _bar_in(bars, byte_progress_bar, "uploading")
        return run(folder, repo_id, options, token=token, checking=checking, progress=progress)


def _bar_in(
    bars: ExitStack,
    bar: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
    title: str,
) -> Callable[[int, int], None]:
    """Make a bar that takes the place of the one before when it first moves: a terminal has one."""
    shown: list[Callable[[int, int], None]] = []

    def show(done: int, total: int) -> None:
        if not shown:
            bars.close()
            shown.append(bars.enter_context(bar(title)))
        shown[0](done, total)

    return show


def _print(pushed: Pushed, options: PushOptions) -> None:
    plan = pushed.plan
    if pushed.dry_run:
        for file in plan.add:
            say(f"add     {file.path}  {file.size:,} bytes")
        for gone in plan.delete:
            say(f"delete  {gone.path}  {gone.size:,} bytes")
    new = ", new" if pushed.created else ""
    say(f"repository  {pushed.repo_id}{new}: {pushed.access}")
    freed = sum(file.size for file in plan.delete)
    say(f"add         {len(plan.add):,} files, {plan.added_bytes:,} bytes")
    say(f"delete      {len(plan.delete):,} files, {freed:,} bytes")
    say(f"unchanged   {len(plan.same):,} files")
    if plan.strangers:
        say(f"left alone  {', '.join(plan.strangers)}")
    if options.tag is not None:
        made = "" if pushed.dry_run or pushed.tagged else ", there already"
        say(f"tag         {options.tag}{made}")
    if plan.script is not None:
        complain(
            f"warning: {plan.script} is in the repository: datasets 4 and later refuse to load a "
            "repository with a script of its own name; --remove-script removes it"
        )
    if pushed.dry_run:
        say("dry run: nothing was changed")
    elif not pushed.committed:
        say("nothing has changed: no commit")
    say(pushed.url)
