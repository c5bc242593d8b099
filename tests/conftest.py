from __future__ import annotations

import os
import shutil
import signal
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

# Read when these libraries are imported: no bars in the log, no word to any server.
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell that runs this in the background has it ignored, and so would what tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hub_release import unmark
from hub_server.fixtures import hub

from geogen_hf.sample import write_release
from geogen_hf.source.parts import ALL_PARTS

__all__ = ["hub"]

SIZE = 48
"""Pixels: enough for three subjects to prove the camera convention."""
SUBJECTS = 40
"""Enough for three training shards and for all three splits."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")


@pytest.fixture(scope="session")
def by_subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 heads, whole identities in each zip."""
    return write_release(tmp_path_factory.mktemp("by_subject"), subjects=SUBJECTS, size=SIZE)


@pytest.fixture(scope="session")
def unmarked(by_subject: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same zips without the mark of sample heads, as the publisher's would be."""
    folder = tmp_path_factory.mktemp("unmarked") / "parts"
    return unmark(Path(shutil.copytree(by_subject, folder)))


@pytest.fixture(scope="session")
def by_view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same heads, one view of every identity in each zip."""
    folder = tmp_path_factory.mktemp("by_view")
    return write_release(folder, subjects=SUBJECTS, size=SIZE, layout="by-view")


Members = dict[str, bytes]
"""Of one zip: name to content."""


@pytest.fixture(scope="session")
def tiny_members(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Members]:
    """Contents of a sound release of 7 heads, by zip."""
    folder = write_release(tmp_path_factory.mktemp("tiny"), subjects=7, size=SIZE)
    contents: dict[str, Members] = {}
    for part in ALL_PARTS:
        with zipfile.ZipFile(folder / part.name) as zipped:
            contents[part.name] = {info.filename: zipped.read(info) for info in zipped.infolist()}
    return contents


class ReleaseMaker:
    """A sound release of 7 heads, to be spoilt by a test and written."""

    def __init__(self, members: Mapping[str, Members], folder: Path) -> None:
        self.zips = {name: dict(content) for name, content in members.items()}
        self.folder = folder

    def first_image(self) -> tuple[str, str]:
        """Name a zip, and an image in it."""
        name = ALL_PARTS[0].name
        return name, next(iter(self.zips[name]))

    def write(self, compression: int = zipfile.ZIP_DEFLATED) -> Path:
        """Write the zips as they now are."""
        self.folder.mkdir(exist_ok=True)
        for name, members in self.zips.items():
            with zipfile.ZipFile(self.folder / name, "w", compression) as zipped:
                for member, content in members.items():
                    zipped.writestr(member, content)
        return self.folder


@pytest.fixture
def maker(tiny_members: Mapping[str, Members], tmp_path: Path) -> ReleaseMaker:
    return ReleaseMaker(tiny_members, tmp_path / "parts")
