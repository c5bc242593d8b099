"""Taking batches from a loader, timed: what every job of `benchmarks.training` does."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

WORKERS = 2
Loader = Callable[[str, int], Iterable[Any]]
"""From a source and a number of subjects a batch: uint8 tensors `(..., 3, H, W)`."""


def drain(batches: Iterable[Any], most: int, limit_s: float, started: float) -> dict[str, float]:
    """Take batches until there are enough or time is up.

    The rate counts from when every worker has delivered once: what they were to deliver next is
    then no further on than at the end.
    """
    arrived_s: list[float] = []
    sizes: list[int] = []
    for batch in batches:
        if str(batch.dtype) != "torch.uint8" or batch.shape[-3] != 3:
            raise AssertionError(f"a batch is {tuple(batch.shape)} {batch.dtype}")
        arrived_s.append(time.perf_counter() - started)
        sizes.append(math.prod(batch.shape[:-3]))
        enough_s = arrived_s[-1] - arrived_s[0] > limit_s and len(sizes) > WORKERS
        if len(sizes) == most or enough_s:
            break
    counted_s = arrived_s[-1] - arrived_s[WORKERS - 1]
    return {
        "first_s": arrived_s[0],
        "seconds": arrived_s[-1],
        "images": sum(sizes),
        "images_per_s": sum(sizes[WORKERS:]) / counted_s,
        "batches_per_s": len(sizes[WORKERS:]) / counted_s,
    }


def run(loaders: dict[str, Loader]) -> None:
    """Run the job that the command line names: `ROUTE SOURCE SUBJECTS_A_BATCH BATCHES LIMIT_S`."""
    route, source, batch_size, most, limit_s = sys.argv[1:]
    started = time.perf_counter()
    batches = loaders[route](source, int(batch_size))
    found = drain(batches, int(most), float(limit_s), started)
    print(json.dumps(found), flush=True)
    for worker in multiprocessing.active_children():  # what is prefetched is not waited for
        worker.kill()
        worker.join()
    os._exit(0)


if __name__ == "__main__":
    sys.exit("run benchmarks.training")
