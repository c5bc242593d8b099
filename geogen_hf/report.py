"""Structural problems of a release, collected so that all of them are told at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from geogen_hf.errors import ReleaseError, UsageError, explain

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

EXAMPLES = 3
"""So many problems of a kind are spelt out."""


@dataclass(frozen=True)
class Problem:
    """One thing that does not add up.

    Attributes:
        kind: What sort of thing.
        subject_id: The identity it spoils; None where it cannot be told or spoils none.
        detail: Where, and what was found.
    """

    kind: Kind
    subject_id: str | None
    detail: str


@dataclass(frozen=True)
class Report:
    """Every problem found, in the order found.

    Example:
        >>> report = Report((Problem("bad metadata", None, "metadata_3.json: not JSON"),))
        >>> print(report)
        bad metadata: 1
          metadata_3.json: not JSON
    """

    problems: tuple[Problem, ...] = ()

    def by_kind(self) -> dict[Kind, list[Problem]]:
        """Group the problems, the commonest kind first."""
        groups: dict[Kind, list[Problem]] = {}
        for problem in self.problems:
            groups.setdefault(problem.kind, []).append(problem)
        return dict(sorted(groups.items(), key=lambda group: -len(group[1])))

    def bad_subjects(self) -> set[str]:
        """Name the identities that have any problem."""
        return {problem.subject_id for problem in self.problems if problem.subject_id is not None}

    def __str__(self) -> str:
        lines: list[str] = []
        for kind, problems in self.by_kind().items():
            lines.append(f"{kind}: {len(problems):,}")
            lines.extend(f"  {problem.detail}" for problem in problems[:EXAMPLES])
            if len(problems) > EXAMPLES:
                lines.append(f"  … and {len(problems) - EXAMPLES:,} more")
        return "\n".join(lines)

    def settle(self, policy: Policy) -> set[str]:
        """Raise, or leave the identities concerned out.

        Args:
            policy: `"raise"` or `"skip"`.

        Returns:
            The identities to leave out.

        Raises:
            ReleaseError: There are problems and the policy is `"raise"`.
            UsageError: The policy is neither.
        """
        if policy not in ("raise", "skip"):
            raise UsageError(
                explain("unknown on_bad_subject", expected="'raise' or 'skip'", found=repr(policy))
            )
        if not self.problems:
            return set()
        if policy == "raise":
            raise ReleaseError(
                f"images and cameras of this release do not add up\n{self}\n"
                "remedy: download the parts concerned again, or load the rest with "
                "on_bad_subject='skip'"
            )
        left_out = self.bad_subjects()
        logger.warning(
            "left out %d subjects (%s) for these problems:\n%s",
            len(left_out),
            some_of(left_out),
            self,
        )
        return left_out


def some_of(names: Iterable[str], most: int = 10) -> str:
    """Name a few in order, and say how many more there are.

    Example:
        >>> some_of(["c", "a", "b"], most=2)
        'a, b and 1 more'
    """
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
