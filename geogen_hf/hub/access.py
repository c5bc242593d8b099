"""Who may see the repository: pure decisions about visibility, gate and licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geogen_hf.errors import UsageError, explain
from geogen_hf.schema import LICENSE_URL

Gate = Literal["auto", "manual", "off"]
GATES: tuple[Gate, ...] = ("auto", "manual", "off")


@dataclass(frozen=True)
class Access:
    """Who may see a repository.

    Attributes:
        private: Only its owners may.
        gated: Others must accept the terms first, let in at once (`"auto"`) or by hand
            (`"manual"`), or need not (`"off"`).
    """

    private: bool
    gated: Gate

    def __str__(self) -> str:
        gate = "not gated" if self.gated == "off" else f"gated ({self.gated})"
        return f"{'private' if self.private else 'public'}, {gate}"


def wanted_access(
    found: Access | None, *, empty: bool, private: bool | None, gated: Gate | None
) -> Access:
    """Decide who is to see the repository in the end.

    An existing one is left as it is, unless told otherwise; one without data is gated unless told
    otherwise, and one that is yet to be made is private.

    Args:
        found: Who may now; None where there is no repository.
        empty: Whether it holds no data.
        private: What the options say; None for nothing.
        gated: What the options say; None for nothing.

    Example:
        >>> str(wanted_access(None, empty=True, private=None, gated=None))
        'private, gated (auto)'
        >>> there = Access(private=False, gated="manual")
        >>> str(wanted_access(there, empty=False, private=None, gated=None))
        'public, gated (manual)'
    """
    default = found or Access(private=True, gated="auto")
    gate = default.gated
    if empty and gate == "off":
        gate = "auto"
    return Access(
        private=default.private if private is None else private,
        gated=gate if gated is None else gated,
    )


def closed_access(found: Access, wanted: Access) -> Access:
    """Say who may see it while the push goes on: what closes comes first, what opens comes last.

    Example:
        >>> private, public = Access(True, "off"), Access(False, "auto")
        >>> str(closed_access(private, public)), str(closed_access(public, private))
        ('private, gated (auto)', 'private, gated (auto)')
    """
    gate = found.gated if wanted.gated == "off" else wanted.gated
    return Access(private=found.private or wanted.private, gated=gate)


def check_licence_accepted(access: Access, accepted: bool) -> None:
    """Refuse to pass the data on without a gate, unless the licence was acknowledged.

    Raises:
        UsageError: It was not.

    Example:
        >>> check_licence_accepted(Access(private=False, gated="auto"), accepted=False)
    """
    if access.gated == "off" and not accepted:
        raise UsageError(
            explain(
                "without a gate, nobody who takes the data is asked to accept its licence",
                expected="a gate, or --accept-license (accept_license=True)",
                found=str(access),
                remedy="pass --gated auto; or read the Research Use of Data Agreement "
                f"({LICENSE_URL}): you must bind every recipient to it yourself",
            )
        )
