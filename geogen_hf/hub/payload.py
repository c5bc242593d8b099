"""What is to be pushed, read from disk and checked."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from geogen_hf.errors import ReleaseError, explain
from geogen_hf.export.exported import CARD, PROVENANCE, SUMS, Source
from geogen_hf.export.promises import read_promises
from geogen_hf.export.verify import verify_export
from geogen_hf.export.verify_rows import sha256_of
from geogen_hf.hub.cards import check_card, raw_card
from geogen_hf.hub.plan import LocalFile
from geogen_hf.source.lockfile import LOCK_FILE_NAME, LockEntry, read_lock, record
from geogen_hf.source.parts import ALL_PARTS, Part, locate_parts
from geogen_hf.source.zip_directory import read_directory

Progress = Callable[[int, int], None]
PLAIN_BLOB_BYTES = 10 * 2**20
"""The Hub keeps no larger files as plain git blobs."""
_MOST_LISTED = 5


@dataclass(frozen=True)
class Payload:
    """Files that belong together in a repository.

    Attributes:
        files: All of them.
        message: First line of the commit.
        foreign: Names that another kind of payload has and this one must not meet.
        kind: What it is, for messages.
    """

    files: tuple[LocalFile, ...]
    message: str
    foreign: frozenset[str]
    kind: str

    @property
    def size(self) -> int:
        """Of all files, bytes."""
        return sum(file.size for file in self.files)


def read_export(folder: Path, workers: int | None, progress: Progress | None) -> Payload:
    """Check an exported folder, quickly, and list it.

    Args:
        folder: As `geogen export` left it.
        workers: Files to check at a time; None for one a core.
        progress: Told the number of files checked and of all.

    Raises:
        PartsError: There is no complete export.
        ReleaseError: It does not keep its promises, or its card does not bind to the licence.
    """
    found = verify_export(folder, quick=True, workers=workers, progress=progress)
    if found.failures:
        more = len(found.failures) - _MOST_LISTED
        listed = [*found.failures[:_MOST_LISTED], *([f"and {more:,} more"] if more > 0 else [])]
        raise ReleaseError(
            explain(
                "the folder does not keep its promises",
                where=folder,
                found="; ".join(listed),
                remedy="see geogen verify, then export again",
            )
        )
    check_card((folder / CARD).read_text(encoding="utf-8"), folder / CARD)
    sums = read_promises(Source(str(folder))).sums
    sums[SUMS] = sha256_of(folder / SUMS)
    identities = sum(found.subjects.values())
    package = json.loads((folder / PROVENANCE).read_text())["source"]["versions"]["geogen-hf"]
    return Payload(
        files=tuple(local_file(folder / name, name, sums[name]) for name in sorted(sums)),
        message=f"GeoGen: {identities:,} identities, exported by geogen-hf {package}",
        foreign=frozenset({LOCK_FILE_NAME, *(part.name for part in ALL_PARTS)}),
        kind="an export",
    )


@contextmanager
def read_parts(folder: Path, repo_id: str, progress: Progress | None) -> Iterator[Payload]:
    """Check the eight zips of a folder, and list them with lock file and card.

    Args:
        folder: Holds the zips under their upstream names, and perhaps `parts.lock.json`.
        repo_id: Noted as the source of each part where there is no lock file.
        progress: Told the number of parts checked and of all.

    Yields:
        The payload; card and lock file are in a temporary folder, which ends with the block.

    Raises:
        PartsError: Zips are missing.
        ArchiveError: One is not a zip archive.
        ReleaseError: One is not what the lock file says.
    """
    locations = locate_parts(folder)
    paths = {part: Path(location.address) for part, location in locations.items()}
    digests: dict[Part, str] = {}
    for done, (part, path) in enumerate(paths.items(), start=1):
        with closing(locations[part].open()) as file:
            read_directory(file)
        digests[part] = sha256_of(path)
        if progress is not None:
            progress(done, len(paths))
    with tempfile.TemporaryDirectory(prefix="geogen-push-") as temporary:
        place = Path(temporary)
        lock = _lock_file(folder, place, paths, digests, repo_id)
        card = place / CARD
        card.write_text(raw_card().replace("OWNER/NAME", repo_id), encoding="utf-8")
        check_card(card.read_text(encoding="utf-8"), CARD)
        files = [local_file(path, part.name, digests[part]) for part, path in paths.items()]
        files += [local_file(path, path.name, sha256_of(path)) for path in (lock, card)]
        yield Payload(
            files=tuple(files),
            message="GeoGen: the eight original archives",
            foreign=frozenset({SUMS, PROVENANCE}),
            kind="the original archives",
        )


def _lock_file(
    folder: Path, place: Path, paths: dict[Part, Path], digests: dict[Part, str], repo_id: str
) -> Path:
    """Hold the parts to the lock file that is beside them, or make one."""
    known = read_lock(folder / LOCK_FILE_NAME)
    wrong = [
        f"{part.name} ({digest})"
        for part, digest in digests.items()
        if part.name in known and known[part.name].sha256 != digest
    ]
    if wrong:
        raise ReleaseError(
            explain(
                "parts are not what they were when first fetched",
                where=folder,
                expected=f"the SHA-256 in {LOCK_FILE_NAME}",
                found=", ".join(wrong),
                remedy="fetch them again: geogen download --verify",
            )
        )
    made = place / LOCK_FILE_NAME
    for part, path in paths.items():
        url = f"hf://datasets/{repo_id}/{part.name}"
        new = LockEntry(url, path.stat().st_size, None, None, digests[part])
        record(made, part.name, known.get(part.name, new))
    return made


def local_file(source: Path, path: str, sha256: str) -> LocalFile:
    """Describe a file on disk.

    Example:
        >>> source = tmp_path / "a.txt"
        >>> _ = source.write_bytes(b"hello")
        >>> local_file(source, "a.txt", "00").git_oid
        'b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0'
    """
    size = source.stat().st_size
    oid = git_oid(source.read_bytes()) if size <= PLAIN_BLOB_BYTES else None
    return LocalFile(path, source, size, sha256, oid)


def git_oid(content: bytes) -> str:
    """Name content as git does: SHA-1 of a header and the content.

    Example:
        >>> git_oid(b"")
        'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
