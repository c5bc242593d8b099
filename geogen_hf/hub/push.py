"""Publishing: look, plan, close, upload, one commit, tag, open. A rerun continues."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from geogen_hf.errors import explain
from geogen_hf.hub.cards import closed_access
from geogen_hf.hub.faults import HubError
from geogen_hf.hub.options import Pushed, PushOptions
from geogen_hf.hub.payload import Payload, Progress, read_export, read_parts
from geogen_hf.hub.plan import batches
from geogen_hf.hub.preflight import Outlook, look, plan_for
from geogen_hf.hub.repo import HubRepo, RepoState

logger = logging.getLogger(__name__)


def push_export(
    folder: str | os.PathLike[str],
    repo_id: str,
    options: PushOptions | None = None,
    *,
    token: str | None = None,
    endpoint: str | None = None,
    workers: int | None = None,
    checking: Progress | None = None,
    progress: Progress | None = None,
) -> Pushed:
    """Publish an exported folder as a dataset repository, in one commit.

    The folder is checked first (manifest, checksums, schema, card). A new repository is private and
    gated before anything is uploaded. Readers see what was there before or the whole new state.
    Files that are there already are not sent; files of an earlier push that are no more go in the
    same commit. Interrupted in any way, the same call continues.

    Args:
        folder: As `geogen export` left it.
        repo_id: Owner and name, such as `"lab/geogen"`; or a name alone, under the token's owner.
        options: What to do; None for the defaults.
        token: With write access; None for the one that is stored or in `HF_TOKEN`.
        endpoint: The Hub; None for the one in `HF_ENDPOINT`, by default the public one.
        workers: Files to check at a time; None for one a core.
        checking: Told the number of files checked and of all.
        progress: Told the bytes uploaded and all there are to upload.

    Returns:
        What was done.

    Raises:
        PartsError: There is no complete export.
        ReleaseError: The folder does not keep its promises, or its card does not bind its readers.
        UsageError: The licence is not acknowledged where no gate does it, or options clash.
        HubError: No token, no access, no such branch, the tag is taken, the branch moved meanwhile,
            or the Hub fails.
    """
    options = options or PushOptions()
    payload = read_export(Path(folder), workers, checking)
    repo = HubRepo.of_user(repo_id, token, endpoint)
    return _push(payload, repo, options, progress)


def push_parts(
    folder: str | os.PathLike[str],
    repo_id: str,
    options: PushOptions | None = None,
    *,
    token: str | None = None,
    endpoint: str | None = None,
    checking: Progress | None = None,
    progress: Progress | None = None,
) -> Pushed:
    """Mirror the eight original zips, so that `hf://datasets/…` is a base URL to load from.

    Beside them go a card with licence, gate and attribution, and `parts.lock.json`: that of the
    folder, which the zips must match, or a new one.

    Args:
        folder: Holds the zips under their upstream names.
        repo_id: As for `push_export`.
        options: As for `push_export`.
        token: As for `push_export`.
        endpoint: As for `push_export`.
        checking: Told the number of parts checked and of all.
        progress: Told the bytes uploaded and all there are to upload.

    Returns:
        What was done.

    Raises:
        PartsError: Zips are missing.
        ArchiveError: One is not a zip archive.
        ReleaseError: One is not what the lock file says.
        UsageError: As for `push_export`.
        HubError: As for `push_export`.
    """
    options = options or PushOptions()
    repo = HubRepo.of_user(repo_id, token, endpoint)
    with read_parts(Path(folder), repo.repo_id, checking) as payload:
        return _push(payload, repo, options, progress)


def _push(
    payload: Payload, repo: HubRepo, options: PushOptions, progress: Progress | None
) -> Pushed:
    outlook = look(payload, repo, options)
    if options.dry_run:
        return replace(outlook.pushed, dry_run=True)
    state = _close(repo, outlook, options)
    pushed = outlook.pushed
    if outlook.state is None:  # anew: the Hub may put files of its own into a new repository
        pushed = replace(pushed, plan=plan_for(payload, repo, state, options))
    if pushed.plan.changes_nothing:
        logger.info("%s: nothing has changed, no commit", repo.repo_id)
        pushed = replace(pushed, commit=state.head)
    else:
        pushed = _publish(payload, repo, state.head, pushed, options, progress)
    pushed = _tag(repo, pushed, options)
    repo.set_access(closed_access(state.access, pushed.access), pushed.access)
    return pushed


def _close(repo: HubRepo, outlook: Outlook, options: PushOptions) -> RepoState:
    """Make the repository if need be, and let nobody in who is not to be."""
    state = outlook.state
    if state is None:
        repo.create()
        state = repo.look(options.revision)
        if state is None:
            raise HubError(explain("the repository was made, but is not there", where=repo.url))
    repo.set_access(state.access, closed_access(state.access, outlook.pushed.access))
    return state


def _publish(
    payload: Payload,
    repo: HubRepo,
    parent: str,
    pushed: Pushed,
    options: PushOptions,
    progress: Progress | None,
) -> Pushed:
    plan, done = pushed.plan, 0
    for batch in batches(plan.add, payload.size):
        if progress is not None:
            progress(done, plan.added_bytes)
        repo.upload(batch, options.revision, options.create_pr)
        done += sum(file.size for file in batch)
        logger.info("%s: %d of %d bytes uploaded", repo.repo_id, done, plan.added_bytes)
    if progress is not None:
        progress(done, plan.added_bytes)
    commit, url = repo.commit(
        plan.delete,
        message=payload.message,
        revision=options.revision,
        parent=parent,
        create_pr=options.create_pr,
    )
    return replace(
        pushed, commit=commit, committed=True, url=url if options.create_pr else pushed.url
    )


def _tag(repo: HubRepo, pushed: Pushed, options: PushOptions) -> Pushed:
    if options.tag is None or pushed.commit is None:
        return pushed
    if repo.tagged_commit(options.tag) == pushed.commit:
        return pushed
    repo.tag(options.tag, pushed.commit)
    return replace(pushed, tagged=True)
