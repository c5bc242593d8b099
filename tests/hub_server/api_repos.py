"""Routes about a repo as a whole: making, describing, opening, naming its revisions."""

from __future__ import annotations

from typing import Any

import yaml

from hub_server.accounts import whoami
from hub_server.errors import HubError
from hub_server.hub import Hub
from hub_server.listing import sibling
from hub_server.repos import ATTRIBUTES, Commit, Entry, Repo
from hub_server.wire import Answer, Request, json_answer


def who(hub: Hub, request: Request) -> Answer:
    return json_answer(whoami(hub.caller(request)))


def create_repo(hub: Hub, request: Request) -> Answer:
    caller, wanted = hub.caller(request), request.json()
    if caller.account is None:
        raise HubError(401, "Invalid username or password.")
    namespace = wanted.get("organization") or caller.name
    kind = wanted.get("type") or "model"
    if not caller.may_write(namespace):
        says = f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"'
        raise HubError(403, says)
    repo = Repo(kind, namespace, wanted["name"], _private(wanted, default=False))
    url = f"{hub.url}/{repo.page}"
    files = {".gitattributes": Entry.regular(hub.blobs.put_bytes(ATTRIBUTES), ATTRIBUTES)}
    repo.branches["main"] = Commit.make(None, "initial commit", "", caller.name, files)
    with hub.lock:
        if (kind, repo.id) in hub.repos:
            says = f"You already created this {kind} repo"
            raise HubError(409, says, body={"url": url})
        hub.repos[kind, repo.id] = repo
    return json_answer({"url": url, "name": repo.id, "id": repo.id.encode().hex()})


def _private(wanted: dict[str, Any], *, default: bool) -> bool:
    # Older clients say private, newer ones visibility.
    if "visibility" in wanted:
        return wanted["visibility"] == "private"
    private = wanted.get("private")
    return default if private is None else bool(private)


def settings(hub: Hub, request: Request) -> Answer:
    repo, wanted = hub.repo(request, write=True), request.json()
    gated = wanted.get("gated", repo.gated)
    if gated not in ("auto", "manual", False):
        raise HubError(400, '"gated" must be one of [auto, manual, false]')
    with repo.lock:
        repo.gated = gated
        repo.private = _private(wanted, default=repo.private)
    return json_answer({"gated": repo.gated, "private": repo.private})


def describe(hub: Hub, request: Request) -> Answer:
    repo = hub.repo(request)
    commit = repo.commit(request.named.get("rev") or "main")
    first = list(commit.history())[-1]
    blobs = request.flag("blobs")
    facts = {
        "author": repo.namespace,
        "sha": commit.id,
        "lastModified": commit.date,
        "createdAt": first.date,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "cardData": _card(hub, commit),
        "siblings": [sibling(p, e, blobs=blobs) for p, e in sorted(commit.files.items())],
        "usedStorage": sum(hub.blobs.path(b).stat().st_size for b in repo.blobs),
        "xetEnabled": False,
    }
    wanted = request.query.get("expand", []) + request.query.get("expand[]", [])
    unknown = [name for name in wanted if name not in facts]
    if unknown:
        raise HubError(400, f'"expand" must be one of {sorted(facts)}, not {unknown}')
    shown = {name: facts[name] for name in wanted} if wanted else facts
    return json_answer({"_id": repo.id.encode().hex()[:24], "id": repo.id, **shown})


def _card(hub: Hub, commit: Commit) -> dict[str, Any]:
    readme = commit.files.get("README.md")
    if readme is None:
        return {}
    parts = hub.blobs.path(readme.sha256).read_text().split("---\n", 2)
    return (yaml.safe_load(parts[1]) or {}) if len(parts) == 3 and not parts[0] else {}


def refs(hub: Hub, request: Request) -> Answer:
    repo = hub.repo(request)

    def listed(kind: str, named: dict[str, Commit]) -> list[dict[str, str]]:
        pairs = list(named.items())
        return [{"name": n, "ref": f"{kind}{n}", "targetCommit": c.id} for n, c in pairs]

    facts = {
        "branches": listed("refs/heads/", repo.branches),
        "tags": listed("refs/tags/", repo.tags),
        "converts": [],
    }
    if request.flag("include_prs"):
        facts["pullRequests"] = listed("", repo.requests)
    return json_answer(facts)


def create_tag(hub: Hub, request: Request) -> Answer:
    repo, name = hub.repo(request, write=True), request.json()["tag"]
    with repo.lock:
        commit = repo.commit(request.named["rev"])
        if name in repo.tags:
            raise HubError(409, "Tag reference exists already.")
        repo.tags[name] = commit
    return Answer(201)


def create_branch(hub: Hub, request: Request) -> Answer:
    repo, wanted = hub.repo(request, write=True), request.json()
    with repo.lock:
        commit = repo.commit(wanted.get("startingPoint") or "main")
        if request.named["rev"] in repo.branches:
            raise HubError(409, "Reference already exists")
        repo.branches[request.named["rev"]] = commit
    return Answer(201)
