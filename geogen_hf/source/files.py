"""Open files, read at any offset: on disk, and what all readers of URLs share.

Open this for which statuses are worth another request, how long is waited and when it is given up
(`RETRY`, `TransferOptions`, `RemoteFile.retry`), or for `s3://`, `memory://`, `file://` and all
else that is not HTTP (`_FsspecFile`). `http_reader` holds the other reader.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import urllib3
from fsspec.core import url_to_fs

from geogen_hf.errors import ArchiveError, FetchError, PartsError, UsageError, one_line, redact
from geogen_hf.source.parts import Location, RemoteInfo
from geogen_hf.threads import Control

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

logger = logging.getLogger(__name__)
T = TypeVar("T")

TAIL_BYTES = 128 * 2**10
"""Fetched at first contact: room for the directory of a zip with 1,500 members and zip64's records,
or for the footer of a Parquet file with 200 row groups."""
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
_TOLD_AFTER = 3  # attempts: some seconds, after which a person wonders
_LEAST_RATE_LIMIT_WAIT_S = 0.5
_READ_BYTES = 2**20
# What file systems call a version in the result of `info`.
_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "VersionId")
_DATES = ("LastModified", "last_modified", "mtime", "updated", "created")
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class ArchiveFile(ABC):
    """An open file whose bytes any thread can read at any offset; it belongs to one process."""

    location: Location
    """Its description, with the version that is read once that is known."""

    @abstractmethod
    def read_range(self, start: int, stop: int) -> bytes | bytearray:
        """Read `[start, stop)`; fewer bytes where the file ends earlier."""

    @abstractmethod
    def read_tail(self, length: int) -> tuple[int, bytes | bytearray]:
        """Read the last bytes, or the whole file if it is shorter; return their offset and them."""

    @abstractmethod
    def close(self) -> None:
        """Close it; reads that other threads wait for give up."""


def open_file(location: Location) -> ArchiveFile:
    """Open a file for reads at any offset; behind a URL, nothing is connected to yet."""
    return open_remote(location) if location.remote else _LocalFile(location)


class _LocalFile(ArchiveFile):
    """A file on disk.

    It is not mapped into memory: mapped pages count as resident for as long as the mapping lives
    (17 GB of them over a whole release), and a file that is truncated meanwhile kills the process
    instead of raising.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._lock = threading.Lock()
        try:
            self._file = open(location.address, "rb", buffering=0)  # noqa: SIM115
        except IsADirectoryError as error:
            raise ArchiveError("not a zip archive", where=location, found="a folder") from error
        except OSError as error:  # deleted meanwhile, or not for this user to read
            kind = PartsError if isinstance(error, FileNotFoundError) else ArchiveError
            raise kind(
                "a part cannot be opened",
                where=location,
                found=error.strerror or error,
                remedy="put it back, or fix its permissions",
            ) from error

    def read_range(self, start: int, stop: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(stop - start)

    def read_tail(self, length: int) -> tuple[int, bytes]:
        size = os.fstat(self._file.fileno()).st_size
        start = max(0, size - length)
        return start, self.read_range(start, size)

    def close(self) -> None:
        self._file.close()


class SeekableFile(io.RawIOBase):
    """An open file as libraries want it that seek and read, with its last bytes at hand.

    Formats that are read from the end (zip, Parquet) then cost one request for what is there.
    Closing it leaves the open file to whoever opened that.
    """

    def __init__(self, file: ArchiveFile) -> None:
        super().__init__()
        self.file = file
        self._tail_start, self._tail = file.read_tail(TAIL_BYTES)
        self.size = self._tail_start + len(self._tail)
        self._position = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Choose the offset of the next read."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            # zipfile expects this of a file too short to hold an end record.
            raise OSError(f"offset {base + offset} of {self.file.location}")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read from there, at most to the end."""
        start = min(self._position, self.size)
        stop = self.size if size is None or size < 0 else min(start + size, self.size)
        self._position = stop
        if stop <= self._tail_start:
            return bytes(self.file.read_range(start, stop))  # joined with nothing, it is copied
        before = self.file.read_range(start, self._tail_start) if start < self._tail_start else b""
        tail = self._tail[max(0, start - self._tail_start) : stop - self._tail_start]
        return b"".join((before, tail))


@contextmanager
def open_parquet(location: Location) -> Iterator[ParquetFile]:
    """Open a Parquet file. Only what is used is read: adjacent columns in one range.

    A file on the Hub is asked for once, because the Hub counts requests that it redirects. What
    pyarrow raises of a damaged file is its own.
    """
    import pyarrow.parquet as pq  # here: a download needs none

    with (
        closing(open_file(location)) as file,
        pq.ParquetFile(SeekableFile(file), pre_buffer=True) as parquet,
    ):
        yield parquet


class TransientError(FetchError):
    """A failure that may pass: the next attempt may succeed."""

    reason = ""
    """What failed, in a few words without part and URL."""
    remedy: str | None = None
    retry_after_s = 0.0
    """How long the server asks to wait, seconds."""
    rate_limited = False
    """Whether the server counts requests (429) and says when to come again. Waiting for that is no
    failure, however often."""


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """Timeouts, retries and syncs of a transfer."""

    retry: urllib3.Retry = RETRY
    """How many attempts may fail in a row without progress, and the waits in between."""
    max_retry_after_s: float = 300.0
    """Longest wait that a server's `Retry-After` is granted, seconds. The Hugging Face Hub counts
    requests by windows of 300 s."""
    read_s: float = 60.0
    """Longest wait for the next bytes, seconds; also the time within which the status line and all
    headers have to be here, and in which at least 1 KiB of a body has to come."""
    sync_s: float = 2.0
    """Time between two syncs to disk, seconds: what a power cut can cost."""
    digest: bool = True
    """Whether to hash what comes, for a lock file."""


OPTIONS = TransferOptions(read_s=30.0)
"""Timeouts and retries of reads, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A file that is being read from one offset on; to be closed."""

    info: RemoteInfo
    """The version that is being sent."""
    start: int
    stop: int | None
    """Offset behind the last byte, where the server says so."""
    read: Callable[[], bytes]
    """Waits for some bytes, at most 1 MiB; empty at the end. Raises as `RemoteFile.open`."""
    close: Callable[[], None]
    abort: Callable[[], None] = lambda: None
    """Ends a read that another thread is waiting in, where that can be done."""


@dataclass(eq=False)
class RemoteFile(ArchiveFile):
    """A file behind a URL, of which one version is read.

    `probe` and `open` are single attempts, for downloads. `read_range` and `read_tail` retry, and
    raise `FetchError` where the file cannot be read, or was replaced. Nothing here is picklable or
    survives a fork: a `Location` travels between processes, and each connects for itself.
    """

    location: Location
    options: TransferOptions = field(default_factory=lambda: OPTIONS)
    control: Control = field(default_factory=Control)
    """Ends reads and waits when told to stop."""

    @abstractmethod
    def __post_init__(self) -> None:
        """Prepare without connecting; raise `UsageError` where no reader knows such an address."""

    @abstractmethod
    def probe(self) -> RemoteInfo:
        """Ask which version is there; `TransientError` if it may be there a moment later."""

    @abstractmethod
    def open(self, start: int, known: RemoteInfo) -> Stream:
        """Request the file from an offset to its end, as long as it is the version known.

        The stream may be of another version, or start at 0: the caller has to look. Raises as
        `probe`.
        """

    def close(self) -> None:
        """Make reads and waits in other threads give up."""
        self.control.stop()

    def retry(self, attempt: Callable[[], T], offset: Callable[[], int] = lambda: 0) -> T:
        """Attempt something until it works, fails for good, or fails too often without progress.

        The growing waits are those of `urllib3.Retry`; its count starts anew whenever `offset`, how
        far it has come in bytes, shows progress. Only what was never reached before is progress: a
        transfer that always starts anew and always breaks at one place comes to an end.
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
        """Describe a failure that will not pass, with the facts that an error takes."""
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


@cache
def _warn_once(message: str) -> None:
    """Warn, unless the same was said before: eight parts of one host have one message."""
    logger.warning("%s", message)


def open_remote(
    location: Location, options: TransferOptions | None = None, control: Control | None = None
) -> RemoteFile:
    """Choose the reader of a URL: HTTP for `http(s)://` and `hf://`, else fsspec, also on disk."""
    how = options or OPTIONS, control or Control()
    scheme, _, rest = location.address.partition("://")
    # Other options of HTTP than headers are those of fsspec's own client; buckets have no address.
    plain_http = scheme in ("http", "https") and location.options().keys() <= {"headers"}
    if plain_http or (scheme == "hf" and not rest.startswith("buckets/")):
        from geogen_hf.source.http_reader import HttpFile  # here, since it imports requests

        return HttpFile(location, *how)
    return _FsspecFile(location, *how)


class _FsspecFile(RemoteFile):
    """A file behind any URL that fsspec opens, or on disk.

    File systems tell no version along with the bytes. So versions are compared before the first
    read; what changes after that is found by the members' checksums.
    """

    _size: int | None = None

    def __post_init__(self) -> None:
        try:
            self._filesystem, self._path = url_to_fs(
                self.location.address, **self.location.options()
            )
        except Exception as error:  # file systems raise what they like
            raise UsageError(
                f"{self.location.label}: no file system for this URL",
                where=self.location,
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
        found: dict[str, Any] = self._attempt(lambda: self._filesystem.info(self._path))
        size = found.get("size")
        tag, date = (
            next((str(found[key]) for key in keys if found.get(key)), None)
            for keys in (_TAGS, _DATES)
        )
        return RemoteInfo(None if size is None else int(size), tag, date)

    def open(self, start: int, known: RemoteInfo) -> Stream:
        info = self.probe()
        file: BinaryIO = self._attempt(lambda: self._filesystem.open(self._path, "rb"))
        self._attempt(lambda: file.seek(start))
        read = lambda: self._attempt(lambda: file.read(_READ_BYTES))  # noqa: E731
        return Stream(info, start, None, read, file.close)  # a read is short, and not aborted

    def read_range(self, start: int, stop: int) -> bytes:
        stop = min(stop, self._learn_size())
        if start >= stop:
            return b""
        # A file system with a cache of its own would read ahead, and throw that away.
        options = {} if self._filesystem.async_impl else {"cache_type": "none"}
        read = lambda: self._filesystem.cat_file(self._path, start=start, end=stop, **options)  # noqa: E731
        data: bytes = self.retry(lambda: self._attempt(read))
        return data

    def read_tail(self, length: int) -> tuple[int, bytes]:
        size = self._learn_size()
        start = max(0, size - length)
        return start, self.read_range(start, size)

    def _learn_size(self) -> int:
        if self._size is None:
            self._size = self._pin(self.retry(self.probe))
        return self._size
