"""Publish a folder on the Hub: check, compare, close, upload, one commit, tag, open.

Open this to change the order of the steps. A push that is cut off at any of them continues when it
is run again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from geogen_hf.errors import UsageError, explain
from geogen_hf.hub.access import Access, access_during
from geogen_hf.hub.commit_plan import Plan, batches
from geogen_hf.hub.contents import Contents, read_export, read_parts
from geogen_hf.hub.preflight import Preflight, PushOptions, plan_for, preflight
from geogen_hf.hub.repo import HubError, HubRepo, HubUnavailableError, page_of
from geogen_hf.source.parts import resolve_place

Progress = Callable[[Literal["checking", "uploading"], int, int], None]
"""Called with the stage, what is done, and the total: files checked, or bytes uploaded."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pushed:
    """What a push did, or would do.

    Attributes:
        repo_id: Owner and name.
        url: The page of the repository, or of the pull request.
        access: Who can read it.
        plan: What the commit adds and deletes.
        sample: Whether the data is sample heads, which the publisher's licence does not cover.
        access_before: Who could read it; None where it is new, or was not looked at.
        commit: The commit that holds the files; None where nothing was published.
        committed: Whether this push made that commit.
        tagged: Whether this push made the tag.
        dry_run: Whether nothing was changed.
        not_compared: Why a dry run did not look at the repository; None where it did.
    """

    repo_id: str
    url: str
    access: Access
    plan: Plan
    sample: bool
    access_before: Access | None = None
    commit: str | None = None
    committed: bool = False
    tagged: bool = False
    dry_run: bool = False
    not_compared: str | None = None


def push_export(
    place: str | os.PathLike[str],
    repo_id: str,
    options: PushOptions | None = None,
    *,
    progress: Progress | None = None,
) -> Pushed:
    """Publish an exported folder as a dataset repository on the Hub, in one commit.

    The folder is checked first (checksums, schema, counts, card). A new repository is private and
    gated before anything is uploaded. Readers see the old state or the whole new one. Files that
    the repository has are not sent; files of an earlier push that no longer exist are deleted in
    the same commit. A push that was interrupted continues when it is run again.

    A dry run without a token or a network plans from the folder alone.

    Args:
        place: The folder, as `geogen export` left it; with `options.raw`, the one with the zips.
        repo_id: Owner and name, such as `"lab/geogen"`; or a name alone, under the token's owner.
        options: What to do; None for the defaults.
        progress: Called with the stage, what is done and the total.

    Returns:
        What was done; after a dry run, what would be done.

    Raises:
        PartsError: There is no complete export, or zips are missing.
        ReleaseError: The folder is damaged, or its card does not bind its readers to the licence.
        UsageError: No gate asks readers to accept the licence, or options contradict each other.
        HubError: No token, no access, no such branch, the tag is taken, the branch moved during
            the push, or the Hub fails.

    Example:
        >>> from geogen_hf import PushOptions, export_release, push_export
        >>> from geogen_hf.sample import write_release
        >>> parts = write_release(tmp_path / "parts", subjects=3, size=32)
        >>> folder = export_release(parts, tmp_path / "geogen").folder
        >>> pushed = push_export(folder, "lab/heads", PushOptions(dry_run=True))
        >>> pushed.committed, sorted(file.path for file in pushed.plan.add)[0]
        (False, 'README.md')
    """
    options = options or PushOptions()
    folder, check = _folder(place), progress and partial(progress, "checking")
    contents = None if options.raw else read_export(folder, check)
    repo, reason = _login(repo_id, options)
    if contents is None:
        contents = read_parts(folder, repo.repo_id if repo else repo_id, check)
    found = preflight(contents, repo, options)
    pushed = Pushed(
        repo.repo_id if repo else repo_id,
        repo.url if repo else page_of(repo_id),
        found.access,
        found.plan,
        contents.sample,
        None if found.state is None else found.state.access,
    )
    if repo is None or options.dry_run:
        return replace(pushed, dry_run=True, not_compared=reason)
    return _push(contents, repo, found, pushed, options, progress)


def _folder(place: str | os.PathLike[str]) -> Path:
    folder = resolve_place(place)
    if isinstance(folder, str):
        what = "only a folder on disk can be pushed"
        raise UsageError(explain(what, found=folder, remedy="download it first"))
    return folder


def _login(repo_id: str, options: PushOptions) -> tuple[HubRepo | None, str | None]:
    """Log in; a dry run goes on without the Hub, and says why."""
    try:
        return HubRepo.login(repo_id, options.token), None
    except HubUnavailableError as error:
        if not options.dry_run:
            raise
        return None, str(error).splitlines()[0]


def _push(
    contents: Contents,
    repo: HubRepo,
    found: Preflight,
    pushed: Pushed,
    options: PushOptions,
    progress: Progress | None,
) -> Pushed:
    state = found.state
    if state is None:
        repo.create()
        state = repo.state(options.revision)
        if state is None:
            what = "the Hub created the repository, but does not show it"
            raise HubError(explain(what, where=repo.url, remedy="push again"))
        # The Hub may put files of its own into a new repository.
        pushed = replace(pushed, plan=plan_for(contents, repo, state, options))
    during = access_during(state.access, found.access)
    repo.set_access(state.access, during)
    if pushed.plan.changes_nothing:
        logger.info("%s: nothing has changed, no commit", repo.repo_id)
        pushed = replace(pushed, commit=state.head)
    else:
        _upload(contents, repo, pushed.plan, options, progress)
        commit, url = repo.commit(
            pushed.plan.delete,
            message=contents.message,
            revision=options.revision,
            parent=state.head,
            create_pr=options.create_pr,
        )
        url = url if options.create_pr else pushed.url
        pushed = replace(pushed, commit=commit, committed=True, url=url)
    if options.tag and pushed.commit and repo.tagged_commit(options.tag) != pushed.commit:
        repo.tag(options.tag, pushed.commit)
        pushed = replace(pushed, tagged=True)
    repo.set_access(during, pushed.access)
    return pushed


def _upload(
    contents: Contents,
    repo: HubRepo,
    plan: Plan,
    options: PushOptions,
    progress: Progress | None,
) -> None:
    done = 0
    for batch in batches(plan.add, contents.size):
        if progress is not None:
            progress("uploading", done, plan.added_bytes)
        repo.upload(batch, options.revision, options.create_pr)
        done += sum(file.size for file in batch)
        logger.info("%s: %d of %d bytes uploaded", repo.repo_id, done, plan.added_bytes)
    if progress is not None:
        progress("uploading", done, plan.added_bytes)
