"""Publish a folder on the Hub: check, compare, close, upload, one commit, tag, open.

Open this to add an option or a refusal, or to change the order of the steps. A push that is cut off
at any of them continues when it is run again.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from huggingface_hub.hf_api import RepoSibling

from geogen_hf.errors import UsageError
from geogen_hf.export.exported import SUMS, parse_sums
from geogen_hf.hub.contents import Contents, LocalFile, read_export, read_parts
from geogen_hf.hub.repo import GATES, Access, Gate, HubError, HubRepo, HubUnavailableError
from geogen_hf.release.features import FEATURES, LICENSE_URL
from geogen_hf.release.shards import SPLITS
from geogen_hf.source.parts import resolve_place

Progress = Callable[[Literal["checking", "uploading"], int, int], None]
"""Called with the stage, what is done, and the total: files checked, or bytes uploaded."""
_TAG = re.compile(r"(?![0-9a-f]{40}\Z)[A-Za-z0-9][\w.+/-]*", re.ASCII)  # the name of no commit
IN_FLIGHT = 0.01
"""Share of the folder that is uploaded at a time, or one file if that is larger. The Hub discards a
transfer that is cut (LFS does not resume), so this bounds what a killed push sends twice."""
MAX_PARALLEL = 16
_DATA = re.compile(rf"data/({'|'.join(FEATURES)})/({'|'.join(SPLITS)})-[^/]*", re.ASCII)
"""Files that the card's patterns match: if an old one stayed, readers would get its rows too."""
logger = logging.getLogger(__name__)


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
    revision: str = "main"
    create_pr: bool = False
    token: str | None = field(default=None, repr=False)
    dry_run: bool = False
    accept_license: bool = False
    remove_script: bool = False
    raw: bool = False

    def __post_init__(self) -> None:
        if self.gated is not None and self.gated not in GATES:
            raise UsageError("no such gate", expected=", ".join(GATES), found=self.gated)
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise UsageError("not a tag", expected="a name such as v1.0.0", found=self.tag)
        if self.tag is not None and self.create_pr:
            remedy = "merge the pull request, then push again with the tag"
            raise UsageError("a pull request cannot be tagged", remedy=remedy)


@dataclass(frozen=True)
class Plan:
    """What one commit does."""

    add: tuple[LocalFile, ...]  # new or changed
    delete: tuple[RepoSibling, ...]  # of an earlier push, and no longer there; a script to remove
    same: tuple[LocalFile, ...]  # the repository has them
    strangers: tuple[str, ...]  # that no export wrote; they stay
    script: str | None  # a loading script that stays and that `datasets` 4 and later refuse

    @property
    def changes_nothing(self) -> bool:
        """Whether there is nothing to commit."""
        return not self.add and not self.delete

    @property
    def added_bytes(self) -> int:
        """Total size of the files to add; contents that the Hub already stores are not sent."""
        return sum(file.size for file in self.add)


@dataclass(frozen=True)
class Pushed:
    """What a push did, or would do."""

    repo_id: str  # owner and name
    url: str  # page of the repository, or of the pull request
    access: Access
    plan: Plan
    sample: bool  # whether the data is sample heads, which the publisher's licence does not cover
    access_before: Access | None = None  # None where it is new, or was not looked at
    commit: str | None = None  # that holds the files; None where nothing was published
    committed: bool = False  # whether this push made that commit
    tagged: bool = False  # whether this push made the tag; in a dry run, would make it
    dry_run: bool = False
    not_compared: str | None = None  # why a dry run did not look at the repository


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
        >>> folder = export_release("parts", "geogen", workers=1).folder
        >>> pushed = push_export(folder, "lab/heads", PushOptions(dry_run=True))
        >>> pushed.committed, sorted(file.path for file in pushed.plan.add)[0]
        (False, 'README.md')
    """
    options = options or PushOptions()
    progress = progress or (lambda stage, done, total: None)
    folder, check = resolve_place(place), partial(progress, "checking")
    if isinstance(folder, str):
        what = "only a folder on disk can be pushed"
        raise UsageError(what, found=folder, remedy="download it first")
    contents = None if options.raw else read_export(folder, check)
    repo = HubRepo(repo_id, options.revision, options.create_pr, options.token)
    reason = None  # why a dry run goes on without the Hub
    try:
        repo.look()
    except HubUnavailableError as error:
        if not options.dry_run:
            raise
        reason = str(error).splitlines()[0]
    if contents is None:
        contents = read_parts(folder, repo.repo_id, check)
    pushed = _preflight(contents, repo, options)
    if options.dry_run:
        return replace(pushed, dry_run=True, not_compared=reason)
    return _push(contents, repo, pushed, options.tag, progress)


def _preflight(contents: Contents, repo: HubRepo, options: PushOptions) -> Pushed:
    """Compare the contents with the repository and refuse conflicts. Nothing is changed."""
    empty = repo.files.keys() <= {".gitattributes"}  # the Hub makes that one
    access = wanted_access(repo.access, options, empty=empty, sample=contents.sample)
    if not contents.sample:
        require_licence_accepted(access, options.accept_license)
    if foreign := sorted(contents.foreign & repo.files.keys()):
        what = f"the repository holds something else than {contents.kind}"
        remedy = "choose another repository: exports and original zips each need their own"
        raise HubError(what, where=repo.page, found=", ".join(foreign), remedy=remedy)
    script = f"{repo.repo_id.rpartition('/')[2]}.py"
    ours = {*_of_earlier_export(contents, repo), *([script] if options.remove_script else [])}
    plan = make_plan(contents.files, repo.files, ours=ours, script=script)
    free = _is_tag_free(repo, plan, options.tag)
    return Pushed(repo.repo_id, repo.page, access, plan, contents.sample, repo.access, tagged=free)


def make_plan(
    local: Sequence[LocalFile],
    remote: Mapping[str, RepoSibling],
    *,
    ours: Collection[str] = (),
    script: str = "",
) -> Plan:
    """Decide what to add to a tree, what to delete and what to leave.

    `ours` are paths that may be deleted, but for hidden ones such as the Hub's `.gitattributes`;
    `script` is the one that `datasets` would run.
    """
    same = tuple(f for f in local if f.path in remote and f.same_content(remote[f.path]))
    others = sorted(remote.keys() - {file.path for file in local})
    delete = [p for p in others if (p in ours and not p.startswith(".")) or _DATA.fullmatch(p)]
    kept = [path for path in others if path not in delete]
    return Plan(
        add=tuple(file for file in local if file not in same),
        delete=tuple(remote[path] for path in delete),
        same=same,
        strangers=tuple(path for path in kept if not path.startswith(".git")),
        script=script if script in kept else None,
    )


def batches(files: Sequence[LocalFile], folder_bytes: int) -> Iterator[list[LocalFile]]:
    """Divide uploads into groups of at most `MAX_PARALLEL` files and `IN_FLIGHT` of the folder.

    What is in a group is in flight at the same time; a larger file goes alone.
    """
    group: list[LocalFile] = []
    for file in files:
        too_large = sum(f.size for f in group) + file.size > IN_FLIGHT * folder_bytes
        if group and (too_large or len(group) == MAX_PARALLEL):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def wanted_access(
    found: Access | None, options: PushOptions, *, empty: bool, sample: bool
) -> Access:
    """Decide who can read the repository after the push.

    A new repository is private, and one without data is gated, except for sample heads. Otherwise
    it stays as it is found, unless an option decides.
    """
    now = found or Access(private=True, gated="off")
    gate: Gate = "auto" if empty and not sample and now.gated == "off" else now.gated
    private = now.private if options.private is None else options.private
    return Access(private, options.gated or gate)


def access_during(found: Access, wanted: Access) -> Access:
    """Combine the stricter sides of both: closed before the upload, opened after the commit."""
    gate = found.gated if wanted.gated == "off" else wanted.gated
    return Access(private=found.private or wanted.private, gated=gate)


def require_licence_accepted(access: Access, accepted: bool) -> None:
    """Refuse to pass the data on without a gate, unless the option accepts the licence's duties."""
    if access.gated == "off" and not accepted:
        raise UsageError(
            "without a gate, nobody who takes the data is asked to accept its licence",
            expected="a gate, or --accept-license (accept_license=True)",
            found=access,
            remedy="pass --gated auto; or read the Research Use of Data Agreement "
            f"({LICENSE_URL}): you must bind every recipient to it yourself",
        )


def _of_earlier_export(contents: Contents, repo: HubRepo) -> Collection[str]:
    """Name the files of an earlier export; its checksums list those, and nobody else's."""
    names = {file.path for file in contents.files}
    if SUMS not in names or SUMS not in repo.files or repo.files.keys() <= names:
        return ()
    return parse_sums(repo.read(SUMS), [])


def _is_tag_free(repo: HubRepo, plan: Plan, tag: str | None) -> bool:
    """Whether the tag is to be made; it is refused where it names something else."""
    tagged = repo.tagged_commit(tag) if tag is not None and repo.head else None
    if tagged is None:
        return tag is not None
    if plan.changes_nothing and tagged == repo.head:
        return False
    raise HubError(
        f"the tag {tag} is taken",
        where=repo.page,
        expected="no such tag, or one on the commit that holds these files",
        found=f"it names commit {tagged}",
        remedy="choose another tag: others rely on what this one names",
    )


def _push(
    contents: Contents, repo: HubRepo, pushed: Pushed, tag: str | None, progress: Progress
) -> Pushed:
    repo.create()
    repo.set_access(access_during(repo.access or pushed.access, pushed.access))
    commit, plan = repo.head, pushed.plan
    if plan.changes_nothing:
        logger.info("%s: nothing has changed, no commit", repo.repo_id)
    else:
        done = 0
        progress("uploading", done, plan.added_bytes)
        for batch in batches(plan.add, sum(file.size for file in contents.files)):
            repo.upload(batch)
            done += sum(file.size for file in batch)
            logger.info("%s: %d of %d bytes uploaded", repo.repo_id, done, plan.added_bytes)
            progress("uploading", done, plan.added_bytes)
        commit, url = repo.commit(plan.delete, contents.message)
        pushed = replace(pushed, committed=True, url=url)
    if tag is not None and pushed.tagged:
        repo.tag(tag, commit)
    repo.set_access(pushed.access)
    return replace(pushed, commit=commit)
