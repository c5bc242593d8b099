"""Where bytes come from: one file at a URL, read from any offset on to its end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote

import requests
from fsspec.core import url_to_fs

from geogen_hf.errors import FetchError, UsageError, explain
from geogen_hf.source.http import (
    RemoteInfo,
    TransientError,
    check_status,
    content_range,
    make_session,
    network_errors,
    remote_info,
)

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


_FSSPEC_READ_BYTES = 2**20
_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "VersionId")
_DATES = ("LastModified", "last_modified", "mtime", "updated", "created")


class FsspecSource:
    """A file behind any other URL, or on disk."""

    def __init__(
        self, url: str, label: str, storage_options: Mapping[str, Any] | None = None
    ) -> None:
        self.url = url
        self._label = label
        try:
            self._filesystem, self._path = url_to_fs(url, **(storage_options or {}))
        except (ValueError, ImportError) as error:
            raise UsageError(
                explain(
                    f"{label}: no file system for this URL",
                    where=url,
                    found=error,
                    remedy="install the package that fsspec needs for it, for example s3fs",
                )
            ) from error

    def probe(self) -> RemoteInfo:
        """Ask which version is there.

        Raises:
            FetchError: It is not there; `TransientError` where it may be a moment later.
        """
        try:
            found: dict[str, Any] = self._filesystem.info(self._path)
        except OSError as error:
            raise self.failure(error) from error
        size = found.get("size")
        tags = [str(found[key]) for key in _TAGS if found.get(key)]
        dates = [str(found[key]) for key in _DATES if found.get(key)]
        return RemoteInfo(
            size=None if size is None else int(size),
            etag=tags[0] if tags else None,
            last_modified=dates[0] if dates else None,
            accepts_ranges=True,
        )

    def open(self, start: int, known: RemoteInfo) -> FsspecStream:
        """See `Source.open`; versions are compared before and after, not by the server."""
        info = self.probe()
        try:
            file = self._filesystem.open(self._path, "rb")
            file.seek(start)
        except OSError as error:
            raise self.failure(error) from error
        return FsspecStream(self, file, start, info)

    def failure(self, error: OSError) -> FetchError:
        """Say what failed, as an error that tells whether it may pass."""
        final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
        kind = FetchError if isinstance(error, final) else TransientError
        return kind(
            explain(
                f"{self._label}: cannot be read",
                where=self.url,
                found=f"{type(error).__name__}: {error}",
                remedy="check the URL, and that you may read it",
            )
        )


class FsspecStream:
    """An open file that is being read; see `sources.Stream`."""

    def __init__(self, source: FsspecSource, file: BinaryIO, start: int, info: RemoteInfo) -> None:
        self.start, self.info = start, info
        self._source, self._file = source, file

    def read(self) -> bytes:
        """Wait for some bytes, at most 1 MiB; empty at the end."""
        try:
            return self._file.read(_FSSPEC_READ_BYTES)
        except OSError as error:
            raise self._source.failure(error) from error

    def abort(self) -> None:
        """Nothing can end a read of fsspec; it is short, and the next one does not come."""

    def __enter__(self) -> FsspecStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()


_HUB_URL = re.compile(
    r"hf://(?:(datasets|spaces)/)?([^/@]+/[^/@]+)(?:@(refs/[^/]+/[^/]+|[^/]+))?/(.+)"
)


class Stream(Protocol):
    """A file on its way, from one offset on; a context manager.

    Attributes:
        start: Offset of the first byte in the file.
        info: Version of the file that is being sent.
    """

    start: int
    info: RemoteInfo

    def read(self) -> bytes:
        """Wait for some bytes, at most 1 MiB; empty at the end."""
        ...

    def abort(self) -> None:
        """End a read that another thread is waiting in."""
        ...

    def __enter__(self) -> Stream: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Source(Protocol):
    """One file at a URL."""

    @property
    def url(self) -> str:
        """Where it is, as asked for."""
        ...

    def probe(self) -> RemoteInfo:
        """Ask which version is there."""
        ...

    def open(self, start: int, known: RemoteInfo) -> Stream:
        """Ask for the file from an offset on, as long as it is the version known.

        The answer may be another version, or start at 0: its reader has to look.
        """
        ...


def open_source(
    url: str,
    label: str,
    *,
    connect_s: float = 10.0,
    read_s: float = 60.0,
    headers: Mapping[str, str] | None = None,
) -> Source:
    """Choose how to read a URL: by HTTP where it is `http(s)://` or `hf://`, else through fsspec.

    Files on the Hugging Face Hub are asked for at the address that the Hub gives them, so they
    resume like all others and do not pass through its cache on disk.

    Args:
        url: Of the file, or its path.
        label: The part's name, for messages.
        connect_s: Longest wait for a connection, seconds.
        read_s: Longest wait for the next bytes, seconds.
        headers: Sent along, for example for authorization.

    Raises:
        UsageError: fsspec does not know this kind of URL, or lacks a package for it.
    """
    if url.startswith("hf://") and not url.startswith("hf://buckets/"):
        address, hub_headers = hub_address(url)
        headers = {**hub_headers, **(headers or {})}
        return HttpSource(url, label, (connect_s, read_s), headers, address)
    if url.startswith(("http://", "https://")):
        return HttpSource(url, label, (connect_s, read_s), headers or {})
    return FsspecSource(url, label)


def hub_address(url: str, options: Mapping[str, Any] | None = None) -> tuple[str, dict[str, str]]:
    """Translate an `hf://` URL into the one that serves the file, and what to send along.

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
