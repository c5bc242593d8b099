"""What a push has to do: pure decisions from the local files and the remote tree."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geogen_hf.release.features import FEATURES
from geogen_hf.release.splits import SPLITS

IN_FLIGHT = 0.01
"""At most this share of a folder is on its way at a time, or one file. A transfer that is cut is
lost whole (LFS does not resume), so this bounds what a killed push sends twice."""
MAX_PARALLEL = 16
_DATA = re.compile(rf"data/({'|'.join(FEATURES)})/({'|'.join(SPLITS)})-[^/]*", re.ASCII)
"""What the card's patterns would match: left behind, it would be read as rows."""


@dataclass(frozen=True)
class LocalFile:
    """A file to be published.

    Attributes:
        path: In the repository.
        source: On disk.
        size: Bytes.
        sha256: Of the content.
        git_oid: Its id as a git blob, for files that may be stored so; None for larger ones.
    """

    path: str
    source: Path
    size: int
    sha256: str
    git_oid: str | None = None


@dataclass(frozen=True)
class RemoteFile:
    """A file of the repository.

    Attributes:
        path: In the repository.
        size: Bytes.
        git_oid: Of its blob; of the pointer for a large file.
        sha256: Of the content, for a file in the large storage; None for a plain git blob.
    """

    path: str
    size: int
    git_oid: str
    sha256: str | None = None


@dataclass(frozen=True)
class Plan:
    """What one commit is to do.

    Attributes:
        add: New or changed files.
        delete: Files of an earlier push that are no more, and a script that is to go.
        same: Files that are there already.
        strangers: Files that no export wrote; they stay.
        script: A loading script that stays there and breaks `datasets` 4 and later.
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
        """Size of the files to add; what the server has already is not sent."""
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
        local: The files to be published.
        remote: The tree of the branch, by path.
        earlier: Paths that an earlier push says it wrote.
        script: Name of the script that would shadow the data.
        remove_script: Whether it is to go.

    Returns:
        The plan.

    Example:
        >>> old = RemoteFile("data/views/train-00000-of-00001.parquet", 9, "aa", "00")
        >>> new = LocalFile("data/views/train-00000-of-00002.parquet", Path("x"), 5, "11")
        >>> plan = make_plan([new], {old.path: old})
        >>> plan.add == (new,), plan.delete == (old,), plan.added_bytes
        (True, True, 5)
    """
    paths = {file.path for file in local}
    same = tuple(f for f in local if f.path in remote and _equal(f, remote[f.path]))
    unchanged = {file.path for file in same}
    others = [file for path, file in sorted(remote.items()) if path not in paths]
    delete = tuple(
        file
        for file in others
        if (file.path in earlier and not file.path.startswith("."))
        or _DATA.fullmatch(file.path)
        or (remove_script and file.path == script)
    )
    gone = {file.path for file in delete}
    kept = [file.path for file in others if file.path not in gone]
    return Plan(
        add=tuple(file for file in local if file.path not in unchanged),
        delete=delete,
        same=same,
        strangers=tuple(path for path in kept if not path.startswith(".git")),
        script=script if script in kept else None,
    )


def _equal(local: LocalFile, remote: RemoteFile) -> bool:
    if local.size != remote.size:
        return False
    if remote.sha256 is not None:
        return local.sha256 == remote.sha256
    return local.git_oid is not None and local.git_oid == remote.git_oid


def batches(files: Sequence[LocalFile], folder_bytes: int) -> Iterator[list[LocalFile]]:
    """Divide uploads into runs that may be on their way at a time.

    Args:
        files: What to upload, in order.
        folder_bytes: Size of the whole folder.

    Yields:
        Runs of at most `MAX_PARALLEL` files that together are at most `IN_FLIGHT` of the folder;
        a file larger than that goes alone.

    Example:
        >>> sizes = [3, 4, 9, 50, 1]
        >>> files = [LocalFile(str(size), Path("x"), size, "") for size in sizes]
        >>> [[file.size for file in run] for run in batches(files, 1000)]
        [[3, 4], [9], [50], [1]]
    """
    most = IN_FLIGHT * folder_bytes
    run: list[LocalFile] = []
    for file in files:
        full = sum(f.size for f in run) + file.size > most or len(run) == MAX_PARALLEL
        if run and full:
            yield run
            run = []
        run.append(file)
    if run:
        yield run
