"""Read a file over HTTP: from an offset to the end for downloads, or byte ranges for streaming.

Look here for connections, redirects, refused responses (`HttpFile.check`), and where `hf://` leads
(`hub_address`). The rules are those of RFC 9110, "HTTP Semantics". Proxies and certificates come
from the usual environment variables (`HTTPS_PROXY`, `NO_PROXY`, `REQUESTS_CA_BUNDLE` …), which
`requests` reads.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from geogen_hf._version import __version__
from geogen_hf.errors import FetchError, UsageError, redact
from geogen_hf.source.files import (
    LEAST_PROGRESS_BYTES,
    PAGE_REMEDY,
    RETRY,
    RemoteFile,
    Stream,
    TransientError,
)
from geogen_hf.source.parts import RemoteInfo

CHEAP_SKIP_BYTES = 256 * 2**10
"""Where a server ignores `Range`, so much is read and thrown away; for more, it is refused."""
MAX_REDIRECTS = 10
_CONNECT_S = 10.0
_READ_BYTES = 2**20
_MAX_DRAINED_BYTES = 64 * 2**10
# Statuses: of a signed URL that has expired; where HEAD is not allowed; where `bytes=-N` is not;
# where the range begins behind the end.
_EXPIRED = frozenset({401, 403, 404, 410})
_NO_HEAD = frozenset({400, 403, 405, 501})
_NO_SUFFIX = frozenset({400, 416, 501})
_BEYOND_END = frozenset({416})
_HUB_URL = re.compile(
    r"hf://(?:(datasets|spaces)/)?([^/@]+/[^/@]+)(?:@(refs/[^/]+/[^/]+|[^/]+))?/(.+)"
)
# At most 18 digits: sizes fit 64 bits, and int() refuses thousands of digits with ValueError.
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_RATE_LIMIT_RESET = re.compile(r";\s*t=(\d{1,9})", re.ASCII)
_ACCESS = "give access, or choose another source with base_url"
_REMEDIES = {
    401: _ACCESS,
    403: _ACCESS,
    404: "try later or choose another source with base_url; the other parts are not affected",
    407: "put the proxy's user and password into HTTPS_PROXY",
}
_HUB_REMEDY = (
    "check the name; log in with `hf auth login`, or set HF_TOKEN, to an account that may read it; "
    "ask for access on the data set's page where it is gated"
)


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


def content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None, int | None]:
    """Read where the body begins and stops in the file, and the file's size; None if unknown."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    first, last, total = match.groups() if match else (None, None, None)
    return (
        None if first is None else int(first),
        None if last is None else int(last) + 1,
        None if total in (None, "*") else int(total),
    )


def remote_info(status: int, headers: Mapping[str, str]) -> RemoteInfo:
    """Read which version of the file a response is about; with status 206, of the whole file."""
    length = headers.get("Content-Length", "")
    size = int(length) if _LENGTH.fullmatch(length) else None
    if status == HTTPStatus.PARTIAL_CONTENT:
        size = content_range(headers)[2]
    return RemoteInfo(size, headers.get("ETag") or None, headers.get("Last-Modified") or None)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how long the server asks to wait, seconds, from `Retry-After` or else `RateLimit`.

    The Hugging Face Hub sends the second, whose `t` is the seconds until its count begins anew
    (draft-ietf-httpapi-ratelimit-headers). None where neither header can be read.
    """
    # urllib3 raises InvalidHeader for other texts, and int() ValueError for thousands of digits.
    with suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return float(RETRY.parse_retry_after(headers.get("Retry-After", "")))
    match = _RATE_LIMIT_RESET.search(headers.get("RateLimit", ""))
    return None if match is None else float(match[1])


def hub_address(url: str, options: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Translate an `hf://` URL into the one that serves the file, and what to send along.

    Files on the Hugging Face Hub are read at the address that the Hub gives them, so they resume
    like all others and do not pass through its cache on disk. `options` are as for `HfFileSystem`:
    its `token` is sent (False: none is; None or True: that of whoever is logged in), to its
    `endpoint`.
    """
    # Here, since the import is slow and seldom needed.
    from huggingface_hub import get_token, hf_hub_url

    match = _HUB_URL.fullmatch(url)
    if match is None:
        raise UsageError(
            "not the URL of a file on the Hugging Face Hub",
            expected="hf://datasets/<owner>/<name>/<file>, perhaps with @<revision>",
            found=url,
        )
    kind, repository, revision, path = match.groups()
    address = hf_hub_url(
        repository,
        path,
        repo_type={"datasets": "dataset", "spaces": "space"}.get(kind),
        revision=unquote(revision) if revision else None,
        endpoint=options.get("endpoint"),
    )
    given = options.get("token")
    token = get_token() if given in (None, True) else given
    return address, {"Authorization": f"Bearer {token}"} if token else {}


class HttpFile(RemoteFile):
    """A file on a web server, `http://`, `https://` or `hf://`."""

    def __post_init__(self) -> None:
        url, given = self.location.address, self.location.options()
        on_hub = url.startswith("hf://")
        # Headers are not sent to another host.
        self._headers: Mapping[str, str]
        self._address, self._headers = (
            hub_address(url, given) if on_hub else (url, given.get("headers", {}))
        )
        # The address that a GET was redirected to serves the next ones of this process, until it
        # expires: the Hub counts each request that it redirects.
        key = (self._address, tuple(sorted(self._headers.items())))
        self._redirect_key = key if on_hub else None
        if self.location.version is None:  # the address may serve another version by now
            _connections_of(os.getpid()).redirects.pop(key, None)

    def probe(self) -> RemoteInfo:
        """Ask by HEAD or, where that is not allowed, for one byte; see `RemoteFile`."""
        # Not by way of a kept redirect: a signed URL is good for the method it was signed for.
        response, _ = self._follow("HEAD", {})
        if response.status_code in _NO_HEAD:
            response.close()
            response = self._get({"Range": "bytes=0-0"})
        response.close()
        return self.check(response.status_code, response.headers)

    def open(self, start: int, known: RemoteInfo) -> Stream:
        """See `RemoteFile`.

        The version is named in If-Range (RFC 9110, 13.1.5), so that of another one the whole file
        comes.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        condition = known.if_range()
        if start and condition is not None:
            headers["If-Range"] = condition
        stream = self._stream(headers)
        if stream is None:
            what = "the file ends before the bytes that are missing"
            raise self.transient(what, found="status 416")
        return stream

    def read_range(self, start: int, stop: int) -> bytearray:
        """See `RemoteFile`."""
        known = self.location.version
        if known is not None and known.size is not None:
            stop = min(stop, known.size)
        buffer = bytearray()
        if start < stop:
            self.retry(lambda: self._read_missing(start, stop, buffer), lambda: len(buffer))
        return buffer

    def read_tail(self, length: int) -> tuple[int, bytearray]:
        """See `RemoteFile`; takes one request where the server can."""
        start, size, tail = self.retry(lambda: self._read_suffix(length))
        return start, self.read_range(start, size) if tail is None else tail

    def _read_suffix(self, length: int) -> tuple[int, int, bytearray | None]:
        """Ask for the last bytes; return their offset, the file's size, and the bytes if they came.

        Some servers ignore or refuse suffixes (Azure's blob store knows none).
        """
        stream = self._stream({"Range": f"bytes=-{length}"}, _NO_SUFFIX)
        suffix_known = stream is not None
        stream = stream or self._stream({"Range": "bytes=0-0"})
        if stream is None:
            return 0, 0, bytearray()  # there is no first byte
        with closing(stream):
            size = self._pin(stream.info)
            start = max(0, size - length)
            if suffix_known and (stream.stop is not None or start <= CHEAP_SKIP_BYTES):
                tail = bytearray()
                # What is cut off here is requested like any other range.
                with suppress(TransientError):
                    self._pour(stream, start, size, tail)
                    return start, size, tail
            return start, size, None

    def _read_missing(self, start: int, stop: int, buffer: bytearray) -> None:
        """Request what a buffer for the bytes `[start, stop)` lacks at its end."""
        place = start + len(buffer)
        stream = self._stream({"Range": f"bytes={place}-{stop - 1}"})
        if stream is None:
            raise self._changed("a shorter file (416)")
        with closing(stream):
            self._pin(stream.info)
            if stream.stop is None and place > CHEAP_SKIP_BYTES:
                raise self.refused(
                    "status 206 to a request with Range",
                    "status 200 and the whole file: the server does not serve byte ranges",
                    "download the parts first (geogen download), then pass data_dir",
                )
            self._pour(stream, start, stop, buffer)

    def _pour(self, stream: Stream, start: int, stop: int, buffer: bytearray) -> None:
        """Add the body to a buffer for the bytes `[start, stop)` as it arrives."""
        place = start + len(buffer)
        if stream.stop is not None and (stream.start, stream.stop) != (place, stop):
            found = f"bytes {stream.start}-{stream.stop - 1}"
            raise self.refused(f"bytes {place}-{stop - 1}", found)
        skip, size = place - stream.start, stop - start
        with self.control.watching(stream.abort):
            while len(buffer) < size:
                data = stream.read()
                self.control.check()
                if not data:
                    raise self.transient(
                        f"the response ended {size - len(buffer):,} bytes early",
                        expected=f"bytes {start}-{stop - 1}",
                    )
                buffer += memoryview(data)[skip : skip + size - len(buffer)]
                skip = max(0, skip - len(data))
            if stream.stop is not None:
                # The end of the body: now the connection can be used again.
                with suppress(TransientError):
                    stream.read()

    def _stream(
        self, headers: Mapping[str, str], refusals: Collection[int] = _BEYOND_END
    ) -> Stream | None:
        """Send a GET; None where the server refuses the range by one of these statuses."""
        response = self._get(headers)
        with ExitStack() as failing:
            failing.callback(response.close)
            if response.status_code in refusals:
                return None
            info = self.check(response.status_code, response.headers)
            start, stop, _ = content_range(response.headers)
            if response.status_code == HTTPStatus.OK:
                start, stop = 0, None
            if start is None:
                raise self.transient(
                    "the response does not say which bytes it holds",
                    expected="status 206 with Content-Range",
                    found=response.headers.get("Content-Range", "no Content-Range"),
                )
            failing.pop_all()
        raw, pace = response.raw, response.raw.pace
        pace.start_body()

        def read() -> bytes:
            with network_errors(self):
                data: bytes = raw.read1(_READ_BYTES)
            pace.taken += len(data)
            return data

        def abort() -> None:
            # Raised where the last byte has arrived already, which is as good.
            with suppress(ValueError, RuntimeError, OSError):
                raw.shutdown()

        return Stream(info, start, stop, read, response.close, abort)

    def _get(self, headers: Mapping[str, str]) -> requests.Response:
        """Send a GET, and follow redirects; the body is not read."""
        key, expired = self._redirect_key, None
        if key is None:
            return self._follow("GET", headers)[0]
        shared = _connections_of(os.getpid())
        while True:
            # Threads that start together ask the Hub once.
            with shared.locks.setdefault(key, threading.Lock()):
                kept = shared.redirects.get(key)
                if kept in (None, expired):
                    shared.redirects.pop(key, None)
                    response, url = self._follow("GET", headers)
                    if response.ok:
                        shared.redirects[key] = url
                    return response
            response = self._send("GET", kept, headers)
            if kept == self._address or response.status_code not in _EXPIRED:
                return response
            response.close()
            expired = kept

    def _follow(self, method: str, headers: Mapping[str, str]) -> tuple[requests.Response, str]:
        """Send a request, and follow redirects; return the response and the last address.

        `requests` would send headers such as keys to any host, and follow a redirect to anywhere.
        """
        url = self._address
        for _ in range(MAX_REDIRECTS):
            response = self._send(method, url, headers)
            if not response.is_redirect:
                return response, url
            target = _connections_of(os.getpid()).session.get_redirect_target(response) or ""
            # A short body is read, so that the connection can be used again.
            response.raw.pace.start_body()
            with network_errors(self):
                response.raw.read(_MAX_DRAINED_BYTES)
            response.close()
            try:
                url = urljoin(url, target)
                parts = urlsplit(url)
                known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:
                known = None
            if not known:
                raise self.refused("a redirect to a URL", f"a redirect to {target!r}")
            # Otherwise a server could have this machine read what only it can reach, such as the
            # metadata service of a cloud at 169.254.169.254.
            origin = urlsplit(self._address).hostname or ""
            if _is_public(origin) and not _is_public(parts.hostname or ""):
                raise self.failure(
                    "redirected into a private network",
                    expected="a public host, as the one that redirects",
                    found=parts.hostname,
                    remedy="name the address itself, if it is to be trusted",
                )
        raise self.refused(f"at most {MAX_REDIRECTS} redirects", "more of them")

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        session = _connections_of(os.getpid()).session
        own = {} if session.should_strip_auth(self._address, url) else self._headers
        timeout = (_CONNECT_S, self.options.read_s)
        with network_errors(self):
            request = session.prepare_request(requests.Request(method, url, {**own, **headers}))
            settings = session.merge_environment_settings(url, {}, True, None, None)
            return session.get_adapter(url).send(request, timeout=timeout, **settings)

    def check(self, status: int, headers: Mapping[str, str]) -> RemoteInfo:
        """Refuse a response that does not carry bytes of the file; return the version that it has.

        It is a `TransientError` where another request may succeed.
        """
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise self._refused_status(status, headers)
        kind = headers.get("Content-Type", "")
        # An error or login page, as some hosts send with status 200.
        if kind.split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml"):
            raise self.transient(
                "the server sent a web page instead of the file",
                expected="a zip archive",
                found=kind,
                remedy=PAGE_REMEDY,
            )
        encoding = headers.get("Content-Encoding", "identity")
        if encoding.lower() not in ("identity", ""):
            # Offsets in an encoded body are not offsets in the file (RFC 9110, 8.4).
            raise self.refused("bytes as they are", f"Content-Encoding {encoding}")
        return remote_info(status, headers)

    def _refused_status(self, status: int, headers: Mapping[str, str]) -> FetchError:
        hub_says = headers.get("X-Error-Message")  # the Hugging Face Hub's own reason
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "(not a status of HTTP)"
        what = f"the server answers {status}"
        found = f"{status} {phrase}" + (f": {hub_says}" if hub_says else "")
        wait_s = retry_after_s(headers)
        if RETRY.is_retry("GET", status, wait_s is not None):
            error = self.transient(what, found=found)
            error.retry_after_s = wait_s or 0.0
            limited = status == HTTPStatus.TOO_MANY_REQUESTS and wait_s is not None
            error.rate_limited = limited
            return error
        use_hub = hub_says and status in (401, 403, 404)
        remedy = _HUB_REMEDY if use_hub else _REMEDIES.get(status)
        return self.failure(what, expected="status 200", found=found, remedy=remedy)
