"""Pushes killed at random moments: `python -m benchmarks.push`, from the project's root.

Onto a Hub on loopback (`tests/hub_server`, in its own process) that takes uploads no faster than
a given rate. A first push is undisturbed; then each of a number of pushes is killed by SIGKILL at a
random moment of its transfer and run again. Printed: all bytes of request bodies that the server
received over the size of the folder, and what a reader saw right after the kill.

The files are to be larger than the system's socket buffers (some megabytes): what is in those when
the process dies still arrives, and a kill would lose nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hub import REPO, LocalHub, finish, hub_variables, open_hub
from benchmarks.measure import folder_bytes
from benchmarks.releases import big_release
from geogen_hf.export.folder import export_release
from geogen_hf.export.options import ExportOptions
from geogen_hf.export.verify import verify_export
from geogen_hf.release.release import read_release
from geogen_hf.source.parts import locate_parts

CONTENT_ROUTES = ("lfs-upload",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=640)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rate", type=float, default=100e6, help="bytes a second of an upload")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    release = read_release(locate_parts(big_release(options.subjects, options.size)))
    with tempfile.TemporaryDirectory(prefix="geogen-push-") as scratch:
        place = Path(scratch)
        old, new = place / "old", place / "new"
        export_release(release, old, ExportOptions(("cameras",)), split_seed=1)
        export_release(release, new)
        files = [path for path in new.rglob("*") if path.is_file()]
        size, largest = folder_bytes(new), max(path.stat().st_size for path in files)
        print(f"{len(files)} files, {size / 1e6:.1f} MB, the largest {largest / size:.2%}")
        run = _Run(old, new, options.rate)
        whole = run.undisturbed(place / "undisturbed")
        print(f"undisturbed: {whole.received / size:.4f} of the folder, {whole.seconds:.1f} s")
        chance = random.Random(options.seed)
        ratios = []
        for number in range(options.kills):
            after_s = chance.uniform(0, whole.seconds)
            told = run.killed(place / f"kill-{number}", after_s)
            shutil.rmtree(place / f"kill-{number}")
            ratios.append(told.received / size)
            print(
                f"killed after {told.sent_first / size:6.1%}: {ratios[-1]:.4f} of the folder, "
                f"readers saw the {told.seen} state, then the {told.at_the_end}",
                flush=True,
            )
        print(f"largest of {len(ratios)}: {max(ratios):.4f} (target <= 1.02)")


@dataclass(frozen=True)
class _Told:
    received: int
    seconds: float = 0.0
    sent_first: int = 0
    seen: str = ""
    at_the_end: str = ""


class _Run:
    def __init__(self, old: Path, new: Path, rate: float) -> None:
        self.old, self.new = old, new
        self.throttle = [
            {"route": route, "times": None, "bytes_per_s": rate} for route in CONTENT_ROUTES
        ]

    def undisturbed(self, place: Path) -> _Told:
        with open_hub(place / "hub") as hub:
            self._prepare(hub, place)
            process = hub.push(self.new, place / "home")
            _await_bytes(hub, process)
            started = time.perf_counter()
            finish(process)
            return _Told(_received(hub), time.perf_counter() - started)

    def killed(self, place: Path, after_s: float) -> _Told:
        with open_hub(place / "hub") as hub:
            self._prepare(hub, place)
            process = hub.push(self.new, place / "home")
            _await_bytes(hub, process)
            time.sleep(after_s)
            process.kill()
            process.communicate()
            first = _received(hub)
            seen = self._read(hub, place / "seen")
            hub.control("faults", [])
            finish(hub.push(self.new, place / "home"))
            return _Told(_received(hub), 0.0, first, seen, self._read(hub, place / "end"))

    def _prepare(self, hub: LocalHub, place: Path) -> None:
        finish(hub.push(self.old, place / "home"))
        hub.control("reset", {})
        hub.control("faults", self.throttle)

    def _read(self, hub: LocalHub, copy: Path) -> str:
        """Download the repository as it is, check it, and say which state it is."""
        code = (
            "from huggingface_hub import snapshot_download\n"
            f"snapshot_download({REPO!r}, repo_type='dataset', local_dir={str(copy)!r})"
        )
        variables = hub_variables(hub.url, copy.parent / "home")
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables}, check=True)
        if verify_export(copy, quick=True).failures:
            return "BROKEN"
        sums = (copy / "SHA256SUMS").read_bytes()
        states = {"old": self.old, "new": self.new}
        return next(
            (
                name
                for name, folder in states.items()
                if (folder / "SHA256SUMS").read_bytes() == sums
            ),
            "BROKEN",
        )


def _await_bytes(hub: LocalHub, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        received = hub.control("counters")["received"]
        if any(received.get(route) for route in CONTENT_ROUTES):
            return
        time.sleep(0.01)


def _received(hub: LocalHub) -> int:
    return sum(hub.control("counters")["received"].values())


if __name__ == "__main__":
    main()
