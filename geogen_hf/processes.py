"""Processes that work for this one, leave Ctrl-C to it, and end when it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start worker processes, and end them when the block is left, however it is left.

    They are started afresh, not forked: a fork copies the locks of whatever threads the caller
    runs. So a script that gets here must be importable, with its work under
    `if __name__ == "__main__":`.

    Args:
        workers: How many.

    Yields:
        The pool; all of its processes are started.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_serve_parent)
    try:
        resource_tracker.ensure_running()  # starting it would lift the block below
        with _interrupts_held_back():
            pool.submit(_nothing)  # starts them all
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Block SIGINT, and so in every process started meanwhile; one that comes is delivered after.

    A terminal sends Ctrl-C to all processes. Only the parent should act on it: workers would print
    a traceback each and break the pool.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing() -> None:
    pass


def _serve_parent() -> None:
    """Leave Ctrl-C to the parent, and watch for its death: an orphan would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
