"""Send HTTP requests: connections, proxies, certificates, redirects, and a floor for rates.

Proxies and certificates come from the usual environment variables (`HTTPS_PROXY`, `NO_PROXY`,
`REQUESTS_CA_BUNDLE` …), which `requests` reads. Redirects are followed here and not by `requests`,
which would send headers such as keys to any host and would follow a redirect to anywhere.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from geogen_hf._version import __version__
from geogen_hf.errors import FetchError, explain
from geogen_hf.source.responses import ResponseChecks, StalledError
from geogen_hf.source.retry import LEAST_PROGRESS_BYTES

MAX_REDIRECTS = 10
_MAX_DRAINED_BYTES = 64 * 2**10
_EXPIRED = frozenset({401, 403, 404, 410})
_CONNECTIONS = 32


class Pace(io.RawIOBase):
    """The receiving end of a connection, which ends a response that comes too slowly.

    The timeout of a socket only bounds the wait for the next byte. A server that sends two bytes a
    second, as a header, as the length of a chunk, or `100 Continue` for ever, would never exceed
    it. So the status line and all headers have to be here within that time, and then at least 1 KiB
    of the body in each such period.
    """

    def __init__(self, source: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._source, self._sock = source, sock
        self._period_s = sock.gettimeout()  # urllib3 has set the timeout for reads by now
        self._taken: int | None = None  # of the body; None while headers come
        self._until = time.monotonic() + (self._period_s or 0.0)

    def start_body(self) -> None:
        """Begin a period of the body."""
        self._taken, self._until = 0, time.monotonic() + (self._period_s or 0.0)

    def took(self, count: int) -> None:
        """Count bytes of the body that have come."""
        self._taken = (self._taken or 0) + count

    def readable(self) -> bool:
        """As `io.BufferedReader` wants it."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Wait for bytes, but not beyond a period in which too few have come."""
        if self._period_s is None:
            return self._source.readinto(buffer)
        left_s = self._until - time.monotonic()
        enough = (self._taken or 0) >= LEAST_PROGRESS_BYTES
        if enough and left_s <= 0:
            self.start_body()
            enough, left_s = False, self._period_s
        if left_s <= 0:
            raise self._too_slow()
        self._sock.settimeout(self._period_s if enough else left_s)
        try:
            return self._source.readinto(buffer)
        except TimeoutError:
            raise self._too_slow() from None

    def close(self) -> None:
        """Close the source too."""
        self._source.close()
        super().close()

    def _too_slow(self) -> TimeoutError:
        if self._taken is None:
            return TimeoutError(f"no complete headers in {self._period_s:g} s")
        return StalledError(
            f"{self._taken} bytes in {self._period_s:g} s, fewer than {LEAST_PROGRESS_BYTES:,}"
        )


class _PacedConnection:
    """Mixin of connections whose responses have a `pace`."""

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        """Make the response of `http.client` that reads from a socket."""
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        self._pace = Pace(response.fp.detach(), sock)
        response.fp = io.BufferedReader(self._pace)
        return response

    def getresponse(self) -> Any:
        response = super().getresponse()  # type: ignore[misc]
        response.pace = self._pace
        return response


class _Connection(_PacedConnection, HTTPConnection):  # type: ignore[misc]
    pass


class _TLSConnection(_PacedConnection, HTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    """Has all connections made with a `Pace`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # which has connections of its own
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return manager


def make_session(pool: int) -> requests.Session:
    """Make a session that keeps up to `pool` connections to a host open.

    It does not retry by itself, and asks for bytes as they are (`Accept-Encoding: identity`).
    """
    session = requests.Session()
    session.headers["User-Agent"] = f"geogen-hf/{__version__} {requests.utils.default_user_agent()}"
    session.headers["Accept-Encoding"] = "identity"
    adapter = _Adapter(pool_connections=4, pool_maxsize=pool, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _Connections:
    """The open connections of a process and, by address and headers, where GETs were redirected to.

    A lock is held while one thread follows a redirect.
    """

    def __init__(self) -> None:
        self.session = make_session(_CONNECTIONS)
        self.redirects: dict[Any, str] = {}
        self.locks: dict[Any, threading.Lock] = {}


@lru_cache(maxsize=1)
def _connections_of(process: int) -> _Connections:
    # One for each process: a connection must not be shared with a forked child.
    return _Connections()


class HttpClient:
    """Requests one file, following redirects."""

    def __init__(
        self,
        address: str,
        headers: Mapping[str, str],
        checks: ResponseChecks,
        timeout: tuple[float, float],
        *,
        keep_redirect: bool = False,
    ) -> None:
        """Connect to nothing yet.

        Args:
            address: Where to ask for the file (`http://` or `https://`).
            headers: Sent along, for example for authorization; never to another host.
            checks: Describe failures.
            timeout: For a connection, and for the next bytes, seconds.
            keep_redirect: Whether the address that a GET was redirected to serves the next ones of
                this process, until it expires. The Hub counts each request that it redirects.
        """
        self._address = address
        self._headers = dict(headers)
        self._checks = checks
        self._timeout = timeout
        self._key = (address, tuple(sorted(headers.items()))) if keep_redirect else None
        self._prepared: dict[str, tuple[requests.PreparedRequest, dict[str, Any]]] = {}
        self._allowed: set[str] = set()

    def send(self, method: str, headers: Mapping[str, str]) -> requests.Response:
        """Send a GET or HEAD, and follow redirects; the body of the response is not read.

        Raises:
            TransientError: The connection failed.
            FetchError: A redirect leads nowhere, or where it must not.
        """
        # A signed URL is good for the method that it was signed for.
        if self._key is None or method != "GET":
            return self._follow(method, headers)[0]
        shared = _connections_of(os.getpid())
        kept = shared.redirects.get(self._key)
        if kept is None:
            # Threads that start together ask the Hub once.
            with shared.locks.setdefault(self._key, threading.Lock()):
                kept = shared.redirects.get(self._key)
                if kept is None:
                    return self._follow_and_keep(shared, headers)
        response = self._send_once("GET", kept, headers)
        if kept == self._address or response.status_code not in _EXPIRED:
            return response
        response.close()
        with shared.locks.setdefault(self._key, threading.Lock()):
            if shared.redirects.get(self._key) == kept:
                return self._follow_and_keep(shared, headers)
            kept = shared.redirects.get(self._key, self._address)
        return self._send_once("GET", kept, headers)

    def forget_redirect(self) -> None:
        """Have the next GET ask at the address itself: it may serve another version by now."""
        _connections_of(os.getpid()).redirects.pop(self._key, None)

    def _follow_and_keep(
        self, shared: _Connections, headers: Mapping[str, str]
    ) -> requests.Response:
        shared.redirects.pop(self._key, None)
        response, url = self._follow("GET", headers)
        if response.ok:
            shared.redirects[self._key] = url
        return response

    def _follow(self, method: str, headers: Mapping[str, str]) -> tuple[requests.Response, str]:
        url = self._address
        for _ in range(MAX_REDIRECTS):
            response = self._send_once(method, url, headers)
            if not response.is_redirect:
                return response, url
            target = _connections_of(os.getpid()).session.get_redirect_target(response) or ""
            self._discard(response)
            try:
                url = urljoin(url, target)
                parts = urlsplit(url)
                known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:
                known = None
            if not known:
                raise self._checks.refused("a redirect to a URL", f"a redirect to {target!r}")
            self._check_redirect(urlsplit(url).hostname or "")
        raise self._checks.refused(f"at most {MAX_REDIRECTS} redirects", "more of them")

    def _send_once(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        session = _connections_of(os.getpid()).session
        with self._checks.network_errors():
            if url not in self._prepared:
                # Once: looking up proxies, certificates and .netrc takes longer than the rest.
                own = self._headers if _same_host(self._address, url) else {}
                request = requests.Request("GET", url, headers=own)
                settings = session.merge_environment_settings(url, {}, True, None, None)
                self._prepared[url] = session.prepare_request(request), settings
                while len(self._prepared) > 4:  # redirects to ever new signed URLs
                    self._prepared.pop(next(iter(self._prepared)))
            prepared, settings = self._prepared[url]
            asked = prepared.copy()
            asked.method = method
            asked.headers.update(headers)
            adapter = session.get_adapter(url)
            return adapter.send(asked, timeout=self._timeout, **settings)

    def _discard(self, response: requests.Response) -> None:
        """Read a short body, so that the connection can be used again."""
        length = response.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and len(length) < 6:
            response.raw.pace.start_body()
            with self._checks.network_errors():
                response.raw.read(min(int(length), _MAX_DRAINED_BYTES))
                response.raw.read(1)
        response.close()

    def _check_redirect(self, host: str) -> None:
        """Refuse redirects from a public host into a private network.

        Otherwise a server could have this machine read what only it can reach, such as the
        metadata service of a cloud at 169.254.169.254.
        """
        if host in self._allowed:
            return
        origin = urlsplit(self._address).hostname or ""
        if _is_public(origin) and not _is_public(host):
            raise FetchError(
                explain(
                    f"{self._checks.location.label}: redirected into a private network",
                    where=self._checks.location,
                    expected="a public host, as the one that redirects",
                    found=host,
                    remedy="name the address itself, if it is to be trusted",
                )
            )
        self._allowed.add(host)


def _same_host(one: str, other: str) -> bool:
    """Tell whether headers for one URL may be sent to the other: same scheme, host and port."""
    first, second = urlsplit(one), urlsplit(other)
    same = (first.hostname, first.port) == (second.hostname, second.port)
    return same and (first.scheme == second.scheme or second.scheme == "https")


def _is_public(host: str) -> bool:
    """Tell whether all addresses of a host are public.

    A host that cannot be looked up counts as public: only a proxy may know it.
    """
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return True
    return all(ipaddress.ip_address(str(text).split("%")[0]).is_global for text in found)
