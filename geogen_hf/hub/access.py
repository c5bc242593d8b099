"""Decide who can read the repository: before, during and after a push.

Open this to change the default visibility and gate. All functions are pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Gate = Literal["auto", "manual", "off"]
GATES: tuple[Gate, ...] = ("auto", "manual", "off")


@dataclass(frozen=True)
class Access:
    """Who can read a repository.

    Attributes:
        private: Whether only its owners can see it.
        gated: Whether others must accept the terms first: `"auto"` admits them at once, `"manual"`
            after an owner approves; `"off"` means no terms to accept.
    """

    private: bool
    gated: Gate

    def __str__(self) -> str:
        gate = "not gated" if self.gated == "off" else f"gated ({self.gated})"
        return f"{'private' if self.private else 'public'}, {gate}"

    @property
    def readers(self) -> str:
        """Who can read the files, in words."""
        if self.private:
            return "only the owner, or the members of the owning organization"
        return {
            "auto": "anyone with a Hub account who accepts the terms; nobody has to approve",
            "manual": "anyone with a Hub account who accepts the terms and whom an owner approves",
            "off": "anyone, without accepting any terms",
        }[self.gated]


def wanted_access(
    found: Access | None, *, empty: bool, private: bool | None, gated: Gate | None, default: Gate
) -> Access:
    """Decide who can read the repository after the push.

    A new repository is private. One without data gets the default gate. Everything else stays as
    it is, unless an option says otherwise.

    Args:
        found: Access now; None where there is no repository.
        empty: Whether the repository holds no data.
        private: The option; None where it is not given.
        gated: The option; None where it is not given.
        default: The gate for a repository without data.

    Example:
        >>> str(wanted_access(None, empty=True, private=None, gated=None, default="auto"))
        'private, gated (auto)'
        >>> there = Access(private=False, gated="manual")
        >>> str(wanted_access(there, empty=False, private=None, gated=None, default="auto"))
        'public, gated (manual)'
    """
    now = found or Access(private=True, gated="off")
    gate = default if empty and now.gated == "off" else now.gated
    return Access(
        private=now.private if private is None else private,
        gated=gate if gated is None else gated,
    )


def access_during(found: Access, wanted: Access) -> Access:
    """Combine the stricter sides of both, for the time of the push.

    A repository that becomes private or gated is closed before the first upload; one that becomes
    public is opened after the commit.

    Example:
        >>> private, public = Access(True, "off"), Access(False, "auto")
        >>> str(access_during(private, public)), str(access_during(public, private))
        ('private, gated (auto)', 'private, gated (auto)')
    """
    gate = found.gated if wanted.gated == "off" else wanted.gated
    return Access(private=found.private or wanted.private, gated=gate)
