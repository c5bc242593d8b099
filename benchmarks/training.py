"""Into training: `python -m benchmarks.training`, under 15 minutes once its forms are written.

The same PNGs, 7 of 512 px for each of some 300 training subjects (of 400), as this package and as
others read them into uint8 tensors, from disk and over a link of 20 ms round trips and 1 Gb/s. Two
workers, batches of four subjects; each job is a process of its own, whose clock starts after the
imports. Medians of alternating runs; memory and bytes on the wire are from one more run, through
all rows.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.hub import REPO, finish, open_hub
from benchmarks.measure import folder_bytes, run_job
from benchmarks.origin import nginx
from benchmarks.training_forms import Forms, make_forms, python_with_mds
from benchmarks.training_report import Found, draw, tables
from benchmarks.training_resume import memory_lines, resume_lines
from benchmarks.training_routes import Route, Servers, routes, run_route, transcoded_routes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=400, help="of the release")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=30, help="of a timed run")
    parser.add_argument("--limit", type=float, default=12.0, help="seconds of a timed run, at most")
    parser.add_argument("--routes", help="names, separated by commas; all if not given")
    parser.add_argument("--skip", default="", help="of decoder, watch, resume, memory")
    parser.add_argument("--plot", type=Path, help="where the picture goes")
    options = parser.parse_args()
    mds_python = _python_with_mds()
    forms = make_forms(options.subjects, options.size, mds_python=mds_python)
    wanted = options.routes.split(",") if options.routes else []
    every = [
        *routes(forms, subjects=options.subjects, mds_python=mds_python),
        *transcoded_routes(options.subjects, options.size, wanted),
    ]
    chosen = [route for route in every if not wanted or route.name in wanted]
    if unknown := set(wanted) - {route.name for route in every}:
        parser.error(f"no such routes: {', '.join(sorted(unknown))}")
    started = time.monotonic()
    served = {name: getattr(forms, name) for name in ("parts", "tars", "mds", "pngs")}
    with (
        tempfile.TemporaryDirectory() as scratch,
        nginx(served) as port,
        open_hub(Path(scratch, "hub")) as hub,
    ):
        servers = Servers(port, hub)
        if any(route.source == REPO for route in chosen):
            finish(hub.push(forms.folder, Path(scratch, "home")))
        found, decoders = _measure(chosen, forms, servers, options)
        rest: list[str] = []
        for route in chosen:
            if route.ours and route.compared and route.remote and "resume" not in options.skip:
                rest += resume_lines(route, forms, servers)
            if route.ours and route.compared and not route.remote and "memory" not in options.skip:
                rest += memory_lines(route)
    print(tables(found, decoders, rest))
    if options.plot:
        draw(found, decoders, options.plot)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


def _python_with_mds() -> str | None:
    try:
        return python_with_mds()
    except subprocess.CalledProcessError as error:
        print(f"without MDS: {error}", file=sys.stderr)
        return None


def _measure(
    chosen: list[Route], forms: Forms, servers: Servers, options: argparse.Namespace
) -> tuple[list[Found], dict[str, float]]:
    image_bytes = folder_bytes(forms.pngs / "train") / len(list(forms.pngs.glob("train/*/*")))
    found = {
        r.name: Found(r.name, r.ours, r.remote, r.compared, r.disk_bytes() / image_bytes / r.images)
        for r in chosen
    }
    decoded: dict[str, list[float]] = {"Pillow": [], "fast": []}
    for _ in range(options.repeats):
        for route in tuple(chosen):
            try:
                cost, _ = run_route(route, servers, options.batches, options.limit)
            except RuntimeError as error:  # another package's failure does not end the measurement
                if route.ours:
                    raise
                print(f"{route.name} is left out: {error}", file=sys.stderr)
                chosen.remove(route)
                del found[route.name]
                continue
            found[route.name].runs.append(cost.result)
            _note(route.name, cost.result)
        for name, rates in decoded.items() if "decoder" not in options.skip else ():
            job = run_job("benchmarks.training_extra", "decode", name, forms.pngs, 4)
            rates.append(job.result["images_per_s"])
            _note(f"decoder {name}", job.result)
    for route in chosen if "watch" not in options.skip else ():
        cost, passed = run_route(route, servers, 10**6, 2 * options.limit, watch_memory=True)
        found[route.name].peak_mib = cost.peak_mib
        found[route.name].wire = passed / (cost.result["images"] * image_bytes)
        _note(f"{route.name}, watched", {"peak_mib": cost.peak_mib, **cost.result})
    return list(found.values()), {n: statistics.median(r) for n, r in decoded.items() if r}


def _note(name: str, values: dict[str, float]) -> None:
    shown = "  ".join(f"{key} {value:.2f}" for key, value in values.items())
    print(f"{name:24}{shown}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
