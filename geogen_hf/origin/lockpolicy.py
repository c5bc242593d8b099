"""Whether a part that is offered, or has arrived, is what the lock file says it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geogen_hf.errors import FetchError, explain
from geogen_hf.origin.headers import RemoteInfo
from geogen_hf.origin.lockfile import LockEntry, read_lock, record
from geogen_hf.origin.transfer import Fetched


@dataclass(frozen=True)
class LockPolicy:
    """The lock file, and how strictly it is taken.

    Attributes:
        path: The file; it need not exist.
        locked: Refuse parts without an entry.
        accept_changes: Let parts differ from their entries, and note what they are now.
    """

    path: Path
    locked: bool
    accept_changes: bool

    def check_known(self, labels: Sequence[str]) -> None:
        """With `locked`, refuse before any request what the file does not name."""
        known = read_lock(self.path)
        unknown = [label for label in labels if label not in known]
        if self.locked and unknown:
            raise FetchError(
                explain(
                    f"the lock file does not know {', '.join(unknown)}",
                    where=self.path,
                    expected="an entry for every part, as locked was asked for",
                    found=f"entries for {', '.join(sorted(known)) or 'none'}",
                    remedy="fetch once without locked, or use a lock file that knows them",
                )
            )

    def entry(self, label: str, url: str, info: RemoteInfo) -> LockEntry | None:
        """Give the entry that the part is held to, if any.

        Raises:
            FetchError: What is offered is something else.
        """
        entry = read_lock(self.path).get(label)
        found = None if entry is None else entry.difference(url, info)
        if entry is not None and found is not None:
            if self.accept_changes:
                return None
            raise self._changed(label, url, entry.describe(), found)
        return entry

    def accept(self, label: str, fetched: Fetched) -> None:
        """Hold what has arrived to its entry, or make one of it.

        Raises:
            FetchError: It is something else.
        """
        entry = self.entry(label, fetched.url, fetched.info)
        if entry is not None and entry.sha256 == fetched.sha256:
            return
        if entry is not None and not self.accept_changes:
            expected, found = f"SHA-256 {entry.sha256}", f"SHA-256 {fetched.sha256}"
            raise self._changed(label, fetched.url, expected, found)
        info = fetched.info
        record(
            self.path,
            label,
            LockEntry(fetched.url, fetched.size, info.etag, info.last_modified, fetched.sha256),
        )

    def _changed(self, label: str, url: str, expected: str, found: str) -> FetchError:
        return FetchError(
            explain(
                f"{label}: changed upstream since it was first fetched",
                where=url,
                expected=f"{expected} (noted in {self.path})",
                found=found,
                remedy="find out whether the change is meant; to accept it, pass accept_changes "
                "(--accept-changes), or delete the part's entry there and run again",
            )
        )
