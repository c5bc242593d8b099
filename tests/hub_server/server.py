"""The Hub on loopback: two HTTP servers, one for the Hub and one for the storage it refers to.

Plain `http.server` with a thread for each connection, and no framework: a test needs to know how
many bytes of a body came before a client was killed, and to reset a connection after so many. An
ASGI server reads bodies ahead of the application and hides both; and this adds no dependency.
"""

from __future__ import annotations

import io
import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from loopback import LoopbackServer, QuietHandler

from hub_server.api import Route, find_route
from hub_server.faults import Fault
from hub_server.hub import Hub
from hub_server.wire import PIECE, Answer, Body, ClientGoneError, HubError, Request, json_answer


class HubServer(Hub):
    """A `Hub` that is served."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._servers = [_Server(self, on_storage=False), _Server(self, on_storage=True)]
        self.url, self.storage_url = (server.url for server in self._servers)

    def __enter__(self) -> HubServer:
        for server in self._servers:
            server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
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
            self._send("control", self._control(url.path), Fault("control"))
            return
        route, named = find_route(self.command, url.path, on_storage=self.server.on_storage)
        hub.counters.add("calls", route.name)
        fault, answer = _due(hub, route.name), None
        body = Body(self.rfile, self.headers, hub.counters, fault)
        query = parse_qs(url.query, keep_blank_values=True)
        request = Request(self.command, url.path, query, self.headers, named, body)
        with suppress(ClientGoneError):
            answer = self._answer(route, request, fault)
        status = 0 if answer is None or fault.lose_answer else answer.status
        hub.counters.log.append((self.command, self.path, status))
        if answer is None:
            hub.counters.add("broken", route.name)
        if status == 0:
            self._break_off(reset=answer is not None)
        elif answer is not None:
            self._send(route.name, answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def _answer(self, route: Route, request: Request, fault: Fault) -> Answer:
        if fault.on_call is not None:
            fault.on_call()
        try:
            if fault.status is not None:
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

    def _send(self, route: str, answer: Answer, fault: Fault) -> None:
        hub, rate = self.server.hub, fault.bytes_per_s
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.size))
        self.end_headers()
        if self.command == "HEAD":
            return
        whole = fault.cut_after is None or fault.cut_after >= answer.size
        length = answer.size if whole else fault.cut_after or 0
        for piece in _pieces(answer, length, PIECE if rate is None else max(1, int(rate / 20))):
            if rate is not None:
                time.sleep(len(piece) / rate)
            # First: a test may look as soon as its client has the last byte.
            hub.counters.add("sent", route, len(piece))
            try:
                self.wfile.write(piece)
            except OSError:
                self._break_off(reset=False)
                return
        if not whole:
            self._break_off(reset=False)  # an orderly end, too early: all that was sent arrives

    def _break_off(self, *, reset: bool) -> None:
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def _control(self, path: str) -> Answer:
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
        return json_answer(hub.counters.as_json())


def _due(hub: Hub, route: str) -> Fault:
    """Find what goes wrong with this call; a fault that does nothing if that is nothing."""
    with hub.lock:
        hit = [fault for fault in hub.faults if fault.route == route and fault.take()]
    return hit[0] if hit else Fault(route)


def _pieces(answer: Answer, left: int, size: int) -> Iterator[bytes]:
    with io.BytesIO(answer.body) if answer.file is None else answer.file.open("rb") as file:
        file.seek(answer.start)
        while left:
            piece = file.read(min(left, size))
            left -= len(piece)
            yield piece
