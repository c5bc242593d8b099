"""Repos as chains of immutable commits, with branches and tags that point into them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import MappingProxyType

from hub_server.accounts import Caller
from hub_server.errors import HubError, repo_not_found, revision_not_found

ATTRIBUTES = b"".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n".encode()
    for suffix in ("arrow", "bin", "gz", "jpg", "mp4", "npz", "parquet", "png", "webp", "zip")
)
"""What a new repo begins with: which files go to large file storage."""


@dataclass(frozen=True)
class Entry:
    """A file at some commit.

    Attributes:
        sha256: Of the content; the name of its blob.
        size: Of the content.
        oid: Of the git object: the content itself, or the pointer to large file storage.
        lfs: Whether it is there.
    """

    sha256: str
    size: int
    oid: str
    lfs: bool

    @classmethod
    def regular(cls, sha256: str, content: bytes) -> Entry:
        return cls(sha256, len(content), git_oid(content), lfs=False)

    @classmethod
    def pointed(cls, sha256: str, size: int) -> Entry:
        return cls(sha256, size, git_oid(_pointer(sha256, size)), lfs=True)

    @property
    def pointer_size(self) -> int:
        return len(_pointer(self.sha256, self.size))

    @property
    def content_id(self) -> str:
        """What the client compares its file with."""
        return self.sha256 if self.lfs else self.oid


def git_oid(content: bytes) -> str:
    """Hash a content as git does."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _pointer(sha256: str, size: int) -> bytes:
    head = "version https://git-lfs.github.com/spec/v1"
    return f"{head}\noid sha256:{sha256}\nsize {size}\n".encode()


@dataclass(frozen=True)
class Commit:
    """A snapshot."""

    id: str
    parent: Commit | None
    title: str
    message: str
    author: str
    date: str
    files: Mapping[str, Entry]

    @classmethod
    def make(
        cls,
        parent: Commit | None,
        title: str,
        message: str,
        author: str,
        files: Mapping[str, Entry],
    ) -> Commit:
        now = datetime.now(timezone.utc)
        date = now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"
        tree = sorted((path, entry.oid) for path, entry in files.items())
        facts = [parent and parent.id, title, message, author, now.isoformat(), tree]
        commit_id = hashlib.sha1(json.dumps(facts).encode()).hexdigest()
        return cls(commit_id, parent, title, message, author, date, MappingProxyType(dict(files)))

    def history(self) -> Iterator[Commit]:
        """Yield this commit and those before it."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def below(self, path: str) -> dict[str, Entry]:
        """Get the file at a path, or the files in the folder at it."""
        prefix = f"{path}/"
        return {
            name: entry
            for name, entry in self.files.items()
            if name == path or name.startswith(prefix) or not path
        }


@dataclass
class Repo:
    """A repo. Whoever changes it holds `lock`; a reader takes one ref and keeps its commit."""

    type: str
    namespace: str
    name: str
    private: bool
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    requests: dict[str, Commit] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def page(self) -> str:
        """Path of its web page."""
        prefix = "" if self.type == "model" else f"{self.type}s/"
        return f"{prefix}{self.id}"

    def commit(self, revision: str) -> Commit:
        """Find what a branch, tag, pull request or hash points to.

        Raises:
            HubError: Nothing of that name.
        """
        for refs in (self.branches, self.tags, self.requests):
            if revision in refs:
                return refs[revision]
        tips = [*self.branches.values(), *self.tags.values(), *self.requests.values()]
        if len(revision) >= 7:
            for tip in tips:
                for commit in tip.history():
                    if commit.id.startswith(revision):
                        return commit
        raise revision_not_found(revision)

    def check_readable(self, caller: Caller) -> None:
        """Refuse whoever must not know of this repo."""
        if self.private and caller.role_in(self.namespace) == "none":
            raise repo_not_found(signed_in=caller.account is not None)

    def check_contents(self, caller: Caller) -> None:
        """Refuse whoever must not have the contents of this repo: it may be gated."""
        self.check_readable(caller)
        member = caller.role_in(self.namespace) != "none"
        accepted = caller.account is not None and caller.account.accepts
        if not self.gated or member or accepted or caller.name in self.granted:
            return
        where = f"Access to {self.type} {self.id} is restricted"
        if caller.account is None:
            says = f"{where}. You must have access to it and be authenticated to access it."
            raise HubError(401, f"{says} Please log in.", "GatedRepo")
        page = f"https://huggingface.co/{self.page}"
        says = f"{where} and you are not in the authorized list. Visit {page} to ask for access."
        raise HubError(403, says, "GatedRepo")

    def check_writable(self, caller: Caller) -> None:
        """Refuse whoever must not change this repo."""
        self.check_readable(caller)
        if caller.account is None:
            raise HubError(401, "Invalid username or password.")
        if caller.role != "write":
            raise HubError(403, "you must use a write token to upload to a repository.")
        if not caller.may_write(self.namespace):
            raise HubError(403, "you do not have write access to this repository.")
