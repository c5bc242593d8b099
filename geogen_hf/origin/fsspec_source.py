"""One file behind any URL that fsspec knows, or on disk, read from any offset on to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from fsspec.core import url_to_fs

from geogen_hf.errors import FetchError, UsageError, explain
from geogen_hf.origin.headers import RemoteInfo
from geogen_hf.origin.http import TransientError

_READ_BYTES = 2**20
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
            return self._file.read(_READ_BYTES)
        except OSError as error:
            raise self._source.failure(error) from error

    def abort(self) -> None:
        """Nothing can end a read of fsspec; it is short, and the next one does not come."""

    def __enter__(self) -> FsspecStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()
