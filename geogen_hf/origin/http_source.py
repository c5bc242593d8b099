"""One file on a web server, read from any offset on to its end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

import requests

from geogen_hf.errors import FetchError, explain
from geogen_hf.origin.headers import RemoteInfo, content_range, remote_info
from geogen_hf.origin.http import TransientError, check_status, make_session, network_errors

_READ_BYTES = 2**20
_NO_HEAD = frozenset({400, 403, 405, 501})


class HttpSource:
    """A file on a web server; used by one thread at a time."""

    def __init__(
        self,
        url: str,
        label: str,
        timeout: tuple[float, float],
        headers: Mapping[str, str],
        address: str | None = None,
    ) -> None:
        self.url = url
        self._address = address or url
        self._label = label
        self._timeout = timeout
        self._session = make_session(1)
        self._session.headers.update(headers)

    def probe(self) -> RemoteInfo:
        """Ask by HEAD which version is there or, where that is not allowed, for one byte.

        Raises:
            FetchError: It is not there; `TransientError` where it may be a moment later.
        """
        with network_errors(self._label, self.url):
            answer = self._ask("HEAD", {})
            if answer.status_code in _NO_HEAD:
                answer = self._ask("GET", {"Range": "bytes=0-0"})
            answer.close()
        self._check(answer)
        return remote_info(answer.status_code, answer.headers)

    def open(self, start: int, known: RemoteInfo) -> HttpStream:
        """See `Source.open`; a Range with If-Range (RFC 9110, 13.1.5), so at worst all comes."""
        wanted = {"Range": f"bytes={start}-"} if start else {}
        condition = known.if_range()
        if start and condition is not None:
            wanted["If-Range"] = condition
        with network_errors(self._label, self.url):
            answer = self._ask("GET", wanted)
        try:
            self._check(answer)
            return HttpStream(answer, self._label, self.url, self._place(answer))
        except FetchError:
            answer.close()
            raise

    def _ask(self, method: str, headers: Mapping[str, str]) -> requests.Response:
        return self._session.request(
            method,
            self._address,
            headers=dict(headers),
            stream=True,
            timeout=self._timeout,
            allow_redirects=True,
        )

    def _check(self, answer: requests.Response) -> None:
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise TransientError(self._explain("no bytes behind those we have", answer))
        check_status(answer.status_code, answer.headers, label=self._label, url=self.url)
        if answer.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise FetchError(
                self._explain(f"Content-Encoding {answer.headers['Content-Encoding']}", answer)
            )

    def _place(self, answer: requests.Response) -> int:
        if answer.status_code == HTTPStatus.OK:
            return 0
        place = content_range(answer.headers)
        if place is None or place.start is None:
            raise TransientError(self._explain("status 206 without Content-Range", answer))
        return place.start

    def _explain(self, found: str, answer: requests.Response) -> str:
        return explain(
            f"{self._label}: the server does not send what was asked for",
            where=self.url,
            found=f"{found} (status {answer.status_code})",
            remedy="choose another source with base_url, if it stays like this",
        )


class HttpStream:
    """An answer whose body is being read; see `sources.Stream`."""

    def __init__(self, answer: requests.Response, label: str, url: str, start: int) -> None:
        self.start = start
        self.info = remote_info(answer.status_code, answer.headers)
        self._answer = answer
        self._label, self._url = label, url

    def read(self) -> bytes:
        """Wait for some bytes, at most 1 MiB; empty at the end."""
        with network_errors(self._label, self._url):
            data: bytes = self._answer.raw.read1(_READ_BYTES)
        return data

    def abort(self) -> None:
        """End a read that another thread is waiting in."""
        # Raised where the last byte has arrived already, which is as good.
        with suppress(ValueError, RuntimeError, OSError):
            self._answer.raw.shutdown()

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._answer.close()
