"""The routes: which function answers which request, and the names counters and faults go by.

Only data sets, and only what the clients ask when a folder is pushed, loaded, streamed or verified.
"""

from __future__ import annotations

import base64
import fnmatch
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from hub_server.hub import Hub
from hub_server.repos import ATTRIBUTES, Commit, Entry, Repo
from hub_server.wire import Answer, HubError, Request, file_answer, json_answer

REGULAR_BYTES = 10_000_000
"""Larger files go to large file storage, whatever their name."""

# --- Repos ---


def whoami(hub: Hub, request: Request) -> Answer:
    name = hub.signed_in(request).name
    return json_answer({"type": "user", "name": name, "fullname": name, "orgs": []})


def create_repo(hub: Hub, request: Request) -> Answer:
    caller, wanted = hub.signed_in(request), request.json()
    namespace = wanted.get("organization") or caller.name
    if namespace not in caller.writes:
        says = f'You don\'t have the rights to create a dataset under the namespace "{namespace}"'
        raise HubError(403, says)
    repo = Repo(namespace, wanted["name"], _private(wanted, default=False))
    files = {".gitattributes": Entry.regular(hub.put_bytes(ATTRIBUTES), ATTRIBUTES)}
    repo.branches["main"] = Commit.make(None, "initial commit", files)
    with hub.lock:
        if repo.id in hub.repos:
            raise HubError(409, "You already created this dataset repo")
        hub.repos[repo.id] = repo
    return json_answer({"url": f"{hub.url}/datasets/{repo.id}", "name": repo.id, "id": repo.id})


def _private(wanted: dict[str, Any], *, default: bool) -> bool:
    # Older clients say private, newer ones visibility.
    if "visibility" in wanted:
        return bool(wanted["visibility"] == "private")
    private = wanted.get("private")
    return default if private is None else bool(private)


def settings(hub: Hub, request: Request) -> Answer:
    repo, wanted = hub.repo(request, write=True), request.json()
    gated = wanted.get("gated", repo.gated)
    if gated not in ("auto", "manual", False):
        raise HubError(400, '"gated" must be one of [auto, manual, false]')
    with hub.lock:
        repo.gated = gated
        repo.private = _private(wanted, default=repo.private)
    return json_answer({"gated": repo.gated, "private": repo.private})


def create_tag(hub: Hub, request: Request) -> Answer:
    repo, name = hub.repo(request, write=True), request.json()["tag"]
    with hub.lock:
        commit = repo.commit(request.named["rev"])
        if name in repo.tags:
            raise HubError(409, "Tag reference exists already.")
        repo.tags[name] = commit
    return Answer(201)


# --- Reading ---


def describe(hub: Hub, request: Request) -> Answer:
    repo = hub.repo(request)
    commit = repo.commit(request.named.get("rev") or "main")
    files = [
        {"rfilename": path, "size": entry.size, "blobId": entry.oid}
        | ({"lfs": entry.lfs} if entry.lfs else {})
        for path, entry in sorted(commit.files.items())
    ]
    facts = {
        "id": repo.id,
        "sha": commit.id,
        "private": repo.private,
        "gated": repo.gated,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": files,
    }
    return json_answer(facts)


def tree(hub: Hub, request: Request) -> Answer:
    commit = hub.repo(request).commit(request.named["rev"])
    path = (request.named.get("path") or "").strip("/")
    prefix = f"{path}/" if path else ""
    inside = [name for name in commit.files if name.startswith(prefix)]
    if path and not inside:
        raise commit.entry_not_found()
    shown: set[str] = set()
    for name in inside:
        steps = name[len(prefix) :].split("/")
        depth = len(steps) if request.flag("recursive") else 1
        shown.update(prefix + "/".join(steps[: n + 1]) for n in range(depth))
    return json_answer([_listed(commit, name) for name in sorted(shown)])


def paths_info(hub: Hub, request: Request) -> Answer:
    commit = hub.repo(request).commit(request.named["rev"])
    known = {"/".join(name.split("/")[:n]) for name in commit.files for n in range(1, 9)}
    paths = [path for path in request.form().get("paths", []) if path in known]
    return json_answer([_listed(commit, path) for path in paths])


def _listed(commit: Commit, path: str) -> dict[str, Any]:
    entry = commit.files.get(path)
    if entry is None:
        return {"type": "directory", "oid": "", "size": 0, "path": path}
    facts = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    return facts | ({"lfs": entry.lfs} if entry.lfs else {})


def resolve(hub: Hub, request: Request) -> Answer:
    hub.check_limit()
    repo = hub.repo(request, contents=True)
    commit = repo.commit(request.named["rev"])
    entry = commit.files.get(request.named["path"])
    if entry is None:
        raise commit.entry_not_found()
    headers = {"X-Repo-Commit": commit.id, "ETag": f'"{entry.oid}"'}
    if not entry.lfs:
        return file_answer(hub.path(entry.sha256), headers, request)
    headers["Location"] = hub.signed("GET", f"/blob/{quote(repo.id)}/{entry.sha256}")
    headers["X-Linked-Size"] = str(entry.size)
    headers["X-Linked-ETag"] = f'"{entry.sha256}"'
    return Answer(302, headers, f"Found. Redirecting to {headers['Location']}".encode())


def blob(hub: Hub, request: Request) -> Answer:
    hub.check_signed(request)
    path = hub.path(request.named["oid"])
    if not path.is_file():
        raise HubError(404, "NoSuchKey")
    return file_answer(path, {"ETag": f'"{path.name}"'}, request)


# --- Writing ---


def _writable(hub: Hub, request: Request) -> Repo:
    """Find the repo to be written; whoever may have the contents may propose a change."""
    proposes = request.flag("create_pr")
    return hub.repo(request, contents=proposes, write=not proposes)


def validate_yaml(hub: Hub, request: Request) -> Answer:
    """Find no fault with a card, of which the client asks before it commits one."""
    return json_answer({"errors": [], "warnings": []})


def preupload(hub: Hub, request: Request) -> Answer:
    repo = _writable(hub, request)
    commit = repo.commit(request.named["rev"])
    files = []
    for file in request.json()["files"]:
        mode = "lfs" if _is_large(hub, commit, file) else "regular"
        said = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        known = commit.files.get(file["path"])
        if known is not None:
            said["oid"] = known.sha256 if known.lfs else known.oid
        files.append(said)
    return json_answer({"files": files, "commitOid": commit.id})


def _is_large(hub: Hub, commit: Commit, file: dict[str, Any]) -> bool:
    entry = commit.files.get(".gitattributes")
    rules = [] if entry is None else hub.path(entry.sha256).read_text().splitlines()
    patterns = [rule.split()[0] for rule in rules if "filter=lfs" in rule]
    named = any(fnmatch.fnmatch(file["path"], pattern) for pattern in patterns)
    return named or b"\0" in base64.b64decode(file["sample"]) or file["size"] > REGULAR_BYTES


def lfs_batch(hub: Hub, request: Request) -> Answer:
    repo, objects = hub.repo(request, contents=True), request.json()["objects"]
    for item in objects:
        if item["oid"] not in repo.blobs:
            href = hub.signed("PUT", f"/upload/{repo.id}/{item['oid']}")
            verify = f"{hub.url}/datasets/{repo.id}.git/info/lfs/objects/verify"
            item["actions"] = {"upload": {"href": href}, "verify": {"href": verify, "header": {}}}
    return json_answer({"transfer": "basic", "objects": objects})


def upload(hub: Hub, request: Request) -> Answer:
    hub.check_signed(request)
    repo, oid = hub.repos[request.named["repo"]], request.named["oid"]
    hub.put(oid, request.body.chunks())
    with hub.lock:
        repo.blobs.add(oid)
    return Answer(headers={"ETag": f'"{oid[:32]}"'})


def verify(hub: Hub, request: Request) -> Answer:
    repo, said = hub.repo(request, contents=True), request.json()
    if said["oid"] not in repo.blobs or hub.path(said["oid"]).stat().st_size != said["size"]:
        raise HubError(404, f"Object {said['oid']} was not uploaded, or has another size")
    return json_answer({"message": "ok"})


def commit(hub: Hub, request: Request) -> Answer:
    repo = _writable(hub, request)
    header, *lines = (json.loads(line) for line in request.body.read().splitlines() if line)
    rev, facts = request.named["rev"], header["value"]
    with hub.lock:
        parent = repo.commit(rev)
        if facts.get("parentCommit") not in (None, parent.id):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(parent.files)
        for line in lines:
            _apply(hub, repo, parent, files, line["key"], line["value"])
        made = Commit.make(parent, facts["summary"], files)
        page = f"{hub.url}/datasets/{repo.id}"
        said = {"success": True, "commitOid": made.id, "commitUrl": f"{page}/commit/{made.id}"}
        if request.flag("create_pr"):
            number = len(repo.requests) + 1
            repo.requests[f"refs/pr/{number}"] = made
            said["pullRequestUrl"] = f"{page}/discussions/{number}"
        else:
            repo.branches[rev] = made
    return json_answer(said)


def _apply(
    hub: Hub, repo: Repo, parent: Commit, files: dict[str, Entry], key: str, value: dict[str, Any]
) -> None:
    path = value["path"]
    if key == "deletedFile":
        if files.pop(path, None) is None:
            raise parent.entry_not_found()
    elif key == "lfsFile":
        if value["oid"] not in repo.blobs:
            raise HubError(400, f"LFS pointer of {path} points to a file that does not exist")
        files[path] = Entry.pointed(value["oid"], hub.path(value["oid"]).stat().st_size)
    elif key == "file":
        content = base64.b64decode(value["content"], validate=True)
        files[path] = Entry.regular(hub.put_bytes(content), content)
    else:
        raise HubError(400, f"unknown operation {key!r}")


# --- Routes ---


@dataclass(frozen=True)
class Route:
    """A route: `name` is what counters and faults know it by."""

    name: str
    methods: str
    pattern: str
    handler: Callable[[Hub, Request], Answer]
    on_storage: bool = False


_REPO = r"(?P<repo>[^/]+/[^/]+?)"
_API, _LFS = rf"/api/datasets/{_REPO}", rf"/datasets/{_REPO}\.git/info/lfs/objects"
_REV, _OID = r"(?P<rev>[^/]+)", r"(?P<oid>[0-9a-f]{64})"
ROUTES = (
    Route("whoami", "GET", "/api/whoami-v2", whoami),
    Route("repo-create", "POST", "/api/repos/create", create_repo),
    Route("validate-yaml", "POST", "/api/validate-yaml", validate_yaml),
    Route("repo-settings", "PUT", f"{_API}/settings", settings),
    Route("tag-create", "POST", f"{_API}/tag/{_REV}", create_tag),
    Route("preupload", "POST", f"{_API}/preupload/{_REV}", preupload),
    Route("commit", "POST", f"{_API}/commit/{_REV}", commit),
    Route("tree", "GET", f"{_API}/tree/{_REV}(?:/(?P<path>.*))?", tree),
    Route("paths-info", "POST", f"{_API}/paths-info/{_REV}", paths_info),
    Route("repo-info", "GET", f"{_API}(?:/revision/{_REV})?", describe),
    Route("lfs-batch", "POST", f"{_LFS}/batch", lfs_batch),
    Route("lfs-verify", "POST", f"{_LFS}/verify", verify),
    Route("resolve", "GET HEAD", f"/datasets/{_REPO}/resolve/{_REV}/(?P<path>.+)", resolve),
    Route("lfs-upload", "PUT", f"/upload/{_REPO}/{_OID}", upload, on_storage=True),
    Route("blob", "GET HEAD", f"/blob/{_REPO}/{_OID}", blob, on_storage=True),
)


def _refuse(hub: Hub, request: Request) -> Answer:
    raise HubError(404, f"no such route: {request.method} {request.path}")


UNKNOWN = Route("unknown", "", "", _refuse)


def find_route(method: str, path: str, *, on_storage: bool) -> tuple[Route, dict[str, str]]:
    """Find what answers a request, and the unquoted parts of its path."""
    for route in ROUTES:
        if method in route.methods.split() and route.on_storage == on_storage:
            match = re.fullmatch(route.pattern, path)
            if match is not None:
                named = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
                return route, named
    return UNKNOWN, {}
