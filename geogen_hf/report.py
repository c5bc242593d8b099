"""Collect the structural problems of a release, and apply the failure policy to them.

All problems are reported together, before any image is read. `Report.enforce` raises, or returns
the identities to leave out. Add a kind of problem to `Kind` here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from geogen_hf.errors import ReleaseError, UsageError

logger = logging.getLogger(__name__)

Kind = Literal[
    "unreadable name",
    "refused member",
    "duplicate image",
    "duplicate metadata",
    "bad metadata",
    "mixed metadata",
    "bad matrix",
    "image without camera",
    "camera without image",
    "images without metadata",
    "metadata without images",
    "damaged image",
]
Policy = Literal["raise", "skip"]

HARMLESS: frozenset[Kind] = frozenset({"metadata without images"})
"""What is reported and stops nobody: every image has its camera."""

EXAMPLES = 3
"""How many problems of one kind are listed; the others are counted."""


@dataclass(frozen=True)
class Problem:
    """One structural problem."""

    kind: Kind
    subject_id: str | None  # the identity that it makes unusable; None for none, or an unknown one
    detail: str  # where it is, and what was found there


@dataclass(frozen=True)
class Report:
    """All problems found, in the order in which they were found.

    Example:
        >>> report = Report((Problem("bad metadata", None, "metadata_3.json: not JSON"),))
        >>> print(report)
        bad metadata: 1
          metadata_3.json: not JSON
    """

    problems: tuple[Problem, ...] = ()

    def by_kind(self) -> dict[Kind, list[Problem]]:
        """Group the problems by kind, the most frequent kind first."""
        groups: dict[Kind, list[Problem]] = {}
        for problem in self.problems:
            groups.setdefault(problem.kind, []).append(problem)
        return dict(sorted(groups.items(), key=lambda group: -len(group[1])))

    @property
    def stops(self) -> bool:
        """Whether a release with these problems is not loaded, but for `"skip"`."""
        return any(problem.kind not in HARMLESS for problem in self.problems)

    def __str__(self) -> str:
        lines: list[str] = []
        for kind, problems in self.by_kind().items():
            lines.append(f"{kind}: {len(problems):,}")
            lines.extend(f"  {problem.detail}" for problem in problems[:EXAMPLES])
            if len(problems) > EXAMPLES:
                lines.append(f"  … and {len(problems) - EXAMPLES:,} more")
        return "\n".join(lines)

    def enforce(self, policy: Policy) -> set[str]:
        """Raise `ReleaseError` if there are problems, or name the identities to leave out."""
        if policy not in ("raise", "skip"):
            raise UsageError(
                "unknown on_bad_subject", expected="'raise' or 'skip'", found=repr(policy)
            )
        if not self.problems:
            return set()
        if not self.stops:
            logger.warning("of no consequence:\n%s", self)
            return set()
        if policy == "raise":
            raise ReleaseError(
                f"the images and cameras of this release do not match\n{self}\n"
                "remedy: download the parts concerned again, or load the rest with "
                "on_bad_subject='skip'"
            )
        left_out = {p.subject_id for p in self.problems if p.subject_id is not None}
        listed = some_of(left_out)
        logger.warning("left out %d subjects (%s) for:\n%s", len(left_out), listed, self)
        return left_out


def some_of(names: Iterable[str], most: int = 10) -> str:
    """List a few names in order, and count the others.

    Example:
        >>> some_of(["c", "a", "b"], most=2)
        'a, b and 1 more'
    """
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
