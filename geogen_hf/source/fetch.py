"""Download the parts into a folder and hold them to what they were when first fetched.

Beside the parts the folder then holds `parts.lock.json` (`lockfile`) and one empty hidden file for
each part, the lock that keeps two processes from fetching it at once; while a part is incomplete,
also its `.part` and `.part.json` (`partial`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geogen_hf.errors import FetchError, UsageError, explain
from geogen_hf.source.download import Fetched, Progress, download, join_failures, unwritable
from geogen_hf.source.location import Location, RemoteFile, open_remote
from geogen_hf.source.lockfile import LOCK_FILE_NAME, LockEntry, LockPolicy
from geogen_hf.source.partial import drop_leftovers, hash_file, sidecar_path
from geogen_hf.source.parts import Part, Place, locate_parts, named_parts
from geogen_hf.source.responses import RemoteInfo
from geogen_hf.source.retry import TransferOptions

logger = logging.getLogger(__name__)


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
            explain(
                "options do not go together",
                expected="jobs of at least 1, not both locked and accept_changes",
                found=f"{jobs=}, {locked=}, {accept_changes=}",
            )
        )
    root = Path(folder).expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(root, error) from error
    options = options or TransferOptions()
    lock = LockPolicy(Path(lock_path or root / LOCK_FILE_NAME), locked, accept_changes)
    chosen = named_parts(parts)
    lock.check_known([part.name for part in chosen])
    locations = locate_parts(place, chosen, storage_options)
    work = [
        _FolderJob(part.name, _open(location, root, options), root / part.name, lock, verify)
        for part, location in locations.items()
    ]
    paths, failures = download(work, root, threads=jobs, options=options, progress=progress)
    if failures:
        kept = f"{len(paths)} of {len(work)} parts are complete; run again to fetch the rest"
        text = join_failures({name: failures[name] for name in sorted(failures)})
        raise FetchError(f"{text}\n{kept}") from next(iter(failures.values()))
    return {part: paths[part.name] for part in chosen}


def _open(location: Location, folder: Path, options: TransferOptions) -> RemoteFile:
    if not location.remote and Path(location.address).parent == folder:
        raise UsageError(
            explain(
                "the parts would be copied onto themselves",
                where=location,
                remedy="name another folder",
            )
        )
    return open_remote(location, options)


@dataclass
class _FolderJob:
    """A part to download into the folder; see `download.Job`."""

    label: str
    file: RemoteFile
    path: Path
    lock: LockPolicy
    verify: bool
    entry: LockEntry | None = None

    def admit(self, info: RemoteInfo) -> None:
        self.entry = self.lock.entry(self.label, self.file.location.address, info)

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
                logger.warning("%s: differs from what was fetched; fetching it again", self.label)
                return False
        if left_over:
            drop_leftovers(self.path)
        return True

    def accept(self, fetched: Fetched) -> None:
        self.lock.accept(self.label, fetched)
