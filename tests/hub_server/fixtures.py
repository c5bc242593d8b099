"""The server as a fixture. `tests/conftest.py` imports it for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server.server import HubServer


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """A Hub without any repo."""
    with HubServer(tmp_path / "hub") as server:
        yield server
