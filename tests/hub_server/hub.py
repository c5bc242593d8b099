"""All that the Hub remembers, and how requests find their repo."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

from hub_server.accounts import Caller, identify
from hub_server.blobs import BlobStore
from hub_server.errors import HubError, repo_not_found
from hub_server.faults import Counters, Fault
from hub_server.repos import Repo
from hub_server.wire import Request


class Hub:
    """The state behind the routes.

    Attributes:
        blobs: Contents.
        repos: By type and id.
        counters: What was asked, and how many bytes came.
        faults: What goes wrong; may be changed at any time.
        quota_bytes: Most that all files in large storage of one namespace may take; None for any.
        page_size: Entries of a listing in one answer.
        resolve_limit: Requests to `/resolve/` in a window of so many seconds; None for any number.
        signature_s: Seconds for which a storage URL can be used.
        storage_tokens: Tokens that were sent to the storage host; no client may send one.
        url: Where the Hub is.
        storage_url: Where the contents are.
    """

    def __init__(self, folder: Path) -> None:
        self.blobs = BlobStore(folder)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.counters = Counters()
        self.faults: list[Fault] = []
        self.quota_bytes: int | None = None
        self.page_size = 1000
        self.resolve_limit: tuple[int, float] | None = None
        self.signature_s = 3600.0
        self.storage_tokens: list[str] = []
        self._window = (0, 0)
        self.url = ""
        self.storage_url = ""
        self.lock = threading.RLock()

    def caller(self, request: Request) -> Caller:
        """Tell who sent a request."""
        return identify(request.headers)

    def repo(self, request: Request, *, contents: bool = False, write: bool = False) -> Repo:
        """Find the repo that a request is about.

        Raises:
            HubError: There is none, or it is not for whoever asks.
        """
        caller = self.caller(request)
        kind = request.named.get("type", "models").removesuffix("s")
        repo = self.repos.get((kind, request.named["repo"]))
        if repo is None:
            raise repo_not_found(signed_in=caller.account is not None)
        repo.check_readable(caller)
        if contents:
            repo.check_contents(caller)
        if write:
            repo.check_writable(caller)
        return repo

    def check_quota(self, namespace: str, more_bytes: int) -> None:
        """Refuse an upload that there is no room for."""
        if self.quota_bytes is None:
            return
        held = {blob for r in self.repos.values() if r.namespace == namespace for blob in r.blobs}
        used = sum(self.blobs.path(blob).stat().st_size for blob in held)
        if used + more_bytes > self.quota_bytes:
            raise HubError(
                403,
                "Private repository storage limit reached, please upgrade your plan to increase"
                " your private storage limit.",
            )

    def check_limit(self) -> None:
        """Count a request to `/resolve/`, and refuse it when the window's requests are used up."""
        if self.resolve_limit is None:
            return
        most, window_s = self.resolve_limit
        with self.lock:
            window, used = self._window
            now = time.monotonic() / window_s
            used = used + 1 if int(now) == window else 1
            self._window = (int(now), used)
        left_s = math.ceil((1 - now % 1) * window_s)
        if used > most:
            headers = {
                "RateLimit": f'"resolvers";r=0;t={left_s}',
                "RateLimit-Policy": f'"fixed window";"resolvers";q={most};w={math.ceil(window_s)}',
                "Retry-After": str(left_s),
            }
            raise HubError(429, "We had to rate limit your IP.", headers=headers)

    def signed(self, method: str, path: str) -> str:
        """Make a storage URL that works without a token, until it expires."""
        expires = f"{time.time() + self.signature_s:.3f}"
        signature = self.blobs.sign(f"{method} {path} {expires}")
        return f"{self.storage_url}{path}?Expires={expires}&Signature={signature}"

    def check_signed(self, request: Request) -> None:
        """Refuse what was not handed out, or long ago; and a token, as S3 does."""
        if request.headers.get("Authorization"):
            self.storage_tokens.append(request.headers["Authorization"])
            raise HubError(400, "InvalidArgument: Only one auth mechanism allowed")
        method = "GET" if request.method == "HEAD" else request.method
        expires = request.one("Expires", "0")
        if request.one("Signature") != self.blobs.sign(f"{method} {request.path} {expires}"):
            raise HubError(403, "SignatureDoesNotMatch")
        if float(expires) < time.time():
            raise HubError(403, "AccessDenied: Request has expired")
