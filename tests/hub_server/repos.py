"""Repos as chains of immutable commits, with branches and tags that point into them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hub_server.wire import HubError

ATTRIBUTES = b"".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n".encode()
    for suffix in ("arrow", "bin", "gz", "jpg", "mp4", "npz", "parquet", "png", "webp", "zip")
)
"""What a new repo begins with: which files go to large file storage."""


@dataclass(frozen=True)
class Entry:
    """A file at some commit: `sha256` names its blob, `oid` is that of the git object (the content
    or the pointer to large file storage), `lfs` what the Hub tells of a file that is there."""

    sha256: str
    size: int
    oid: str
    lfs: Mapping[str, str | int] | None = None

    @classmethod
    def regular(cls, sha256: str, content: bytes) -> Entry:
        return cls(sha256, len(content), git_oid(content))

    @classmethod
    def pointed(cls, sha256: str, size: int) -> Entry:
        head = "version https://git-lfs.github.com/spec/v1"
        pointer = f"{head}\noid sha256:{sha256}\nsize {size}\n".encode()
        # A listing says oid where the description of the repo says sha256.
        told = {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": len(pointer)}
        return cls(sha256, size, git_oid(pointer), told)


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Commit:
    """A snapshot."""

    id: str
    parent: Commit | None
    files: Mapping[str, Entry]

    @classmethod
    def make(cls, parent: Commit | None, title: str, files: Mapping[str, Entry]) -> Commit:
        tree = sorted((path, entry.oid) for path, entry in files.items())
        facts = [parent and parent.id, title, time.time_ns(), tree]
        commit_id = hashlib.sha1(json.dumps(facts).encode()).hexdigest()
        return cls(commit_id, parent, MappingProxyType(dict(files)))

    def history(self) -> Iterator[Commit]:
        """Yield this commit and those before it."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def entry_not_found(self) -> HubError:
        # The client remembers that this commit lacks the file.
        return HubError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=self.id)


@dataclass
class Repo:
    """A data set. Whoever changes it holds the Hub's lock; a reader keeps the commit of a ref."""

    namespace: str
    name: str
    private: bool
    gated: str | bool = False
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    requests: dict[str, Commit] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"

    def commit(self, revision: str) -> Commit:
        """Find what a branch, tag, pull request or hash points to."""
        named = {**self.requests, **self.tags, **self.branches}
        if revision in named:
            return named[revision]
        for tip in named.values():
            for commit in tip.history():
                if commit.id == revision:
                    return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
