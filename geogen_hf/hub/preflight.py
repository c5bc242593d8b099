"""What is there, what is to be, and what is refused before anything is changed."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from geogen_hf.errors import explain
from geogen_hf.export.exported import SUMS
from geogen_hf.hub.cards import check_licence_accepted, wanted_access
from geogen_hf.hub.faults import HubError
from geogen_hf.hub.options import MAIN, Pushed, PushOptions
from geogen_hf.hub.payload import Payload
from geogen_hf.hub.plan import Plan, make_plan
from geogen_hf.hub.repo import HubRepo, RepoState


@dataclass(frozen=True)
class Outlook:
    """What a push finds and what it will do.

    Attributes:
        state: The repository; None where there is none yet.
        pushed: What the push will answer if all goes well.
    """

    state: RepoState | None
    pushed: Pushed


def look(payload: Payload, repo: HubRepo, options: PushOptions) -> Outlook:
    """Look, decide and refuse; nothing is changed.

    Args:
        payload: What is to be published.
        repo: Where to.
        options: How.

    Raises:
        UsageError: The licence is not acknowledged where no gate does it.
        HubError: The branch does not exist, the tag is taken, or other things are kept there.
    """
    state = repo.look(MAIN)
    if options.revision != MAIN:
        if state is None:
            what = "a new repository has no branch but main"
            remedy = "push to main first, then create the branch"
            raise HubError(explain(what, where=repo.repo_id, found=options.revision, remedy=remedy))
        state = repo.look(options.revision)
    access = wanted_access(
        state.access if state else None,
        empty=state is None or state.empty,
        private=options.private,
        gated=options.gated,
    )
    check_licence_accepted(access, options.accept_license)
    if state is not None:
        _refuse_other_kind(payload, repo, state.files.keys())
    plan = plan_for(payload, repo, state, options)
    _refuse_taken_tag(repo, state, plan, options)
    pushed = Pushed(repo.repo_id, repo.url, state is None, access, plan)
    return Outlook(state, pushed)


def plan_for(
    payload: Payload, repo: HubRepo, state: RepoState | None, options: PushOptions
) -> Plan:
    """Plan the commit onto a repository as it is."""
    files = {} if state is None else state.files
    names = {file.path for file in payload.files}
    unknown = files.keys() - names - {".gitattributes"}
    earlier: set[str] = set()
    if state is not None and unknown and SUMS in files and SUMS in names:
        listing = repo.read(SUMS, state.head).decode("utf-8", "replace")
        earlier = {line.partition("  ")[2] for line in listing.splitlines()}
    return make_plan(
        payload.files,
        files,
        earlier=earlier,
        script=f"{repo.repo_id.rpartition('/')[2]}.py",
        remove_script=options.remove_script,
    )


def _refuse_other_kind(payload: Payload, repo: HubRepo, there: AbstractSet[str]) -> None:
    foreign = sorted(payload.foreign & there)
    if foreign:
        raise HubError(
            explain(
                f"the repository holds something else than {payload.kind}",
                where=repo.url,
                found=", ".join(foreign),
                remedy="name another: exports and original archives each go into their own",
            )
        )


def _refuse_taken_tag(
    repo: HubRepo, state: RepoState | None, plan: Plan, options: PushOptions
) -> None:
    """Refuse, before anything is uploaded, a tag that names another commit."""
    if options.tag is None or state is None:
        return
    tagged = repo.tagged_commit(options.tag)
    if tagged is None or (plan.changes_nothing and tagged == state.head):
        return
    raise HubError(
        explain(
            f"the tag {options.tag} is taken",
            where=repo.url,
            expected="no such tag, or one of what is to be published",
            found=f"it names commit {tagged}",
            remedy="choose another tag: whoever uses this one relies on what it names",
        )
    )
