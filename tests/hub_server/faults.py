"""What a test can count, and what it can make go wrong."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Fault:
    """How calls of one route go wrong. Several faults of a route each count its calls."""

    route: str  # its name in `api.py`, such as "lfs-upload"
    call: int = 1  # the first call it applies to, counted from when the fault is set
    times: int | None = 1  # calls it applies to; None for all that follow
    status: int | None = None  # answered instead, once the body is in
    message: str = "Internal Error - try again later"
    lose_answer: bool = False  # the call takes effect, but the connection is reset instead
    cut_after: int | None = None  # bytes of the answer's body, after which the connection ends
    bytes_per_s: float | None = None  # of the bodies of requests and answers
    retry_after: int | None = None  # seconds, sent along with `status`
    on_call: Callable[[], None] | None = None  # before the body is read
    seen: int = 0

    def take(self) -> bool:
        """Count a call, and tell whether it is hit."""
        self.seen += 1
        late = self.times is not None and self.seen >= self.call + self.times
        return self.seen >= self.call and not late


class Counters:
    """Requests and bytes, by route. Read at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.calls: Counter[str] = Counter()
            self.received: Counter[str] = Counter()  # bytes, also of bodies that broke off
            self.sent: Counter[str] = Counter()  # bytes, the last ones perhaps to nobody
            self.broken: Counter[str] = Counter()  # requests whose body broke off
            # Method, path and status of everything; 0 where nobody was left to be answered.
            self.log: list[tuple[str, str, int]] = []

    def add(self, name: str, route: str, count: int = 1) -> None:
        with self._lock:
            getattr(self, name)[route] += count

    def as_json(self) -> dict[str, object]:
        """Everything but the log."""
        with self._lock:
            names = ("calls", "received", "sent", "broken")
            return {name: dict(getattr(self, name)) for name in names}
