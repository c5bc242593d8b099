"""Files written past the page cache: every byte, whatever the sizes, wherever they are."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from geogen_hf import outfile
from geogen_hf.outfile import OutFile

BLOCK = 2**20
SIZES = [0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 12345]


@pytest.fixture(params=["directly", "through the cache", "in memory"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder on disk, on a system without direct writes, and on one that may refuse them."""
    if request.param == "through the cache":
        monkeypatch.setattr(outfile, "_DIRECT", 0)
    if request.param == "in memory" and Path("/dev/shm").is_dir():
        folder = Path("/dev/shm") / f"geogen-{os.getpid()}-{tmp_path.name}"
        folder.mkdir()
        yield folder
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    else:
        yield tmp_path


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_there(place: Path, size: int) -> None:
    chance = random.Random(size)
    content = chance.randbytes(size)
    file = OutFile(place / "file")
    start = 0
    while start < size:
        stop = min(size, start + chance.choice([1, 100, 5000, 300_000, 2 * BLOCK]) + 1)
        assert file.write(memoryview(content)[start:stop]) == stop - start
        start = stop
    file.close()  # as pyarrow does; there is more to come
    file.finish()
    assert (place / "file").read_bytes() == content
    assert (file.size, file.sha256.hexdigest()) == (size, hashlib.sha256(content).hexdigest())


def test_a_refused_and_a_short_write_are_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No direct write may have this length: it is refused, and the rest goes through the cache.
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:70_001]))
    content = random.Random(1).randbytes(2 * BLOCK + 77_777)
    file = OutFile(tmp_path / "file")
    file.write(content)
    file.finish()
    assert (tmp_path / "file").read_bytes() == content


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        OutFile(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_nothing_is_written_after_abandoning(tmp_path: Path) -> None:
    file = OutFile(tmp_path / "file")
    file.write(bytes(BLOCK))
    file.abandon()
    file.write(bytes(BLOCK))
    file.release()
    file.release()
    assert (tmp_path / "file").stat().st_size == BLOCK
