"""One file, fetched whole: resumed, retried, checked, and only then given its name.

Bytes are never mixed. A resumed transfer asks for the version it began with (If-Range), looks at
what version the answer is of, and asks again at the end; without an ETag or a date to go by, it
starts anew. A file is accepted once it has the length the server announced, its zip directory
can be read, and whoever asked for it agrees with its hash.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from geogen_hf.errors import ArchiveError, FetchError, explain, one_line
from geogen_hf.source.http import RemoteInfo, TransientError
from geogen_hf.source.location import Location
from geogen_hf.source.partial import PartialFile
from geogen_hf.source.retry import LEAST_PROGRESS_BYTES, TransferOptions, persist
from geogen_hf.source.streams import Source, Stream
from geogen_hf.source.zip_directory import read_directory
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was checked.

    Attributes:
        path: Where it is now or is about to be.
        url: Where it came from.
        info: Its version there.
        size: Bytes.
        sha256: Hexadecimal; empty where the options ask for none.
    """

    path: Path
    url: str
    info: RemoteInfo
    size: int
    sha256: str


@dataclass
class Transfer:
    """What fetching one file needs to know.

    Attributes:
        source: Where it is.
        target: Its path when complete; replaced if there.
        label: The part's name, for messages.
        control: Counts bytes, and tells when to stop.
        options: See there.
        admit: Called with every version met, before anything is fetched of it; raises `FetchError`
            to refuse it.
        accept: Called when all bytes are here and sound, before the file gets its name; raises
            `FetchError` to refuse it, and then the bytes are dropped.
    """

    source: Source
    target: Path
    label: str
    control: Control
    options: TransferOptions = field(default_factory=TransferOptions)
    admit: Callable[[RemoteInfo], object] = lambda info: None
    accept: Callable[[Fetched], object] = lambda fetched: None

    def run(self) -> Fetched:
        """Fetch the file, or what is missing of it.

        Only one thread and process at a time may do this for a target (see `Control.exclusion`).

        Returns:
            What is at `target` now.

        Raises:
            FetchError: It cannot be had, or is refused; bytes that may be of use are kept.
        """
        try:
            with PartialFile(
                self.target,
                sync_bytes=self.options.sync_bytes,
                sync_s=self.options.sync_s,
                digest=self.options.digest,
                check=self.control.check,
            ) as partial:
                return persist(
                    lambda: self._attempt(partial),
                    label=self.label,
                    url=self.source.url,
                    control=self.control,
                    options=self.options,
                    offset=lambda: partial.offset,
                )
        except FetchError:
            raise
        except OSError as error:
            raise self._broken(error) from error

    def _attempt(self, partial: PartialFile) -> Fetched:
        self.control.check()
        info = self.source.probe()
        self.admit(info)
        here = partial.resume(self.source.url, info)
        self.control.set_done(self.label, here)
        if here == 0 or here != info.size:
            info = self._fetch(partial, here, info)
            if not self.source.probe().same_version(info):
                raise TransientError(self._changed("a moment after its last byte was sent"))
        return self._conclude(partial, info)

    def _fetch(self, partial: PartialFile, here: int, info: RemoteInfo) -> RemoteInfo:
        """Ask for what is missing, and see what comes; give the version that came."""
        with self.source.open(here, info) as stream, self.control.watching(stream):
            if not stream.info.same_version(info):
                raise TransientError(self._changed("between two requests"))
            if stream.start not in (0, here):
                raise TransientError(self._unexpected(f"bytes from {stream.start:,} on", here))
            data = stream.read()
            if stream.start == 0:
                self._check_head(data, info)
                if partial.offset:
                    logger.warning("%s: from the start again, it cannot be resumed", self.label)
                partial.begin(self.source.url, info)
            self._copy(stream, partial, data)
        if info.size is not None and partial.offset != info.size:
            raise TransientError(self._unexpected(f"{partial.offset:,} bytes", info.size))
        return info

    def _check_head(self, data: bytes, info: RemoteInfo) -> None:
        """See that what comes is not a page or a message, before anything is dropped for it."""
        if data[:2] == b"PK"[: len(data)] and (data or info.size == 0):
            return
        raise TransientError(
            explain(
                f"{self.label}: the server sent something else than the file",
                where=self.source.url,
                expected="a zip archive",
                found=f"{info.size} bytes beginning {data[:32]!r}",
                remedy="open the URL in a browser: a login, a proxy or an outage may answer",
            )
        )

    def _copy(self, stream: Stream, partial: PartialFile, data: bytes) -> None:
        window_s = self.options.read_s
        since, until = partial.offset, time.monotonic() + window_s
        while data:
            self.control.check()
            partial.append(data)
            self.control.set_done(self.label, partial.offset)
            if time.monotonic() >= until:
                came = partial.offset - since
                if came < LEAST_PROGRESS_BYTES:
                    raise TransientError(
                        self._unexpected(f"{came} bytes in {window_s:g} s", "at least 1 KiB")
                    )
                since, until = partial.offset, time.monotonic() + window_s
            data = stream.read()
        self.control.check()

    def _conclude(self, partial: PartialFile, info: RemoteInfo) -> Fetched:
        """Check what is here, and give it its name."""
        partial.sync_bytes_alone()
        try:
            with closing(Location(str(partial.path)).open()) as file:
                read_directory(file)
            fetched = Fetched(self.target, self.source.url, info, partial.offset, partial.sha256())
            self.accept(fetched)
        except ArchiveError as error:
            partial.discard()
            raise FetchError(
                explain(
                    f"{self.label}: what the server sent is not a whole zip archive",
                    where=self.source.url,
                    expected=f"a zip archive of {info.size} bytes, as the server announced",
                    found=one_line(error),
                    remedy="run again; if it stays like this, choose another source with base_url",
                )
            ) from error
        except FetchError:
            partial.discard()
            raise
        partial.finish()
        return fetched

    def _changed(self, when: str) -> str:
        return explain(
            f"{self.label}: changed upstream {when}",
            where=self.source.url,
            remedy="it is fetched from the start again",
        )

    def _unexpected(self, found: str, expected: object) -> str:
        return explain(
            f"{self.label}: the transfer was cut short or went astray",
            where=self.source.url,
            expected=f"{expected:,} bytes" if isinstance(expected, int) else expected,
            found=found,
        )

    def _broken(self, error: OSError) -> FetchError:
        """Explain what the disk said."""
        full = error.errno in _DISK_FULL
        return FetchError(
            explain(
                f"{self.label}: {'the disk is full' if full else 'cannot be written'}",
                where=self.target,
                found=error,
                remedy="free some space and run again: what has arrived is kept"
                if full
                else "check the folder and its rights, then run again",
            )
        )
