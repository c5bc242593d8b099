"""Zip archives as tables of members, read from their central directories alone.

Archives are input from a stranger: names are keys and never paths on disk, and what a directory
claims is bounded before anything is read. `members` reads the bytes.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO

from geogen_hf.errors import ArchiveError, explain
from geogen_hf.source.credentials import Credentials
from geogen_hf.source.http import RemoteInfo
from geogen_hf.source.parts import archive_label, is_url
from geogen_hf.source.ranges import TailFile, open_remote

MAX_MEMBER_BYTES = 256 * 2**20
"""No render and no metadata file comes near this size; a larger member is refused unread."""
MAX_RATIO = 200
"""Renders and JSON compress less than this; only made-up members compress more (limit: 1,032)."""
RATIO_FREE_BYTES = 2**20
"""Below this size a member may compress as well as it likes."""

LOCAL_HEADER_BYTES = 30
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED, _UTF8 = 0x1, 0x800
_JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive: all that reading it needs, picklable, nothing open.

    Attributes:
        archive: Path or URL of the zip.
        name: Its name there; a key, never a path on disk.
        start: Offset of its local header, bytes from the start of the archive.
        stop: Where the next record begins; `[start, stop)` holds the whole member.
        size: Uncompressed size, bytes.
        compressed_size: Stored size, bytes.
        crc: CRC-32 of the uncompressed bytes.
        deflated: Whether the bytes are deflated (else stored as they are).
        version: Of the archive, when it was listed; None for one on disk.
        credentials: What the archive's host wants to be shown; None for nothing.
    """

    archive: str
    name: str
    start: int
    stop: int
    size: int
    compressed_size: int
    crc: int
    deflated: bool
    version: RemoteInfo | None = None
    credentials: Credentials | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{archive_label(self.archive)}: {self.name!a} (at byte {self.start})"


@dataclass(frozen=True)
class Refused:
    """A member that will not be read, and why."""

    archive: str
    name: str
    reason: str


@dataclass(frozen=True)
class Directory:
    """The members of one archive.

    Attributes:
        archive: Path or URL of the zip.
        size: Of the whole archive, bytes.
        members: What can be read, in the archive's order; folders and desktop litter left out.
        refused: What cannot.
    """

    archive: str
    size: int
    members: tuple[Member, ...]
    refused: tuple[Refused, ...]

    @property
    def label(self) -> str:
        """The archive's file name, for messages."""
        return archive_label(self.archive)


def read_directory(archive: str, credentials: Credentials | None = None) -> Directory:
    """List an archive from its central directory.

    Args:
        archive: Its path, or its URL: then one request reads most directories, two a long one.
        credentials: What a URL's host wants to be shown.

    Returns:
        Its members, with every one that cannot be read safely set apart.

    Raises:
        ArchiveError: It is not a whole zip archive.
        FetchError: Its host does not let it be read.
    """
    if is_url(archive):
        remote = open_remote(archive, credentials=credentials)
        return _list(archive, TailFile(remote), remote.info, credentials)
    try:
        with open(archive, "rb") as file:
            return _list(archive, file, None)
    except IsADirectoryError as error:
        raise ArchiveError(explain("not a zip archive", where=archive, found="a folder")) from error


def _list(
    archive: str,
    file: BinaryIO | TailFile,
    version: RemoteInfo | None,
    credentials: Credentials | None = None,
) -> Directory:
    try:
        with zipfile.ZipFile(file) as zipped:
            infos = zipped.infolist()
            directory_start = zipped.start_dir
            size = file.seek(0, os.SEEK_END)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise _not_a_zip(archive, file, error) from error
    infos = [info for info in infos if not info.is_dir() and not _is_junk(info.filename)]
    return _sort_members(archive, version, credentials, size, infos, directory_start)


def _not_a_zip(archive: str, file: BinaryIO | TailFile, error: Exception) -> ArchiveError:
    """Say what the file looks like instead."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(512).lstrip()
    if size == 0:
        found = "an empty file"
    elif head[:1] == b"<":
        found = f"{size:,} bytes of HTML or XML, perhaps an error page saved as .zip"
    elif head[:4] == b"PK\x03\x04":
        found = f"{size:,} bytes that begin like a zip but lack its directory: cut short ({error})"
    else:
        found = f"{size:,} bytes beginning {head[:8]!r} ({error})"
    return ArchiveError(
        explain(
            "not a whole zip archive",
            where=archive,
            found=found,
            remedy="choose another source with base_url"
            if is_url(archive)
            else "delete the file and download this part again",
        )
    )


def _is_junk(name: str) -> bool:
    """Litter that desktops leave in zips."""
    *folders, last = name.split("/")
    return "__MACOSX" in folders or last in _JUNK_NAMES or last.startswith("._")


def _sort_members(
    archive: str,
    version: RemoteInfo | None,
    credentials: Credentials | None,
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
            refused.append(Refused(archive, name, reason))
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
                version=version,
                credentials=credentials,
            )
        )
    return Directory(archive, size, tuple(members), tuple(refused))


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Read names that are UTF-8 without saying so, as many tools write them."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeError:
        return info.orig_filename


def _largest_record(info: zipfile.ZipInfo) -> int:
    """Bound a member's record: header with name and extra field, data, data descriptor."""
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
