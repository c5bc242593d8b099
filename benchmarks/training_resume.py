"""What resuming costs, and memory over epochs, as rows of the report."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import run_job
from benchmarks.training_extra import SHARES
from benchmarks.training_forms import Forms
from benchmarks.training_loops import WORKERS
from benchmarks.training_report import line
from benchmarks.training_routes import Route, Servers, reached

JOBS = "benchmarks.training_extra"
REPEATS = 3
FLAT = 1.1


def resume_lines(route: Route, forms: Forms, servers: Servers) -> Iterator[str]:
    """What starting at a share of an epoch costs more than starting at its beginning.

    Every worker may read one shard to find its place, all at the same time: that costs the time of
    reading a shard, and its bytes for each worker.
    """
    shard_s, shard_bytes = _cost(route, servers, "shard")
    subjects = len(list((forms.pngs / "train").iterdir()))
    with tempfile.TemporaryDirectory(prefix="geogen-states-") as states:
        _cost(route, servers, "leave", states, subjects, repeats=1)
        costs = {s: _cost(route, servers, "resume", Path(states, str(s))) for s in SHARES}
    fresh_s, fresh_bytes = costs[0.0]
    for share in SHARES[1:]:
        seconds, size = costs[share]
        more_s = (seconds - fresh_s) / shard_s
        more = (size - fresh_bytes) / shard_bytes / WORKERS
        at = f"{route.name}, resumed at {share:.0%}"
        yield line(f"{at}: time more, in shards", more_s, "≤ 1", more_s <= 1)
        yield line(f"{at}: bytes more, in shards a worker", more, "≤ 1", more <= 1)
        note = f"{at}: {seconds:.2f} s, {size / 1e6:.1f} MB; fresh {fresh_s:.2f} s, "
        note += f"{fresh_bytes / 1e6:.1f} MB; a shard {shard_s:.2f} s, {shard_bytes / 1e6:.1f} MB"
        print(note, file=sys.stderr)


def _cost(
    route: Route, servers: Servers, job: str, *arguments: object, repeats: int = REPEATS
) -> tuple[float, float]:
    """Seconds that a job says it took, and bytes that came, the less of some runs."""
    runs = []
    for _ in range(repeats):
        with reached(route, servers) as at:
            named = (job, route.job, at.source, *arguments)
            result = run_job(JOBS, *named, environment=at.variables).result
            runs.append((float(result.get("seconds", 0)), float(at.down_bytes())))
    return min(seconds for seconds, _ in runs), min(size for _, size in runs)


def memory_lines(route: Route) -> Iterator[str]:
    """Most memory of a worker in the last epoch over that in the first."""
    mib = run_job(JOBS, "memory", route.job, route.source).result["mib"]
    print(f"{route.name}: MiB a worker by epoch {[round(m) for m in mib]}", file=sys.stderr)
    ratio = mib[-1] / mib[0]
    name = f"{route.name}: memory a worker, third epoch / first"
    yield line(name, ratio, f"≤ {FLAT}", ratio <= FLAT)
