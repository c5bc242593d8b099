"""Zips to the folder that is the repo: `python -m benchmarks.export`.

Against the idiomatic script followed by `to_parquet`, and against `webdataset.ShardWriter` fed from
`zipfile`; memory for two sizes of a release; the first row over a link of 20 ms round trips; and
checking against decoding. Each measurement is a process of its own; its clock starts after the
imports. Medians of alternating runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
from pathlib import Path

from benchmarks.link import open_link
from benchmarks.measure import Cost, folder_bytes, run_job
from benchmarks.origin import nginx
from benchmarks.releases import VIEWS, big_release

CORES = os.cpu_count() or 1
ROUND_TRIP_S, BYTES_PER_S = 0.020, 1e9 / 8
FEW, MANY = 100, 800


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=400)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    parts = big_release(options.subjects, options.size)
    images = VIEWS * options.subjects
    print(f"{images} images of {folder_bytes(parts) / images / 1e3:.0f} kB, {CORES} cores; medians")
    with tempfile.TemporaryDirectory(prefix="geogen-export-") as scratch:
        place = Path(scratch)
        _compare_writing(parts, place, images, options.repeats)
        _compare_checking(place, images)
        _compare_first_rows(place)
    _compare_memory(options.size)


def _report(name: str, ratio: float, target: str) -> None:
    print(f"  {name}: {ratio:.2f} (target {target})", flush=True)


def _compare_writing(parts: Path, place: Path, images: int, repeats: int) -> None:
    seconds: dict[str, list[float]] = {"idiomatic": [], "webdataset": [], "export": []}
    for _ in range(repeats):
        for route, times in seconds.items():
            shutil.rmtree(place / route, ignore_errors=True)
            cost = run_job("benchmarks.export_jobs", route, parts, place / route)
            times.append(float(cost.result["seconds"]))
            if route == "idiomatic":
                shutil.rmtree(place / route / "cache")
    shutil.rmtree(place / "webdataset")
    rates = {route: images / statistics.median(times) for route, times in seconds.items()}
    for route, rate in rates.items():
        print(f"{route:12}{rate:8.0f} images/s", flush=True)
    _report("export / idiomatic", rates["export"] / rates["idiomatic"], ">= 4")
    _report("export / webdataset", rates["export"] / rates["webdataset"], ">= 1.5")


def _compare_checking(place: Path, images: int) -> None:
    rates = {}
    for route in ("decode", "verify"):
        costs = [run_job("benchmarks.export_jobs", route, place / "export", "") for _ in range(2)]
        rates[route] = images / min(float(cost.result["seconds"]) for cost in costs)
        print(f"{route:12}{rates[route]:8.0f} images/s", flush=True)
    _report("verify / decode", rates["verify"] / rates["decode"], ">= 0.8")


def _compare_first_rows(place: Path) -> None:
    folders = {
        "defaults": place / "idiomatic",
        "exported": place / "export" / "data" / "sequences",
    }
    seconds: dict[str, float] = {}
    transferred: dict[str, int] = {}
    with nginx(folders) as port:
        for name, folder in folders.items():
            # Only the first file is named. Plain HTTP has no listing: for each file that is named,
            # fsspec begins a download to see that it exists. A Hub is asked once for all.
            files = [path.name for path in sorted(folder.glob("train*.parquet"))][:1]
            times = []
            for _ in range(3):
                with open_link(port, round_trip_s=ROUND_TRIP_S, bytes_per_s=BYTES_PER_S) as link:
                    urls = [f"{link.url}/{name}/{file}" for file in files]
                    cost = run_job("benchmarks.export_jobs", "first", json.dumps(urls), "")
                    transferred[name] = link.traffic().down_bytes
                times.append(float(cost.result["seconds"]))
            seconds[name] = statistics.median(times)
            megabytes = transferred[name] / 1e6
            print(f"first row, {name}: {seconds[name]:.3f} s, {megabytes:.2f} MB", flush=True)
    _report("first row, seconds", seconds["exported"] / seconds["defaults"], "<= 0.5")
    _report("first row, bytes", transferred["exported"] / transferred["defaults"], "<= 0.25")


def _compare_memory(size: int) -> None:
    for subjects in (FEW, MANY):
        parts = big_release(subjects, size)
        with tempfile.TemporaryDirectory(prefix="geogen-export-") as scratch:
            os.environ["TMPDIR"] = scratch  # whatever is put aside is counted
            try:
                cost, most = _watched(parts, Path(scratch))
            finally:
                del os.environ["TMPDIR"]
            size_after = folder_bytes(Path(scratch) / "export")
        print(
            f"{subjects} subjects: peak {cost.peak_mib:.0f} MiB over all processes (target < 600); "
            f"disk at most {most / size_after:.3f} of the output",
            flush=True,
        )


def _watched(parts: Path, scratch: Path) -> tuple[Cost, int]:
    """Run an export, watching its memory and how much it has on disk."""
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            most[0] = max(most[0], _bytes_below(scratch))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        target = scratch / "export"
        cost = run_job("benchmarks.export_jobs", "export", parts, target, watch_memory=True)
    finally:
        done.set()
        thread.join()
    return cost, max(most[0], _bytes_below(scratch))


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
            except FileNotFoundError:  # renamed meanwhile
                continue
    return total


if __name__ == "__main__":
    main()
