"""Who runs the tasks: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from geogen_hf.errors import UsageError, explain
from geogen_hf.export.faults import CONTINUES, ExportError
from geogen_hf.processes import process_pool

_PATIENCE_S = 30


@contextmanager
def local_executor(workers: int | None, tasks: int) -> Iterator[Executor | None]:
    """Start processes on this machine.

    Args:
        workers: How many; None for one a core.
        tasks: How many there are to do: more processes than that are not started.

    Yields:
        Their pool, or None where one is enough: the caller.

    Raises:
        ExportError: A process died.
    """
    count = min(workers or os.cpu_count() or 1, tasks)
    if count <= 1:
        yield None
        return
    try:
        with process_pool(count) as pool:
            yield pool
    except BrokenProcessPool as error:
        remedy = f'{CONTINUES}; a script must call it under `if __name__ == "__main__":`'
        raise ExportError(explain("an exporting process died", remedy=remedy)) from error


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
