"""A Hub on loopback, in a process of its own: `tests/hub_server`, which `geogen push` fills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO, TOKEN = "lab/geogen", "hf_owner_write"
TESTS = Path(__file__).parents[1] / "tests"


@dataclass(frozen=True)
class LocalHub:
    """A running Hub.

    Attributes:
        url: What is to be `HF_ENDPOINT`.
        storage_url: What it redirects to for files.
    """

    url: str
    storage_url: str

    def control(self, name: str, value: Any = None) -> dict[str, Any]:
        """Ask for something that a real Hub does not offer; gives its counters."""
        data = None if value is None else json.dumps(value).encode()
        with urllib.request.urlopen(f"{self.url}/-/{name}", data) as answer:
            return json.loads(answer.read())  # type: ignore[no-any-return]

    def push(self, folder: Path, home: Path) -> subprocess.Popen[str]:
        """Begin to push an exported folder, with the client's caches in `home`."""
        return subprocess.Popen(
            [sys.executable, "-m", "geogen_hf.cli", "push", str(folder), REPO],
            env={**os.environ, **hub_variables(self.url, home)},
            stdout=subprocess.DEVNULL,
            text=True,
        )


def hub_variables(url: str, home: Path) -> dict[str, str]:
    """Environment variables for a client of the Hub at `url`."""
    return {
        "HF_ENDPOINT": url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a push.

    Raises:
        RuntimeError: It failed.
    """
    process.communicate()
    if process.returncode:
        raise RuntimeError(f"the push ended with status {process.returncode}")


@contextmanager
def open_hub(folder: Path) -> Iterator[LocalHub]:
    """Run a Hub with its contents in `folder`."""
    command = [sys.executable, "-m", "hub_server", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    server = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield LocalHub(**json.loads(server.stdout.readline()))
    finally:
        server.terminate()
        server.communicate()
