"""The lock file `parts.lock.json`: what each part was when it was first fetched.

`fetch_parts` writes it and holds later downloads to it; `geogen push --parts` sends it along. It is
one JSON object: `version` (1) and `parts`, which maps file names to the fields of `LockEntry`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from geogen_hf.durable import write_durably
from geogen_hf.errors import FetchError, UsageError, explain, redact
from geogen_hf.source.download import Fetched
from geogen_hf.source.responses import RemoteInfo

LOCK_FILE_NAME = "parts.lock.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class LockEntry:
    """One part, as first fetched.

    Attributes:
        url: Where it came from, without password and query.
        size: Bytes.
        etag: Entity tag there; None where the server sent none.
        last_modified: Date of its last change there; None where the server sent none.
        sha256: Of its bytes, hexadecimal.
    """

    url: str
    size: int
    etag: str | None
    last_modified: str | None
    sha256: str

    @property
    def info(self) -> RemoteInfo:
        """The version that was fetched."""
        return RemoteInfo(self.size, self.etag, self.last_modified)

    def difference(self, url: str, info: RemoteInfo) -> str | None:
        """Compare with a version that a server has, as far as possible without its bytes.

        Args:
            url: Where it is. ETags and dates are compared only for the URL of the entry: a mirror
                has its own.
            info: The version there.

        Returns:
            What was found instead; None where nothing tells them apart.

        Example:
            >>> entry = LockEntry("https://host/a.zip", 9, '"a1"', None, "00")
            >>> entry.difference("https://host/a.zip", RemoteInfo(9, '"b2"'))
            '9 bytes, ETag "b2"'
            >>> entry.difference("https://mirror/a.zip", RemoteInfo(9, '"b2"')) is None
            True
        """
        of_url = self.etag, self.last_modified
        known = RemoteInfo(self.size, *(of_url if redact(url) == self.url else (None, None)))
        return None if known.same_version(info) else str(info)


def read_lock(path: Path) -> dict[str, LockEntry]:
    """Read a lock file.

    Args:
        path: The file; it need not exist.

    Returns:
        Its entries, by the part's file name; none where there is no file.

    Raises:
        UsageError: It is not a lock file, or one of a later version.

    Example:
        >>> read_lock(tmp_path / "parts.lock.json")
        {}
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        table: dict[str, Any] = json.loads(content)
        if table["version"] != _FORMAT:
            raise ValueError(f"version {table['version']!r}")
        return {name: _entry(fields) for name, fields in table["parts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            explain(
                "not a lock file of this version of the package",
                where=path,
                expected=f"the JSON of version {_FORMAT} that geogen_hf.source.lockfile describes",
                found=f"{type(error).__name__}: {error}",
                remedy="correct it, or delete it to have the next download write it anew",
            )
        ) from error


def _entry(fields: Mapping[str, Any]) -> LockEntry:
    entry = LockEntry(**fields)
    digest = bytes.fromhex(entry.sha256)
    texts = (entry.url, entry.etag or "", entry.last_modified or "")
    if not (isinstance(entry.size, int) and entry.size >= 0 and len(digest) == 32):
        raise ValueError(f"size {entry.size!r}, sha256 {entry.sha256!r}")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts expected, found {texts!r}")
    return entry


def record(path: Path, name: str, entry: LockEntry) -> None:
    """Add or replace one entry, keeping what other processes wrote meanwhile.

    Args:
        path: The lock file; made if not there.
        name: The part's file name.
        entry: What it is now.

    Raises:
        UsageError: What is there is not a lock file.
        OSError: It cannot be written.
    """
    with FileLock(str(path.with_name(f".{path.name}.lock"))):
        entries = read_lock(path)
        if entries.get(name) == entry:
            return
        entries[name] = entry
        table = {"version": _FORMAT, "parts": {n: asdict(e) for n, e in entries.items()}}
        text = json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False)
        write_durably(path, f"{text}\n".encode())


@dataclass(frozen=True)
class LockPolicy:
    """The lock file, and how strictly it is applied.

    Attributes:
        path: The file; it need not exist.
        locked: Refuse parts without an entry.
        accept_changes: Let parts differ from their entries, and note what they are now.
    """

    path: Path
    locked: bool
    accept_changes: bool

    def check_known(self, labels: Sequence[str]) -> None:
        """With `locked`, refuse parts that the file does not name, before any request."""
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
        """Give the entry that the part has to match, if any.

        Raises:
            FetchError: The server has another version.
        """
        entry = read_lock(self.path).get(label)
        found = None if entry is None else entry.difference(url, info)
        if entry is not None and found is not None:
            if self.accept_changes:
                return None
            raise self._changed(label, url, str(entry.info), found)
        return entry

    def accept(self, label: str, fetched: Fetched) -> None:
        """Compare what has arrived with its entry, or write its entry.

        Raises:
            FetchError: It differs.
        """
        entry = self.entry(label, fetched.url, fetched.info)
        if entry is not None and entry.sha256 == fetched.sha256:
            return
        if entry is not None and not self.accept_changes:
            expected, found = f"SHA-256 {entry.sha256}", f"SHA-256 {fetched.sha256}"
            raise self._changed(label, fetched.url, expected, found)
        info, url = fetched.info, redact(fetched.url)
        new = LockEntry(url, fetched.size, info.etag, info.last_modified, fetched.sha256)
        record(self.path, label, new)

    def _changed(self, label: str, url: str, expected: str, found: str) -> FetchError:
        return FetchError(
            explain(
                f"{label}: changed upstream since it was first fetched",
                where=url,
                expected=f"{expected} (noted in {self.path})",
                found=found,
                remedy="find out whether the publisher changed it; to accept the change, pass "
                "accept_changes (--accept-changes), or delete the part's entry and run again",
            )
        )
