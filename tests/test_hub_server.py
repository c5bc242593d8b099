from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from hub_server import HubServer, hub_environment


def test_serves_as_a_process(tmp_path: Path) -> None:
    env = hub_environment("", tmp_path / "home")
    command = [sys.executable, "-m", "hub_server", str(tmp_path / "hub")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert urls["url"] != urls["storage_url"]


def test_fixture(hub: HubServer) -> None:
    assert hub.url.startswith("http://127.0.0.1:")
