"""Who runs the tasks: threads of this process, any executor, a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager

from geogen_hf.errors import UsageError, explain, one_line
from geogen_hf.export.faults import CONTINUES, ExportError
from geogen_hf.export.tasks import ShardTask, TaskRecord, run_task
from geogen_hf.threads import stoppable_threads

Submit = Callable[[ShardTask], Future[TaskRecord]]
"""Hands a task over to whoever runs it."""

_PATIENCE_S = 30


@contextmanager
def task_runner(executor: Executor | None, workers: int | None, tasks: int) -> Iterator[Submit]:
    """Decide who runs the tasks.

    On this machine these are threads: reading, inflating, hashing, encoding and writing all let
    other threads run, and threads start at once, where processes first import what they need.

    Args:
        executor: Runs them; None for threads of this process.
        workers: How many threads; None for one more than cores.
        tasks: How many there are to do: more threads than that are not started.

    Yields:
        What hands a task over.

    Raises:
        ExportError: A process of the executor died.
    """
    try:
        if executor is not None:
            yield lambda task: executor.submit(run_task, task)
            return
        # One more than cores: one of them waits for the disk.
        count = max(1, min(workers or (os.cpu_count() or 1) + 1, tasks))
        with stoppable_threads(count) as (threads, control):
            yield lambda task: threads.submit(run_task, task, control)
    except BrokenExecutor as error:
        remedy = f'{CONTINUES}; a script that starts processes needs `if __name__ == "__main__":`'
        message = explain("an exporting process died", found=one_line(error), remedy=remedy)
        raise ExportError(message) from error


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """Connect to a Dask cluster, to pass as `executor` to `export_release`.

    Its workers must see parts and folder under the same paths (or the parts under the same URL),
    and have this package installed, in the same version.

    Args:
        address: Of the scheduler, such as `tcp://10.0.0.7:8786`.

    Yields:
        An executor whose tasks run on the cluster's workers.

    Raises:
        UsageError: `dask[distributed]` is not installed.
        ExportError: The scheduler does not answer, has no workers, or lost them.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        message = explain("Dask is not installed", remedy="pip install 'geogen-hf[dask]'")
        raise UsageError(message) from error
    try:
        client = Client(address, timeout=_PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        message = explain(
            "the Dask scheduler does not answer", where=address, found=str(error) or repr(error)
        )
        raise ExportError(message) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_S)
        except TimeoutError as error:
            remedy = f"start some with: dask worker {address}"
            message = explain("the Dask cluster has no workers", where=address, remedy=remedy)
            raise ExportError(message) from error
        try:
            yield client.get_executor()
        except KilledWorker as error:
            message = explain("Dask workers died", found=error, remedy=CONTINUES)
            raise ExportError(message) from error
