"""Where one archive lies, and how it is opened: on disk, over HTTP, or through fsspec.

A `Location` is the picklable description that tasks and worker processes carry, with the version
(`RemoteInfo`) that they insist on. `Location.open` connects: what it returns can be read at any
offset and belongs to one process.
"""

from __future__ import annotations

import io
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fsspec import available_protocols

from geogen_hf.errors import ArchiveError, PartsError, redact

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

TAIL_BYTES = 128 * 2**10
"""Fetched at first contact: room for the directory of a zip with 1,500 members and zip64's records,
or for the footer of a Parquet file with 200 row groups."""


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """One version of a remote file, as far as its server tells.

    Attributes:
        size: Of the whole file, bytes; None where the server does not say.
        etag: Entity tag as sent, with its quotes and perhaps a leading `W/`.
        last_modified: Date of the last change, as sent.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    def if_range(self) -> str | None:
        """Give the value for `If-Range` (RFC 9110, 13.1.5): a strong ETag, else the date.

        None where nothing proves that two responses hold the same bytes.
        """
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def same_version(self, other: RemoteInfo) -> bool:
        """Tell whether nothing known of both says that they are different versions.

        Sizes are compared where both are known; then ETags or, where one of the two has none, the
        dates. A tag that a proxy turned into a weak one still matches.

        Example:
            >>> first = RemoteInfo(9, '"a1"', "Mon, 06 Jan 2025 00:00:00 GMT")
            >>> first.same_version(RemoteInfo(9, 'W/"a1"')), first.same_version(RemoteInfo(8))
            (True, False)
        """
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        if self.last_modified and other.last_modified:
            return self.last_modified == other.last_modified
        return True

    def __str__(self) -> str:
        known = ["size unknown" if self.size is None else f"{self.size:,} bytes"]
        known += [f"ETag {self.etag}"] if self.etag else []
        known += [f"of {self.last_modified}"] if self.last_modified else []
        return ", ".join(known)


def options_for(url: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the storage options that concern a URL, as `datasets` does.

    Args:
        url: What is to be opened.
        storage_options: By protocol (`{"hf": {"token": …}}`), or for all that are not named so
            (`{"headers": {…}}`).

    Example:
        >>> given = {"hf": {"token": "hf_x"}, "headers": {"X-Key": "k"}}
        >>> options_for("hf://datasets/me/raw/a.zip", given), options_for("https://h/a.zip", given)
        ({'token': 'hf_x'}, {'headers': {'X-Key': 'k'}})
    """
    scheme = url.split("://")[0]
    if scheme in storage_options:
        return dict(storage_options[scheme])
    protocols = available_protocols()
    return {key: value for key, value in storage_options.items() if key not in protocols}


class ArchiveFile(ABC):
    """An open archive whose bytes any thread can read at any offset.

    Attributes:
        location: Its description, with the version that is read once that is known.
    """

    location: Location

    @abstractmethod
    def read_range(self, start: int, stop: int) -> bytes | bytearray:
        """Read `[start, stop)`; fewer bytes where the file ends earlier."""

    @abstractmethod
    def read_tail(self, length: int) -> tuple[int, bytes | bytearray]:
        """Read the last bytes, or the whole file if it is shorter; return their offset and them."""

    @abstractmethod
    def close(self) -> None:
        """Close it; reads that other threads wait for give up."""


@dataclass(frozen=True, repr=False)
class Location:
    """One zip on disk or behind a URL: all that opening it needs, picklable, nothing open.

    Attributes:
        address: Absolute path, or URL.
        version: The version to insist on; None for the one that is met first, and for files on
            disk.
        storage_options: Credentials and the like, as `options_for` takes them; never shown.
    """

    address: str
    version: RemoteInfo | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def remote(self) -> bool:
        """Whether the address is a URL; no absolute path contains `://`."""
        return "://" in self.address

    @property
    def label(self) -> str:
        """The file's name, for messages.

        Example:
            >>> Location("https://host/v1/images_batch_1.zip?sig=x").label
            'images_batch_1.zip'
        """
        if not self.remote:
            return Path(self.address).name
        return self.address.split("?", 1)[0].rsplit("/", 1)[-1]

    def __str__(self) -> str:
        """The address without passwords and signatures."""
        return redact(self.address)

    __repr__ = __str__

    def options(self) -> dict[str, Any]:
        """The options that opening the address takes, such as headers or keys."""
        return options_for(self.address, self.storage_options)

    def open(self) -> ArchiveFile:
        """Open it for reads at any offset; behind a URL, nothing is connected to yet.

        Raises:
            ArchiveError: It is a folder.
            UsageError: No installed package opens this kind of URL.
        """
        if not self.remote:
            return LocalFile(self)
        # Imported here: a release on disk needs no client.
        from geogen_hf.source.remote import open_remote

        return open_remote(self)


class LocalFile(ArchiveFile):
    """A file on disk, read at any offset by any thread.

    It is not mapped into memory: mapped pages count as resident for as long as the mapping lives
    (17 GB of them over a whole release), and a file that is truncated meanwhile kills the process
    instead of raising.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._lock = threading.Lock()
        try:
            self._file: BinaryIO = open(location.address, "rb", buffering=0)  # noqa: SIM115
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
        """See `ArchiveFile`."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(stop - start)

    def read_tail(self, length: int) -> tuple[int, bytes]:
        """See `ArchiveFile`."""
        with self._lock:
            size = self._file.seek(0, os.SEEK_END)
        start = max(0, size - length)
        return start, self.read_range(start, size)

    def close(self) -> None:
        """Close the file."""
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

    def tell(self) -> int:
        """The offset of the next read."""
        return self._position

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

    Args:
        location: Where it is. The Hub is asked once; it counts requests that it redirects.

    Yields:
        The file, with its footer read.

    Raises:
        GeoGenError: It cannot be opened or read. What pyarrow makes of a damaged file is its own.
    """
    import pyarrow.parquet as pq  # here: a download needs none

    with (
        closing(location.open()) as file,
        pq.ParquetFile(SeekableFile(file), pre_buffer=True) as parquet,
    ):
        yield parquet
