"""Read a file over HTTP: from an offset to the end for downloads, or byte ranges for streaming.

Both ways send the same requests and pass the same checks (`responses`). Streaming insists on one
version of the file and retries by itself; a download asks for the version once per attempt and is
retried as a whole (`download`).

Nothing here is picklable or survives a fork: a `Location` travels between processes, and each
process connects for itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import requests

from geogen_hf.errors import UsageError, explain
from geogen_hf.source.http_client import HttpClient, Pace
from geogen_hf.source.location import Location, RemoteInfo
from geogen_hf.source.responses import ResponseChecks, TransientError
from geogen_hf.source.retry import RemoteReader, TransferOptions

CHEAP_SKIP_BYTES = 256 * 2**10
"""Where a server ignores `Range`, so much is read and thrown away; for more, it is refused."""
OPTIONS = TransferOptions(read_s=30.0)
"""Timeouts and retries of reads, unless told otherwise."""
_READ_BYTES = 2**20
_NO_HEAD = frozenset({400, 403, 405, 501})
_NO_SUFFIX = frozenset({400, 416, 501})
_BEYOND_END = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
_HUB_URL = re.compile(
    r"hf://(?:(datasets|spaces)/)?([^/@]+/[^/@]+)(?:@(refs/[^/]+/[^/]+|[^/]+))?/(.+)"
)


class HttpStream:
    """A response whose body is being read; a context manager.

    Attributes:
        info: Version of the file that is being sent.
        start: Offset of the body's first byte in the file.
        stop: Offset behind its last byte, where the server says so.
    """

    def __init__(self, response: requests.Response, checks: ResponseChecks) -> None:
        self._response, self._checks = response, checks
        status, headers = response.status_code, response.headers
        self.info = checks.check(status, headers)
        self.start, self.stop = checks.body_offset(status, headers)
        self._pace: Pace = response.raw.pace
        self._pace.start_body()

    def read(self) -> bytes:
        """Wait for some bytes, at most 1 MiB; empty at the end.

        Raises:
            TransientError: The connection failed, or less than 1 KiB came in `read_s` seconds.
        """
        with self._checks.network_errors():
            data: bytes = self._response.raw.read1(_READ_BYTES)
        self._pace.took(len(data))
        return data

    def abort(self) -> None:
        """End a read that another thread is waiting in."""
        # Raised where the last byte has arrived already, which is as good.
        with suppress(ValueError, RuntimeError, OSError):
            self._response.raw.shutdown()

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._response.close()


class _Filling:
    """A buffer for the bytes `[start, stop)` of a file, and how many of them are there."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, max(start, stop)
        self.buffer = bytearray(self.stop - start)
        self.done = 0

    @property
    def position(self) -> int:
        return self.start + self.done

    @property
    def missing(self) -> int:
        return len(self.buffer) - self.done


class HttpFile(RemoteReader):
    """A file on a web server.

    `probe` and `open` are single attempts, for downloads. `read_range` and `read_tail` retry, and
    may be called by any thread.
    """

    def __init__(self, location: Location, options: TransferOptions | None = None) -> None:
        """Connect to nothing yet.

        Args:
            location: Where it is (`http://`, `https://` or `hf://`), and the version to insist on.
            options: Timeouts and retries; None for `OPTIONS`.

        Raises:
            UsageError: An `hf://` URL names no file in a repository.
        """
        super().__init__(location, options or OPTIONS)
        url, given = location.address, location.options()
        on_hub = url.startswith("hf://")
        address, headers = hub_address(url, given) if on_hub else (url, given.get("headers", {}))
        timeout = (self._options.connect_s, self._options.read_s)
        self._client = HttpClient(address, headers, self._checks, timeout, keep_redirect=on_hub)
        if self._info is None:
            self._client.forget_redirect()

    def probe(self) -> RemoteInfo:
        """Ask by HEAD which version is there or, where that is not allowed, for one byte.

        Raises:
            TransientError: It may be there a moment later.
            FetchError: It is not there.
        """
        response = self._client.send("HEAD", {})
        if response.status_code in _NO_HEAD:
            response.close()
            response = self._client.send("GET", {"Range": "bytes=0-0"})
        response.close()
        return self._checks.check(response.status_code, response.headers)

    def open(self, start: int, known: RemoteInfo) -> HttpStream:
        """Request the file from an offset to its end, as long as it is the version known.

        The version is named in If-Range (RFC 9110, 13.1.5), so that of another one the whole file
        comes. The caller has to look at the stream's `info` and `start`.

        Raises:
            TransientError: Another attempt may succeed.
            FetchError: It will not.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        condition = known.if_range()
        if start and condition is not None:
            headers["If-Range"] = condition
        stream = self._get(headers)
        if stream is None:
            raise self._checks.transient(
                "the file ends before the bytes that are missing", found="status 416"
            )
        return stream

    def read_range(self, start: int, stop: int) -> bytearray:
        """See `ArchiveFile`.

        Raises:
            FetchError: The server or the connection fails for good, the file was replaced since the
                first response, or ranges are not served.
        """
        if self._info is not None and self._info.size is not None:
            stop = min(stop, self._info.size)
        return self._fill(_Filling(start, stop))

    def read_tail(self, length: int) -> tuple[int, bytearray]:
        """Read the last bytes and learn size and version, in one request where the server can."""
        filling = self._retry(lambda: self._read_first(length))
        return filling.start, self._fill(filling)

    def _fill(self, filling: _Filling) -> bytearray:
        if filling.missing:
            self._retry(lambda: self._read_missing(filling), lambda: filling.done)
        return filling.buffer

    def _get(
        self, headers: Mapping[str, str], refusals: Collection[int] = (_BEYOND_END,)
    ) -> HttpStream | None:
        """Send a GET; None where the server refuses the range by one of these statuses."""
        response = self._client.send("GET", headers)
        try:
            if response.status_code not in refusals:
                return HttpStream(response, self._checks)
        except BaseException:
            response.close()
            raise
        response.close()
        return None

    def _read_first(self, length: int) -> _Filling:
        """Request a suffix, which some servers ignore or refuse (Azure's blob store knows none)."""
        stream = self._get({"Range": f"bytes=-{length}"}, _NO_SUFFIX)
        suffix_known = stream is not None
        if stream is None:
            stream = self._get({"Range": "bytes=0-0"})
        if stream is None:
            return _Filling(0, 0)  # there is no first byte
        with stream:
            size = self._pin(stream.info)
            filling = _Filling(max(0, size - length), size)
            if suffix_known and stream.stop is not None:
                self._check_place(stream, filling)
            if suffix_known and (stream.stop is not None or filling.start <= CHEAP_SKIP_BYTES):
                # What is cut off here is requested like any other range.
                with suppress(TransientError):
                    self._pour(stream, filling)
            return filling

    def _read_missing(self, filling: _Filling) -> None:
        stream = self._get({"Range": f"bytes={filling.position}-{filling.stop - 1}"})
        if stream is None:
            raise self._checks.changed(self._info or RemoteInfo(), "a shorter file (416)")
        with stream:
            self._pin(stream.info)
            if stream.stop is not None:
                self._check_place(stream, filling)
            elif filling.position > CHEAP_SKIP_BYTES:
                raise self._checks.refused(
                    "status 206 to a request with Range",
                    "status 200 and the whole file: the server does not serve byte ranges",
                    "download the parts first (geogen download), then pass data_dir",
                )
            self._pour(stream, filling)

    def _check_place(self, stream: HttpStream, filling: _Filling) -> None:
        if (stream.start, stream.stop) != (filling.position, filling.stop):
            raise self._checks.refused(
                f"bytes {filling.position}-{filling.stop - 1}",
                f"bytes {stream.start}-{(stream.stop or 0) - 1}",
            )

    def _pour(self, stream: HttpStream, filling: _Filling) -> None:
        """Move the body into the buffer as it arrives."""
        skip, view = filling.position - stream.start, memoryview(filling.buffer)
        with self._control.watching(stream):
            while filling.missing:
                data = stream.read()
                self._control.check()
                if not data:
                    raise self._checks.transient(
                        f"the response ended {filling.missing:,} bytes early",
                        expected=f"bytes {filling.start}-{filling.stop - 1}",
                    )
                dropped = min(skip, len(data))
                skip -= dropped
                kept = memoryview(data)[dropped : dropped + filling.missing]
                view[filling.done : filling.done + len(kept)] = kept
                filling.done += len(kept)
            if stream.stop is not None:
                # The end of the body: now the connection can be used again.
                with suppress(TransientError):
                    stream.read()


def hub_address(url: str, options: Mapping[str, Any] | None = None) -> tuple[str, dict[str, str]]:
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
            explain(
                "not the URL of a file on the Hugging Face Hub",
                expected="hf://datasets/<owner>/<name>/<file>, perhaps with @<revision>",
                found=url,
            )
        )
    options = options or {}
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
