"""All that the Hub remembers: who may do what, the contents, the limits, and how it signs URLs."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hub_server.faults import Counters, Fault
from hub_server.repos import Repo
from hub_server.wire import HubError, Request


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    name: str = ""  # the user's own namespace, too; empty without a token
    writes: tuple[str, ...] = ()  # namespaces whose repos the token may change
    reads: tuple[str, ...] = ()  # namespaces whose private repos it shows
    accepts: bool = False  # the user has accepted the terms of every gated repo


@dataclass(frozen=True)
class Tokens:
    """The tokens the server knows; `expired` is known and refused, anything else is unknown."""

    owner: str = "hf_owner_write"
    owner_read: str = "hf_owner_read"
    colleague: str = "hf_colleague"
    reader: str = "hf_reader_granted"
    stranger: str = "hf_stranger"
    expired: str = "hf_expired"
    unknown: str = "hf_nobody_has_this"


TOKENS = Tokens()
_BY_TOKEN = {
    "": Caller(),
    TOKENS.owner: Caller("owner", ("owner", "lab"), ("owner", "lab")),
    TOKENS.owner_read: Caller("owner", (), ("owner", "lab")),
    TOKENS.colleague: Caller("colleague", ("colleague",), ("colleague", "lab")),
    TOKENS.reader: Caller("reader", ("reader",), ("reader",), accepts=True),
    TOKENS.stranger: Caller("stranger", ("stranger",), ("stranger",)),
}


class Hub:
    """The state behind the routes."""

    tokens = TOKENS

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # contents, each under its sha256
        folder.mkdir(parents=True, exist_ok=True)
        self.repos: dict[str, Repo] = {}
        self.counters = Counters()
        self.faults: list[Fault] = []  # may be changed at any time
        self.resolve_limit: tuple[int, float] | None = None  # requests in so many seconds
        self.signature_s = 3600.0  # a storage URL can be used for so long
        self.storage_tokens: list[str] = []  # sent to the storage host; no client may send one
        self._window: tuple[object, int] = (None, 0)
        self.url = self.storage_url = ""
        self.lock = threading.RLock()
        self.expire_signatures()

    # --- Who may do what ---

    def caller(self, request: Request) -> Caller:
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token == TOKENS.expired:
            raise HubError(401, 'User Access Token "laptop" is expired')
        if token not in _BY_TOKEN:
            raise HubError(401, "Invalid credentials in Authorization header")
        return _BY_TOKEN[token]

    def signed_in(self, request: Request) -> Caller:
        """Tell who sent a request, and refuse nobody."""
        caller = self.caller(request)
        if not caller.name:
            raise HubError(401, "Invalid username or password.")
        return caller

    def repo(self, request: Request, *, contents: bool = False, write: bool = False) -> Repo:
        """Find the repo that a request is about."""
        caller, repo = self.caller(request), self.repos.get(request.named["repo"])
        if repo is None or (repo.private and repo.namespace not in caller.reads):
            # One that is not there and one that is nobody's business look the same.
            if caller.name:
                raise HubError(404, "Repository not found", "RepoNotFound")
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        member = repo.namespace in caller.reads
        if contents and repo.gated and not (member or caller.accepts):
            says = f"Access to dataset {repo.id} is restricted"
            if not caller.name:
                says += ". You must have access to it and be authenticated to access it."
                raise HubError(401, f"{says} Please log in.", "GatedRepo")
            page = f"https://huggingface.co/datasets/{repo.id}"
            says += f" and you are not in the authorized list. Visit {page} to ask for access."
            raise HubError(403, says, "GatedRepo")
        if write and repo.namespace not in self.signed_in(request).writes:
            raise HubError(403, "you do not have write access to this repository.")
        return repo

    # --- Contents: what is under a name hashes to it, or it never gets there ---

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def put(self, sha256: str, chunks: Iterable[bytes]) -> None:
        """Store a content under the hash that was promised for it."""
        incoming = self.folder / f"incoming-{secrets.token_hex(8)}"
        digest = hashlib.sha256()
        try:
            with incoming.open("wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
            found = digest.hexdigest()
            if found != sha256:
                says = f"BadDigest: the content has sha256 {found}, not {sha256}"
                raise HubError(400, says)
            incoming.replace(self.path(sha256))
        finally:
            incoming.unlink(missing_ok=True)  # a broken upload leaves nothing, as on S3

    def put_bytes(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self.put(sha256, [content])
        return sha256

    def signed(self, method: str, path: str) -> str:
        """Make a storage URL that works without a token, until it expires."""
        expires = f"{time.time() + self.signature_s:.3f}"
        signature = self._sign(f"{method} {path} {expires}")
        return f"{self.storage_url}{path}?Expires={expires}&Signature={signature}"

    def check_signed(self, request: Request) -> None:
        """Refuse what was not handed out, or long ago; and a token, as S3 does."""
        if request.headers.get("Authorization"):
            self.storage_tokens.append(request.headers["Authorization"])
            raise HubError(400, "InvalidArgument: Only one auth mechanism allowed")
        method = "GET" if request.method == "HEAD" else request.method
        expires = request.one("Expires", "0")
        if request.one("Signature") != self._sign(f"{method} {request.path} {expires}"):
            raise HubError(403, "SignatureDoesNotMatch")
        if float(expires) < time.time():
            raise HubError(403, "AccessDenied: Request has expired")

    def expire_signatures(self) -> None:
        """Refuse every storage URL that was handed out so far."""
        self._key = secrets.token_bytes(16)

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:32]

    # --- Limits ---

    def check_limit(self) -> None:
        """Count a request to `/resolve/`, and refuse it when the window's requests are used up."""
        if self.resolve_limit is None:
            return
        most, window_s = self.resolve_limit
        with self.lock:
            window, used = self._window
            now = time.monotonic() / window_s
            this = (self.resolve_limit, int(now))  # another limit begins to count anew
            used = used + 1 if this == window else 1
            self._window = (this, used)
        left_s = math.ceil((1 - now % 1) * window_s)
        if used > most:
            raise HubError(
                429,
                "We had to rate limit your IP.",
                RateLimit=f'"resolvers";r=0;t={left_s}',
                RateLimit_Policy=f'"fixed window";"resolvers";q={most};w={math.ceil(window_s)}',
                Retry_After=str(left_s),
            )
