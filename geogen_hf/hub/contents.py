"""Read and check what is to be published: an exported folder, or the eight original zips.

Open this to change what is checked before a push, what a card must say before the data may be
passed on (licence, gate, attribution, citation), or the card of a mirror of the zips.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils.sha import git_hash

from geogen_hf.durable import sha256_of
from geogen_hf.errors import ReleaseError, one_line
from geogen_hf.export.card import SAMPLE_LICENSE, card_template, section, split_front_matter
from geogen_hf.export.exported import CARD, PROVENANCE, SUMS, ExportedFolder
from geogen_hf.export.verify import verify_export
from geogen_hf.release.features import CITATION, HOMEPAGE, LICENSE_NAME, LICENSE_URL
from geogen_hf.report import some_of
from geogen_hf.source.fetch import LOCK_FILE_NAME, LockEntry, lock_text, read_lock
from geogen_hf.source.files import open_file
from geogen_hf.source.parts import ALL_PARTS, locate_parts
from geogen_hf.source.zip_directory import read_directory


@dataclass(frozen=True)
class LocalFile:
    """A file to publish."""

    path: str  # in the repository
    source: Path | bytes  # on disk, or the content itself
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, source: Path | bytes, sha256: str) -> LocalFile:
        """Describe a file on disk, or a content."""
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        return cls(path, source, size, sha256)

    def same_content(self, remote: RepoSibling) -> bool:
        """Whether a file of the repository has this content, however the Hub stores it."""
        if remote.lfs is not None:
            return remote.lfs.sha256 == self.sha256
        if remote.size != self.size:
            return False
        source = self.source
        content = source if isinstance(source, bytes) else source.read_bytes()
        return remote.blob_id == git_hash(content)


@dataclass(frozen=True)
class Contents:
    """Files that belong together in a repository."""

    files: tuple[LocalFile, ...]
    message: str  # first line of the commit
    foreign: frozenset[str]  # names of the other kind of contents, which refuse this one
    kind: str  # what it is, for messages
    sample: bool  # whether the data is sample heads that this package rendered


def read_export(folder: Path, progress: Callable[[int, int], None]) -> Contents:
    """Check an exported folder (checksums, schema, counts, card), and list it."""
    found = verify_export(folder, quick=True, progress=progress)
    if found.failures:
        what, remedy = "the folder is damaged", "see geogen verify, then export again"
        listed = some_of(found.failures, most=5)
        raise ReleaseError(what, where=folder, found=listed, remedy=remedy)
    exported = ExportedFolder(folder)
    sample, package = exported.provenance.sample, exported.provenance.package_version
    check_card((folder / CARD).read_text(encoding="utf-8"), folder / CARD, sample=sample)
    sums = {**exported.sums, SUMS: sha256_of(folder / SUMS)}
    identities = sum(found.subjects.values())
    title = "GeoGen sample heads" if sample else "GeoGen"
    return Contents(
        files=tuple(LocalFile.of(name, folder / name, sums[name]) for name in sorted(sums)),
        message=f"{title}: {identities:,} identities, exported by geogen-hf {package}",
        foreign=frozenset({LOCK_FILE_NAME, *(part.name for part in ALL_PARTS)}),
        kind="an export",
        sample=sample,
    )


def read_parts(folder: Path, repo_id: str, progress: Callable[[int, int], None]) -> Contents:
    """Check the eight zips of a folder, and list them with a lock file and a card."""
    files, samples = [], set()
    locations = locate_parts(folder)
    for done, (part, location) in enumerate(locations.items(), start=1):
        with closing(open_file(location)) as file:
            samples.add(read_directory(file).sample)
        path = Path(location.address)
        files.append(LocalFile.of(part.name, path, sha256_of(path)))
        progress(done, len(locations))
    sample = all(samples)
    texts = {
        LOCK_FILE_NAME: _lock_file(folder, files, repo_id),
        CARD: mirror_card(repo_id, sample=sample).encode(),
    }
    files += [LocalFile.of(n, text, hashlib.sha256(text).hexdigest()) for n, text in texts.items()]
    return Contents(
        files=tuple(files),
        message=f"GeoGen: the eight {'sample' if sample else 'original'} archives",
        foreign=frozenset({SUMS, PROVENANCE}),
        kind="the original archives",
        sample=sample,
    )


def _lock_file(folder: Path, zips: Sequence[LocalFile], repo_id: str) -> bytes:
    """Check the zips against the lock file beside them, and write one that knows all of them."""
    known = read_lock(folder / LOCK_FILE_NAME)
    entries = {}
    for zipped in zips:
        url = f"hf://datasets/{repo_id}/{zipped.path}"
        here = LockEntry(url, zipped.size, None, None, zipped.sha256)
        entries[zipped.path] = known.get(zipped.path, here)
    wrong = [f"{z.path} ({z.sha256})" for z in zips if entries[z.path].sha256 != z.sha256]
    if wrong:
        raise ReleaseError(
            "parts changed since they were first fetched",
            where=folder,
            expected=f"the SHA-256 in {LOCK_FILE_NAME}",
            found=", ".join(wrong),
            remedy="fetch them again: geogen download --verify",
        )
    return lock_text(entries)


def mirror_card(repo_id: str, *, sample: bool = False) -> str:
    """Write the card of a mirror of the zips, with the licence and gate of the export's card."""
    name = "mirror_card_sample.md" if sample else "mirror_card.md"
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    template, body = split_front_matter(card_template(sample=sample))
    kept = ("pretty_name", "tags", "license", "extra_gated")
    front = {key: value for key, value in template.items() if key.startswith(kept)}
    front |= {"pretty_name": f"{front['pretty_name']}, as zips", "viewer": False}
    text = text.replace("OWNER/NAME", repo_id)
    titles = ("Licence",) if sample else ("Licence", "Disclaimer", "Citation")
    text += "\n".join(section(body, title) for title in titles)
    dumped = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{dumped}---\n{text}"


def check_card(card: str, where: object, *, sample: bool = False) -> None:
    """Refuse a card that does not bind its readers to the licence, naming all that is missing.

    The publisher's licence does not cover rendered sample heads: their card must not claim that.
    """
    try:
        front, body = split_front_matter(card)
    except yaml.YAMLError as error:
        what = "the card's YAML is broken"
        raise ReleaseError(what, where=where, found=one_line(error)) from error
    missing = _missing(front if isinstance(front, dict) else {}, body, sample)
    if missing:
        what = "the card does not say what the licence asks for"
        found, remedy = f"no {'; no '.join(missing)}", "put back what was removed, or export again"
        raise ReleaseError(what, where=where, found=found, remedy=remedy)


def _missing(front: dict[str, Any], body: str, sample: bool) -> list[str]:
    if sample:
        needed = f"license: {SAMPLE_LICENSE} (these are sample heads, not the publisher's data)"
        return [] if front.get("license") == SAMPLE_LICENSE else [needed]
    required = {"license": "other", "license_name": LICENSE_NAME, "license_link": LICENSE_URL}
    citation_key = CITATION.partition("{")[2].partition(",")[0]
    attributed = "Microsoft" in body and re.search(rf"{re.escape(HOMEPAGE)}(?!/)", body)
    stated = {
        "extra_gated_prompt with the licence's address": LICENSE_URL
        in str(front.get("extra_gated_prompt")),
        "extra_gated_fields": front.get("extra_gated_fields"),
        f"attribution to Microsoft with {HOMEPAGE}": attributed,
        "section on the licence with its address": LICENSE_URL in body,
        f"citation ({citation_key})": citation_key in body,
    }
    wrong = [f"{key}: {value}" for key, value in required.items() if front.get(key) != value]
    return wrong + [name for name, there in stated.items() if not there]
