"""Reading ahead in a thread, while what was read is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_END = object()


def read_ahead(source: Iterator[T], depth: int | Callable[[T], int] = 2) -> Iterator[T]:
    """Iterate while a thread prepares the next items.

    Worth it where the items come from reads and decompression, which let other threads run.

    Args:
        source: Whatever yields them; from here on only that thread runs it.
        depth: How many are held ready, 1 or more; or what says so, given an item that was ready.

    Yields:
        The same items in the same order; an error is raised in the place of the item it hit.

    Example:
        >>> list(read_ahead(iter("abc")))
        ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1, thread_name_prefix="geogen-read-ahead") as thread:
        waiting = deque([thread.submit(next, source, _END)])
        try:
            while (item := waiting.popleft().result()) is not _END:
                wanted = depth(item) if callable(depth) else depth  # type: ignore[arg-type]
                while len(waiting) < wanted:
                    waiting.append(thread.submit(next, source, _END))
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()
