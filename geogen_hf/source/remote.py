"""Files behind URLs: what their readers share, when to try again, and the reader through fsspec.

Open this for which statuses are worth another request, how long is waited and when it is given up
(`RETRY`, `TransferOptions`, `RemoteFile.retry`), or for `s3://`, `memory://`, `file://` and all
else that is not HTTP (`FsspecFile`). `http_reader` holds the other reader.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import urllib3
from fsspec.core import url_to_fs

from geogen_hf.errors import FetchError, UsageError, one_line, redact
from geogen_hf.source.location import ArchiveFile, Location, RemoteInfo
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)
_TOLD_AFTER = 3  # attempts: some seconds, after which a person wonders
T = TypeVar("T")

RETRY = urllib3.Retry(
    total=7,
    status_forcelist=(408, 425, 429, 500, 502, 503, 504),
    backoff_factor=0.5,
    backoff_jitter=0.5,  # keeps clients from returning all at once
    backoff_max=30,
)
"""Eight attempts in a row without progress; waits of 0, 1, 2, 4 … 30 s and up to 0.5 s more."""
LEAST_PROGRESS_BYTES = 1024
"""An attempt that brings fewer new bytes than this counts as a failed one."""
PAGE_REMEDY = "open the URL in a browser: a login, a proxy or an outage may answer"
_LEAST_RATE_LIMIT_WAIT_S = 0.5
_READ_BYTES = 2**20
# What file systems call a version in the result of `info`.
_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "VersionId")
_DATES = ("LastModified", "last_modified", "mtime", "updated", "created")
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class TransientError(FetchError):
    """A failure that may pass: the next attempt may succeed.

    Attributes:
        reason: What failed, in a few words without part and URL.
        remedy: What the reader can do.
        retry_after_s: How long the server asks to wait, seconds.
        rate_limited: Whether the server counts requests (429) and says when to come again. Waiting
            for that is no failure, however often.
    """

    reason = ""
    remedy: str | None = None
    retry_after_s = 0.0
    rate_limited = False


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """Timeouts, retries and syncs of a transfer.

    Attributes:
        retry: How many attempts may fail in a row without progress, and the waits in between.
        max_retry_after_s: Longest wait that a server's `Retry-After` is granted, seconds. The
            Hugging Face Hub counts requests by windows of 300 s.
        read_s: Longest wait for the next bytes, seconds; also the time within which the status
            line and all headers have to be here, and in which at least 1 KiB of a body has to come.
        sync_s: Time between two syncs to disk, seconds: what a power cut can cost.
        digest: Whether to hash what comes, for a lock file.
    """

    retry: urllib3.Retry = RETRY
    max_retry_after_s: float = 300.0
    read_s: float = 60.0
    sync_s: float = 2.0
    digest: bool = True


OPTIONS = TransferOptions(read_s=30.0)
"""Timeouts and retries of reads, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A file that is being read from one offset on; to be closed.

    Attributes:
        info: Version of the file that is being sent.
        start: Offset of the first byte in the file.
        stop: Offset behind the last byte, where the server says so.
        read: Waits for some bytes, at most 1 MiB; empty at the end. Raises as `RemoteFile.open`.
        close: Lets go of it.
        abort: Ends a read that another thread is waiting in, where that can be done.
    """

    info: RemoteInfo
    start: int
    stop: int | None
    read: Callable[[], bytes]
    close: Callable[[], None]
    abort: Callable[[], None] = lambda: None


class RemoteFile(ArchiveFile):
    """A file behind a URL, of which one version is read.

    `probe` and `open` are single attempts, for downloads. `read_range` and `read_tail` retry, and
    raise `FetchError` where the file cannot be read, or was replaced. Nothing here is picklable or
    survives a fork: a `Location` travels between processes, and each connects for itself.

    Args:
        location: Where it is, and the version to insist on; nothing is connected to yet.
        options: Timeouts and retries; None for `OPTIONS`.
        control: Ends reads and waits when told to stop; None for one of its own, for `close`.
    """

    def __init__(
        self,
        location: Location,
        options: TransferOptions | None = None,
        control: Control | None = None,
    ) -> None:
        self.options = options or OPTIONS
        self.location = location
        self.control = control or Control()

    @abstractmethod
    def probe(self) -> RemoteInfo:
        """Ask which version is there.

        Raises:
            TransientError: It may be there a moment later.
            FetchError: It is not there.
        """

    @abstractmethod
    def open(self, start: int, known: RemoteInfo) -> Stream:
        """Request the file from an offset to its end, as long as it is the version known.

        The stream may be of another version, or start at 0: the caller has to look.

        Raises:
            TransientError: Another attempt may succeed.
            FetchError: It will not.
        """

    def close(self) -> None:
        """Make reads and waits in other threads give up."""
        self.control.stop()

    def retry(self, attempt: Callable[[], T], offset: Callable[[], int] = lambda: 0) -> T:
        """Attempt something until it works, fails for good, or fails too often without progress.

        Which statuses are worth it and the growing waits are those of `urllib3.Retry`; its count
        starts anew whenever there is progress.

        Args:
            attempt: What may raise `TransientError`.
            offset: How far it has come, bytes. Only what was never reached before is progress: a
                transfer that always starts anew and always breaks at one place comes to an end.

        Raises:
            FetchError: It failed for good, or was given up.
        """
        policy, farthest = self.options.retry, offset()
        while True:
            try:
                return attempt()
            except TransientError as error:
                self.control.check()
                wait_s = min(error.retry_after_s, self.options.max_retry_after_s)
                if error.rate_limited:
                    label = self.location.label
                    self.control.tell_once(f"{label}: the server limits requests; waiting for it")
                    self.control.wait(max(wait_s, _LEAST_RATE_LIMIT_WAIT_S))
                    continue
                if offset() >= farthest + LEAST_PROGRESS_BYTES:
                    policy, farthest = self.options.retry, offset()
                attempts = len(policy.history) + 1
                try:
                    policy = policy.increment(error=error)
                except urllib3.exceptions.MaxRetryError:
                    kept = f": {offset():,} bytes are kept and not fetched again"
                    again = kept if offset() else ", or choose another source with base_url"
                    raise self.failure(
                        f"given up after {attempts} attempts in a row without progress",
                        found=error.reason,
                        remedy="; ".join(filter(None, (error.remedy, f"run again later{again}"))),
                    ) from error
                if attempts == _TOLD_AFTER:
                    host = urlsplit(str(self.location)).netloc
                    _warn_once(f"{host}: {error.reason}; trying again")
                wait_s = max(wait_s, policy.get_backoff_time())
                logger.info("next attempt in %.1f s: %s", wait_s, one_line(error))
                self.control.wait(wait_s)

    def failure(self, what: str, **facts: Any) -> FetchError:
        """Describe a failure that will not pass, with the facts that `explain` takes."""
        return FetchError(f"{self.location.label}: {what}", where=self.location, **facts)

    def transient(self, what: str, **facts: Any) -> TransientError:
        """Describe a failure that may pass."""
        error = TransientError(f"{self.location.label}: {what}", where=self.location, **facts)
        found, error.remedy = facts.get("found"), facts.get("remedy")
        error.reason = redact(what if found is None else f"{what} ({found})")
        return error

    def refused(
        self, expected: str, found: object, remedy: str = "choose another source with base_url"
    ) -> FetchError:
        """Describe a response that is of no use, and will not be another time."""
        what = "the response does not hold what was requested"
        return self.failure(what, expected=expected, found=found, remedy=remedy)

    def _changed(self, found: object) -> FetchError:
        what = "changed upstream while it was being read"
        remedy = "load the data set anew, to read the new version"
        return self.failure(what, expected=self.location.version, found=found, remedy=remedy)

    def _pin(self, found: RemoteInfo) -> int:
        """Refuse another version than the first one; return the file's size."""
        known = self.location.version
        if known is not None and not known.same_version(found):
            raise self._changed(found)
        size = found.size if found.size is not None or known is None else known.size
        if size is None:
            raise self.refused("the size of the file", found)
        if known is None:
            self.location = replace(self.location, version=found)
        return size


def open_remote(
    location: Location, options: TransferOptions | None = None, control: Control | None = None
) -> RemoteFile:
    """Choose the reader of a URL: HTTP for `http(s)://` and `hf://`, else fsspec, also on disk.

    Takes what `RemoteFile` takes.

    Raises:
        UsageError: No installed package opens this kind of URL.
    """
    scheme, _, rest = location.address.partition("://")
    # Other options of HTTP than headers are those of fsspec's own client; buckets have no address.
    plain_http = scheme in ("http", "https") and location.options().keys() <= {"headers"}
    if plain_http or (scheme == "hf" and not rest.startswith("buckets/")):
        from geogen_hf.source.http_reader import HttpFile  # here, since it imports requests

        return HttpFile(location, options, control)
    return FsspecFile(location, options, control)


class FsspecFile(RemoteFile):
    """A file behind any URL that fsspec opens, or on disk.

    File systems tell no version along with the bytes. So versions are compared before the first
    read; what changes after that is found by the members' checksums.

    Raises:
        UsageError: fsspec does not know this kind of URL, or lacks a package for it.
    """

    def __init__(
        self,
        location: Location,
        options: TransferOptions | None = None,
        control: Control | None = None,
    ) -> None:
        super().__init__(location, options, control)
        self._size: int | None = None
        try:
            self._filesystem, self._path = url_to_fs(location.address, **location.options())
        except Exception as error:  # file systems raise what they like
            raise UsageError(
                f"{location.label}: no file system for this URL",
                where=location,
                found=error,
                remedy="install the package that fsspec needs for it, for example s3fs",
            ) from error

    def _attempt(self, read: Callable[[], T]) -> T:
        """Call something of the file system once."""
        try:
            return read()
        except Exception as error:  # of the libraries below a file system, of any class
            final = isinstance(error, _FINAL)
            raise (self.failure if final else self.transient)(
                "cannot be read",
                found=f"{type(error).__name__}: {error}",
                remedy="check the URL, and that you may read it",
            ) from error

    def probe(self) -> RemoteInfo:
        """See `RemoteFile`."""
        found: dict[str, Any] = self._attempt(lambda: self._filesystem.info(self._path))
        size = found.get("size")
        tag, date = (
            next((str(found[key]) for key in keys if found.get(key)), None)
            for keys in (_TAGS, _DATES)
        )
        return RemoteInfo(None if size is None else int(size), tag, date)

    def open(self, start: int, known: RemoteInfo) -> Stream:
        """See `RemoteFile`; a read cannot be aborted, but is short."""
        info = self.probe()
        file: BinaryIO = self._attempt(lambda: self._filesystem.open(self._path, "rb"))
        self._attempt(lambda: file.seek(start))
        read = lambda: self._attempt(lambda: file.read(_READ_BYTES))  # noqa: E731
        return Stream(info, start, None, read, file.close)

    def read_range(self, start: int, stop: int) -> bytes:
        """See `RemoteFile`."""
        stop = min(stop, self._learn_size())
        if start >= stop:
            return b""
        # A file system with a cache of its own would read ahead, and throw that away.
        options = {} if self._filesystem.async_impl else {"cache_type": "none"}
        read = lambda: self._filesystem.cat_file(self._path, start=start, end=stop, **options)  # noqa: E731
        data: bytes = self.retry(lambda: self._attempt(read))
        return data

    def read_tail(self, length: int) -> tuple[int, bytes]:
        """See `RemoteFile`."""
        size = self._learn_size()
        start = max(0, size - length)
        return start, self.read_range(start, size)

    def _learn_size(self) -> int:
        if self._size is None:
            self._size = self._pin(self.retry(self.probe))
        return self._size


@cache
def _warn_once(message: str) -> None:
    """Warn, unless the same was said before: eight parts of one host have one message."""
    logger.warning("%s", message)
