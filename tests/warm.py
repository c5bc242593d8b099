"""Python processes that start at once: forked from one that has imported what takes seconds.

They are processes as `python …` starts them, to be killed, interrupted and waited for, but for the
start itself: with arguments, environment, folder, session, output and `__main__` of their own.
What reads the environment when it is imported (`datasets`, `huggingface_hub`) they import
themselves. The "forkserver" of `multiprocessing` in the tests' own process is the same one.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

_METHODS = multiprocessing.get_all_start_methods()  # the usual one first
_CONTEXT = multiprocessing.get_context("forkserver" if "forkserver" in _METHODS else "spawn")
_CONTEXT.set_forkserver_preload(
    [
        "aiohttp", "dill", "fsspec.implementations.http", "geogen_hf.cli", "http.client",
        "multiprocess.pool", "numpy", "pandas", "pyarrow.dataset", "pyarrow.parquet",
        "rich.progress", "rich.table", "torch.utils.data", "torchdata.stateful_dataloader",
        "tqdm.auto", "xxhash", "yaml",
    ]
)  # fmt: skip

GEOGEN = ("-m", "geogen_hf.cli")
"""What `geogen` is, after `python`."""


class Child:
    """A started process; what tests use of `subprocess.Popen`, for threads, too."""

    def __init__(
        self,
        *arguments: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stderr: str | None = None,
    ) -> None:
        """Start `python` with these arguments: `-m` and a module, `-c` and code, or a script.

        `stderr` is a file or terminal to write to, else `finish` reads what was written.
        """
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        for path in self._said:
            path.touch()
        argv = [str(argument) for argument in arguments]
        given = dict(os.environ if env is None else env)
        outputs = [str(self._said[0]), stderr or str(self._said[1])]
        self._process = _CONTEXT.Process(
            target=_main, args=(argv, str(cwd or Path.cwd()), given, outputs)
        )
        atexit.register(self.kill)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def stdout(self) -> str:
        """What it has written until now."""
        return self._said[0].read_text()

    def poll(self) -> int | None:
        with self._lock:
            return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        with self._lock:
            self._process.kill()

    def finish(self, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Wait for its end; kill it if that takes longer than so many seconds."""
        with self._folder:
            if not wait([self._process.sentinel], timeout):
                self.kill()
                raise subprocess.TimeoutExpired("python", timeout, self.stdout)
            said = [path.read_text() for path in self._said]
        status = self.poll()
        assert status is not None
        return subprocess.CompletedProcess("python", status, *said)


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Start `python` as `Child` does, and wait for its end."""
    return Child(*arguments, **options).finish(timeout=240)


def geogen(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(*GEOGEN, *arguments, **options)


def _main(arguments: list[str], cwd: str, env: dict[str, str], outputs: list[str]) -> None:
    if hasattr(os, "setsid"):
        os.setsid()
    for descriptor, path in enumerate(outputs, start=1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    # Not those of the process that was forked, which know what they were opened on.
    sys.stdout, sys.stderr = (os.fdopen(d, "w", buffering=1, closefd=False) for d in (1, 2))
    multiprocessing.set_start_method(_METHODS[0], force=True)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    assert "datasets" not in sys.modules
    first, *rest = arguments
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(first).parent))
        runpy.run_path(first, run_name="__main__")
