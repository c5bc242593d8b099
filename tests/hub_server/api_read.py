"""Routes that read: listings, files, contents."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from hub_server import listing
from hub_server.errors import HubError, entry_not_found
from hub_server.hub import Hub
from hub_server.wire import Answer, Request, file_answer, json_answer

EXPANDED_PAGE = 50
"""Entries of an answer that tells more of each."""


def tree(hub: Hub, request: Request) -> Answer:
    repo = hub.repo(request)
    # A listing that goes on must not change midway: the cursor keeps the commit.
    rev, _, begin = request.one("cursor").partition(".")
    commit = repo.commit(rev or request.named["rev"])
    expand = request.flag("expand")
    path = (request.named.get("path") or "").strip("/")
    entries = listing.tree(commit, path, recursive=request.flag("recursive"), expand=expand)
    return _page(hub, request, entries, int(begin or 0), commit.id, expand=expand)


def _page(
    hub: Hub, request: Request, entries: list, begin: int, key: str, *, expand: bool
) -> Answer:
    size = min(hub.page_size, EXPANDED_PAGE) if expand else hub.page_size
    size = min(size, int(request.one("limit", str(size))))
    headers = {}
    if begin + size < len(entries):
        kept = [(k, v) for k, values in request.query.items() for v in values if k != "cursor"]
        query = urlencode([*kept, ("cursor", f"{key}.{begin + size}")])
        headers["Link"] = f'<{hub.url}{request.path}?{query}>; rel="next"'
    return json_answer(entries[begin : begin + size], 200, headers)


def paths_info(hub: Hub, request: Request) -> Answer:
    repo = hub.repo(request)
    commit, form = repo.commit(request.named["rev"]), request.form()
    expand = form.get("expand", [""])[0].lower() == "true"
    paths = [path for path in form.get("paths", []) if path and listing.exists(commit, path)]
    return json_answer([listing.describe(commit, path, expand=expand) for path in paths])


def resolve(hub: Hub, request: Request) -> Answer:
    hub.check_limit()
    repo = hub.repo(request, contents=True)
    commit = repo.commit(request.named["rev"])
    entry = commit.files.get(request.named["path"])
    if entry is None:
        raise entry_not_found(commit.id)
    headers = {"X-Repo-Commit": commit.id, "ETag": f'"{entry.oid}"'}
    if not entry.lfs:
        path = hub.blobs.path(entry.sha256)
        return file_answer(path, headers, request)
    headers["Location"] = hub.signed("GET", f"/blob/{quote(repo.id)}/{entry.sha256}")
    headers["X-Linked-Size"] = str(entry.size)
    headers["X-Linked-ETag"] = f'"{entry.sha256}"'
    headers["Content-Type"] = "text/plain"
    return Answer(302, headers, f"Found. Redirecting to {headers['Location']}".encode())


def blob(hub: Hub, request: Request) -> Answer:
    hub.check_signed(request)
    path = hub.blobs.path(request.named["oid"])
    if not path.is_file():
        raise HubError(404, "NoSuchKey")
    return file_answer(path, {"ETag": f'"{path.name}"'}, request)
