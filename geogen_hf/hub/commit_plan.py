"""Compare local files with the repository's tree, and decide what one commit adds and deletes.

Open this to change which files are sent, deleted or left alone. All functions are pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geogen_hf.release.features import FEATURES
from geogen_hf.release.splits import SPLITS

IN_FLIGHT = 0.01
"""Share of the folder that is uploaded at a time, or one file if that is larger. The Hub discards a
transfer that is cut (LFS does not resume), so this bounds what a killed push sends twice."""
MAX_PARALLEL = 16
PLAIN_BLOB_BYTES = 10 * 2**20
"""The Hub stores no larger files as plain git blobs."""
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
        git_oid: Its id as a git blob; None for files too large to be stored as one.
    """

    path: str
    source: Path | bytes
    size: int
    sha256: str
    git_oid: str | None = None

    @classmethod
    def of(cls, path: str, source: Path | bytes, sha256: str) -> LocalFile:
        r"""Describe a file on disk, or a content.

        Example:
            >>> LocalFile.of("a.txt", b"hello", "00").git_oid
            'b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0'
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size > PLAIN_BLOB_BYTES:
            return cls(path, source, size, sha256)
        content = source if isinstance(source, bytes) else source.read_bytes()
        # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects: a header, then the content.
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return cls(path, source, size, sha256, blob.hexdigest())


@dataclass(frozen=True)
class RemoteFile:
    """A file of the repository.

    Attributes:
        path: In the repository.
        size: Bytes.
        git_oid: Id of its git blob; of the pointer for a file in LFS.
        sha256: Of the content, for a file in LFS; None for a plain git blob.
    """

    path: str
    size: int
    git_oid: str
    sha256: str | None = None

    def same_content(self, local: LocalFile) -> bool:
        """Whether a local file has this content, however the Hub stores it."""
        if self.sha256 is not None:
            return self.size == local.size and self.sha256 == local.sha256
        return self.git_oid == local.git_oid


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
    delete: tuple[RemoteFile, ...]
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
    remote: Mapping[str, RemoteFile],
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

    Example:
        >>> old = RemoteFile("data/views/train-00000-of-00001.parquet", 9, "aa", "00")
        >>> new = LocalFile("data/views/train-00000-of-00002.parquet", Path("x"), 5, "11")
        >>> plan = make_plan([new], {old.path: old})
        >>> plan.add == (new,), plan.delete == (old,), plan.added_bytes
        (True, True, 5)
    """
    same = tuple(f for f in local if f.path in remote and remote[f.path].same_content(f))
    unchanged = {file.path for file in same}
    others = sorted(remote.keys() - {file.path for file in local})
    delete = {
        path
        for path in others
        if (path in earlier and not path.startswith("."))
        or _DATA.fullmatch(path)
        or (remove_script and path == script)
    }
    kept = [path for path in others if path not in delete]
    return Plan(
        add=tuple(file for file in local if file.path not in unchanged),
        delete=tuple(remote[path] for path in sorted(delete)),
        same=same,
        strangers=tuple(path for path in kept if not path.startswith(".git")),
        script=script if script in kept else None,
    )


def batches(files: Sequence[LocalFile], folder_bytes: int) -> Iterator[list[LocalFile]]:
    """Divide uploads into groups that may be in flight at the same time.

    Args:
        files: What to upload, in order.
        folder_bytes: Size of the whole folder.

    Yields:
        At most `MAX_PARALLEL` files that together are at most `IN_FLIGHT` of the folder; a file
        larger than that goes alone.

    Example:
        >>> sizes = [3, 4, 9, 50, 1]
        >>> files = [LocalFile(str(size), Path("x"), size, "") for size in sizes]
        >>> [[file.size for file in group] for group in batches(files, 1000)]
        [[3, 4], [9], [50], [1]]
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
