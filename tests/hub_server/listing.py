"""Files and folders of a commit, as the tree and paths-info answers list them."""

from __future__ import annotations

import hashlib
from typing import Any

from hub_server.errors import entry_not_found
from hub_server.repos import Commit, Entry


def tree(commit: Commit, path: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """List a folder.

    Raises:
        HubError: There is no folder at the path.
    """
    prefix = f"{path}/" if path else ""
    inside = [name for name in commit.files if name.startswith(prefix)]
    if path and not inside:
        raise entry_not_found(commit.id)
    shown: set[str] = set()
    for name in inside:
        steps = name[len(prefix) :].split("/")
        depth = len(steps) if recursive else 1
        shown.update(prefix + "/".join(steps[: n + 1]) for n in range(depth))
    return [describe(commit, name, expand=expand) for name in sorted(shown)]


def exists(commit: Commit, path: str) -> bool:
    """Tell whether there is a file or a folder at a path."""
    return bool(commit.below(path))


def describe(commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    """Describe the file or folder at a path."""
    entry = commit.files.get(path)
    if entry is None:
        facts: dict[str, Any] = {
            "type": "directory",
            "oid": _tree_oid(commit, path),
            "size": 0,
            "path": path,
        }
    else:
        facts = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
        if entry.lfs:
            facts["lfs"] = pointer_facts(entry)
    if expand:
        facts["lastCommit"] = {"id": commit.id, "title": commit.title, "date": commit.date}
        if entry is not None:
            facts["securityFileStatus"] = {
                "status": "safe",
                "avScan": None,
                "pickleImportScan": None,
            }
    return facts


def pointer_facts(entry: Entry) -> dict[str, Any]:
    """Describe a file in large file storage."""
    return {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}


def sibling(path: str, entry: Entry, *, blobs: bool) -> dict[str, Any]:
    """Describe a file within a repo's description."""
    if not blobs:
        return {"rfilename": path}
    facts: dict[str, Any] = {"rfilename": path, "size": entry.size, "blobId": entry.oid}
    if entry.lfs:
        facts["lfs"] = {
            "sha256": entry.sha256,
            "size": entry.size,
            "pointerSize": entry.pointer_size,
        }
    return facts


def _tree_oid(commit: Commit, path: str) -> str:
    below = sorted((name, entry.oid) for name, entry in commit.below(path).items())
    return hashlib.sha1(repr(below).encode()).hexdigest()
