"""Streaming straight from the origin: `python -m benchmarks.origin`.

nginx on loopback serves a release of 400 subjects; `link` puts 20 ms round trip and 1 Gb/s between
it and the reader. Each measurement is a process of its own with cold connections; its clock starts
after the imports, before the first request. Medians of alternating runs.
"""

from __future__ import annotations

import http.client
import json
import math
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.link import Link, open_link
from benchmarks.releases import big_release

SUBJECTS, SIZE, RUNS = 400, 512, 3
ROUND_TRIP_S, BYTES_PER_S = 0.020, 1e9 / 8
IDIOMATIC_S = 12.0
"""The idiomatic script is given so long; it would take an hour."""
NAMES = [*(f"images_batch_{n}.zip" for n in range(1, 8)), "metadata_files.zip"]


@dataclass(frozen=True)
class Outcome:
    """What one process measured.

    Attributes:
        images: How many were delivered.
        image_bytes: Their size.
        first_s: Seconds to the first row.
        seconds: To the last.
        transferred: Bytes over the link, headers included.
        requests: Over the link.
        memory_mib: Most memory resident at once, over what was before the first request.
    """

    images: int
    image_bytes: int
    first_s: float
    seconds: float
    transferred: int = 0
    requests: int = 0
    memory_mib: float = 0.0

    @property
    def images_per_s(self) -> float:
        """Images a second, from the first row on."""
        return (self.images - 1) / (self.seconds - self.first_s)

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second, from the start on."""
        return self.image_bytes / self.seconds


def import_everything() -> float:
    """Import what is imported up to the first row; PyTorch alone takes seconds.

    Returns:
        Memory resident after that, MiB.
    """
    from datasets import Features, Image, IterableDataset

    import geogen_hf.source.http_reader  # noqa: F401
    from benchmarks import idiomatic_stream  # noqa: F401

    def rows() -> Iterator[dict[str, object]]:
        yield {"image": {"path": None, "bytes": b"x"}}

    features = Features({"image": Image(decode=False)})
    list(IterableDataset.from_generator(rows, features=features))
    return resident_mib()


def stream(url: str) -> Outcome:
    """Read the training split's bytes through the builder."""
    from datasets import Image

    import geogen

    started = time.perf_counter()
    rows = geogen.load("views", split="train", streaming=True, base_url=url)
    return _drain(rows.cast_column("image", Image(decode=False)), started, float("inf"))


def prove(url: str) -> Outcome:
    """The first row where no earlier run has proven the camera convention."""
    from datasets import Image

    import geogen

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        rows = geogen.load("views", split="train", streaming=True, base_url=url, cache_dir=cache)
        return _drain(rows.cast_column("image", Image(decode=False)), started, 0.0)


def idiomatic(url: str) -> Outcome:
    """As many rows as the idiomatic script manages in its time."""
    from benchmarks.idiomatic_stream import IdiomaticStream

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        rows = IdiomaticStream(cache_dir=cache, base_url=url).as_streaming_dataset(split="train")
        return _drain(rows, started, IDIOMATIC_S)


def _drain(rows: object, started: float, limit_s: float) -> Outcome:
    images, image_bytes, first_s = 0, 0, 0.0
    for row in rows:  # type: ignore[attr-defined]
        images += 1
        image_bytes += len(row["image"]["bytes"])
        first_s = first_s or time.perf_counter() - started
        if time.perf_counter() - started > limit_s:
            break
    return Outcome(images, image_bytes, first_s, time.perf_counter() - started)


def resident_mib() -> float:
    """Memory resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def peak_mib() -> float:
    """Most memory resident at once so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def get(url: str) -> Outcome:
    """All files, one after the other, over one connection, thrown away."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    buffer = memoryview(bytearray(2**20))
    started, taken, first_s = time.perf_counter(), 0, 0.0
    for name in NAMES:
        connection.request("GET", f"{where.path}/{name}")
        answer = connection.getresponse()
        while count := answer.readinto(buffer):
            first_s = first_s or time.perf_counter() - started
            taken += count
    return Outcome(0, taken, first_s, time.perf_counter() - started)


JOBS: dict[str, Callable[[str], Outcome]] = {
    job.__name__: job for job in (stream, prove, idiomatic, get)
}


def measure(job: str, link: Link) -> Outcome:
    """Run one job in a process of its own."""
    before = link.traffic()
    command = [sys.executable, "-m", "benchmarks.origin", job, link.url]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    passed = link.traffic() - before
    values = json.loads(finished.stdout.splitlines()[-1])
    return Outcome(**{**values, "transferred": passed.down_bytes, "requests": passed.requests})


@contextmanager
def nginx(folders: dict[str, Path]) -> Iterator[int]:
    """Serve folders below `/<name>/`; gives the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    locations = "".join(f"location /{n}/ {{ alias {p}/; }}\n" for n, p in folders.items())
    with tempfile.TemporaryDirectory() as scratch:
        temps = "".join(
            f"{kind}_temp_path {scratch}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        Path(scratch, "nginx.conf").write_text(
            f"""user root; daemon off; worker_processes 1; pid {scratch}/pid;
            error_log {scratch}/error.log; events {{ worker_connections 512; }}
            http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000;
            {temps} server {{ listen 127.0.0.1:{port}; {locations} }} }}"""
        )
        binary = shutil.which("nginx") or sys.exit("nginx is missing: apt-get install nginx-light")
        options = ["-p", scratch, "-e", f"{scratch}/error.log", "-c", f"{scratch}/nginx.conf"]
        process = subprocess.Popen([binary, *options])
        try:
            _await_port(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def _await_port(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("nginx does not start")


def run() -> None:
    """Measure everything and print it against the targets."""
    layouts = ("by-subject", "by-view")
    folders = {layout: big_release(SUBJECTS, SIZE, layout) for layout in layouts}
    found: dict[str, list[Outcome]] = {}
    with nginx(folders) as port:
        for _ in range(RUNS):
            for name, layout in (
                ("get", "by-subject"),
                ("stream", "by-subject"),
                ("stream", "by-view"),
                ("prove", "by-subject"),
                ("idiomatic", "by-subject"),
            ):
                with open_link(port, round_trip_s=ROUND_TRIP_S, bytes_per_s=BYTES_PER_S) as link:
                    below = Link(link.port, link.counters, f"/{layout}")
                    outcome = measure(name, below)
                found.setdefault(f"{name} {layout}", []).append(outcome)
                print(f"{name:10}{layout:12}{_describe(outcome)}", flush=True)
    _report(found)


def _describe(outcome: Outcome) -> str:
    return (
        f"{outcome.images:6} images {outcome.images_per_s if outcome.images else 0:8.1f} images/s"
        f"{outcome.bytes_per_s / 1e6:8.1f} MB/s  first {outcome.first_s:6.3f} s"
        f"{outcome.requests:6} requests  memory {outcome.memory_mib:4.0f} MiB"
    )


def _report(found: dict[str, list[Outcome]]) -> None:
    def median(name: str, value: Callable[[Outcome], float]) -> float:
        return statistics.median(map(value, found[name]))

    def rate(outcome: Outcome) -> float:
        return outcome.bytes_per_s

    def first(outcome: Outcome) -> float:
        return outcome.first_s

    ours, script = "stream by-subject", "idiomatic by-subject"
    ours_rate, get_rate = median(ours, rate), median("get by-subject", rate)
    views_rate = median("stream by-view", rate)
    streams = (*found[ours], *found["stream by-view"])
    images = median(ours, lambda o: o.images_per_s) / median(script, lambda o: o.images_per_s)
    _compare("images/s over the idiomatic script's", images, least=100)
    _compare("rate over one sequential GET's", ours_rate / get_rate, least=0.7)
    _compare("by-view rate over by-subject", views_rate / ours_rate, least=0.6)
    _compare("first row, seconds", median(ours, first), most=1.5)
    share = median(ours, first) / median(script, first)
    _compare("first row over the idiomatic script's", share, most=0.2)
    share = median("prove by-subject", first) / median(script, first)
    _compare("the same, proving the convention", share, most=0.2)
    overhead = max(outcome.transferred / outcome.image_bytes for outcome in streams)
    _compare("bytes transferred over images' own", overhead, most=1.05)
    _compare("memory of the stream, MiB", max(o.memory_mib for o in streams), most=64)
    _compare("GET over the link's capacity", get_rate / BYTES_PER_S, least=0.9)


def _compare(name: str, value: float, *, least: float = -math.inf, most: float = math.inf) -> None:
    target = f">= {least:g}" if least > -math.inf else f"< {most:g}"
    verdict = "reached" if least <= value < most else "MISSED"
    print(f"{name:42}{value:10.3f}  {target:8}{verdict}")


def main() -> None:
    """Run one job and print its outcome as JSON or, without arguments, the whole benchmark."""
    if len(sys.argv) == 1:
        run()
        return
    before = import_everything()
    outcome = asdict(JOBS[sys.argv[1]](sys.argv[2]))
    outcome["memory_mib"] = peak_mib() - before
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
