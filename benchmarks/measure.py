"""Running jobs in processes of their own, and what they cost."""

from __future__ import annotations

import functools
import http.server
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Cost:
    """What one job took.

    Attributes:
        seconds: By the wall clock, from start to end of the process.
        peak_mib: Most memory resident at once, over all its processes; 0 if not watched.
        result: What the job printed as JSON on its last line.
    """

    seconds: float
    peak_mib: float
    result: dict[str, Any]


def run_job(
    module: str,
    *arguments: object,
    watch_memory: bool = False,
    python: str = sys.executable,
    environment: dict[str, str] | None = None,
) -> Cost:
    """Run `python -m module arguments`, in an environment with these variables more.

    Watching memory slows a job down, the more so the more memory it asks for: times are taken from
    runs that are not watched.

    Raises:
        RuntimeError: It failed; the message is its output.
    """
    command = [python, "-m", module, *map(str, arguments)]
    variables = {**os.environ, **(environment or {})}
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=variables)
        peak = 0
        while watch_memory and process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(0.05)
        process.wait()
        seconds = time.perf_counter() - started
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{text}")
    return Cost(seconds, peak / 2**20, json.loads(text.strip().splitlines()[-1]))


def _resident(pid: int) -> int:
    """Memory of a process and its descendants, pages shared by several counted once, bytes."""
    total = 0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def folder_bytes(folder: Path) -> int:
    """Sum of the sizes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on loopback, from a process of its own.

    Yields:
        The base URL.
    """
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    process = context.Process(target=_serve, args=(str(folder), port), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=60)}"
    finally:
        process.terminate()
        process.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _serve(folder: str, port: Any) -> None:
    handler = functools.partial(_Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    port.put(server.server_port)
    server.serve_forever()
