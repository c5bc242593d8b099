"""Which function answers which request, and the names that counters and faults go by."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from hub_server import api_read, api_repos, api_upload
from hub_server.errors import HubError
from hub_server.hub import Hub
from hub_server.wire import Answer, Request

Handler = Callable[[Hub, Request], Answer]

_REPO = r"(?P<type>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
_PAGE = r"(?:(?P<type>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+?)"
_REV = r"(?P<rev>[^/]+)"
_OID = r"(?P<oid>[0-9a-f]{64})"


@dataclass(frozen=True)
class Route:
    """A route: `name` is what counters and faults know it by."""

    name: str
    methods: str
    pattern: str
    handler: Handler
    on_storage: bool = False


ROUTES = (
    Route("whoami", "GET", "/api/whoami-v2", api_repos.who),
    Route("repo-create", "POST", "/api/repos/create", api_repos.create_repo),
    Route("validate-yaml", "POST", "/api/validate-yaml", api_upload.validate_yaml),
    Route("repo-settings", "PUT", f"/api/{_REPO}/settings", api_repos.settings),
    Route("refs", "GET", f"/api/{_REPO}/refs", api_repos.refs),
    Route("tag-create", "POST", f"/api/{_REPO}/tag/{_REV}", api_repos.create_tag),
    Route("branch-create", "POST", f"/api/{_REPO}/branch/{_REV}", api_repos.create_branch),
    Route("preupload", "POST", f"/api/{_REPO}/preupload/{_REV}", api_upload.preupload),
    Route("commit", "POST", f"/api/{_REPO}/commit/{_REV}", api_upload.commit),
    Route("tree", "GET", f"/api/{_REPO}/tree/{_REV}(?:/(?P<path>.*))?", api_read.tree),
    Route("paths-info", "POST", f"/api/{_REPO}/paths-info/{_REV}", api_read.paths_info),
    Route("repo-info", "GET", f"/api/{_REPO}(?:/revision/{_REV})?", api_repos.describe),
    Route("lfs-batch", "POST", f"/{_PAGE}\\.git/info/lfs/objects/batch", api_upload.lfs_batch),
    Route("lfs-verify", "POST", f"/{_PAGE}\\.git/info/lfs/objects/verify", api_upload.verify),
    Route("resolve", "GET HEAD", f"/{_PAGE}/resolve/{_REV}/(?P<path>.+)", api_read.resolve),
    Route("lfs-upload", "PUT", f"/upload/{_REPO}/{_OID}", api_upload.upload, on_storage=True),
    Route("blob", "GET HEAD", f"/blob/[^/]+/[^/]+/{_OID}", api_read.blob, on_storage=True),
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
