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
from multiprocessing.connection import Connection, wait


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start worker processes, and end them when the block is left.

    Left by an exception, Ctrl-C among them, the block ends them at once, whatever they do.

    They are started afresh, not forked: a fork copies the locks of whatever threads the caller
    runs. So a script that gets here must be importable, with its work under
    `if __name__ == "__main__":`.

    Args:
        workers: How many.

    Yields:
        The pool; all of its processes are started.
    """
    context = multiprocessing.get_context("spawn")
    work_on, stop = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_serve_parent, initargs=(work_on,)
    )
    try:
        resource_tracker.ensure_running()  # starting it would lift the block below
        with _interrupts_held_back():
            pool.submit(_nothing)  # starts them all
        yield pool
    except BaseException:
        stop.close()  # ends them in the midst of their work
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        work_on.close()
        stop.close()


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


def _serve_parent(work_on: Connection) -> None:
    """Leave Ctrl-C to the parent, and end when it says so or dies: an orphan waits for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel, work_on])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
