"""The Hub on loopback: two HTTP servers, one for the Hub and one for the storage it refers to.

Plain `http.server` with a thread for each connection, and no framework: a test needs to know how
many bytes of a body came before a client was killed, and to reset a connection after so many. An
ASGI server reads bodies ahead of the application and hides both; and this adds no dependency.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from loopback import LoopbackServer, QuietHandler

from hub_server.api import Route, find_route
from hub_server.faults import Fault
from hub_server.hub import Hub
from hub_server.wire import (
    PIECE,
    Answer,
    Body,
    ClientGoneError,
    DropConnectionError,
    HubError,
    Request,
    json_answer,
)


class HubServer(Hub):
    """A `Hub` that is served.

    Args:
        folder: For the contents.

    Example:
        with HubServer(folder) as hub:
            HfApi(hub.url, token=hub.tokens.owner).create_repo("lab/x", repo_type="dataset")
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._servers = [_Server(self, on_storage=False), _Server(self, on_storage=True)]
        self.url, self.storage_url = (server.url for server in self._servers)

    def __enter__(self) -> HubServer:
        for server in self._servers:
            server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.stop()


class _Server(LoopbackServer):
    def __init__(self, hub: Hub, *, on_storage: bool) -> None:
        self.hub, self.on_storage = hub, on_storage
        super().__init__(_Handler)
        # What a client has written is soon here: a killed one leaves little behind in the kernel.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)


class _Handler(QuietHandler):
    server: _Server

    def handle_any(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        if url.path.startswith("/-/"):
            self._control(url.path)
            return
        route, named = find_route(self.command, url.path, on_storage=self.server.on_storage)
        hub.counters.call(route.name)
        fault = _due(hub, route.name)
        try:
            body = Body(self.rfile, self.headers, route.name, hub.counters, fault)
            query = parse_qs(url.query, keep_blank_values=True)
            request = Request(self.command, url.path, query, self.headers, named, body)
            answer = self._answer(route, request, fault)
            if fault is not None and fault.lose_answer:
                raise DropConnectionError
        except (ClientGoneError, DropConnectionError) as error:
            hub.counters.end(route.name, self.command, self.path, 0, broken=True)
            self._break_off(reset=isinstance(error, DropConnectionError))
            return
        self._send(route.name, answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def _answer(self, route: Route, request: Request, fault: Fault | None) -> Answer:
        if fault is not None and fault.on_call is not None:
            fault.on_call()
        try:
            if fault is not None and fault.status is not None:
                retry = {} if fault.retry_after is None else {"Retry_After": str(fault.retry_after)}
                raise HubError(fault.status, fault.message, **retry)
            answer = route.handler(self.server.hub, request)
        except HubError as error:
            answer = error.answer()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # What no client of ours sends: let the test see it.
            answer = HubError(400, f"{type(error).__name__} in {route.name}: {error}").answer()
        request.body.drain()  # else the next request would begin within this body
        return answer

    def _send(self, route: str, answer: Answer, fault: Fault | None) -> None:
        hub = self.server.hub
        hub.counters.end(route, self.command, self.path, answer.status)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.size))
        self.end_headers()
        if self.command == "HEAD":
            return
        rate = None if fault is None else fault.bytes_per_s
        cut = None if fault is None else fault.cut_after
        if cut is not None and cut < answer.size:
            answer = replace(answer, body=answer.body[:cut], length=cut)
        else:
            cut = None
        for piece in _pieces(answer, PIECE if rate is None else max(1, int(rate / 20))):
            if rate is not None:
                time.sleep(len(piece) / rate)
            # First: a test may look as soon as its client has the last byte.
            hub.counters.send(route, len(piece))
            try:
                self.wfile.write(piece)
            except OSError:
                self._break_off(reset=False)
                return
        if cut is not None:
            self._break_off(reset=False)  # an orderly end, too early: all that was sent arrives

    def _break_off(self, *, reset: bool) -> None:
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def _control(self, path: str) -> None:
        """Let another process read the counters and set faults: GET /-/counters, POST /-/faults."""
        hub = self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/-/reset":
            hub.counters.reset()
        elif path == "/-/faults":
            hub.faults[:] = [Fault(**fault) for fault in json.loads(body)]
        elif path == "/-/settings":
            for name, value in json.loads(body).items():
                setattr(hub, name, value)
        answer = json_answer(hub.counters.as_json())
        self.send_response(200)
        self.send_header("Content-Length", str(answer.size))
        self.end_headers()
        self.wfile.write(answer.body)


def _due(hub: Hub, route: str) -> Fault | None:
    with hub.lock:
        hit = [fault for fault in hub.faults if fault.route == route and fault.take()]
    return hit[0] if hit else None


def _pieces(answer: Answer, size: int):  # type: ignore[no-untyped-def]
    if answer.file is None:
        for start in range(0, len(answer.body), size):
            yield answer.body[start : start + size]
        return
    left = answer.length
    with answer.file.open("rb") as file:
        file.seek(answer.start)
        while left:
            piece = file.read(min(left, size))
            left -= len(piece)
            yield piece
