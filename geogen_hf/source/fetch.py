"""Download the parts into a folder and hold them to what they were when first fetched.

`fetch_parts` notes in `parts.lock.json` what each part was, and holds later downloads to it;
`geogen push --parts` sends the file along. It is one JSON object: `version` (1) and `parts`, which
maps file names to the fields of `LockEntry`. Beside it and the parts, the folder holds one empty
hidden file for each part, the lock that keeps two processes from fetching it at once; while a part
is incomplete, also its `.part` and `.part.json` (`download`).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from geogen_hf.durable import absolute_path, write_durably, writing
from geogen_hf.errors import FetchError, UsageError, redact
from geogen_hf.source.download import (
    Job,
    Progress,
    download,
    drop_leftovers,
    hash_file,
    sidecar_path,
)
from geogen_hf.source.files import TransferOptions, open_remote
from geogen_hf.source.parts import Part, Place, RemoteInfo, locate_parts, named_parts
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)

LOCK_FILE_NAME = "parts.lock.json"
_FORMAT = 1


def fetch_parts(
    folder: str | os.PathLike[str],
    *,
    place: Place = None,
    parts: Iterable[int] | None = None,
    jobs: int = 4,
    locked: bool = False,
    accept_changes: bool = False,
    verify: bool = False,
    lock_path: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    options: TransferOptions | None = None,
) -> dict[Part, Path]:
    """Download parts into a folder; what is there and unchanged is not transferred again.

    May be interrupted at any moment, by Ctrl-C or a power cut, and run again to go on. Two
    processes may do it at once: one fetches a part, the other waits for it.

    Args:
        folder: Where the parts go; made if not there.
        place: Where they come from: a base URL that fsspec opens, or a folder; None for the
            publisher's host.
        parts: Numbers of the parts, 1 to 8 (8: the cameras); None for all.
        jobs: Parts at a time.
        locked: Refuse every part that the lock file does not know, or knows otherwise.
        accept_changes: Fetch parts that changed since they were first fetched, and note what
            they are now.
        verify: Hash the parts that are there already, and fetch again those that are damaged.
        lock_path: The lock file; None for `parts.lock.json` in the folder.
        storage_options: Credentials by protocol, such as `{"hf": {"token": …}}`; without, the Hub
            is shown the token that is stored or in `HF_TOKEN`.
        progress: Called in this thread, ten times a second, with the bytes that are here and the
            bytes of all parts.
        options: Timeouts, retries and syncs; None for the defaults.

    Returns:
        The path of each part.

    Raises:
        FetchError: Some parts could not be fetched: missing upstream, changed upstream, no space.
            The others are complete; the message names the part and URL of each failure.
        OutputError: The folder cannot be written.
        UsageError: Options do not go together, or the lock file is unreadable.
        PartsError: `place` is a folder and lacks parts.

    Example:
        >>> from geogen_hf.sample import write_release
        >>> served = write_release(tmp_path / "served", subjects=1, size=16)
        >>> paths = fetch_parts(tmp_path / "out", place=served.as_uri(), parts=[1, 8])
        >>> sorted(path.name for path in paths.values())
        ['images_batch_1.zip', 'metadata_files.zip']
    """
    if jobs < 1 or (locked and accept_changes):
        raise UsageError(
            "options do not go together",
            expected="jobs of at least 1, not both locked and accept_changes",
            found=f"{jobs=}, {locked=}, {accept_changes=}",
        )
    root = absolute_path(folder)
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    lock_file = Path(lock_path or root / LOCK_FILE_NAME)
    chosen = named_parts(parts)
    known = read_lock(lock_file)
    unknown = [part.name for part in chosen if part.name not in known]
    if locked and unknown:  # before any request
        raise FetchError(
            f"the lock file does not know {', '.join(unknown)}",
            where=lock_file,
            expected="an entry for every part, as locked was asked for",
            found=f"entries for {', '.join(sorted(known)) or 'none'}",
            remedy="fetch once without locked, or use a lock file that knows them",
        )
    control, options = Control(), options or TransferOptions()
    work = {}
    for part, location in locate_parts(place, chosen, storage_options).items():
        path = root / part.name
        if location.address == str(path):
            what, remedy = "the parts would be copied onto themselves", "name another folder"
            raise UsageError(what, where=location, remedy=remedy)
        file = open_remote(location, options, control)
        work[part] = _FolderJob(file, path, lock_file, accept_changes, verify)
    return download(work, root, control, threads=jobs, progress=progress)


@dataclass
class _FolderJob(Job):
    """A part to download into the folder, held to its entry in the lock file."""

    path: Path
    lock_file: Path
    accept_changes: bool
    verify: bool
    entry: LockEntry | None = None

    def admit(self, info: RemoteInfo) -> None:
        """Look up the entry that the part has to match, if any; refuse another version."""
        location = self.file.location
        self.entry = entry = read_lock(self.lock_file).get(location.label)
        if entry is not None and (found := entry.difference(location.address, info)):
            if not self.accept_changes:
                known = RemoteInfo(entry.size, entry.etag, entry.last_modified)
                raise self._refused(str(known), found)
            self.entry = None

    def target(self, info: RemoteInfo) -> Path:
        return self.path

    def lock_path(self, target: Path) -> Path:
        return target.with_name(f".{target.name}.lock")

    def is_complete(self, info: RemoteInfo) -> bool:
        self.admit(info)  # another process may have noted it meanwhile
        if self.entry is None or not self.path.is_file():
            return False
        return self.path.stat().st_size == self.entry.size

    def is_sound(self, check: Callable[[], None]) -> bool:
        # A sidecar that is still there tells that a process was killed between noting the new part
        # in the lock file and renaming it: the name may be the old part's.
        left_over = sidecar_path(self.path).exists()
        if self.entry is not None and (self.verify or left_over):
            with open(self.path, "rb") as file:
                digest = hash_file(file, self.entry.size, check).hexdigest()
            if digest != self.entry.sha256:
                label = self.path.name
                logger.warning("%s: differs from what was fetched; fetching it again", label)
                return False
        if left_over:
            drop_leftovers(self.path)
        return True

    def accept(self, info: RemoteInfo, sha256: str) -> None:
        """Compare what has arrived with its entry, or write its entry."""
        self.admit(info)
        if self.entry is not None and self.entry.sha256 == sha256:
            return
        if self.entry is not None and not self.accept_changes:
            raise self._refused(f"SHA-256 {self.entry.sha256}", f"SHA-256 {sha256}")
        location = self.file.location
        size, etag, date = info.size or 0, info.etag, info.last_modified
        new = LockEntry(str(location), size, etag, date, sha256)
        record(self.lock_file, location.label, new)

    def _refused(self, expected: str, found: str) -> FetchError:
        return self.file.failure(
            "changed upstream since it was first fetched",
            expected=f"{expected} (noted in {self.lock_file})",
            found=found,
            remedy="find out whether the publisher changed it; to accept the change, pass "
            "accept_changes (--accept-changes), or delete the part's entry and run again",
        )


@dataclass(frozen=True, slots=True)
class LockEntry:
    """One part, as first fetched."""

    url: str  # without password and query
    size: int  # bytes
    etag: str | None  # there; None where the server sent none
    last_modified: str | None
    sha256: str  # of its bytes, hexadecimal

    def difference(self, url: str, info: RemoteInfo) -> str | None:
        """Say what a server has instead; None where nothing tells it apart without its bytes.

        ETags and dates are compared only for the URL of the entry: a mirror has its own.

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
    """Read the entries of a lock file by the part's file name; none where there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:  # a folder, or not for this user to read
        raise UsageError(
            "the lock file cannot be read", where=path, found=error.strerror or error
        ) from error
    try:
        table: dict[str, Any] = json.loads(content)
        if table["version"] != _FORMAT:
            raise ValueError(f"version {table['version']!r}")
        return {name: _entry(fields) for name, fields in table["parts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            "not a lock file of this version of the package",
            where=path,
            expected=f"the JSON of version {_FORMAT} that geogen_hf.source.fetch describes",
            found=f"{type(error).__name__}: {error}",
            remedy="correct it, or delete it to have the next download write it anew",
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
    """Add or replace the entry of a part's file name, keeping what other processes wrote."""
    with FileLock(str(path.with_name(f".{path.name}.lock"))):
        entries = read_lock(path)
        if entries.get(name) == entry:
            return
        write_durably(path, lock_text(entries | {name: entry}))


def lock_text(entries: Mapping[str, LockEntry]) -> bytes:
    """The content of a lock file that holds these entries, by the part's file name."""
    table = {"version": _FORMAT, "parts": {n: asdict(e) for n, e in entries.items()}}
    return f"{json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()
