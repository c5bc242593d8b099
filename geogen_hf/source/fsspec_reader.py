"""Read a file through fsspec: `s3://`, `memory://`, `file://` and all that is not HTTP.

File systems tell no version along with the bytes. So versions are compared before the first read;
what changes after that is found by the members' checksums.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from fsspec.core import url_to_fs

from geogen_hf.errors import FetchError, UsageError, explain
from geogen_hf.source.location import Location, RemoteInfo
from geogen_hf.source.retry import RemoteReader, TransferOptions

T = TypeVar("T")

_READ_BYTES = 2**20
# What file systems call a version in the result of `info`.
_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "VersionId")
_DATES = ("LastModified", "last_modified", "mtime", "updated", "created")
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class FsspecStream:
    """An open file that is being read; a context manager.

    Attributes:
        info: Version of the file when it was opened.
        start: Offset of the first byte that is read.
    """

    def __init__(self, source: FsspecFile, file: BinaryIO, start: int, info: RemoteInfo) -> None:
        self.start, self.info = start, info
        self._source, self._file = source, file

    def read(self) -> bytes:
        """Wait for some bytes, at most 1 MiB; empty at the end."""
        return self._source.attempt(lambda: self._file.read(_READ_BYTES))

    def abort(self) -> None:
        """Do nothing: a read of fsspec cannot be ended. It is short, and no further one starts."""

    def __enter__(self) -> FsspecStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()


class FsspecFile(RemoteReader):
    """A file behind any URL that fsspec opens, or on disk.

    `probe` and `open` are single attempts, for downloads. `read_range` and `read_tail` retry, and
    may be called by any thread.
    """

    def __init__(self, location: Location, options: TransferOptions | None = None) -> None:
        """Connect to nothing yet.

        Raises:
            UsageError: fsspec does not know this kind of URL, or lacks a package for it.
        """
        super().__init__(location, options or TransferOptions())
        self._size: int | None = None
        self._lock = threading.Lock()
        try:
            self._filesystem, self._path = url_to_fs(location.address, **location.options())
        except Exception as error:  # file systems raise what they like
            raise UsageError(
                explain(
                    f"{location.label}: no file system for this URL",
                    where=location,
                    found=error,
                    remedy="install the package that fsspec needs for it, for example s3fs",
                )
            ) from error

    def attempt(self, read: Callable[[], T]) -> T:
        """Call something of the file system once.

        Raises:
            TransientError: It failed, and may succeed a moment later.
            FetchError: It failed for good.
        """
        try:
            return read()
        except FetchError:
            raise
        except Exception as error:  # of the libraries below a file system, of any class
            failure = self._checks.transient(
                "cannot be read",
                found=f"{type(error).__name__}: {error}",
                remedy="check the URL, and that you may read it",
            )
            if isinstance(error, _FINAL):
                raise FetchError(str(failure)) from error
            raise failure from error

    def probe(self) -> RemoteInfo:
        """Ask which version is there.

        Raises:
            TransientError: It may be there a moment later.
            FetchError: It is not there.
        """
        found: dict[str, Any] = self.attempt(lambda: self._filesystem.info(self._path))
        size = found.get("size")
        tags = [str(found[key]) for key in _TAGS if found.get(key)]
        dates = [str(found[key]) for key in _DATES if found.get(key)]
        return RemoteInfo(
            size=None if size is None else int(size),
            etag=tags[0] if tags else None,
            last_modified=dates[0] if dates else None,
        )

    def open(self, start: int, known: RemoteInfo) -> FsspecStream:
        """Open the file at an offset; the caller compares the stream's `info` with `known`."""
        info = self.probe()

        def opened() -> BinaryIO:
            file: BinaryIO = self._filesystem.open(self._path, "rb")
            file.seek(start)
            return file

        return FsspecStream(self, self.attempt(opened), start, info)

    def read_range(self, start: int, stop: int) -> bytes:
        """See `ArchiveFile`.

        Raises:
            FetchError: It cannot be read, or is not the version expected.
        """
        stop = min(stop, self._learn_size())
        if start >= stop:
            return b""
        options: dict[str, Any] = {}
        if not self._filesystem.async_impl:
            options["cache_type"] = "none"  # else it reads ahead, and throws that away
        data: bytes = self._retry(
            lambda: self.attempt(
                lambda: self._filesystem.cat_file(self._path, start=start, end=stop, **options)
            )
        )
        return data

    def read_tail(self, length: int) -> tuple[int, bytes]:
        """Read the last bytes and learn size and version; raises as `read_range` does."""
        size = self._learn_size()
        start = max(0, size - length)
        return start, self.read_range(start, size)

    def _learn_size(self) -> int:
        with self._lock:
            if self._size is None:
                self._size = self._pin(self._retry(self.probe))
            return self._size
