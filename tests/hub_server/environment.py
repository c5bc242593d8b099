"""What it takes to have a client process, or this process, take a test server for the Hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hub_server.hub import Hub

_OURS = ("HF_", "HUGGING_FACE_")


def hub_environment(hub: Hub | str, home: Path, token: str | None = None) -> dict[str, str]:
    """Make the environment of a client process, with its caches in `home`; nobody has no token."""
    given = [path for path in (os.environ.get("PYTHONPATH"),) if path]
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
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent.parent), *given]),
    }
    return env if token is None else {**env, "HF_TOKEN": token}


def use_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process, whose client is imported already, use the server as the Hub."""
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    # Version 0.30 has a copy of this one beside the function that uses it.
    for module in ("constants", "file_download"):
        name = f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE"
        monkeypatch.setattr(name, template, raising=False)
