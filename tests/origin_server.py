"""An HTTP/1.1 server on loopback that serves a folder, counts, and fails when told to.

with OriginServer(folder) as origin:
    origin.faults["images_batch_1.zip"] = Faults(cut_at=[1000])
    fetch(origin.url)
    assert origin.bytes_sent < ...
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import socket
import struct
import termios
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import urllib3
from loopback import LoopbackServer, QuietHandler

from geogen_hf.source.files import RETRY

HTML = b"<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>"
PIECE = 16_384


@dataclass
class Faults:
    """How the server misbehaves over one file; offsets are counted in the file."""

    cut_at: list[int] = field(default_factory=list)  # the connection is reset here; each once
    cut_every: int | None = None  # every answer is reset after so many bytes
    truncate_at: int | None = None  # every answer ends here in order, short of its Content-Length
    stall_at: list[int] = field(default_factory=list)  # nothing more is sent from here; each once
    stall_headers: int = 0  # so many requests are taken and never answered
    status: int = 503  # of the first `status_times` requests
    status_times: int = 0
    status_methods: tuple[str, ...] = ("GET", "HEAD")
    retry_after: str | None = None  # sent along with `status`
    missing: bool = False  # 404
    ignore_range: bool = False  # the whole file is sent whatever was asked for
    ignore_suffix: bool = False  # the whole file is sent where its last bytes were asked for
    ignore_if_range: bool = False  # ranges are served though the file is another one
    extra_length: int = 0  # added to the true length in every header that tells it
    length: bool = True  # else answers have no Content-Length, and end with the connection
    replace_at: int | None = None  # when the transfer gets here, the file becomes `replacement`
    replacement: bytes = b""
    in_place: bool = False  # ... in the open file, so that the running answer mixes both
    trickle_s: float = 0.0  # pause after each piece of `piece` bytes
    piece: int = PIECE
    html_times: int = 0  # so many requests are answered by a web page with status 200
    html_methods: tuple[str, ...] = ("GET", "HEAD")
    html_type: str = "text/html; charset=utf-8"
    validators: bool = True  # else neither ETag nor Last-Modified is sent
    weak: bool = False  # the ETag is weak, and the date is left out
    head: bool = True  # else HEAD is answered by 405
    on_piece: Callable[[int], None] | None = None  # called with the offset before each piece
    redirect: str | None = None  # of all requests
    drip: tuple[bytes, bytes] | None = None  # sent once, and then 20 times a second, as an answer
    claimed_length: str | None = None  # sent as Content-Length, whatever the length is


@dataclass(frozen=True)
class Request:
    """What was asked and answered."""

    method: str
    name: str
    range: str | None
    if_range: str | None
    status: int
    authorization: str | None
    key: str | None


class OriginServer:
    """See the module's head. All may be read, and cleared, at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, Faults] = {}  # by file name
        self.requests: list[Request] = []  # in order
        self.sent: dict[str, int] = {}  # bytes of content, by file name
        self.connections = 0  # ever opened
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server(self)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def bytes_sent(self) -> int:
        with self.lock:
            return sum(self.sent.values())

    def count(self, method: str, name: str | None = None) -> int:
        with self.lock:
            return sum(r.method == method and name in (None, r.name) for r in self.requests)

    def reset_counts(self) -> None:
        with self.lock:
            self.requests.clear()
            self.sent.clear()

    def __enter__(self) -> OriginServer:
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.closing.set()
        self._server.stop()


class _Server(LoopbackServer):
    def __init__(self, origin: OriginServer) -> None:
        self.origin = origin
        super().__init__(_Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        accepted = super().get_request()
        with self.origin.lock:
            self.origin.connections += 1
        return accepted


class _Handler(QuietHandler):
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        origin = self.server.origin
        self.name = unquote(urlsplit(self.path).path).rsplit("/", 1)[-1]
        with origin.lock:
            faults = self.faults = origin.faults.get(self.name, Faults())
            fails = faults.status_times > 0 and self.command in faults.status_methods
            faults.status_times -= fails
            stalls = not fails and faults.stall_headers > 0
            faults.stall_headers -= stalls
            page = not fails and not stalls and faults.html_times > 0
            page = page and self.command in faults.html_methods
            faults.html_times -= page
        if stalls:
            self._stall()
        elif faults.drip is not None:
            self._drip(*faults.drip)
        elif faults.redirect is not None:
            self._short(302, b"elsewhere", {"Location": faults.redirect}, with_body=with_body)
        elif fails:
            headers = {"Retry-After": faults.retry_after} if faults.retry_after else {}
            self._short(faults.status, b"", headers, with_body=with_body)
        elif page:
            self._short(200, HTML, {"Content-Type": faults.html_type}, with_body=with_body)
        elif self.command == "HEAD" and not faults.head:
            self._short(405, b"", {}, with_body=False)
        else:
            self._file(with_body=with_body)

    def _short(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self._note(status)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _file(self, *, with_body: bool) -> None:
        path = self.server.origin.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if self.faults.missing or not path.is_file():
            self._short(404, b"no such file", {}, with_body=with_body)
            return
        with path.open("rb") as file:
            stat = path.stat()
            size = stat.st_size
            etag = f'"{stat.st_mtime_ns:x}-{size:x}"'
            etag = f"W/{etag}" if self.faults.weak else etag
            modified = formatdate(stat.st_mtime, usegmt=True)
            start, stop, status = self._wanted(size, etag, modified)
            claimed = size + self.faults.extra_length
            self._note(status)
            self.send_response(status)
            if not self.faults.ignore_range:
                self.send_header("Accept-Ranges", "bytes")
            if self.faults.validators:
                self.send_header("ETag", etag)
                if not self.faults.weak:
                    self.send_header("Last-Modified", modified)
            if status == 416:
                self.send_header("Content-Range", f"bytes */{size}")
            elif status == 206:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{claimed}")
            self.send_header("Content-Type", "application/zip")
            extra = self.faults.extra_length if stop == size and status != 416 else 0
            if self.faults.claimed_length is not None:
                self.send_header("Content-Length", self.faults.claimed_length)
                self.close_connection = True
            elif self.faults.length or not with_body:
                self.send_header("Content-Length", str(stop - start + extra))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            if with_body:
                file.seek(start)
                self._send(file, path, start, stop)

    def _wanted(self, size: int, etag: str, modified: str) -> tuple[int, int, int]:
        """Decide which bytes go out, and with which status."""
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if wanted is None or self.faults.ignore_range:
            return 0, size, 200
        holds = condition in (None, modified) or (condition == etag and etag[:2] != "W/")
        if not holds and not self.faults.ignore_if_range:
            return 0, size, 200
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if first == "" and self.faults.ignore_suffix:
            return 0, size, 200
        if first == "":
            start, stop = max(0, size - int(last)), size
        else:
            start, stop = int(first), min(size, int(last) + 1) if last else size
        return (0, 0, 416) if start >= size or start >= stop else (start, stop, 206)

    def _send(self, file: BinaryIO, path: Path, start: int, stop: int) -> None:
        faults, origin = self.faults, self.server.origin
        offset, begun = start, start
        while offset < stop and not origin.closing.is_set():
            piece_stop = min(offset + faults.piece, stop, *self._stops(begun, offset))
            if faults.on_piece is not None:
                faults.on_piece(offset)
            data = file.read(piece_stop - offset)
            self.wfile.write(data)
            with origin.lock:
                origin.sent[self.name] = origin.sent.get(self.name, 0) + len(data)
            if len(data) < piece_stop - offset:
                self.close_connection = True  # cut short in place meanwhile
                return
            offset = piece_stop
            if not self._go_on(path, begun, offset):
                return
            if faults.trickle_s:
                time.sleep(faults.trickle_s)
        if faults.extra_length > 0 and stop > start:
            self.close_connection = True  # the bytes that were promised never come

    def _stops(self, begun: int, offset: int) -> list[int]:
        """Offsets ahead at which something happens."""
        faults = self.faults
        marks = [*faults.cut_at, *faults.stall_at]
        marks += [m for m in (faults.truncate_at, faults.replace_at) if m is not None]
        marks += [] if faults.cut_every is None else [begun + faults.cut_every]
        return [mark for mark in marks if mark > offset]

    def _go_on(self, path: Path, begun: int, offset: int) -> bool:
        """Let happen what is due at this offset; False where the answer ends with it."""
        faults = self.faults
        if faults.replace_at == offset:
            faults.replace_at = None
            replace(path, faults.replacement, in_place=faults.in_place)
        if faults.truncate_at == offset:
            self.close_connection = True
            return False
        if offset in faults.stall_at:
            faults.stall_at.remove(offset)
            self._stall()
            return False
        if offset in faults.cut_at or offset - begun == faults.cut_every:
            if offset in faults.cut_at:
                faults.cut_at.remove(offset)
            self._reset()
            return False
        return True

    def _reset(self) -> None:
        """Send RST, once all that was written has arrived: what is counted as sent, was."""
        self.wfile.flush()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            queued = fcntl.ioctl(self.connection, termios.TIOCOUTQ, b"\0" * 4)
            if struct.unpack("i", queued)[0] == 0:
                break
            time.sleep(0.001)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _stall(self) -> None:
        """Send nothing until the client goes away."""
        self._note(0)
        self.close_connection = True
        while not self.server.origin.closing.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable:
                return

    def _drip(self, first: bytes, more: bytes) -> None:
        """Send bytes slowly until the client goes away."""
        self._note(0)
        self.close_connection = True
        self.wfile.write(first)
        with contextlib.suppress(OSError):
            while not self.server.origin.closing.wait(0.05):
                self.wfile.write(more)

    def _note(self, status: int) -> None:
        get = self.headers.get
        ranges, shown = (get("Range"), get("If-Range")), (get("Authorization"), get("X-Key"))
        request = Request(self.command, self.name, *ranges, status, *shown)
        with self.server.origin.lock:
            self.server.origin.requests.append(request)


def replace(path: Path, content: bytes, *, in_place: bool = False) -> None:
    """Replace a served file, with a date a minute on so that its validators change for sure."""
    stamp = path.stat().st_mtime + 60
    if in_place:
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
    else:
        temporary = path.with_name(path.name + ".new")
        temporary.write_bytes(content)
        os.utime(temporary, (stamp, stamp))
        temporary.replace(path)
    os.utime(path, (stamp, stamp))


def quick_retry(attempts: int) -> urllib3.Retry:
    """The package's policy, for so many attempts in a row and with hardly any waits."""
    return RETRY.new(total=attempts - 1, backoff_factor=0.01, backoff_max=0.02, backoff_jitter=0)


def write_zip(path: Path, size: int, seed: int) -> bytes:
    """Write ten members of stored noise, `size` bytes in all; as long for one seed as another."""
    noise = random.Random(seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as zipped:
        for index in range(10):
            zipped.writestr(f"subj_{seed:03}/{index}.png", noise.randbytes(size // 10))
    return path.read_bytes()
