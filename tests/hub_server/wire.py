"""Requests and answers, refusals, and a body that is counted while it arrives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from hub_server.faults import Counters, Fault

PIECE = 65_536


class ClientGoneError(Exception):
    """The connection broke off within a body: there is nobody to answer."""


class Body:
    """What a client sends. Every byte is counted when it arrives, also of bodies that break off."""

    def __init__(self, stream: BinaryIO, headers: Any, counters: Counters, fault: Fault) -> None:
        self._stream, self._counters, self._fault = stream, counters, fault
        self._left = int(headers.get("Content-Length") or 0)

    def chunks(self) -> Iterator[bytes]:
        """Yield the rest of the body as it comes in."""
        while self._left:
            data = self._piece()
            self._left -= len(data)
            yield data

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def drain(self) -> None:
        """Read the rest of the body and forget it."""
        for _ in self.chunks():
            pass

    def _piece(self) -> bytes:
        want, rate = min(self._left, PIECE), self._fault.bytes_per_s
        if rate is not None:
            want = max(1, min(want, int(rate / 20)))
            time.sleep(want / rate)
        try:
            data = self._stream.read1(want)  # type: ignore[attr-defined]
        except OSError as error:
            raise ClientGoneError from error
        if not data:
            raise ClientGoneError
        self._counters.add("received", self._fault.route, len(data))
        return data


@dataclass(frozen=True)
class Request:
    """One request; `named` are parts of the path, unquoted. The body can be read once."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Any
    named: dict[str, str]
    body: Body

    def json(self) -> dict[str, Any]:
        content = self.body.read()
        return json.loads(content) if content else {}

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.read().decode(), keep_blank_values=True)

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Get a yes or no of the query: one client writes True, the other true, or 1."""
        return self.one(name).lower() in ("true", "1")


@dataclass(frozen=True)
class Answer:
    """What goes back: `body`, or `length` bytes of `file` from `start` on."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: Path | None = None
    start: int = 0
    length: int = 0

    @property
    def size(self) -> int:
        return len(self.body) if self.file is None else self.length


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    headers = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Answer(status, headers, json.dumps(content).encode())


def file_answer(path: Path, headers: dict[str, str], request: Request) -> Answer:
    """Answer with a file, or with the range of it that was asked for."""
    size, wanted = path.stat().st_size, request.headers.get("Range")
    if request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
        wanted = None  # of another version
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    if wanted is None or not wanted.startswith("bytes="):
        return Answer(200, headers, file=path, length=size)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        return Answer(416, {**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Answer(206, headers, file=path, start=start, length=stop - start)


class HubError(Exception):
    """An answer that is an error, as the Hub words it: a status, X-Error-Code and a message."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self) -> Answer:
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return json_answer({"error": self.message}, self.status, headers)
