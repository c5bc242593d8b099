"""A network link on one machine: a TCP proxy, in a process of its own, that delays and throttles.

Bytes are delayed like light in a fibre, not like a queue at a counter: what follows is under way at
the same time. A new connection costs one round trip more, as TCP's handshake does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_longlong
from dataclasses import dataclass
from typing import Any

_QUEUE_S = 0.005
"""A source is not read while so much is waiting for the link: its sender is slowed down instead."""
_UNREAD_BYTES = 8 * 2**20
_DOWN_BYTES, _REQUESTS, _CONNECTIONS = range(3)


@dataclass(frozen=True)
class Traffic:
    """What has passed: bytes towards the client, requests, connections."""

    down_bytes: int
    requests: int
    connections: int

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.down_bytes - other.down_bytes,
            self.requests - other.requests,
            self.connections - other.connections,
        )


@dataclass(frozen=True)
class Link:
    """A running link: the port to connect to, the path below it, and what has passed."""

    port: int
    counters: Any
    path: str = ""

    @property
    def url(self) -> str:
        """Base URL at the near end."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def traffic(self) -> Traffic:
        """What has passed so far."""
        return Traffic(*self.counters)


@contextmanager
def open_link(origin_port: int, *, round_trip_s: float, bytes_per_s: float) -> Iterator[Link]:
    """Run a link to a port of this machine."""
    context = multiprocessing.get_context("spawn")
    counters = context.Array(c_longlong, 3, lock=False)
    near, far = context.Pipe()
    arguments = (far, counters, origin_port, round_trip_s, bytes_per_s)
    process = context.Process(target=_run, args=arguments, daemon=True)
    process.start()
    try:
        yield Link(near.recv(), counters)
    finally:
        process.terminate()
        process.join()


def _run(pipe: Any, counters: Any, port: int, round_trip_s: float, bytes_per_s: float) -> None:
    asyncio.run(_serve(pipe, counters, port, round_trip_s, bytes_per_s))


async def _serve(
    pipe: Any, counters: Any, origin_port: int, round_trip_s: float, bytes_per_s: float
) -> None:
    loop = asyncio.get_running_loop()
    down = _Direction(round_trip_s / 2, bytes_per_s)
    up = _Direction(round_trip_s / 2, bytes_per_s)
    server = await loop.create_server(
        lambda: _Near(origin_port, up, down, round_trip_s, counters), "127.0.0.1", 0, backlog=256
    )
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Direction:
    """One direction of the link, shared by all connections: first come, first served."""

    def __init__(self, delay_s: float, bytes_per_s: float) -> None:
        self.delay_s = delay_s
        self.bytes_per_s = bytes_per_s
        self.free_at = 0.0

    def send(self, size: int) -> tuple[float, float]:
        """Take up the link for so many bytes: when they arrive, and how long the queue is now."""
        now = asyncio.get_running_loop().time()
        self.free_at = max(now, self.free_at) + size / self.bytes_per_s
        return self.free_at + self.delay_s, self.free_at - now


class _End(asyncio.Protocol):
    """One end of one connection; bytes received here leave at the other end, later."""

    def __init__(self, direction: _Direction) -> None:
        self.direction = direction
        self.transport: Any = None
        self.other: _End | None = None
        self.waiting: list[bytes] = []
        self.not_before = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=_UNREAD_BYTES)

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        arrives, queue_s = self.direction.send(len(data))
        loop.call_at(max(arrives, self.not_before), self._deliver, data)
        if queue_s > _QUEUE_S:
            self._pause()
            loop.call_later(queue_s - _QUEUE_S / 2, self._resume)

    def _deliver(self, data: bytes) -> None:
        other = self.other
        if other is None or other.transport is None:
            self.waiting.append(data)  # the connection to the origin is not there yet
        elif not other.transport.is_closing():
            other.transport.write(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        loop = asyncio.get_running_loop()
        loop.call_at(self.direction.send(0)[0] + 0.001, self._close_other)

    def _close_other(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other._pause()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other._resume()

    def _pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()


class _Near(_End):
    """The client's end."""

    def __init__(
        self, port: int, up: _Direction, down: _Direction, handshake_s: float, counters: Any
    ) -> None:
        super().__init__(up)
        self.port, self.down, self.counters = port, down, counters
        self.handshake_s = handshake_s

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self.counters[_CONNECTIONS] += 1
        self.not_before = loop.time() + self.handshake_s + self.direction.delay_s
        self.connecting = loop.create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, far = await loop.create_connection(
            lambda: _Far(self.down, self.counters, self), "127.0.0.1", self.port
        )
        self.other = far
        for data in self.waiting:
            far.transport.write(data)
        self.waiting.clear()

    def data_received(self, data: bytes) -> None:
        self.counters[_REQUESTS] += data.startswith((b"GET ", b"HEAD "))
        super().data_received(data)


class _Far(_End):
    """The origin's end."""

    def __init__(self, down: _Direction, counters: Any, near: _Near) -> None:
        super().__init__(down)
        self.counters = counters
        self.other = near

    def data_received(self, data: bytes) -> None:
        self.counters[_DOWN_BYTES] += len(data)
        super().data_received(data)
