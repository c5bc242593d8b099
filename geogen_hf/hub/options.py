"""What a push may be told, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from geogen_hf.errors import UsageError, explain
from geogen_hf.hub.cards import GATES, Access, Gate, check_licence_accepted
from geogen_hf.hub.plan import Plan

MAIN = "main"
_TAG = re.compile(r"[A-Za-z0-9][\w.+/-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True)
class PushOptions:
    """How to publish.

    Attributes:
        private: Whether only the owners may see the repository; None leaves it as it is, and makes
            a new one private.
        gated: Who may read: `"auto"` (whoever accepts the terms), `"manual"` (whoever is let in),
            `"off"` (anybody); None leaves it as it is, and gates one without data by `"auto"`.
        tag: Name for the commit; refused where it names another one.
        revision: Branch to publish on.
        create_pr: Open a pull request against it instead; each run opens one.
        dry_run: Change nothing, only say what would be done.
        accept_license: Acknowledge the R-UDA's duties where no gate does.
        remove_script: Remove a script that `datasets` 4 and later stumble over.
    """

    private: bool | None = None
    gated: Gate | None = None
    tag: str | None = None
    revision: str = MAIN
    create_pr: bool = False
    dry_run: bool = False
    accept_license: bool = False
    remove_script: bool = False

    def __post_init__(self) -> None:
        for complaint in self._complaints():
            raise UsageError(complaint)
        if self.gated == "off":
            access = Access(private=self.private is not False, gated="off")
            check_licence_accepted(access, self.accept_license)

    def _complaints(self) -> Iterator[str]:
        if self.gated is not None and self.gated not in GATES:
            yield explain("no such gate", expected=", ".join(GATES), found=self.gated)
        if self.tag is not None and (not _TAG.fullmatch(self.tag) or _COMMIT.fullmatch(self.tag)):
            yield explain("not a tag", expected="a name such as v1.0.0", found=self.tag)
        if self.tag is not None and self.create_pr:
            remedy = "merge the pull request, then push again with the tag"
            yield explain("a pull request cannot be tagged", remedy=remedy)


@dataclass(frozen=True)
class Pushed:
    """What a push did, or would do.

    Attributes:
        repo_id: Owner and name.
        url: Where to look at it.
        created: Whether the repository is new.
        access: Who may see it now.
        plan: What was to be done.
        commit: The commit that holds the files; None where nothing was published.
        committed: Whether this push made it.
        tagged: Whether this push made the tag.
        dry_run: Whether all this only would be.
    """

    repo_id: str
    url: str
    created: bool
    access: Access
    plan: Plan
    commit: str | None = None
    committed: bool = False
    tagged: bool = False
    dry_run: bool = False
