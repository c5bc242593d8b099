from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from geogen_hf.threads import read_ahead


def test_items_are_made_in_another_thread_before_they_are_asked_for() -> None:
    made: list[int] = []
    third = threading.Event()

    def source() -> Iterator[str]:
        for index in range(5):
            made.append(threading.get_ident())
            if index == 2:
                third.set()
            yield f"item {index}"

    ahead = read_ahead(source(), depth=2)
    assert next(ahead) == "item 0"
    assert third.wait(timeout=30)
    assert list(ahead) == [f"item {index}" for index in range(1, 5)]
    assert threading.get_ident() not in made


def test_errors_come_in_their_place() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("third")

    ahead = read_ahead(source(), depth=3)
    assert next(ahead) == 1
    assert next(ahead) == 2
    with pytest.raises(ZeroDivisionError, match="third"):
        next(ahead)


def test_stopping_early_ends_the_thread() -> None:
    def source() -> Iterator[int]:
        yield from range(1000)

    before = threading.active_count()
    ahead = read_ahead(source())
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
