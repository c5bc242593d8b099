"""Read a file over HTTP: from an offset to the end for downloads, or byte ranges for streaming.

Look here for which version of a file a response is about (`remote_info`), where in the file its
body lies (`content_range`), which statuses, pages and encodings are refused (`HttpFile.check`), and
where `hf://` leads (`hub_address`). The rules are those of RFC 9110, "HTTP Semantics".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import requests
import urllib3

from geogen_hf.errors import FetchError, UsageError
from geogen_hf.source.http_client import HttpClient, network_errors
from geogen_hf.source.location import Location, RemoteInfo
from geogen_hf.source.remote import (
    PAGE_REMEDY,
    RETRY,
    RemoteFile,
    Stream,
    TransferOptions,
    TransientError,
)
from geogen_hf.threads import Control

CHEAP_SKIP_BYTES = 256 * 2**10
"""Where a server ignores `Range`, so much is read and thrown away; for more, it is refused."""
_READ_BYTES = 2**20
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


class HttpFile(RemoteFile):
    """A file on a web server, `http://`, `https://` or `hf://`.

    Raises:
        UsageError: An `hf://` URL names no file in a repository.
    """

    def __init__(
        self,
        location: Location,
        options: TransferOptions | None = None,
        control: Control | None = None,
    ) -> None:
        super().__init__(location, options, control)
        url, given = location.address, location.options()
        on_hub = url.startswith("hf://")
        address, headers = hub_address(url, given) if on_hub else (url, given.get("headers", {}))
        self._client = HttpClient(address, headers, self, keep_redirect=on_hub)

    def probe(self) -> RemoteInfo:
        """Ask by HEAD or, where that is not allowed, for one byte; see `RemoteFile`."""
        response = self._client.head()
        if response.status_code in _NO_HEAD:
            response.close()
            response = self._client.get({"Range": "bytes=0-0"})
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
        stream = self._get(headers)
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
        stream = self._get({"Range": f"bytes=-{length}"}, _NO_SUFFIX)
        suffix_known = stream is not None
        stream = stream or self._get({"Range": "bytes=0-0"})
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
        stream = self._get({"Range": f"bytes={place}-{stop - 1}"})
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
        with self.control.watching(stream):
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

    def _get(
        self, headers: Mapping[str, str], refusals: Collection[int] = _BEYOND_END
    ) -> Stream | None:
        """Send a GET; None where the server refuses the range by one of these statuses."""
        response = self._client.get(headers)
        try:
            if response.status_code not in refusals:
                return self._stream(response)
        except BaseException:
            response.close()
            raise
        response.close()
        return None

    def _stream(self, response: requests.Response) -> Stream:
        raw, pace = response.raw, response.raw.pace
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

    def check(self, status: int, headers: Mapping[str, str]) -> RemoteInfo:
        """Refuse a response that does not carry bytes of the file; return the version that it has.

        Raises:
            TransientError: Another request may succeed.
            FetchError: It will not, for example because nothing is there (404).
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


def hub_address(url: str, options: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Translate an `hf://` URL into the one that serves the file, and what to send along.

    Files on the Hugging Face Hub are read at the address that the Hub gives them, so they resume
    like all others and do not pass through its cache on disk.

    Args:
        url: `hf://datasets/<owner>/<name>/<file>`, perhaps with `@<revision>` behind the name.
        options: As for `HfFileSystem`: its `token` is sent (False: none is; None or True: that of
            whoever is logged in), to its `endpoint`.

    Raises:
        UsageError: It names no file in a repository.
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
