"""Processes that work for this one, leave Ctrl-C to it, and end when it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Semaphore


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
    ready = context.Semaphore(0)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_serve_parent, initargs=(work_on, ready)
    )
    try:
        resource_tracker.ensure_running()  # starting it would lift the block below
        with _interrupts_held_back():
            started = [pool.submit(_nothing) for _ in range(workers)]  # a process each
            _await_workers(ready, started)
        yield pool
    except BaseException:
        stop.close()  # ends them in the midst of their work
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        work_on.close()
        stop.close()


def _await_workers(ready: Semaphore, started: list[Future[None]]) -> None:
    """Wait until all run: were this process to end before, they would print tracebacks."""
    give_up = time.monotonic() + 60
    for _ in started:
        while not ready.acquire(timeout=0.1) and time.monotonic() < give_up:
            if any(future.done() and future.exception() for future in started):
                break
    for future in started:
        future.result()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Put off Ctrl-C, and keep it from every process started meanwhile.

    A terminal sends it to all processes. Only the parent should act on it: workers would print a
    traceback each and break the pool. Blocking it in this thread is inherited by the processes it
    starts; but native threads may take it too, so the parent also needs a handler that waits.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not (in_main_thread and hasattr(signal, "pthread_sigmask")):  # as on Windows
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _nothing() -> None:
    pass


def _serve_parent(work_on: Connection, ready: Semaphore) -> None:
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
    ready.release()
