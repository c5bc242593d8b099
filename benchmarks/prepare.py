"""Zips to Arrow: `python -m benchmarks.prepare --subjects 200 --size 512`.

Against the idiomatic script on the same parts, served from loopback: images a second, disk beyond
parts and Arrow, and peak memory, also for four times as many subjects.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Cost, folder_bytes, run_job, served
from benchmarks.releases import big_release


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    parts = big_release(options.subjects, options.size)
    more = big_release(4 * options.subjects, options.size)
    images = 7 * options.subjects
    print(f"{images} images, {folder_bytes(parts) / images / 1e3:.0f} kB each; medians")
    print("route        processes  images/s   peak MiB   disk beyond parts and Arrow, MiB")
    rates: dict[tuple[str, int], float] = {}
    with served(parts) as url:
        for num_proc in (1, 2):
            costs: dict[str, list[Cost]] = {"idiomatic": [], "geogen": []}
            for _ in range(options.repeats):
                for route, runs in costs.items():
                    runs.append(_prepare(route, url, num_proc))
            for route, runs in costs.items():
                rates[route, num_proc] = images / statistics.median(_seconds(c) for c in runs)
                peak = _prepare(route, url, num_proc, watch_memory=True).peak_mib
                extra = statistics.median(cost.result["extra"] for cost in runs) / 2**20
                rate = rates[route, num_proc]
                print(f"{route:12} {num_proc:9} {rate:9.0f} {peak:10.0f} {extra:10.1f}")
    for num_proc in (1, 2):
        ratio = rates["geogen", num_proc] / rates["idiomatic", num_proc]
        print(f"geogen / idiomatic, {num_proc} process(es): {ratio:.2f}")
    for num_proc in (1, 2):
        peaks = {}
        for folder, count in ((parts, options.subjects), (more, 4 * options.subjects)):
            peaks[count] = _prepare("geogen", str(folder), num_proc, watch_memory=True).peak_mib
        listing = ", ".join(f"{count} subjects {peak:.0f} MiB" for count, peak in peaks.items())
        print(f"peak memory from local parts, {num_proc} process(es): {listing}")


def _seconds(cost: Cost) -> float:
    return float(cost.result["seconds"])


def _prepare(route: str, base_url: str, num_proc: int, *, watch_memory: bool = False) -> Cost:
    with tempfile.TemporaryDirectory(prefix="geogen-prepare-") as cache:
        arguments = ("job", route, base_url, num_proc, cache)
        return run_job("benchmarks.prepare", *arguments, watch_memory=watch_memory)


def job(route: str, base_url: str, num_proc: str, cache: str) -> None:
    """One preparation, in a process that imports what it needs first."""
    import time

    import datasets

    import geogen
    from benchmarks.idiomatic import Idiomatic

    datasets.disable_progress_bars()
    builder_class = {"idiomatic": Idiomatic, "geogen": geogen.GeoGen}[route]
    builder = builder_class(cache_dir=cache, base_url=base_url)
    started = time.perf_counter()
    builder.download_and_prepare(num_proc=None if num_proc == "1" else int(num_proc))
    loaded = builder.as_dataset()
    seconds = time.perf_counter() - started
    arrow = sum(
        Path(entry["filename"]).stat().st_size
        for split in loaded.values()
        for entry in split.cache_files
    )
    downloaded = sum(
        path.stat().st_size
        for path in (Path(cache) / "downloads").glob("*")
        if path.is_file() and path.suffix != ".json"
    )
    extra = folder_bytes(Path(cache)) - arrow - downloaded
    print(json.dumps({"seconds": seconds, "extra": extra, "arrow": arrow}))


if __name__ == "__main__":
    job(*sys.argv[2:]) if sys.argv[1:2] == ["job"] else main()
