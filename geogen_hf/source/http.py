"""Which failures of HTTP are worth another try and when, and how connections are kept.

`headers` reads what a server says about a file. Proxies and certificates come from the usual
environment variables (`HTTPS_PROXY`, `NO_PROXY`, `REQUESTS_CA_BUNDLE` …): `requests` reads them.
"""

from __future__ import annotations

import random
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import requests
import urllib3
from requests.adapters import HTTPAdapter

from geogen_hf._version import __version__
from geogen_hf.errors import FetchError, explain

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """One version of a remote file, as far as its server tells.

    Attributes:
        size: Of the whole file, bytes; None where the server does not say.
        etag: Entity tag as sent, with its quotes and perhaps a leading `W/`.
        last_modified: Date of the last change, as sent.
        accepts_ranges: Whether the server says that it serves byte ranges.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    accepts_ranges: bool = False

    def if_range(self) -> str | None:
        """Give the value for `If-Range` (RFC 9110, 13.1.5): a strong ETag, else the date.

        Returns:
            The value; None where nothing proves that two answers hold the same bytes.

        Example:
            >>> RemoteInfo(9, '"a1"').if_range(), RemoteInfo(9, 'W/"a1"').if_range()
            ('"a1"', None)
        """
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def same_version(self, other: RemoteInfo) -> bool:
        """Tell whether nothing known of both says that they are different versions.

        Sizes are compared where both are known; then ETags or, where one of the two has none, the
        dates. A tag that turned weak on the way through a proxy still matches.

        Example:
            >>> first = RemoteInfo(9, '"a1"', "Mon, 06 Jan 2025 00:00:00 GMT")
            >>> first.same_version(RemoteInfo(9, 'W/"a1"')), first.same_version(RemoteInfo(8))
            (True, False)
        """
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        if self.last_modified and other.last_modified:
            return self.last_modified == other.last_modified
        return True


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A `Content-Range` header.

    Attributes:
        start: Offset of the first byte sent; None with status 416.
        stop: Offset behind the last one.
        total: Size of the whole file, bytes; None where unknown.
    """

    start: int | None
    stop: int | None
    total: int | None


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Read `Content-Range`; None where it is missing or is not about bytes.

    Example:
        >>> content_range({"Content-Range": "bytes 100-199/5000"})
        ContentRange(start=100, stop=200, total=5000)
    """
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return None
    first, last, total = match.groups()
    return ContentRange(
        start=None if first is None else int(first),
        stop=None if last is None else int(last) + 1,
        total=None if total == "*" else int(total),
    )


def remote_info(status: int, headers: Mapping[str, str]) -> RemoteInfo:
    """Read from an answer's headers which version of the file it is about.

    Args:
        status: 200 or 206.
        headers: The answer's; names in any case where the mapping allows it, as that of `requests`.

    Returns:
        The version; with 206 the size is the whole file's.

    Example:
        >>> remote_info(206, {"Content-Range": "bytes 0-0/77", "ETag": '"a1"'})
        RemoteInfo(size=77, etag='"a1"', last_modified=None, accepts_ranges=True)
    """
    if status == HTTPStatus.PARTIAL_CONTENT:
        described = content_range(headers)
        size = described.total if described else None
    else:
        length = headers.get("Content-Length", "")
        size = int(length) if length.isascii() and length.isdigit() else None
    return RemoteInfo(
        size=size,
        etag=headers.get("ETag") or None,
        last_modified=headers.get("Last-Modified") or None,
        accepts_ranges=status == HTTPStatus.PARTIAL_CONTENT
        or headers.get("Accept-Ranges", "").strip().lower() == "bytes",
    )


def is_html(headers: Mapping[str, str], head: bytes = b"") -> bool:
    """Tell an error or login page, as some hosts send with status 200, from a file.

    Args:
        headers: The answer's.
        head: First bytes of the body, where at hand.

    Example:
        >>> is_html({"Content-Type": "text/html; charset=utf-8"}), is_html({}, b"PK")
        (True, False)
    """
    kind = headers.get("Content-Type", "").split(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") or head.lstrip()[:1] == b"<"


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read `Retry-After`, which holds seconds or an HTTP date.

    Args:
        headers: The answer's.
        now: The present moment, with a time zone; None to look at the clock.

    Returns:
        Seconds from now, not negative; None where the header is missing or unreadable.

    Example:
        >>> retry_after_s({"Retry-After": "7"})
        7.0
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):  # TypeError: what Python 3.9 raised and some 3.10 still do
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - (now or datetime.now(timezone.utc))).total_seconds())


TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be different a moment later."""

_HUB_REMEDY = (
    "check the name; log in with `hf auth login`, or set HF_TOKEN, to an account that may read it; "
    "ask for access on the data set's page where it is gated"
)

_TRANSIENT_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.IncompleteRead,
    urllib3.exceptions.InvalidChunkLength,
    urllib3.exceptions.TimeoutError,
    urllib3.exceptions.SSLError,
    ssl.SSLError,
    ConnectionError,
    TimeoutError,
)


class TransientError(FetchError):
    """A failure that may pass: the next attempt may succeed.

    Attributes:
        retry_after_s: How long the server asks to wait, seconds; None where it does not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try again, and how long to wait in between.

    Attributes:
        attempts: Tries in a row without progress before giving up, at least 1.
        base_s: Wait after the first failure, seconds; doubled after each further one.
        max_s: Longest wait of our own choosing, seconds.
        max_retry_after_s: Longest wait a server may ask for, seconds.
    """

    attempts: int = 6
    base_s: float = 0.5
    max_s: float = 30.0
    max_retry_after_s: float = 120.0

    def delay_s(
        self, failures: int, rng: random.Random, retry_after_s: float | None = None
    ) -> float:
        """Choose the wait before the next attempt.

        Args:
            failures: How many attempts in a row have failed, from 1.
            rng: Source of the jitter, which keeps clients from returning all at once.
            retry_after_s: What the server asked for, seconds.

        Returns:
            Seconds: between half and the whole of the doubled base, or what the server asked for
            where that is longer.

        Example:
            >>> policy = RetryPolicy(base_s=1, max_s=4)
            >>> [round(policy.delay_s(n, random.Random(0)), 2) for n in (1, 2, 3, 9)]
            [0.92, 1.84, 3.69, 3.69]
            >>> policy.delay_s(1, random.Random(0), retry_after_s=3600)
            120.0
        """
        longest = min(self.max_s, self.base_s * 2.0 ** min(failures - 1, 60))
        own = longest * rng.uniform(0.5, 1.0)
        return max(own, min(retry_after_s or 0.0, self.max_retry_after_s))


def check_status(status: int, headers: Mapping[str, str], *, label: str, url: str) -> None:
    """Raise for every status but 200 and 206, and for a page where a file was asked for.

    Args:
        status: The answer's.
        headers: The answer's.
        label: The part's name, for the message.
        url: Where it was asked for, for the message.

    Raises:
        TransientError: Another attempt may succeed.
        FetchError: It will not, for example because nothing is there (404).
    """
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        if is_html(headers):
            raise TransientError(
                explain(
                    f"{label}: the server sent a web page instead of the file",
                    where=url,
                    expected="a zip archive",
                    found=headers.get("Content-Type"),
                    remedy="open the URL in a browser: a login, a proxy or an outage may answer",
                )
            )
        return
    remedies = {
        401: "give access, or choose another source with base_url",
        403: "give access, or choose another source with base_url",
        404: "try later or choose another source with base_url; the other parts are not affected",
        407: "put the proxy's user and password into HTTPS_PROXY",
    }
    hub_says = headers.get("X-Error-Message")  # the Hugging Face Hub's own reason
    message = explain(
        f"{label}: the server answers {status}",
        where=url,
        expected="status 200",
        found=f"{status} {_phrase(status)}" + (f": {hub_says}" if hub_says else ""),
        remedy=_HUB_REMEDY if hub_says and status in (401, 403, 404) else remedies.get(status),
    )
    if status in TRANSIENT_STATUS:
        raise TransientError(message, retry_after_s(headers))
    raise FetchError(message)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(not a status of HTTP)"


def is_transient(error: BaseException) -> bool:
    """Tell failures that may pass (a cut connection, a timeout) from those that will not.

    Example:
        >>> is_transient(ConnectionResetError()), is_transient(requests.exceptions.InvalidURL())
        (True, False)
    """
    if isinstance(error, TransientError):
        return True
    return isinstance(error, _TRANSIENT_ERRORS) and not _distrusts_certificate(error)


def _distrusts_certificate(error: BaseException) -> bool:
    """Look for the reason below what `requests` and `urllib3` wrap around it."""
    below = [*error.args, getattr(error, "reason", None), error.__cause__]
    return isinstance(error, ssl.SSLCertVerificationError) or any(
        _distrusts_certificate(inner) for inner in below if isinstance(inner, BaseException)
    )


@contextmanager
def network_errors(label: str, url: str) -> Iterator[None]:
    """Turn what `requests` and `urllib3` raise inside into `TransientError` or `FetchError`.

    Args:
        label: The part's name, for the message.
        url: Where it is, for the message.
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
        kind = TransientError if is_transient(error) else FetchError
        raise kind(
            explain(
                f"{label}: the connection failed",
                where=url,
                found=f"{type(error).__name__}: {error}",
                remedy="check the certificates (REQUESTS_CA_BUNDLE) of a proxy in between"
                if _distrusts_certificate(error)
                else "check the connection and run again: what has arrived is kept",
            )
        ) from error


def make_session(pool: int) -> requests.Session:
    """Make a session that keeps up to `pool` connections to a host open.

    It does not retry by itself, and asks for bytes as they are (`Accept-Encoding: identity`).

    Example:
        >>> make_session(4).headers["Accept-Encoding"]
        'identity'
    """
    session = requests.Session()
    session.headers["User-Agent"] = f"geogen-hf/{__version__} {requests.utils.default_user_agent()}"
    session.headers["Accept-Encoding"] = "identity"
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=pool, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
