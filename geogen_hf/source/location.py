"""Where one archive lies, and how it is opened: on disk, over HTTP, or through fsspec.

A `Location` is the picklable description that tasks and worker processes carry, with the version
(`RemoteInfo`) that they insist on. `Location.open` connects: what it returns can be read at any
offset and belongs to one process. The decision whether something is a folder or a URL was made
before, in `parts.resolve_place`; nothing below asks again.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from fsspec import available_protocols

from geogen_hf.errors import ArchiveError, PartsError, explain, redact

if TYPE_CHECKING:
    from geogen_hf.source.retry import TransferOptions

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

    def continues(self, known: RemoteInfo) -> bool:
        """Tell whether bytes of this version may be appended to bytes of the known one.

        That takes a proof: an ETag or a date on both sides.
        """
        provable = known.if_range() is not None and self.if_range() is not None
        return provable and known.same_version(self)

    def __str__(self) -> str:
        known = ["size unknown" if self.size is None else f"{self.size:,} bytes"]
        known += [f"ETag {self.etag}"] if self.etag else []
        known += [f"of {self.last_modified}"] if self.last_modified else []
        return ", ".join(known)


@dataclass(frozen=True)
class Credentials:
    """Options of file systems, as `storage_options` of `datasets` holds them; picklable.

    They travel with what is to be read, since each process connects for itself. Their text is
    hidden, so that no message and no log shows a token.

    Attributes:
        storage_options: By protocol (`{"hf": {"token": …}, "s3": {"key": …}}`), or for all that are
            not named so (`{"headers": {…}}`).
    """

    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def for_url(self, url: str) -> dict[str, Any]:
        """Choose the options that concern a URL, as `datasets` does.

        Example:
            >>> given = Credentials({"hf": {"token": "hf_x"}, "headers": {"X-Key": "k"}})
            >>> given.for_url("hf://datasets/me/raw/a.zip"), given.for_url("https://host/a.zip")
            ({'token': 'hf_x'}, {'headers': {'X-Key': 'k'}})
            >>> given
            Credentials()
        """
        scheme = url.split("://")[0]
        if scheme in self.storage_options:
            return dict(self.storage_options[scheme])
        protocols = available_protocols()
        return {key: value for key, value in self.storage_options.items() if key not in protocols}


class ArchiveFile(Protocol):
    """An open archive whose bytes any thread can read at any offset."""

    @property
    def location(self) -> Location:
        """Its description, with the version that is read once that is known."""
        ...

    def read_range(self, start: int, stop: int) -> bytes | bytearray:
        """Read `[start, stop)`; fewer bytes where the file ends earlier."""
        ...

    def read_tail(self, length: int) -> tuple[int, bytes | bytearray]:
        """Read the last bytes, all where the file is shorter: the offset of the first, and they."""
        ...

    def close(self) -> None:
        """Close it; reads that other threads wait for give up."""
        ...


class Stream(Protocol):
    """A file that is being read from one offset on; a context manager."""

    @property
    def info(self) -> RemoteInfo:
        """Version of the file that is being sent."""
        ...

    @property
    def start(self) -> int:
        """Offset of the first byte in the file."""
        ...

    def read(self) -> bytes:
        """Wait for some bytes, at most 1 MiB; empty at the end."""
        ...

    def abort(self) -> None:
        """End a read that another thread is waiting in."""
        ...

    def __enter__(self) -> Stream: ...

    def __exit__(self, *exc_info: object) -> None: ...


class RemoteFile(ArchiveFile, Protocol):
    """An archive that can also be downloaded, in single attempts that the caller repeats."""

    def probe(self) -> RemoteInfo:
        """Ask which version is there."""
        ...

    def open(self, start: int, known: RemoteInfo) -> Stream:
        """Request the file from an offset on, as long as it is the version known.

        The stream may be of another version, or start at 0: the caller has to look.
        """
        ...


@dataclass(frozen=True, repr=False)
class Location:
    """One zip on disk or behind a URL: all that opening it needs, picklable, nothing open.

    Attributes:
        address: Absolute path, or URL.
        remote: Whether `address` is a URL.
        version: The version to insist on; None for the one that is met first, and for files on
            disk.
        credentials: What the host wants to be shown; None for nothing.
    """

    address: str
    remote: bool = False
    version: RemoteInfo | None = None
    credentials: Credentials | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """The file's name, for messages.

        Example:
            >>> Location("https://host/v1/images_batch_1.zip?sig=x", remote=True).label
            'images_batch_1.zip'
        """
        if not self.remote:
            return Path(self.address).name
        return self.address.split("?", 1)[0].rsplit("/", 1)[-1]

    def __str__(self) -> str:
        """The address without passwords and signatures."""
        return redact(self.address)

    __repr__ = __str__

    def at(self, version: RemoteInfo | None) -> Location:
        """The same place, to be read only while it holds this version."""
        return replace(self, version=version)

    def options(self) -> dict[str, Any]:
        """The options that opening the address takes, such as headers or keys."""
        return {} if self.credentials is None else self.credentials.for_url(self.address)

    def open(self) -> ArchiveFile:
        """Open it for reads at any offset; behind a URL, nothing is connected to yet.

        Raises:
            ArchiveError: It is a folder.
            UsageError: No installed package opens this kind of URL.
        """
        return open_remote(self) if self.remote else LocalFile(self)


def open_remote(location: Location, options: TransferOptions | None = None) -> RemoteFile:
    """Choose the reader of a URL: HTTP for `http(s)://` and `hf://`, else fsspec.

    Args:
        location: Where the file is; through fsspec, also on disk.
        options: Timeouts and retries; None for the reader's own.

    Raises:
        UsageError: No installed package opens this kind of URL.
    """
    # Imported here: a release on disk needs no client.
    from geogen_hf.source.fsspec_reader import FsspecFile
    from geogen_hf.source.http_reader import HttpFile

    scheme, _, rest = location.address.partition("://")
    # Other options of HTTP than headers are those of fsspec's own client; buckets have no address.
    plain_http = scheme in ("http", "https") and location.options().keys() <= {"headers"}
    if plain_http or (scheme == "hf" and not rest.startswith("buckets/")):
        return HttpFile(location, options)
    return FsspecFile(location, options)


class LocalFile:
    """A file on disk, read at any offset by any thread.

    It is not mapped into memory: mapped pages count as resident for as long as the mapping lives
    (17 GB of them over a whole release), and a file that is truncated meanwhile kills the process
    instead of raising.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        try:
            self._file: BinaryIO = open(location.address, "rb", buffering=0)  # noqa: SIM115
        except IsADirectoryError as error:
            raise ArchiveError(
                explain("not a zip archive", where=location, found="a folder")
            ) from error
        except OSError as error:  # deleted meanwhile, or not for this user to read
            kind = PartsError if isinstance(error, FileNotFoundError) else ArchiveError
            raise kind(
                explain(
                    "a part cannot be opened",
                    where=location,
                    found=error.strerror or error,
                    remedy="put it back, or fix its permissions",
                )
            ) from error
        self._lock = threading.Lock()

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
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
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
        before: bytes | bytearray = b""
        if start < self._tail_start:
            before = self.file.read_range(start, min(stop, self._tail_start))
        first, end = max(0, start - self._tail_start), max(0, stop - self._tail_start)
        return b"".join((before, self._tail[first:end]))
