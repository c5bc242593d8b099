"""A file behind any other URL (`s3://`, `file://` …), read by byte ranges through fsspec."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fsspec.core import url_to_fs

from geogen_hf.errors import FetchError, explain
from geogen_hf.origin.fsspec_source import FsspecSource
from geogen_hf.origin.headers import RemoteInfo
from geogen_hf.origin.patience import TransferOptions, persist
from geogen_hf.origin.workers import Control
from geogen_hf.parts import archive_label

T = TypeVar("T")


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
        url: str,
        info: RemoteInfo | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        options: TransferOptions | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: Anything fsspec opens.
            info: The version to insist on; None for the one first seen.
            storage_options: For the file system, such as keys.
            options: How patiently to read; None for the default.

        Raises:
            UsageError: fsspec does not know this kind of URL, or lacks a package for it.
        """
        self.url = url
        self.info = info
        self._label = archive_label(url)
        self._options = options or TransferOptions()
        self._control = Control()
        self._lock = threading.Lock()
        self._source = FsspecSource(url, self._label, storage_options)
        self._filesystem, self._path = url_to_fs(url, **(storage_options or {}))
        self._size: int | None = None

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
