"""Routes that bring contents in, and the commit that makes them a revision."""

from __future__ import annotations

import base64
import fnmatch
import json
from dataclasses import replace
from typing import Any

from hub_server.cards import check_card
from hub_server.errors import HubError, entry_not_found
from hub_server.hub import Hub
from hub_server.repos import Commit, Entry, Repo
from hub_server.wire import Answer, Request, json_answer

REGULAR_BYTES = 10_000_000
"""Larger files go to large file storage, whatever their name."""
BATCH_FILES = 256
"""Most files that one call may be about."""


def validate_yaml(hub: Hub, request: Request) -> Answer:
    errors, warnings = check_card(request.json()["content"])
    facts = {
        "errors": [{"message": text} for text in errors],
        "warnings": [{"message": text} for text in warnings],
    }
    return json_answer(facts, 400 if errors else 200)


def _writable(hub: Hub, request: Request) -> Repo:
    """Find the repo to be written; whoever may have the contents may propose a change."""
    proposes = request.flag("create_pr") or request.named.get("rev", "").startswith("refs/pr/")
    repo = hub.repo(request, contents=proposes, write=not proposes)
    if proposes and hub.caller(request).role != "write":
        raise HubError(403, "you must use a write token to upload to a repository.")
    return repo


def preupload(hub: Hub, request: Request) -> Answer:
    repo = _writable(hub, request)
    commit = repo.commit(request.named["rev"])
    files, asked = [], request.json()["files"]
    _check_batch(asked)
    for file in asked:
        known = commit.files.get(file["path"])
        mode = "lfs" if _is_large(hub, commit, file) else "regular"
        said = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        files.append(said if known is None else {**said, "oid": known.content_id})
    return json_answer({"files": files, "commitOid": commit.id})


def _check_batch(files: list[Any]) -> None:
    if len(files) > BATCH_FILES:
        raise HubError(413, f"at most {BATCH_FILES} files a call, not {len(files)}")


def _is_large(hub: Hub, commit: Commit, file: dict[str, Any]) -> bool:
    entry = commit.files.get(".gitattributes")
    rules = [] if entry is None else hub.blobs.path(entry.sha256).read_text().splitlines()
    patterns = [rule.split()[0] for rule in rules if "filter=lfs" in rule]
    name = file["path"].rsplit("/", 1)[-1]
    named = any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    binary = b"\0" in base64.b64decode(file["sample"])
    return named or binary or file["size"] > REGULAR_BYTES


def lfs_batch(hub: Hub, request: Request) -> Answer:
    wanted = request.json()
    _check_batch(wanted["objects"])
    ref = wanted.get("ref", {}).get("name", "main")
    named = {**request.named, "rev": ref}
    caller = hub.caller(request)
    repo = hub.repo(request)
    if not caller.may_write(repo.namespace):
        # Files of a proposal are uploaded before it has a number.
        repo = _writable(hub, replace(request, named=named))
    missing = [o for o in wanted["objects"] if o["oid"] not in repo.blobs]
    hub.check_quota(repo.namespace, sum(o["size"] for o in missing))
    objects = []
    for item in wanted["objects"]:
        said = {"oid": item["oid"], "size": item["size"]}
        if item in missing:
            said["actions"] = _upload_actions(hub, repo, item["oid"])
        objects.append(said)
    return json_answer({"transfer": "basic", "objects": objects})


def _upload_actions(hub: Hub, repo: Repo, oid: str) -> dict[str, Any]:
    return {
        "upload": {"href": hub.signed("PUT", f"/upload/{repo.type}s/{repo.id}/{oid}")},
        "verify": {"href": f"{hub.url}/{repo.page}.git/info/lfs/objects/verify", "header": {}},
    }


def upload(hub: Hub, request: Request) -> Answer:
    _check_upload(hub, request)
    repo, oid = _addressed(hub, request), request.named["oid"]
    hub.blobs.put(oid, request.body.chunks())
    _hold(hub, repo, oid, None)
    return Answer(headers={"ETag": f'"{oid[:32]}"'})


def _check_upload(hub: Hub, request: Request) -> None:
    hub.check_signed(request)
    if request.body.chunked:  # S3 wants to know the length
        raise HubError(501, "NotImplemented: Transfer-Encoding")


def _addressed(hub: Hub, request: Request) -> Repo:
    """Find the repo whose part of the storage a signed URL names."""
    repo = hub.repos.get((request.named["type"].removesuffix("s"), request.named["repo"]))
    if repo is None:
        raise HubError(404, "NoSuchBucket")
    return repo


def verify(hub: Hub, request: Request) -> Answer:
    repo, said = hub.repo(request), request.json()
    if hub.caller(request).role != "write":
        raise HubError(403, "you must use a write token to upload to a repository.")
    _hold(hub, repo, said["oid"], said["size"])
    return json_answer({"message": "ok"})


def _hold(hub: Hub, repo: Repo, oid: str, size: int | None) -> int:
    """Take an uploaded content into a repo, and return its size."""
    if not hub.blobs.has(oid):
        raise HubError(404, f"Object {oid} was not uploaded")
    found = hub.blobs.path(oid).stat().st_size
    if size is not None and found != size:
        raise HubError(422, f"Object {oid} has {found} bytes, not {size}")
    with repo.lock:
        repo.blobs.add(oid)
    return found


def commit(hub: Hub, request: Request) -> Answer:
    repo, caller = _writable(hub, request), hub.caller(request)
    lines = [json.loads(line) for line in request.body.read().splitlines() if line.strip()]
    if not lines or lines[0]["key"] != "header":
        raise HubError(400, "the first line must be the header")
    header, rev, proposes = lines[0]["value"], request.named["rev"], request.flag("create_pr")
    with repo.lock:
        parent = _parent(repo, rev, header.get("parentCommit"), proposes=proposes)
        files = dict(parent.files)
        for line in lines[1:]:
            _apply(hub, repo, parent, files, line["key"], line["value"])
        made = Commit.make(
            parent, header["summary"], header.get("description", ""), caller.name, files
        )
        said = {"success": True, "commitOid": made.id, "hookOutput": ""}
        said["commitUrl"] = f"{hub.url}/{repo.page}/commit/{made.id}"
        if proposes:
            number = len(repo.requests) + 1
            repo.requests[f"refs/pr/{number}"] = made
            said["pullRequestUrl"] = f"{hub.url}/{repo.page}/discussions/{number}"
        else:
            (repo.branches if rev in repo.branches else repo.requests)[rev] = made
    return json_answer(said)


def _parent(repo: Repo, rev: str, expected: str | None, *, proposes: bool) -> Commit:
    if rev not in repo.branches and rev not in repo.requests:
        raise HubError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
    tip = repo.commit(rev)
    if expected is None or tip.id.startswith(expected):
        return tip
    if proposes:
        return repo.commit(expected)
    raise HubError(412, "A commit has happened since. Please refresh and try again.")


def _apply(
    hub: Hub, repo: Repo, parent: Commit, files: dict[str, Entry], key: str, value: dict[str, Any]
) -> None:
    path = value["path"]
    if key == "deletedFile":
        if files.pop(path, None) is None:
            error = entry_not_found(parent.id)
            error.message = "A file with this name doesn't exist"
            raise error
    elif key == "deletedFolder":
        inside = [name for name in files if name.startswith(path.rstrip("/") + "/")]
        if not inside:
            raise entry_not_found(parent.id)
        for name in inside:
            del files[name]
    elif key == "lfsFile":
        if value["algo"] != "sha256" or value["oid"] not in repo.blobs:
            raise HubError(400, f"LFS pointer of {path} points to a file that does not exist")
        size = _hold(hub, repo, value["oid"], value.get("size"))
        files[path] = Entry.pointed(value["oid"], size)
    elif key == "file":
        content = base64.b64decode(value["content"], validate=True)
        if len(content) > REGULAR_BYTES:
            raise HubError(413, f"{path} must go to large file storage")
        if path == "README.md" and check_card(content.decode())[0]:
            raise HubError(400, "Invalid metadata in README.md.")
        files[path] = Entry.regular(hub.blobs.put_bytes(content), content)
    else:
        raise HubError(400, f"unknown operation {key!r}")
