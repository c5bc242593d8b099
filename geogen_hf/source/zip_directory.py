"""List the members of a zip archive from its central directory, without reading the members.

Archives are input from a stranger: names are keys and never paths on disk, and what a directory
claims is bounded before anything is read. `zip_reader` reads the members' bytes. "APPNOTE" in
comments is PKWARE's specification of the format.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from geogen_hf.errors import ArchiveError, explain
from geogen_hf.source.location import ArchiveFile, Location

MAX_MEMBER_BYTES = 256 * 2**20
"""No render and no metadata file comes near this size; a larger member is refused unread."""
MAX_RATIO = 200
"""Renders and JSON compress less than this; only made-up members compress more (limit: 1,032)."""
RATIO_FREE_BYTES = 2**20
"""Below this size the ratio of a member is not limited."""
MAX_DIRECTORY_BYTES = 256 * 2**20
"""No zip of this release has a directory near this size; a larger one is refused unread."""
TAIL_BYTES = 128 * 2**10
"""Fetched at first contact: room for the directory of 1,500 members, and for zip64's records."""

SAMPLE_MARK = b"geogen-hf sample heads"
"""How the comment of a zip begins that `geogen_hf.sample` wrote."""

LOCAL_HEADER_BYTES = 30
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED, _UTF8 = 0x1, 0x800
_JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive: all that reading it needs, picklable, nothing open.

    Attributes:
        archive: Where the zip lies, and its version when it was listed.
        name: Its name there; a key, never a path on disk.
        start: Offset of its local header, bytes from the start of the archive.
        stop: Where the next record begins; `[start, stop)` holds the whole member.
        size: Uncompressed size, bytes.
        compressed_size: Stored size, bytes.
        crc: CRC-32 of the uncompressed bytes.
        deflated: Whether the bytes are deflated (else stored as they are).
    """

    archive: Location
    name: str
    start: int
    stop: int
    size: int
    compressed_size: int
    crc: int
    deflated: bool

    def __str__(self) -> str:
        return f"{self.archive.label}: {self.name!a} (at byte {self.start})"


@dataclass(frozen=True)
class Refused:
    """A member that will not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Directory:
    """The members of one archive.

    Attributes:
        archive: Where the zip lies, with the version that was listed.
        size: Of the whole archive, bytes.
        members: Those that can be read, in the archive's order; folders and files that desktops
            leave in zips are left out.
        refused: Those that cannot.
        sample: Whether the comment says that the zip holds sample heads, rendered by this package.
    """

    archive: Location
    size: int
    members: tuple[Member, ...]
    refused: tuple[Refused, ...]
    sample: bool = False

    @property
    def label(self) -> str:
        """The archive's file name, for messages."""
        return self.archive.label


class _Tail(io.RawIOBase):
    """An archive as `zipfile` wants it: seekable, with its last bytes at hand.

    `zipfile` looks for the end record in the last 64 KB and then reads the directory before it in
    one go: one request for most archives, two where the directory is longer than the tail.
    """

    def __init__(self, file: ArchiveFile) -> None:
        super().__init__()
        self._file = file
        self._tail_start, self._tail = file.read_tail(TAIL_BYTES)
        self.size = self._tail_start + len(self._tail)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            # zipfile expects this of a file too short to hold an end record.
            raise OSError(f"offset {base + offset} of {self._file.location}")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = min(self._position, self.size)
        stop = self.size if size is None or size < 0 else min(start + size, self.size)
        if stop - start > MAX_DIRECTORY_BYTES:
            raise ArchiveError(
                explain(
                    "not a zip archive of this release",
                    where=self._file.location,
                    expected=f"a directory of at most {MAX_DIRECTORY_BYTES:,} bytes",
                    found=f"{stop - start:,} bytes",
                )
            )
        self._position = stop
        before: bytes | bytearray = b""
        if start < self._tail_start:
            before = self._file.read_range(start, min(stop, self._tail_start))
        first, end = max(0, start - self._tail_start), max(0, stop - self._tail_start)
        return b"".join((before, self._tail[first:end]))


def read_directory(file: ArchiveFile) -> Directory:
    """List an archive from its central directory.

    Args:
        file: The archive, as `Location.open` gives it. Behind a URL, one request reads most
            directories and two a long one.

    Returns:
        Its members; those that cannot be read safely are set apart, with the reason.

    Raises:
        ArchiveError: It is not a whole zip archive.
        FetchError: Its host does not let it be read.

    Example:
        >>> with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        ...     zipped.writestr("17/0.png", b"...")
        >>> directory = read_directory(Location(str(tmp_path / "a.zip")).open())
        >>> [(member.name, member.size) for member in directory.members]
        [('17/0.png', 3)]
    """
    tail = _Tail(file)
    try:
        with zipfile.ZipFile(tail) as zipped:
            infos = zipped.infolist()
            directory_start = zipped.start_dir
            sample = zipped.comment.startswith(SAMPLE_MARK)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise _not_a_zip(tail, file.location, error) from error
    infos = [info for info in infos if not info.is_dir() and not _is_junk(info.filename)]
    found = _sort_members(file.location, tail.size, infos, directory_start)
    return replace(found, sample=sample)


def _not_a_zip(tail: _Tail, archive: Location, error: Exception) -> ArchiveError:
    """Say what the file looks like instead."""
    tail.seek(0)
    head = tail.read(512).lstrip()
    if tail.size == 0:
        found = "an empty file"
    elif head[:1] == b"<":
        found = f"{tail.size:,} bytes of HTML or XML, perhaps an error page saved as .zip"
    elif head[:4] == b"PK\x03\x04":
        found = f"{tail.size:,} bytes that begin like a zip but lack its directory: cut short"
        found += f" ({error})"
    else:
        found = f"{tail.size:,} bytes beginning {head[:8]!r} ({error})"
    return ArchiveError(
        explain(
            "not a whole zip archive",
            where=archive,
            found=found,
            remedy="choose another source with base_url"
            if archive.remote
            else "delete the file and download this part again",
        )
    )


def _is_junk(name: str) -> bool:
    """Tell files that desktops leave in zips from members of the release."""
    *folders, last = name.split("/")
    return "__MACOSX" in folders or last in _JUNK_NAMES or last.startswith("._")


def _sort_members(
    archive: Location,
    size: int,
    infos: Iterable[zipfile.ZipInfo],
    directory_start: int,
) -> Directory:
    """Turn directory entries into members, each knowing where its record ends."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    following = dict(pairwise(sorted({directory_start, *(i.header_offset for i in ordered)})))
    members: list[Member] = []
    refused: list[Refused] = []
    for info in ordered:
        name = _decode_name(info)
        stop = following.get(info.header_offset, info.header_offset)
        reason = _reason_to_refuse(info, name, stop)
        if reason is not None:
            refused.append(Refused(name, reason))
            continue
        members.append(
            Member(
                archive=archive,
                name=name,
                start=info.header_offset,
                stop=min(stop, info.header_offset + _largest_record(info)),
                size=info.file_size,
                compressed_size=info.compress_size,
                crc=info.CRC,
                deflated=info.compress_type == _DEFLATED,
            )
        )
    return Directory(archive, size, tuple(members), tuple(refused))


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Read names that are UTF-8 though bit 11 (APPNOTE 4.4.4) is not set, as many tools do."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeError:
        return info.orig_filename


def _largest_record(info: zipfile.ZipInfo) -> int:
    """Bound a record: header with name and extra field, data, descriptor (APPNOTE 4.3.6-4.3.9)."""
    return LOCAL_HEADER_BYTES + 2 * 0xFFFF + info.compress_size + 24


def _reason_to_refuse(info: zipfile.ZipInfo, name: str, stop: int) -> str | None:
    """Check what the directory claims before anything is read."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
        return "its name leads out of the archive (absolute, or with ..)"
    if not name.isprintable():
        return "its name holds unprintable characters"
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if info.compress_type not in (_STORED, _DEFLATED):
        return f"it is compressed by method {info.compress_type}; stored and deflated are read"
    if info.file_size > MAX_MEMBER_BYTES:
        return f"it claims {info.file_size:,} bytes, over the limit of {MAX_MEMBER_BYTES:,}"
    if info.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * info.compress_size):
        return f"it claims {info.file_size:,} bytes out of {info.compress_size:,}: a bomb"
    if info.header_offset + LOCAL_HEADER_BYTES + info.compress_size > stop:
        return "it reaches into the next member: the directory is damaged"
    return None
