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
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from geogen_hf._version import __version__
from geogen_hf.errors import FetchError, redact
from geogen_hf.source.remote import LEAST_PROGRESS_BYTES, RemoteFile

MAX_REDIRECTS = 10
_CONNECT_S = 10.0
_MAX_DRAINED_BYTES = 64 * 2**10
_EXPIRED = frozenset({401, 403, 404, 410})


class StalledError(TimeoutError):
    """A response comes too slowly, or not at all."""


class _Pace(io.RawIOBase):
    """The receiving end of a connection, which ends a response that comes too slowly.

    The timeout of a socket only bounds the wait for the next byte. A server that sends two bytes a
    second, as a header, as the length of a chunk, or `100 Continue` for ever, would never exceed
    it. So the status line and all headers have to be here within that time, and then at least 1 KiB
    of the body, whose reader adds to `taken`, in each such period.
    """

    def __init__(self, source: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._source, self._sock = source, sock
        self._period_s = sock.gettimeout()  # urllib3 has set the timeout for reads by now
        self.start_body()
        self._in_body = False

    def start_body(self) -> None:
        self._in_body, self.taken = True, 0
        self._until = time.monotonic() + (self._period_s or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._period_s is None:
            return self._source.readinto(buffer)
        left_s = self._until - time.monotonic()
        if self.taken >= LEAST_PROGRESS_BYTES:
            if left_s <= 0:
                self.start_body()
            left_s = self._period_s
        try:
            if left_s <= 0:
                raise TimeoutError
            self._sock.settimeout(left_s)
            return self._source.readinto(buffer)
        except TimeoutError:
            few = f"{self.taken} bytes in {self._period_s:g} s, fewer than {LEAST_PROGRESS_BYTES:,}"
            headers = f"no complete headers in {self._period_s:g} s"
            raise StalledError(few if self._in_body else headers) from None

    def close(self) -> None:
        self._source.close()
        super().close()


class _Paced:
    """Mixin of connections whose responses have a `pace`."""

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        self._pace = _Pace(response.fp.detach(), sock)
        response.fp = io.BufferedReader(self._pace)
        return response

    def getresponse(self) -> Any:
        response = super().getresponse()  # type: ignore[misc]
        response.pace = self._pace
        return response


@lru_cache
def _paced(connection: type) -> type:
    return connection if issubclass(connection, _Paced) else type("Paced", (_Paced, connection), {})


class _Adapter(HTTPAdapter):
    """Makes every connection with a `Pace`, those through proxies too."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _paced(pool.ConnectionCls)
        return pool


def make_session() -> requests.Session:
    """Make a session that does not retry, and asks for bytes as they are."""
    session = requests.Session()
    session.headers["User-Agent"] = f"geogen-hf/{__version__} {requests.utils.default_user_agent()}"
    session.headers["Accept-Encoding"] = "identity"
    adapter = _Adapter(pool_connections=4, pool_maxsize=32, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _Connections:
    """The open connections of a process and, by address and headers, where GETs were redirected to.

    A lock is held while one thread follows a redirect.
    """

    def __init__(self) -> None:
        self.session = make_session()
        self.redirects: dict[Any, str] = {}
        self.locks: dict[Any, threading.Lock] = {}


@lru_cache(maxsize=1)
def _connections_of(process: int) -> _Connections:
    # One for each process: a connection must not be shared with a forked child.
    return _Connections()


@lru_cache(maxsize=256)
def _is_public(host: str) -> bool:
    """Tell whether all addresses of a host are public.

    A host that cannot be looked up counts as public: only a proxy may know it.
    """
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return True
    return all(ipaddress.ip_address(str(text).split("%")[0]).is_global for text in found)


@contextmanager
def network_errors(file: RemoteFile) -> Iterator[None]:
    """Turn what `requests` and `urllib3` raise inside into `TransientError` or `FetchError`.

    Final are a certificate that is not trusted and URLs that cannot be used, which `requests`
    reports by exceptions that are also `ValueError`.
    """
    try:
        yield
    except FetchError:
        raise
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        ssl.SSLError,
        ConnectionError,
        TimeoutError,
    ) as error:
        root = _root(error)
        stalled = isinstance(root, StalledError)
        untrusted = isinstance(root, ssl.SSLCertVerificationError)
        remedy = "check the certificates (REQUESTS_CA_BUNDLE) of a proxy in between"
        final = untrusted or isinstance(error, ValueError)
        # A traceback prints the cause, whose text may hold the URL's password or signature.
        cause = error if redact(str(error)) == str(error) else None
        raise (file.failure if final else file.transient)(
            "the transfer stalled" if stalled else "the connection failed",
            found=root if stalled else f"{type(root).__name__}: {root}",
            remedy=remedy if untrusted else "check the connection",
        ) from cause


def _root(error: BaseException) -> BaseException:
    """Find the reason below what `requests` and `urllib3` wrap around it."""
    for inner in (getattr(error, "reason", None), error.__cause__, *error.args):
        if isinstance(inner, BaseException):
            return _root(inner)
    return error


class HttpClient:
    """Requests one file, following redirects.

    Args:
        address: Where to ask for it (`http://` or `https://`).
        headers: Sent along, but not to another host.
        file: Says how long to wait, and describes failures.
        keep_redirect: Whether the address that a GET was redirected to serves the next ones of this
            process, until it expires. The Hub counts each request that it redirects.
    """

    def __init__(
        self, address: str, headers: Mapping[str, str], file: RemoteFile, *, keep_redirect: bool
    ) -> None:
        self._address, self._headers, self._file = address, headers, file
        self._key = (address, tuple(sorted(headers.items()))) if keep_redirect else None
        if file.location.version is None:  # the address may serve another version by now
            _connections_of(os.getpid()).redirects.pop(self._key, None)

    def head(self) -> requests.Response:
        """Send a HEAD, and follow redirects.

        Raises:
            TransientError: The connection failed.
            FetchError: A redirect leads nowhere, or where it must not.
        """
        # Not by way of a kept redirect: a signed URL is good for the method it was signed for.
        return self._follow("HEAD", {})[0]

    def get(self, headers: Mapping[str, str]) -> requests.Response:
        """Send a GET, and follow redirects; as `head`. The body is not read."""
        if self._key is None:
            return self._follow("GET", headers)[0]
        shared = _connections_of(os.getpid())
        while True:
            # Threads that start together ask the Hub once.
            with shared.locks.setdefault(self._key, threading.Lock()):
                kept = shared.redirects.get(self._key)
                if kept is None:
                    response, url = self._follow("GET", headers)
                    if response.ok:
                        shared.redirects[self._key] = url
                    return response
            response = self._send_once("GET", kept, headers)
            if kept == self._address or response.status_code not in _EXPIRED:
                return response
            response.close()
            with shared.locks[self._key]:
                if shared.redirects.get(self._key) == kept:
                    del shared.redirects[self._key]

    def _follow(self, method: str, headers: Mapping[str, str]) -> tuple[requests.Response, str]:
        url = self._address
        for _ in range(MAX_REDIRECTS):
            response = self._send_once(method, url, headers)
            if not response.is_redirect:
                return response, url
            target = _connections_of(os.getpid()).session.get_redirect_target(response) or ""
            # A short body is read, so that the connection can be used again.
            response.raw.pace.start_body()
            with network_errors(self._file):
                response.raw.read(_MAX_DRAINED_BYTES)
            response.close()
            try:
                url = urljoin(url, target)
                parts = urlsplit(url)
                known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:
                known = None
            if not known:
                raise self._file.refused("a redirect to a URL", f"a redirect to {target!r}")
            # Otherwise a server could have this machine read what only it can reach, such as the
            # metadata service of a cloud at 169.254.169.254.
            origin = urlsplit(self._address).hostname or ""
            if _is_public(origin) and not _is_public(parts.hostname):
                raise self._file.failure(
                    "redirected into a private network",
                    expected="a public host, as the one that redirects",
                    found=parts.hostname,
                    remedy="name the address itself, if it is to be trusted",
                )
        raise self._file.refused(f"at most {MAX_REDIRECTS} redirects", "more of them")

    def _send_once(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        session = _connections_of(os.getpid()).session
        own = self._headers if _same_host(self._address, url) else {}
        timeout = (_CONNECT_S, self._file.options.read_s)
        with network_errors(self._file):
            request = session.prepare_request(requests.Request(method, url, {**own, **headers}))
            settings = session.merge_environment_settings(url, {}, True, None, None)
            return session.get_adapter(url).send(request, timeout=timeout, **settings)


def _same_host(one: str, other: str) -> bool:
    """Tell whether headers for one URL may be sent to the other: same scheme, host and port."""
    first, second = urlsplit(one), urlsplit(other)
    same = (first.hostname, first.port) == (second.hostname, second.port)
    return same and (first.scheme == second.scheme or second.scheme == "https")
