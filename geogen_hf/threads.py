"""Run work in threads or processes: tasks that can be stopped, or one that reads ahead.

`run_all` runs independent tasks such as downloads, `stoppable_threads` and `worker_processes` give
executors, and `read_ahead` prepares the next items of an iterator while the present one is used.
`Control` is how the waiting thread tells workers to stop.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TypeVar

from geogen_hf.errors import GeoGenError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

_END = object()
_TICK_S = 0.1
_LAST_WORDS_S = 3.0


class Stopped(Exception):  # noqa: N818 (an order, not an error)
    """Raised inside a worker that is told to stop; never leaves `run_all`."""


class Control:
    """How a thread that waits for workers tells them to stop."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._aborts: set[Callable[[], None]] = set()
        self._told = False

    def stop(self) -> None:
        """Tell the workers to stop, and wake those that wait for bytes."""
        self._stop.set()
        with self._lock:
            aborts = list(self._aborts)
        for abort in aborts:
            abort()

    def tell_once(self, message: str) -> None:
        """Log a warning, unless one was logged before."""
        if not self._told:
            self._told = True
            logger.warning("%s", message)

    def check(self) -> None:
        """Raise `Stopped` if told to stop."""
        if self._stop.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, or raise `Stopped` as soon as told to stop."""
        if self._stop.wait(seconds):
            raise Stopped

    @contextmanager
    def watching(self, abort: Callable[[], None]) -> Iterator[None]:
        """Have `stop` call what ends the reads in the block."""
        with self._lock:
            self._aborts.add(abort)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._aborts.discard(abort)


@contextmanager
def stoppable_threads(count: int) -> Iterator[tuple[Executor, Control]]:
    """Start threads, and have them finish, or give up, when the block is left.

    The tasks watch the `Control`: left by an exception, Ctrl-C among them, the block tells them to
    stop, and waits until they have noticed.
    """
    control = Control()
    threads = ThreadPoolExecutor(count, thread_name_prefix="geogen")
    try:
        yield threads, control
    except BaseException:
        control.stop()
        raise
    finally:
        threads.shutdown(cancel_futures=True)


@contextmanager
def worker_processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes, all of them at once, and end them when the block is left.

    Left by an exception, Ctrl-C among them, the block ends them at once, whatever they do. They
    are spawned and not forked, because a fork copies the locks of whatever threads the caller runs.
    """
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_serve_parent)
    try:
        with _interrupts_blocked():
            # One task for each, so that every process starts now, while Ctrl-C is blocked.
            started = [pool.submit(os.getpid) for _ in range(workers)]
            for future in started:
                future.result()
        yield pool
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            remedy = 'start processes under `if __name__ == "__main__":`, or pass workers=1'
            raise GeoGenError("a worker process died", remedy=remedy) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Put off Ctrl-C, and keep it from every process started meanwhile, which inherit the block.

    A terminal sends Ctrl-C to all processes. Only the parent should act on it: workers would print
    a traceback each and break the pool.
    """
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows
        yield
        return
    # Starting multiprocessing's resource tracker lifts the block, so it has to run already.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it dies: a worker would wait for it for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def run_all(
    tasks: Mapping[str, Callable[[], Result]],
    *,
    jobs: int,
    control: Control,
    tick: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Result], dict[str, GeoGenError]]:
    """Run tasks in threads; one that fails leaves the others alone.

    On `KeyboardInterrupt`, or whatever else is raised in this thread or unforeseen in a task, the
    tasks are told to stop and given a moment before it goes on. A thread that is then still waiting
    for a server's answer ends by itself as soon as it has one, without writing anything.

    Returns what each task returned, in the tasks' order, and what each that failed raised, by name.
    `control` is what the tasks watch; `tick` is called in this thread ten times a second and at the
    end.

    Example:
        >>> run_all({"a": lambda: 1, "b": lambda: 2}, jobs=2, control=Control())
        ({'a': 1, 'b': 2}, {})
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in tasks:
        waiting.put(name)
    results: dict[str, Result] = {}
    failures: dict[str, GeoGenError] = {}
    unforeseen: list[BaseException] = []
    ended = threading.Semaphore(0)

    def work() -> None:
        try:
            while True:
                name = waiting.get_nowait()
                control.check()
                try:
                    results[name] = tasks[name]()
                except GeoGenError as error:
                    failures[name] = error
        except (queue.Empty, Stopped):
            return
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            unforeseen.append(error)
        finally:
            ended.release()

    # Daemons: an interpreter that exits does not wait for a server that does not answer.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(tasks)))]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            # With a timeout, since on Windows Ctrl-C does not end a wait without one; not by join,
            # since a thread whose join Ctrl-C interrupts passes for ended in Python 3.9 to 3.12.
            while not ended.acquire(timeout=_TICK_S) and not unforeseen:
                tick()
        if unforeseen:
            raise unforeseen[0]
        tick()
    except BaseException:
        control.stop()
        deadline = time.monotonic() + _LAST_WORDS_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        raise
    return {name: results[name] for name in tasks if name in results}, failures


def read_ahead(
    source: Iterator[Result], depth: int | Callable[[Result], int] = 2
) -> Generator[Result, None, None]:
    """Iterate while a thread prepares the next items.

    Worth it where the items come from reads and decompression, which let other threads run.

    An error is raised in the place of the item it hit.

    From here on only that thread runs the source. `depth` is how many items are held ready, 1 or
    more, or what says so, given an item that was ready.

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
