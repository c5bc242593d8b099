"""What the tests of `geogen push` share: folders to push, and what is there afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from hub_server import HubServer, use_hub

from geogen_hf.export.folder import export_release
from geogen_hf.export.options import ExportOptions
from geogen_hf.hub.push import Pushed, PushOptions, push_export

REPO = "lab/geogen"


@contextmanager
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub that this process may talk to, by git LFS."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # since 0.31
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no_token"))
    with HubServer(folder / "hub") as hub:
        use_hub(hub, monkeypatch)
        forget_session()
        yield hub
    forget_session()


def forget_session() -> None:
    """Close the client's session: it keeps connections and, before 1.0, whether it is offline."""
    from huggingface_hub import utils

    (getattr(utils, "reset_sessions", None) or huggingface_hub.close_session)()


def exported(parts: Path, folder: Path, split_seed: int = 0, **options: Any) -> Path:
    written = ExportOptions(**options)
    return export_release(parts, folder, written, split_seed=split_seed, workers=1).folder


def push(hub: HubServer, folder: Path, repo: str = REPO, **options: Any) -> Pushed:
    options.setdefault("token", hub.tokens.owner)
    return push_export(folder, repo, PushOptions(**options))


def there(hub: HubServer, repo: str = REPO, revision: str = "main") -> dict[str, str]:
    """Digests of a revision's files, but for the one the Hub made."""
    files = hub.repos[repo].commit(revision).files
    return {path: entry.sha256 for path, entry in files.items() if path != ".gitattributes"}


def commits(hub: HubServer, repo: str = REPO) -> int:
    """Number of commits on main, without the one a repository begins with."""
    return len(list(hub.repos[repo].commit("main").history())) - 1
