"""A file on a web server, read by byte ranges; one version of it and no other.

What is pinned at the first answer (size, ETag, date) is compared with every later one: a file that
is replaced while it is being read is an error, not a mixture of two.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar

import requests

from geogen_hf.errors import explain
from geogen_hf.origin.answers import Asked
from geogen_hf.origin.headers import RemoteInfo
from geogen_hf.origin.http import TransientError, make_session, network_errors
from geogen_hf.origin.http_source import HttpStream
from geogen_hf.origin.patience import LEAST_PROGRESS_BYTES, TransferOptions, persist
from geogen_hf.origin.workers import Control
from geogen_hf.parts import archive_label

T = TypeVar("T")

CHEAP_SKIP_BYTES = 256 * 2**10
"""Where a server ignores `Range`, so much is read and thrown away; for more, it is refused."""
OPTIONS = TransferOptions(read_s=30.0)
"""How patiently to read, unless told otherwise."""
_REFUSES_SUFFIX = frozenset({400, 416, 501})


@dataclass
class _Filling:
    """Bytes wanted from `start` on, and how many of them are there."""

    start: int
    buffer: bytearray
    done: int = 0

    @property
    def position(self) -> int:
        return self.start + self.done

    @property
    def stop(self) -> int:
        return self.start + len(self.buffer)

    @property
    def missing(self) -> int:
        return len(self.buffer) - self.done


@lru_cache(maxsize=1)
def _session_of(process: int) -> requests.Session:
    # One a process: a connection must not be shared with a forked child.
    return make_session(32)


class HttpFile:
    """A remote file, read at any place, by any thread.

    Attributes:
        url: Where it is.
        info: Size and version; None until the first answer.
    """

    def __init__(
        self,
        url: str,
        info: RemoteInfo | None = None,
        *,
        address: str | None = None,
        headers: Mapping[str, str] | None = None,
        options: TransferOptions | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: What messages call it.
            info: The version to insist on; None for the one first seen.
            address: Where to ask for it (`http://` or `https://`); None for `url`.
            headers: Sent along, for example for authorization.
            options: How patiently to read; None for `OPTIONS`.
        """
        self.url = url
        self.info = info
        self._address = address or url
        self._headers = dict(headers or {})
        self._asked = Asked(archive_label(url), url)
        self._options = options or OPTIONS
        self._control = Control()
        self._prepared: tuple[requests.PreparedRequest, dict[str, Any]] | None = None

    def close(self) -> None:
        """Make reads under way in other threads give up."""
        self._control.stop()

    def read_range(self, start: int, stop: int) -> bytearray:
        """Read `[start, stop)`; fewer bytes where the file ends earlier.

        Raises:
            FetchError: The server or the connection fails for good, the file was replaced since the
                first answer, or ranges are not served.
        """
        if self.info is not None and self.info.size is not None:
            stop = min(stop, self.info.size)
        return self._fill(_Filling(start, bytearray(max(0, stop - start))))

    def read_tail(self, length: int) -> tuple[int, bytearray]:
        """Read the last bytes and learn size and version, in one request where the server can.

        Args:
            length: How many bytes; all where the file is shorter.

        Returns:
            The offset of the first of them, and the bytes.

        Raises:
            FetchError: As `read_range`.
        """
        filling = self._persist(lambda: self._first_contact(length))
        return filling.start, self._fill(filling)

    def _fill(self, filling: _Filling) -> bytearray:
        if filling.missing:
            self._persist(lambda: self._attempt(filling), lambda: filling.done)
        return filling.buffer

    def _persist(self, attempt: Callable[[], T], done: Callable[[], int] = lambda: 0) -> T:
        def once() -> T:
            with network_errors(self._asked.label, self.url):
                return attempt()

        return persist(
            once,
            label=self._asked.label,
            url=self.url,
            control=self._control,
            options=self._options,
            offset=done,
        )

    def _get(self, wanted: str) -> requests.Response:
        session = _session_of(os.getpid())
        if self._prepared is None:
            # Once: looking up proxies, certificates and .netrc takes longer than the rest.
            request = requests.Request("GET", self._address, headers=self._headers)
            settings = session.merge_environment_settings(self._address, {}, True, None, None)
            self._prepared = session.prepare_request(request), settings
        prepared, settings = self._prepared
        asked = prepared.copy()
        asked.headers["Range"] = f"bytes={wanted}"
        timeout = (self._options.connect_s, self._options.read_s)
        return session.send(asked, timeout=timeout, allow_redirects=True, **settings)

    def _first_contact(self, length: int) -> _Filling:
        """Ask for a suffix, which some servers ignore or refuse (Azure's blob store knows none)."""
        with self._get(f"-{length}") as answer:
            if answer.status_code not in _REFUSES_SUFFIX:
                filling = _tail_of(self._check(answer), length)
                ignored = answer.status_code == HTTPStatus.OK
                if not ignored:
                    self._asked.check_place(answer.headers, filling.position, filling.stop)
                if not ignored or filling.start <= CHEAP_SKIP_BYTES:
                    # What is cut off here is asked for like any other range.
                    with suppress(TransientError), network_errors(self._asked.label, self.url):
                        self._pour(answer, filling, skip=filling.start if ignored else 0)
                return filling
        with self._get("0-0") as answer:
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return _Filling(0, bytearray())  # there is no first byte
            return _tail_of(self._check(answer), length)

    def _attempt(self, filling: _Filling) -> None:
        with self._get(f"{filling.position}-{filling.stop - 1}") as answer:
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise self._asked.changed(self.info or RemoteInfo(), "a shorter file (416)")
            self._check(answer)
            if answer.status_code == HTTPStatus.OK:
                if filling.position > CHEAP_SKIP_BYTES:
                    raise self._asked.without_ranges()
                self._pour(answer, filling, skip=filling.position)
            else:
                self._asked.check_place(answer.headers, filling.position, filling.stop)
                self._pour(answer, filling, skip=0)

    def _check(self, answer: requests.Response) -> int:
        """Refuse an answer about another version; pin the first one's, return the file's size."""
        info = self._asked.check_version(answer.status_code, answer.headers, self.info)
        if self.info is None:
            self.info = info
        return (self.info.size if info.size is None else info.size) or 0

    def _pour(self, answer: requests.Response, filling: _Filling, skip: int) -> None:
        """Move the body into the buffer as it arrives."""
        since, until = 0, time.monotonic() + self._options.read_s
        taken, view = 0, memoryview(filling.buffer)
        stream = HttpStream(answer, self._asked.label, self.url, filling.position - skip)
        with self._control.watching(stream):
            while filling.missing:
                data = stream.read()
                self._control.check()
                if not data:
                    raise TransientError(self._cut_short(filling, "the end of the body"))
                taken += len(data)
                dropped = min(skip, len(data))
                skip -= dropped
                kept = memoryview(data)[dropped : dropped + filling.missing]
                view[filling.done : filling.done + len(kept)] = kept
                filling.done += len(kept)
                if time.monotonic() >= until:
                    if taken - since < LEAST_PROGRESS_BYTES:
                        raise TransientError(self._cut_short(filling, f"{taken - since} bytes"))
                    since, until = taken, time.monotonic() + self._options.read_s
            if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
                stream.read()  # the end of the body: now the connection can be used again

    def _cut_short(self, filling: _Filling, found: str) -> str:
        return explain(
            f"{self._asked.label}: broke off {filling.missing:,} bytes early",
            where=self.url,
            expected=f"bytes {filling.start}-{filling.stop - 1}",
            found=f"{found} in {self._options.read_s:g} s" if found[0].isdigit() else found,
        )


def _tail_of(size: int, length: int) -> _Filling:
    start = max(0, size - length)
    return _Filling(start, bytearray(size - start))
