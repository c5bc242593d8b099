"""A server on loopback whose clients may be killed: what the tests' servers have in common."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LoopbackServer(ThreadingHTTPServer):
    """Serves between `start` and `stop`, a thread for each connection."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End all connections, and wait for whoever serves them."""
        self.shutdown()
        self._thread.join()
        self._close_connections()
        self.server_close()

    def get_request(self) -> tuple[socket.socket, object]:
        request, address = super().get_request()
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.open.add(request)
        return request, address

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self.lock:
            self.open.discard(request)
        lingers = struct.unpack("ii", request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
        if lingers == (1, 0):
            request.close()  # a FIN first would make an orderly end of the reset
        else:
            super().shutdown_request(request)

    def _close_connections(self) -> None:
        """Wake handlers that wait for the next request on an idle connection."""
        with self.lock:
            for request in self.open:
                with contextlib.suppress(OSError):  # the client was quicker
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients are killed in these tests; what arrives is asserted at their end."""


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps connections, and no log."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
