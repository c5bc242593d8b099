from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Read when libraries are imported: as many threads as xdist leaves cores for, no bars in the log,
# no word to any server.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell that runs this in the background has it ignored, and so would what tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

from fetching import Site
from hub_release import unmark
from hub_server import HubServer
from origin_server import OriginServer
from pushing import served
from zips import Members, read_zip, zip_of

from geogen_hf import ExportOptions, export_release
from geogen_hf.release.shards import split_of
from geogen_hf.sample import write_release
from geogen_hf.sample.sample_zips import SAMPLE_COMMENT
from geogen_hf.source.parts import ALL_PARTS, IMAGE_PARTS, METADATA_PART

SIZE = 48
"""Pixels: enough for three subjects to prove the camera convention."""
SUBJECTS = 40
"""Enough for three training shards and for all three splits."""
TRAIN = {f"subj_{i:05d}" for i in range(SUBJECTS) if split_of(f"subj_{i:05d}") == "train"}


@pytest.hookimpl(wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One process more than cores: there are always tests that wait for a server or a process."""
    return (yield) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that all processes end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")


Once = Callable[[str, Callable[[Path], object]], Path]
"""Gives the folder of a name, filled by the function if no process of this test run did so yet."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """A Hub without any repo."""
    with HubServer(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub that this process may talk to, by git LFS."""
    with served(tmp_path, monkeypatch) as hub:
        yield hub


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "served").mkdir()
    with OriginServer(tmp_path / "served") as origin:
        yield Site(tmp_path, origin)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot mount a small file system here (needs root)")
    yield disk
    # Lazily: another process may be looking through /tmp.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def ray() -> Iterator[Any]:
    """Ray with two workers, where it is installed."""
    why = "Ray is not installed: its wheel of 79 MB is in no extra; 2.60.0 passes"
    module = pytest.importorskip("ray", reason=why)
    module.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    yield module
    module.shutdown()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder for all processes of xdist; tests must leave it as it is."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    shared = root / "shared"

    def make_once(name: str, fill: Callable[[Path], object]) -> Path:
        shared.mkdir(exist_ok=True)
        folder = shared / name
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                unfinished = tmp_path_factory.mktemp(name)
                fill(unfinished)
                unfinished.rename(folder)
        return folder

    return make_once


@pytest.fixture(scope="session")
def by_subject(once: Once) -> Path:
    """40 heads, whole identities in each zip."""
    return once("by_subject", lambda out: write_release(out, subjects=SUBJECTS, size=SIZE))


@pytest.fixture(scope="session")
def unmarked(by_subject: Path, once: Once) -> Path:
    """The same zips without the mark of sample heads, as the publisher's would be."""
    return once(
        "unmarked", lambda out: unmark(shutil.copytree(by_subject, out, dirs_exist_ok=True))
    )


@pytest.fixture(scope="session")
def exported(by_subject: Path, once: Once) -> Path:
    """All configs of them, in a folder named `geogen`."""

    def export(out: Path) -> None:
        options = ExportOptions(("sequences", "views", "cameras", "metadata"))
        export_release(by_subject, out / "geogen", options, workers=1)

    return once("exported", export) / "geogen"


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, hidden ones too, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def members(folder: Path) -> dict[str, Members]:
    """Contents of a release, by zip."""
    return {part.name: read_zip(folder / part.name) for part in ALL_PARTS}


@pytest.fixture(scope="session")
def by_view(by_subject: Path, once: Once) -> Path:
    """The same heads, one view of every identity in each zip."""

    def fill(out: Path) -> None:
        shutil.copy(by_subject / METADATA_PART.name, out)
        images = [item for zipped in members(by_subject).values() for item in zipped.items()]
        for view, part in enumerate(IMAGE_PARTS):
            with zipfile.ZipFile(out / part.name, "w", zipfile.ZIP_DEFLATED) as zipped:
                zipped.comment = SAMPLE_COMMENT
                for name, content in images:
                    if name.endswith(f"/{view}.png"):
                        zipped.writestr(name, content)

    return once("by_view", fill)


@pytest.fixture(scope="session")
def tiny(once: Once) -> Path:
    """A sound release of 7 heads."""
    return once("tiny", lambda out: write_release(out, subjects=7, size=SIZE))


@pytest.fixture(scope="session")
def tiny_members(tiny: Path) -> Mapping[str, Members]:
    """Its contents, by zip."""
    return members(tiny)


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
            zip_of(self.folder / name, members, compression)
        return self.folder


@pytest.fixture
def maker(tiny_members: Mapping[str, Members], tmp_path: Path) -> ReleaseMaker:
    return ReleaseMaker(tiny_members, tmp_path / "parts")
