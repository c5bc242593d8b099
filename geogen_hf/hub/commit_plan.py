"""Compare local files with the repository's tree, and decide what one commit adds and deletes.

Open this to change which files are sent, deleted or left alone. Nothing here asks the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils.sha import git_hash

from geogen_hf.release.features import FEATURES
from geogen_hf.release.shards import SPLITS

IN_FLIGHT = 0.01
"""Share of the folder that is uploaded at a time, or one file if that is larger. The Hub discards a
transfer that is cut (LFS does not resume), so this bounds what a killed push sends twice."""
MAX_PARALLEL = 16
_DATA = re.compile(rf"data/({'|'.join(FEATURES)})/({'|'.join(SPLITS)})-[^/]*", re.ASCII)
"""Files that the card's patterns match: if an old one stayed, readers would get its rows too."""


@dataclass(frozen=True)
class LocalFile:
    """A file to publish.

    Attributes:
        path: In the repository.
        source: On disk, or the content itself.
        size: Bytes.
        sha256: Of the content.
    """

    path: str
    source: Path | bytes
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
class Plan:
    """What one commit does.

    Attributes:
        add: New or changed files.
        delete: Files of an earlier push that no longer exist, and a script to remove.
        same: Files that the repository already has.
        strangers: Files that no export wrote; they stay.
        script: A loading script that stays and that `datasets` 4 and later refuse.
    """

    add: tuple[LocalFile, ...]
    delete: tuple[RepoSibling, ...]
    same: tuple[LocalFile, ...]
    strangers: tuple[str, ...]
    script: str | None

    @property
    def changes_nothing(self) -> bool:
        """Whether there is nothing to commit."""
        return not self.add and not self.delete

    @property
    def added_bytes(self) -> int:
        """Total size of the files to add; contents that the Hub already stores are not sent."""
        return sum(file.size for file in self.add)


def make_plan(
    local: Sequence[LocalFile],
    remote: Mapping[str, RepoSibling],
    *,
    earlier: Collection[str] = (),
    script: str = "",
    remove_script: bool = False,
) -> Plan:
    """Decide what to add, to delete and to leave.

    Args:
        local: The files to publish.
        remote: The tree of the branch, by path.
        earlier: Paths that an earlier push lists as its own.
        script: Name of the loading script that `datasets` would find.
        remove_script: Whether to delete that script.
    """
    same = tuple(f for f in local if f.path in remote and f.same_content(remote[f.path]))
    others = sorted(remote.keys() - {file.path for file in local})
    delete = [
        path
        for path in others
        if (path in earlier and not path.startswith("."))
        or _DATA.fullmatch(path)
        or (remove_script and path == script)
    ]
    kept = [path for path in others if path not in delete]
    return Plan(
        add=tuple(file for file in local if file not in same),
        delete=tuple(remote[path] for path in delete),
        same=same,
        strangers=tuple(path for path in kept if not path.startswith(".git")),
        script=script if script in kept else None,
    )


def batches(files: Sequence[LocalFile], folder_bytes: int) -> Iterator[list[LocalFile]]:
    """Divide uploads into groups that may be in flight at the same time.

    Each is at most `MAX_PARALLEL` files and `IN_FLIGHT` of the folder; a larger file goes alone.
    """
    group: list[LocalFile] = []
    for file in files:
        too_large = sum(f.size for f in group) + file.size > IN_FLIGHT * folder_bytes
        if group and (too_large or len(group) == MAX_PARALLEL):
            yield group
            group = []
        group.append(file)
    if group:
        yield group
