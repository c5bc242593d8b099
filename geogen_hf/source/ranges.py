"""Archives behind URLs: byte ranges of them, and their directories out of their last bytes.

Nothing here is picklable or survives a fork: what travels between processes is the URL and the
version (`headers.RemoteInfo`), and each process connects for itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar

import requests
from fsspec.core import url_to_fs

from geogen_hf.errors import FetchError, explain
from geogen_hf.source.http import (
    RemoteInfo,
    TransientError,
    check_status,
    content_range,
    make_session,
    network_errors,
    remote_info,
)
from geogen_hf.source.location import Location
from geogen_hf.source.retry import LEAST_PROGRESS_BYTES, TransferOptions, persist
from geogen_hf.source.streams import FsspecSource, HttpStream
from geogen_hf.threads import Control


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, for messages.

    Attributes:
        label: The part's name.
        url: Where it is.
    """

    label: str
    url: str

    def check_version(
        self, status: int, headers: Mapping[str, str], known: RemoteInfo | None
    ) -> RemoteInfo:
        """Refuse an answer that is no file, or of another version.

        Args:
            status: The answer's.
            headers: The answer's.
            known: The version to insist on; None for any.

        Returns:
            The version the answer is of; its size is known.

        Raises:
            TransientError: Another attempt may succeed.
            FetchError: It will not, or the file was replaced.
        """
        check_status(status, headers, label=self.label, url=self.url)
        if headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise self.refused("bytes as they are", f"encoded: {headers['Content-Encoding']}")
        info = remote_info(status, headers)
        if known is not None and not known.same_version(info):
            raise self.changed(known, _describe(info))
        if info.size is None and (known is None or known.size is None):
            raise self.refused("the size of the file", "neither Content-Length nor Content-Range")
        return info

    def check_place(self, headers: Mapping[str, str], start: int, stop: int) -> None:
        """Refuse an answer of status 206 that does not hold `[start, stop)`.

        Raises:
            FetchError: It does not.
        """
        place = content_range(headers)
        if place is None or (place.start, place.stop) != (start, stop):
            found = headers.get("Content-Range", "no Content-Range")
            raise self.refused(f"bytes {start}-{stop - 1}", found)

    def changed(self, known: RemoteInfo, found: str) -> FetchError:
        """The file was replaced."""
        return FetchError(
            explain(
                f"{self.label}: changed upstream while it was being read",
                where=self.url,
                expected=_describe(known),
                found=found,
                remedy="load the data set anew, to read the new version",
            )
        )

    def refused(self, expected: str, found: str) -> FetchError:
        """The answer is of no use."""
        return FetchError(
            explain(
                f"{self.label}: the server does not send what was asked for",
                where=self.url,
                expected=expected,
                found=found,
                remedy="choose another source with base_url",
            )
        )

    def without_ranges(self) -> FetchError:
        """The server sends whole files only."""
        return FetchError(
            explain(
                f"{self.label}: the server does not serve byte ranges",
                where=self.url,
                expected="status 206 to a request with Range",
                found="status 200 and the whole file",
                remedy="download the parts first (geogen download), then pass data_dir",
            )
        )


def _describe(info: RemoteInfo) -> str:
    return f"{info.size} bytes, ETag {info.etag}, last modified {info.last_modified}"


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
        location: Location,
        *,
        address: str | None = None,
        headers: Mapping[str, str] | None = None,
        options: TransferOptions | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            location: Where it is, and the version to insist on.
            address: Where to ask for it (`http://` or `https://`); None for `url`.
            headers: Sent along, for example for authorization.
            options: How patiently to read; None for `OPTIONS`.
        """
        self._location = location
        self.url = url = location.address
        self.info = location.version
        self._address = address or url
        self._headers = dict(headers or {})
        self._asked = Asked(location.label, url)
        self._options = options or OPTIONS
        self._control = Control()
        self._prepared: tuple[requests.PreparedRequest, dict[str, Any]] | None = None

    @property
    def location(self) -> Location:
        """Its description, with the version that is read once that is known."""
        return self._location.at(self.info)

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


class FsspecFile:
    """A remote file, read at any place, by any thread.

    File systems tell no version along with a range. So versions are compared once, before the first
    read; what changes after that is found by the members' checksums.

    Attributes:
        url: Where it is.
        info: Size and version; None until the first read.
    """

    def __init__(
        self,
        location: Location,
        *,
        storage_options: Mapping[str, Any] | None = None,
        options: TransferOptions | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            location: Where it is, and the version to insist on.
            storage_options: For the file system, such as keys.
            options: How patiently to read; None for the default.

        Raises:
            UsageError: fsspec does not know this kind of URL, or lacks a package for it.
        """
        self._location = location
        self.url = url = location.address
        self.info = location.version
        self._label = location.label
        self._options = options or TransferOptions()
        self._control = Control()
        self._lock = threading.Lock()
        self._source = FsspecSource(url, self._label, storage_options)
        self._filesystem, self._path = url_to_fs(url, **(storage_options or {}))
        self._size: int | None = None

    @property
    def location(self) -> Location:
        """Its description, with the version that is read once that is known."""
        return self._location.at(self.info)

    def close(self) -> None:
        """Make waits in other threads end."""
        self._control.stop()

    def read_range(self, start: int, stop: int) -> bytes:
        """Read `[start, stop)`; fewer bytes where the file ends earlier.

        Raises:
            FetchError: It cannot be read, or is not the version expected.
        """
        stop = min(stop, self._learn_size())
        if start >= stop:
            return b""
        options: dict[str, Any] = {}
        if not self._filesystem.async_impl:
            options["cache_type"] = "none"  # else it reads ahead, and throws that away
        data: bytes = self._persist(
            lambda: self._filesystem.cat_file(self._path, start=start, end=stop, **options)
        )
        return data

    def read_tail(self, length: int) -> tuple[int, bytes]:
        """Read the last bytes and learn size and version.

        Args:
            length: How many bytes; all where the file is shorter.

        Returns:
            The offset of the first of them, and the bytes.

        Raises:
            FetchError: As `read_range`.
        """
        size = self._learn_size()
        start = max(0, size - length)
        return start, self.read_range(start, size)

    def _learn_size(self) -> int:
        with self._lock:
            if self._size is None:
                found = self._persist(self._source.probe)
                if self.info is not None and not self.info.same_version(found):
                    raise self._refused("changed upstream while it was being read", found)
                if found.size is None:
                    raise self._refused("its size is not known", found)
                self.info, self._size = found, found.size
            return self._size

    def _persist(self, attempt: Callable[[], T]) -> T:
        def once() -> T:
            try:
                return attempt()
            except FetchError:
                raise
            except OSError as error:
                raise self._source.failure(error) from error

        return persist(
            once, label=self._label, url=self.url, control=self._control, options=self._options
        )

    def _refused(self, what: str, found: RemoteInfo) -> FetchError:
        return FetchError(
            explain(
                f"{self._label}: {what}",
                where=self.url,
                expected=self.info,
                found=found,
                remedy="load the data set anew, or choose another source with base_url",
            )
        )


def open_remote(location: Location) -> HttpFile | FsspecFile:
    """Make a reader for a URL; nothing is connected to yet.

    Args:
        location: `https://`, `hf://`, or any URL fsspec opens.
    """
    url, credentials = location.address, location.credentials
    options = {} if credentials is None else credentials.for_url(url)
    if url.startswith(("http://", "https://")) and options.keys() <= {"headers"}:
        return HttpFile(location, headers=options.get("headers"))
    if url.startswith("hf://") and not url.startswith("hf://buckets/"):
        from geogen_hf.source.streams import hub_address

        address, headers = hub_address(url, options)
        return HttpFile(location, address=address, headers=headers)

    return FsspecFile(location, storage_options=options)
