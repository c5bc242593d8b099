"""What a process needs to take a test server for the Hub."""

from __future__ import annotations

import os
from pathlib import Path

from hub_server.hub import Hub

_OURS = ("HF_", "HUGGING_FACE_")


def hub_environment(hub: Hub | str, home: Path, token: str | None = None) -> dict[str, str]:
    """Make the environment of a client process.

    Args:
        hub: The server, or its URL.
        home: For the client's caches; one that does not exist is an empty cache.
        token: Of whoever calls; None for nobody.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    env |= {
        "HF_ENDPOINT": hub if isinstance(hub, str) else hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "NO_COLOR": "1",
        "PYTHONPATH": os.pathsep.join(_paths()),
    }
    return env if token is None else {**env, "HF_TOKEN": token}


def _paths() -> list[str]:
    """Let a child find what runs here: this folder, and whatever this process was given."""
    given = os.environ.get("PYTHONPATH")
    return [str(Path(__file__).resolve().parent.parent), *([given] if given else [])]
