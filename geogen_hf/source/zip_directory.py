"""List the members of a zip archive from its central directory, without reading the members.

Archives are input from a stranger: names are keys and never paths on disk, and what a directory
claims is bounded before anything is read. `zip_reader` reads the members' bytes. "APPNOTE" in
comments is PKWARE's specification of the format.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import zipfile
from dataclasses import dataclass
from typing import NamedTuple

from geogen_hf.errors import ArchiveError, GeoGenError
from geogen_hf.source.files import ArchiveFile, SeekableFile
from geogen_hf.source.parts import Location

MAX_MEMBER_BYTES = 256 * 2**20
"""No metadata file comes near this size; a larger member is refused unread."""
MAX_IMAGE_BYTES = 16 * 2**20
"""Limit of one image, packed or unpacked: over 100 renders of 280 kB."""
MAX_SUBJECT_BYTES = 64 * 2**20
"""Limit of the images of a subject together, which are held in memory at once."""
MAX_RATIO = 200
"""Renders and JSON compress less than this; only made-up members compress more (limit: 1,032)."""
RATIO_FREE_BYTES = 2**20
"""Below this size the ratio of a member is not limited."""
MAX_DIRECTORY_BYTES = 64 * 2**20
"""Limit of the directories of all parts together, refused unread: 150,000 entries (an image and a
metadata file for each of 75,000 views) of 100 bytes take a quarter of it."""
MAX_ENTRIES = 400_000
"""Limit of the entries of all parts together, folders and litter included: each costs about 900
bytes of memory while it is sorted."""

SAMPLE_MARK = b"geogen-hf sample heads"
"""How the comment of a zip begins that `geogen_hf.sample` wrote."""

LOCAL_HEADER_BYTES = 30
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED, _UTF8 = 0x1, 0x800
_ENTRY_SIGNATURE = b"PK\x01\x02"
_JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive: all that reading it needs, picklable, nothing open."""

    archive: Location  # with the version that was listed
    name: str  # a key, never a path on disk
    start: int  # of its local header, bytes from the start of the archive
    stop: int  # where the next record begins; `[start, stop)` holds the whole member
    size: int  # uncompressed, bytes
    compressed_size: int  # as stored, bytes
    crc: int  # CRC-32 of the uncompressed bytes
    deflated: bool  # else stored as they are
    flags: int = 0  # general purpose bit flag, which its local header must repeat (APPNOTE 4.4.4)

    def __str__(self) -> str:
        return f"{self.archive.label}: {self.name!a} (at byte {self.start})"


class Refused(NamedTuple):
    """A member that will not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Directory:
    """The members of one archive, less folders and files that desktops leave in zips."""

    archive: Location  # with the version that was listed
    size: int  # of the whole archive, bytes
    members: tuple[Member, ...]  # those that can be read, in the archive's order
    refused: tuple[Refused, ...]
    sample: bool = False  # whether the comment tells of sample heads, rendered by this package

    @property
    def label(self) -> str:
        """The archive's file name, for messages."""
        return self.archive.label

    def digest(self) -> str:
        """Hash name, size and CRC-32 of every member, in the archive's order.

        Members are checked against their CRC-32 when they are read. So this identifies what a part
        holds without reading the 17 GB once more.
        """
        lines = (f"{each.name}\0{each.size}\0{each.crc:08x}\n" for each in self.members)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class DirectoryBudget:
    """What the directories of several archives may cost together; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = self._entries = 0

    def spend(self, archive: Location, *, size: int = 0, entries: int = 0) -> None:
        """Count bytes before they are read, entries before they are parsed; raise ArchiveError."""
        with self._lock:
            self._bytes += size
            self._entries += entries
            found_bytes, found_entries = self._bytes, self._entries
        if found_bytes > MAX_DIRECTORY_BYTES or found_entries > MAX_ENTRIES:
            raise ArchiveError(
                "not a zip archive of this release",
                where=archive,
                expected=f"directories of at most {MAX_DIRECTORY_BYTES:,} bytes and "
                f"{MAX_ENTRIES:,} entries, all parts together",
                found=f"{found_bytes:,} bytes and {found_entries:,} entries, and perhaps more",
            )


class _Tail(SeekableFile):
    """An archive as `zipfile` wants it, whose reads are counted.

    `zipfile` looks for the end record in the last 64 KB and then reads the directory before it in
    one go: one request for most archives, two where the directory is longer than the tail.
    """

    def __init__(self, file: ArchiveFile, budget: DirectoryBudget) -> None:
        super().__init__(file)
        self._budget = budget

    def read(self, size: int = -1) -> bytes:
        """Read from there, and count it."""
        left = max(0, self.size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        self._budget.spend(self.file.location, size=wanted)
        data = super().read(wanted)
        # zipfile believes no count of entries: it makes an object of each that it finds.
        self._budget.spend(self.file.location, entries=data.count(_ENTRY_SIGNATURE))
        return data


def read_directory(file: ArchiveFile, budget: DirectoryBudget | None = None) -> Directory:
    """List an archive from its central directory: behind a URL in one request, or two for many.

    Members that cannot be read safely are set apart, with the reason. The budget is shared by
    archives that are listed together; None for an archive alone.
    """
    tail = _Tail(file, budget or DirectoryBudget())
    try:
        with zipfile.ZipFile(tail) as zipped:
            infos, directory_start = zipped.infolist(), zipped.start_dir
            sample = zipped.comment.startswith(SAMPLE_MARK)
    except GeoGenError:
        raise
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        struct.error,
        ValueError,  # names that are not UTF-8, though they say so
        OSError,  # offsets before the start of the file
    ) as error:
        raise _not_a_zip(file.location, _looks(tail, error)) from error
    missing = -min((info.header_offset for info in infos), default=0)
    if missing > 0:
        raise _not_a_zip(file.location, f"the first {missing:,} bytes are missing")
    named = ((decode_name(_stored_name(info), info.flag_bits), info) for info in infos)
    records = [(n, info) for n, info in named if not (n.endswith("/") or _is_junk(n))]
    records.sort(key=lambda record: record[1].header_offset)
    reasons = [_reason_to_refuse(info, name, directory_start) for name, info in records]
    for index in _overlapping([info for _, info in records], directory_start):
        reasons[index] = reasons[index] or "its record overlaps another's: the directory is damaged"
    starts = [min(info.header_offset, directory_start) for _, info in records]
    found = zip(records, [*starts, directory_start][1:], reasons, strict=True)
    return Directory(
        file.location,
        tail.size,
        tuple(
            _member(file.location, name, info, stop) for (name, info), stop, why in found if not why
        ),
        tuple(Refused(n, why) for (n, _), why in zip(records, reasons, strict=True) if why),
        sample,
    )


def _looks(tail: _Tail, fault: Exception) -> str:
    """Say what a file looks like that is not a zip."""
    tail.seek(0)
    head = tail.read(512).lstrip()
    if tail.size == 0:
        return "an empty file"
    if head[:1] == b"<":
        return f"{tail.size:,} bytes of HTML or XML, perhaps an error page saved as .zip"
    if head[:4] == b"PK\x03\x04":
        what = "that begin like a zip but lack its directory: cut short"
        return f"{tail.size:,} bytes {what} ({fault})"
    return f"{tail.size:,} bytes beginning {head[:8]!r} ({fault})"


def _not_a_zip(archive: Location, found: str) -> ArchiveError:
    again = "delete the file and download this part again"
    remedy = "choose another source with base_url" if archive.remote else again
    what = "not a whole zip archive"
    return ArchiveError(what, where=archive, found=found, remedy=remedy)


def _is_junk(name: str) -> bool:
    """Tell files that desktops leave in zips from members of the release."""
    *folders, last = name.split("/")
    return "__MACOSX" in folders or last in _JUNK_NAMES or last.startswith("._")


def _member(archive: Location, name: str, info: zipfile.ZipInfo, following: int) -> Member:
    """Turn a directory entry into a member that ends where the next record begins, or before."""
    # Header with name and extra field, data, descriptor (APPNOTE 4.3.6-4.3.9).
    longest = LOCAL_HEADER_BYTES + 2 * 0xFFFF + info.compress_size + 24
    return Member(
        archive=archive,
        name=name,
        start=info.header_offset,
        stop=min(following, info.header_offset + longest),
        size=info.file_size,
        compressed_size=info.compress_size,
        crc=info.CRC,
        deflated=info.compress_type == _DEFLATED,
        flags=info.flag_bits,
    )


def _overlapping(ordered: list[zipfile.ZipInfo], directory_start: int) -> set[int]:
    """Find the entries that share bytes with another, in one pass over entries in order of offset.

    Entries that reach into the directory are refused for that, and condemn no other.
    """
    overlaps: set[int] = set()
    longest, reached = -1, 0  # the entry that reaches furthest so far, and where to
    for index, info in enumerate(ordered):
        if info.header_offset < reached:
            overlaps |= {index, longest}
        stop = _smallest_stop(info)
        if reached < stop <= directory_start:
            longest, reached = index, stop
    return overlaps


def _stored_name(info: zipfile.ZipInfo) -> bytes:
    """Undo how `zipfile` decodes names; `info.filename` ends at the first NUL."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")


def decode_name(stored: bytes, flags: int) -> str:
    """Decode a member's name; without bit 11 (APPNOTE 4.4.4) many tools write UTF-8 all the same.

    Bytes that are not UTF-8 though bit 11 says so become surrogates, which no valid name holds.
    """
    if flags & _UTF8:
        return stored.decode(errors="surrogateescape")
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.decode("cp437")


def _smallest_stop(info: zipfile.ZipInfo) -> int:
    """Tell where a record ends at the earliest: its local extra field is not known yet."""
    header = LOCAL_HEADER_BYTES + len(_stored_name(info))
    return info.header_offset + header + max(0, info.compress_size)


def _reason_to_refuse(info: zipfile.ZipInfo, name: str, directory_start: int) -> str | None:
    """Check what the directory claims before anything is read."""
    if not name:
        return "it has no name"
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
        return "its name leads out of the archive (absolute, or with ..)"
    if not name.isprintable():
        return "its name holds unprintable characters"
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if info.compress_type not in (_STORED, _DEFLATED):
        return f"it is compressed by method {info.compress_type}; stored and deflated are read"
    limit = MAX_IMAGE_BYTES if name.lower().endswith(".png") else MAX_MEMBER_BYTES
    claimed = max(info.file_size, info.compress_size)
    if claimed > limit:
        return f"it claims {claimed:,} bytes, over the limit of {limit:,}"
    if info.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * info.compress_size):
        return f"it claims {info.file_size:,} bytes out of {info.compress_size:,}: a bomb"
    # Deflating what cannot be compressed adds a few bytes a block.
    added = 0 if info.compress_type == _STORED else info.file_size // 4 + 1024
    if info.compress_size > info.file_size + added:
        return f"it claims {info.file_size:,} bytes, packed into more: {info.compress_size:,}"
    if _smallest_stop(info) > directory_start:
        return "it reaches into the directory: the directory is damaged"
    return None
