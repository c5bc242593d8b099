"""What resuming costs, and memory over epochs, as rows of the report."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import folder_bytes, run_job
from benchmarks.training_extra import SHARES
from benchmarks.training_forms import Forms
from benchmarks.training_loops import WORKERS
from benchmarks.training_report import Found, line
from benchmarks.training_routes import Route, Servers, reached

JOBS = "benchmarks.training_extra"
REPEATS = 2
FLAT = 1.1


def resume_lines(
    route: Route, forms: Forms, servers: Servers, found: Sequence[Found]
) -> Iterator[str]:
    """What starting at a share of an epoch costs more than starting at its beginning.

    Every worker may read one shard to find its place. So the bytes are given in shards a worker;
    the time, over the time in which a worker gets through a shard.
    """
    rate = next(one for one in found if one.name == route.name).median("images_per_s")
    pngs = list((forms.pngs / "train").glob("*/*"))
    shards = len(list((forms.folder / "data" / "sequences").glob("train*")))
    shard_s = len(pngs) / shards / (rate / WORKERS)
    shard_bytes = folder_bytes(forms.pngs / "train") / shards
    subjects = len(list((forms.pngs / "train").iterdir()))
    with tempfile.TemporaryDirectory(prefix="geogen-states-") as states:
        with reached(route, servers) as at:
            leave = ("leave", route.job, at.source, states, subjects)
            run_job(JOBS, *leave, environment=at.variables)
        costs = {share: _resumed(route, Path(states, str(share)), servers) for share in SHARES}
    fresh_s, fresh_bytes = costs[0.0]
    for share in SHARES[1:]:
        seconds, size = costs[share]
        more_s = (seconds - fresh_s) / shard_s
        more = (size - fresh_bytes) / shard_bytes / WORKERS
        at = f"{route.name}, resumed at {share:.0%}"
        yield line(f"{at}: time more, in shards", more_s, "≤ 1", more_s <= 1)
        yield line(f"{at}: bytes more, in shards a worker", more, "≤ 1", more <= 1)
        note = f"{at}: {seconds:.2f} s, {size / 1e6:.1f} MB; fresh {fresh_s:.2f} s, "
        print(f"{note}{fresh_bytes / 1e6:.1f} MB; a shard {shard_s:.2f} s", file=sys.stderr)


def _resumed(route: Route, state: Path, servers: Servers) -> tuple[float, float]:
    """Seconds and bytes to the first batch, the less of some runs."""
    runs = []
    for _ in range(REPEATS):
        with reached(route, servers) as at:
            resume = ("resume", route.job, at.source, state)
            cost = run_job(JOBS, *resume, environment=at.variables)
            runs.append((float(cost.result["seconds"]), float(at.down_bytes())))
    return min(seconds for seconds, _ in runs), min(size for _, size in runs)


def memory_lines(route: Route) -> Iterator[str]:
    """Most memory of a worker in the last epoch over that in the first."""
    mib = run_job(JOBS, "memory", route.job, route.source).result["mib"]
    print(f"{route.name}: MiB a worker by epoch {[round(m) for m in mib]}", file=sys.stderr)
    ratio = mib[-1] / mib[0]
    name = f"{route.name}: memory a worker, third epoch / first"
    yield line(name, ratio, f"≤ {FLAT}", ratio <= FLAT)
