"""Read and check what is to be published: an exported folder, or the eight original zips."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from geogen_hf.errors import ReleaseError, explain
from geogen_hf.export.exported import CARD, PROVENANCE, SUMS, ExportedFolder, sha256_of
from geogen_hf.export.verify import verify_export
from geogen_hf.hub.cards import check_card, mirror_card
from geogen_hf.hub.commit_plan import LocalFile
from geogen_hf.source.fetch import LOCK_FILE_NAME, LockEntry, read_lock, record
from geogen_hf.source.parts import ALL_PARTS, locate_parts
from geogen_hf.source.zip_directory import read_directory

_MOST_LISTED = 5


@dataclass(frozen=True)
class Contents:
    """Files that belong together in a repository.

    Attributes:
        files: All of them.
        message: First line of the commit.
        foreign: Names of the other kind of contents; a repository holds one kind only.
        kind: What it is, for messages.
        sample: Whether the data is sample heads that this package rendered.
    """

    files: tuple[LocalFile, ...]
    message: str
    foreign: frozenset[str]
    kind: str
    sample: bool

    @property
    def size(self) -> int:
        """Total size, bytes."""
        return sum(file.size for file in self.files)


def read_export(folder: Path, progress: Callable[[int, int], None] | None) -> Contents:
    """Check an exported folder (checksums, schema, counts, card), and list it.

    Raises:
        PartsError: There is no complete export.
        ReleaseError: A check fails, or the card does not bind its readers to the licence.
    """
    found = verify_export(folder, quick=True, progress=progress)
    if found.failures:
        more = len(found.failures) - _MOST_LISTED
        listed = [*found.failures[:_MOST_LISTED], *([f"and {more:,} more"] if more > 0 else [])]
        what, remedy = "the folder is damaged", "see geogen verify, then export again"
        raise ReleaseError(explain(what, where=folder, found="; ".join(listed), remedy=remedy))
    exported = ExportedFolder(folder)
    provenance = exported.provenance
    sample, package = provenance.sample, provenance.package_version
    check_card((folder / CARD).read_text(encoding="utf-8"), folder / CARD, sample=sample)
    sums = {**exported.sums, SUMS: sha256_of(folder / SUMS)}
    identities = sum(found.subjects.values())
    name = "GeoGen sample heads" if sample else "GeoGen"
    return Contents(
        files=tuple(LocalFile.of(name, folder / name, sums[name]) for name in sorted(sums)),
        message=f"{name}: {identities:,} identities, exported by geogen-hf {package}",
        foreign=frozenset({LOCK_FILE_NAME, *(part.name for part in ALL_PARTS)}),
        kind="an export",
        sample=sample,
    )


def read_parts(folder: Path, repo_id: str, progress: Callable[[int, int], None] | None) -> Contents:
    """Check the eight zips of a folder, and list them with a lock file and a card.

    Raises:
        PartsError: Zips are missing.
        ArchiveError: One is not a zip archive.
        ReleaseError: One differs from `parts.lock.json` beside it.
    """
    paths, digests, samples = {}, {}, set()
    locations = locate_parts(folder)
    for done, (part, location) in enumerate(locations.items(), start=1):
        with closing(location.open()) as file:
            samples.add(read_directory(file).sample)
        paths[part.name] = Path(location.address)
        digests[part.name] = sha256_of(paths[part.name])
        if progress is not None:
            progress(done, len(locations))
    sample = all(samples)
    texts = {
        LOCK_FILE_NAME: _lock_file(folder, paths, digests, repo_id),
        CARD: mirror_card(repo_id, sample=sample).encode(),
    }
    check_card(texts[CARD].decode(), CARD, sample=sample)
    files = [LocalFile.of(name, path, digests[name]) for name, path in paths.items()]
    files += [LocalFile.of(n, text, hashlib.sha256(text).hexdigest()) for n, text in texts.items()]
    return Contents(
        files=tuple(files),
        message=f"GeoGen: the eight {'sample' if sample else 'original'} archives",
        foreign=frozenset({SUMS, PROVENANCE}),
        kind="the original archives",
        sample=sample,
    )


def _lock_file(
    folder: Path, paths: dict[str, Path], digests: dict[str, str], repo_id: str
) -> bytes:
    """Check the zips against the lock file beside them, and write one that knows all of them."""
    known = read_lock(folder / LOCK_FILE_NAME)
    wrong = [f"{n} ({d})" for n, d in digests.items() if n in known and known[n].sha256 != d]
    if wrong:
        raise ReleaseError(
            explain(
                "parts changed since they were first fetched",
                where=folder,
                expected=f"the SHA-256 in {LOCK_FILE_NAME}",
                found=", ".join(wrong),
                remedy="fetch them again: geogen download --verify",
            )
        )
    with tempfile.TemporaryDirectory(prefix="geogen-push-") as temporary:
        made = Path(temporary) / LOCK_FILE_NAME
        for name, path in paths.items():
            url = f"hf://datasets/{repo_id}/{name}"
            new = LockEntry(url, path.stat().st_size, None, None, digests[name])
            record(made, name, known.get(name, new))
        return made.read_bytes()
