"""The options of a push, and everything that is refused before anything changes on the Hub.

Open this to add an option or a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from geogen_hf.errors import UsageError, explain
from geogen_hf.export.exported import SUMS
from geogen_hf.hub.access import GATES, Access, Gate, wanted_access
from geogen_hf.hub.commit_plan import Plan, make_plan
from geogen_hf.hub.contents import Contents
from geogen_hf.hub.repo import HubError, HubRepo, RepoState
from geogen_hf.release.features import LICENSE_URL

MAIN = "main"
_TAG = re.compile(r"[A-Za-z0-9][\w.+/-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True)
class PushOptions:
    """How to publish.

    Attributes:
        private: Whether only the owners can see the repository; None leaves it as it is, and makes
            a new one private.
        gated: Who can read: `"auto"` (whoever accepts the terms), `"manual"` (whom an owner
            approves), `"off"` (anyone). None leaves it as it is, and sets `"auto"` for a repository
            without data (`"off"` for sample heads, which no agreement covers).
        tag: Name for the commit; refused if the tag exists on another one.
        revision: Branch to publish on.
        create_pr: Open a pull request against the branch instead; each run opens one.
        token: Access token; None for the one that is stored or in `HF_TOKEN`.
        dry_run: Change nothing, only report what a push would do.
        accept_license: Take over the duties of the R-UDA where no gate does.
        remove_script: Delete a loading script that `datasets` 4 and later refuse.
        raw: The folder holds the eight original zips; mirror those.
    """

    private: bool | None = None
    gated: Gate | None = None
    tag: str | None = None
    revision: str = MAIN
    create_pr: bool = False
    token: str | None = field(default=None, repr=False)
    dry_run: bool = False
    accept_license: bool = False
    remove_script: bool = False
    raw: bool = False

    def __post_init__(self) -> None:
        for complaint in self._complaints():
            raise UsageError(complaint)

    def _complaints(self) -> Iterator[str]:
        if self.gated is not None and self.gated not in GATES:
            yield explain("no such gate", expected=", ".join(GATES), found=self.gated)
        if self.tag is not None and (not _TAG.fullmatch(self.tag) or _COMMIT.fullmatch(self.tag)):
            yield explain("not a tag", expected="a name such as v1.0.0", found=self.tag)
        if self.tag is not None and self.create_pr:
            remedy = "merge the pull request, then push again with the tag"
            yield explain("a pull request cannot be tagged", remedy=remedy)


@dataclass(frozen=True)
class Preflight:
    """What a push found, and what it will do.

    Attributes:
        state: The repository now; None where there is none, or where it was not looked at.
        access: Who will be able to read it.
        plan: What the commit will do.
    """

    state: RepoState | None
    access: Access
    plan: Plan


def preflight(contents: Contents, repo: HubRepo | None, options: PushOptions) -> Preflight:
    """Compare the contents with the repository and refuse conflicts. Nothing is changed.

    Args:
        contents: What is to be published.
        repo: Where to; None plans for a new repository, without asking the Hub.
        options: How.

    Raises:
        UsageError: No gate asks readers to accept the licence, and the options do not either.
        HubError: The branch does not exist, the tag is taken, or the repository holds other data.
    """
    state = None if repo is None else _state_of_branch(repo, options.revision)
    access = wanted_access(
        state.access if state else None,
        empty=state is None or state.empty,
        private=options.private,
        gated=options.gated,
        default="off" if contents.sample else "auto",
    )
    if not contents.sample:
        require_licence_accepted(access, options.accept_license)
    plan = plan_for(contents, repo, state, options)
    if repo is not None and state is not None:
        _refuse_other_kind(contents, repo, state)
        _refuse_taken_tag(repo, state, plan, options.tag)
    return Preflight(state, access, plan)


def _state_of_branch(repo: HubRepo, revision: str) -> RepoState | None:
    state = repo.state(MAIN)
    if revision == MAIN:
        return state
    if state is None:
        what = "a new repository has no branch but main"
        remedy = "push to main first, then create the branch"
        raise HubError(explain(what, where=repo.repo_id, found=revision, remedy=remedy))
    return repo.state(revision)


def plan_for(
    contents: Contents, repo: HubRepo | None, state: RepoState | None, options: PushOptions
) -> Plan:
    """Plan the commit onto a repository in its present state."""
    files = {} if state is None else state.files
    names = {file.path for file in contents.files}
    earlier: set[str] = set()
    if repo and state and SUMS in files and SUMS in names and files.keys() - names:
        # The checksums of an earlier export name the files that it wrote, and nobody else's.
        listing = repo.read(SUMS, state.head).decode("utf-8", "replace")
        earlier = {line.partition("  ")[2] for line in listing.splitlines()}
    script = f"{repo.repo_id.rpartition('/')[2]}.py" if repo else ""
    return make_plan(
        contents.files, files, earlier=earlier, script=script, remove_script=options.remove_script
    )


def require_licence_accepted(access: Access, accepted: bool) -> None:
    """Refuse to pass the data on without a gate, unless the option accepts the licence's duties.

    Example:
        >>> require_licence_accepted(Access(private=False, gated="auto"), accepted=False)
    """
    if access.gated == "off" and not accepted:
        raise UsageError(
            explain(
                "without a gate, nobody who takes the data is asked to accept its licence",
                expected="a gate, or --accept-license (accept_license=True)",
                found=access,
                remedy="pass --gated auto; or read the Research Use of Data Agreement "
                f"({LICENSE_URL}): you must bind every recipient to it yourself",
            )
        )


def _refuse_other_kind(contents: Contents, repo: HubRepo, state: RepoState) -> None:
    foreign = sorted(contents.foreign & state.files.keys())
    if foreign:
        what = f"the repository holds something else than {contents.kind}"
        remedy = "choose another repository: exports and original zips each need their own"
        found = ", ".join(foreign)
        raise HubError(explain(what, where=repo.url, found=found, remedy=remedy))


def _refuse_taken_tag(repo: HubRepo, state: RepoState, plan: Plan, tag: str | None) -> None:
    tagged = None if tag is None else repo.tagged_commit(tag)
    if tagged is None or (plan.changes_nothing and tagged == state.head):
        return
    raise HubError(
        explain(
            f"the tag {tag} is taken",
            where=repo.url,
            expected="no such tag, or one on the commit that holds these files",
            found=f"it names commit {tagged}",
            remedy="choose another tag: others rely on what this one names",
        )
    )
