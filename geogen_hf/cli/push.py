"""`geogen push`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from geogen_hf.cli import console

if TYPE_CHECKING:
    from geogen_hf.hub.push import Progress, Pushed, PushOptions


@console.command
def push(
    folder: Annotated[Path, Argument(metavar="FOLDER")],
    repo_id: Annotated[str, Argument(metavar="REPO_ID")],
    private: Annotated[bool | None, Option("--private/--public", show_default=False)] = None,
    gated: Literal["auto", "manual", "off"] | None = None,
    tag: str | None = None,
    revision: Annotated[str, Option(metavar="BRANCH")] = "main",
    create_pr: bool = False,
    token: str | None = None,
    dry_run: bool = False,
    accept_license: bool = False,
    remove_script: bool = False,
    raw: bool = False,
) -> None:
    """Publish an exported folder on the Hub, in one commit.

    A new repository is private and gated before anything is uploaded. A folder that has not changed
    makes no commit. An interrupted run continues when the same command is run again.

    Example: geogen push geogen lab/geogen --dry-run

    Options:
        folder: An exported folder, or the zips with --raw.
        repo_id: Such as lab/geogen.
        private: Who can see it.  [default: private if new, else as it is]
        gated: Who can read: all who accept the terms, those you approve, or
            anyone.  [default: auto if new, else as it is]
        tag: Name for the commit, such as v1.0.0.
        revision: Branch to commit to.
        create_pr: Open a pull request instead of committing.
        token: Token with write access.  [default: HF_TOKEN, or that of hf auth login]
        dry_run: List what would be done and change nothing. Needs no token.
        accept_license: With --gated off: I bind every recipient to Microsoft's licence myself.
        remove_script: Delete a loading script in the repository, which datasets 4 refuses.
        raw: Publish the eight original zips, which are in FOLDER.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from geogen_hf.hub.push import PushOptions, push_export

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:  # else the user decides
        disable_progress_bars()  # they would be drawn over the bar of this command
    options = PushOptions(
        private=private,
        gated=gated,
        tag=tag,
        revision=revision,
        create_pr=create_pr,
        token=token,
        dry_run=dry_run,
        accept_license=accept_license,
        remove_script=remove_script,
        raw=raw,
    )
    with ExitStack() as bars:
        pushed = push_export(folder, repo_id, options, progress=_progress(bars))
    _print(pushed, options)


def _progress(bars: ExitStack) -> Progress:
    """Show one bar a stage; a terminal has room for one at a time."""
    shown: dict[str, Callable[[int, int], None]] = {}

    def show(stage: Literal["checking", "uploading"], done: int, total: int) -> None:
        if stage not in shown:
            bars.close()
            bar = console.progress_bar(stage, of_bytes=stage == "uploading")
            shown[stage] = bars.enter_context(bar)
        shown[stage](done, total)

    return show


def _print(pushed: Pushed, options: PushOptions) -> None:
    from geogen_hf.release.features import LICENSE_NAME, LICENSE_URL

    plan, before = pushed.plan, pushed.access_before
    if pushed.dry_run:
        for file in plan.add:
            console.say(f"add     {file.path}  {file.size:,} bytes")
        for gone in plan.delete:
            console.say(f"delete  {gone.rfilename}  {gone.size or 0:,} bytes")
    new = "" if before else ", new" if pushed.not_compared is None else ", assumed new"
    change = f"{before} → " if before not in (None, pushed.access) else ""
    console.say(f"repository  {pushed.repo_id}{new}: {change}{pushed.access}")
    console.say(f"readers     {pushed.access.readers}")
    licence = "mit (sample heads)" if pushed.sample else f"{LICENSE_NAME}, {LICENSE_URL}"
    console.say(f"licence     {licence}")
    freed = sum(file.size or 0 for file in plan.delete)
    console.say(f"add         {len(plan.add):,} files, {plan.added_bytes:,} bytes")
    console.say(f"delete      {len(plan.delete):,} files, {freed:,} bytes")
    console.say(f"unchanged   {len(plan.same):,} files")
    if plan.strangers:
        console.say(f"left alone  {', '.join(plan.strangers)}")
    if options.tag is not None:
        made = "" if pushed.dry_run or pushed.tagged else ", there already"
        console.say(f"tag         {options.tag}{made}")
    if plan.script is not None:
        console.complain(
            f"warning: {plan.script} is in the repository: datasets 4 and later refuse to load a "
            "repository with a script of its own name; --remove-script deletes it"
        )
    if pushed.not_compared is not None:
        console.say(f"not compared with the repository: {pushed.not_compared}")
    if pushed.dry_run:
        console.say("dry run: nothing was changed")
    elif not pushed.committed:
        console.say("nothing has changed: no commit")
    console.say(pushed.url)
