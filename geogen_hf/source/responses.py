"""What an HTTP response says about a file, the checks it has to pass, and which failures may pass.

Look here for which version of a file a response is about (`remote_info`), where in the file its
body lies (`content_range`), which statuses, pages and encodings are refused (`ResponseChecks`), and
after which failures another attempt makes sense (`TransientError`). The rules are those of RFC
9110, "HTTP Semantics".
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

import requests
import urllib3

from geogen_hf.errors import FetchError, explain, redact
from geogen_hf.source.location import Location, RemoteInfo

RETRY = urllib3.Retry(
    total=7,
    status_forcelist=(408, 425, 429, 500, 502, 503, 504),
    backoff_factor=0.5,
    backoff_jitter=0.5,  # keeps clients from returning all at once
    backoff_max=30,
)
"""Eight attempts in a row without progress; waits of 0, 1, 2, 4 … 30 s and up to 0.5 s more."""

# At most 18 digits: sizes fit 64 bits, and int() refuses thousands of digits with ValueError.
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_RATE_LIMIT_RESET = re.compile(r";\s*t=(\d{1,9})", re.ASCII)
_WEB_PAGES = ("text/html", "application/xhtml+xml")


class TransientError(FetchError):
    """A failure that may pass: the next attempt may succeed.

    Attributes:
        reason: What failed, in a few words without part and URL.
        remedy: What the reader can do.
        retry_after_s: How long the server asks to wait, seconds; None where it does not say.
        rate_limited: Whether the server counts requests (429) and says when to come again. Waiting
            for that is no failure, however often.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        remedy: str | None = None,
        retry_after_s: float | None = None,
        rate_limited: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason, self.remedy = reason, remedy
        self.retry_after_s, self.rate_limited = retry_after_s, rate_limited


class StalledError(TimeoutError):
    """A body comes more slowly than is put up with, or not at all."""


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
    """Read which version of the file a response with status 200 or 206 is about.

    With 206 the size is the whole file's.

    Example:
        >>> remote_info(206, {"Content-Range": "bytes 0-0/77", "ETag": '"a1"'})
        RemoteInfo(size=77, etag='"a1"', last_modified=None)
    """
    if status == HTTPStatus.PARTIAL_CONTENT:
        described = content_range(headers)
        size = described.total if described else None
    else:
        length = headers.get("Content-Length", "")
        size = int(length) if _LENGTH.fullmatch(length) else None
    return RemoteInfo(
        size=size,
        etag=headers.get("ETag") or None,
        last_modified=headers.get("Last-Modified") or None,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how long the server asks to wait, seconds, from `Retry-After` or else `RateLimit`.

    The Hugging Face Hub sends the second, whose `t` is the seconds until its count begins anew
    (draft-ietf-httpapi-ratelimit-headers). None where neither header can be read.

    Example:
        >>> retry_after_s({"Retry-After": "7"}), retry_after_s({"RateLimit": '"api";r=0;t=42'})
        (7.0, 42.0)
    """
    # urllib3 raises InvalidHeader for other texts, and int() ValueError for thousands of digits.
    with suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return float(RETRY.parse_retry_after(headers.get("Retry-After", "")))
    match = _RATE_LIMIT_RESET.search(headers.get("RateLimit", ""))
    return None if match is None else float(match[1])


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


@dataclass(frozen=True, slots=True)
class ResponseChecks:
    """The checks of responses about one file, and the messages about what fails.

    Attributes:
        location: The file, for messages.
    """

    location: Location

    def check(self, status: int, headers: Mapping[str, str]) -> RemoteInfo:
        """Refuse a response that does not carry bytes of the file; return the version that it has.

        Raises:
            TransientError: Another request may succeed.
            FetchError: It will not, for example because nothing is there (404).
        """
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise self._refused_status(status, headers)
        kind = headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind in _WEB_PAGES:  # an error or login page, as some hosts send with status 200
            raise self.transient(
                "the server sent a web page instead of the file",
                expected="a zip archive",
                found=headers.get("Content-Type"),
                remedy="open the URL in a browser: a login, a proxy or an outage may answer",
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
            limited = status == HTTPStatus.TOO_MANY_REQUESTS and wait_s is not None
            raise self.transient(what, found=found, retry_after_s=wait_s, rate_limited=limited)
        use_hub = hub_says and status in (401, 403, 404)
        remedy = _HUB_REMEDY if use_hub else _REMEDIES.get(status)
        return FetchError(self._explain(what, "status 200", found, remedy))

    def body_offset(self, status: int, headers: Mapping[str, str]) -> tuple[int, int | None]:
        """Say where the body begins in the file and, where the server tells, where it stops.

        Raises:
            TransientError: The status is 206, but `Content-Range` is missing.
        """
        if status == HTTPStatus.OK:
            return 0, None
        place = content_range(headers)
        if place is None or place.start is None:
            raise self.transient(
                "the response does not say which bytes it holds",
                expected="status 206 with Content-Range",
                found=headers.get("Content-Range", "no Content-Range"),
            )
        return place.start, place.stop

    def transient(
        self,
        what: str,
        *,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
        retry_after_s: float | None = None,
        rate_limited: bool = False,
    ) -> TransientError:
        """Describe a failure that may pass."""
        return TransientError(
            self._explain(what, expected, found, remedy),
            reason=redact(what if found is None else f"{what} ({found})"),
            remedy=remedy,
            retry_after_s=retry_after_s,
            rate_limited=rate_limited,
        )

    def changed(self, known: RemoteInfo, found: object) -> FetchError:
        """Describe that the file was replaced."""
        what = "changed upstream while it was being read"
        remedy = "load the data set anew, to read the new version"
        return FetchError(self._explain(what, known, found, remedy))

    def refused(
        self, expected: str, found: str, remedy: str = "choose another source with base_url"
    ) -> FetchError:
        """Describe a response that is of no use, and will not be another time."""
        what = "the response does not hold what was requested"
        return FetchError(self._explain(what, expected, found, remedy))

    def _explain(self, what: str, expected: object, found: object, remedy: str | None) -> str:
        return explain(
            f"{self.location.label}: {what}",
            where=self.location,
            expected=expected,
            found=found,
            remedy=remedy,
        )

    @contextmanager
    def network_errors(self) -> Iterator[None]:
        """Turn what `requests` and `urllib3` raise inside into `TransientError` or `FetchError`."""
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
            failure = self.transient(
                "the transfer stalled" if stalled else "the connection failed",
                found=str(root) if stalled else f"{type(root).__name__}: {root}",
                remedy="check the certificates (REQUESTS_CA_BUNDLE) of a proxy in between"
                if isinstance(root, ssl.SSLCertVerificationError)
                else "check the connection",
            )
            # A traceback prints the cause, whose text may hold the URL's password or signature.
            cause = error if redact(str(error)) == str(error) else None
            if is_transient(error):
                raise failure from cause
            raise FetchError(str(failure)) from cause


def is_transient(error: Exception) -> bool:
    """Tell failures that may pass (a cut connection, a timeout) from those that will not.

    Final are a certificate that is not trusted and URLs that cannot be used, which `requests`
    reports by exceptions that are also `ValueError`.
    """
    root = _root(error)
    return not isinstance(error, ValueError) and not isinstance(root, ssl.SSLCertVerificationError)


def _root(error: BaseException) -> BaseException:
    """Find the reason below what `requests` and `urllib3` wrap around it."""
    below = [getattr(error, "reason", None), error.__cause__, *error.args]
    for inner in below:
        if isinstance(inner, BaseException):
            return _root(inner)
    return error
