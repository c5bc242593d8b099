"""What a test can count, and what it can make go wrong."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Fault:
    """How calls of one route go wrong. Several faults of a route each count its calls.

    Attributes:
        route: Name of the route, such as `"lfs-upload"` or `"commit"` (see `api.py`).
        call: First call it applies to, from 1, counted from when the fault is set.
        times: How many calls it applies to; None for all that follow.
        status: Answered instead, once the body is in.
        message: Goes with it.
        lose_answer: The call takes effect, but the connection is reset before the answer.
        cut_after: The connection is reset after so many bytes of the answer's body.
        bytes_per_s: Bodies of requests and answers move no faster.
        retry_after: Sent along with `status`, in seconds.
        on_call: Called before the body is read.
    """

    route: str
    call: int = 1
    times: int | None = 1
    status: int | None = None
    message: str = "Internal Error - try again later"
    lose_answer: bool = False
    cut_after: int | None = None
    bytes_per_s: float | None = None
    retry_after: int | None = None
    on_call: Callable[[], None] | None = None
    seen: int = 0

    def take(self) -> bool:
        """Count a call, and tell whether it is hit."""
        self.seen += 1
        late = self.times is not None and self.seen >= self.call + self.times
        return self.seen >= self.call and not late


class Counters:
    """Requests and bytes, by route. Read at any time.

    Attributes:
        calls: Requests.
        received: Bytes of bodies that arrived, also of those that broke off.
        sent: Bytes of bodies that were sent, the last ones perhaps to nobody.
        broken: Requests whose body broke off.
        log: `(method, path, status)` of everything that was answered; 0 where nobody was left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        with self._lock:
            self.calls: Counter[str] = Counter()
            self.received: Counter[str] = Counter()
            self.sent: Counter[str] = Counter()
            self.broken: Counter[str] = Counter()
            self.log: list[tuple[str, str, int]] = []

    def add(self, name: str, route: str, count: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            getattr(self, name)[route] += count

    def as_json(self) -> dict[str, object]:
        """Everything but the log."""
        with self._lock:
            names = ("calls", "received", "sent", "broken")
            return {name: dict(getattr(self, name)) for name in names}
