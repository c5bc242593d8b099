"""Zips and other files that tests write, read whole, and spoil."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Members = dict[str, bytes]
"""Of one zip: name to content."""


def read_zip(path: Path) -> Members:
    with zipfile.ZipFile(path) as zipped:
        return {info.filename: zipped.read(info) for info in zipped.infolist()}


def zip_of(
    path: Path, members: Mapping[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return path


class Unseekable(io.RawIOBase):
    """An output as a pipe is one: sizes and CRC-32 go behind the data."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self.file.write(data)

    def close(self) -> None:
        self.file.close()
        super().close()


@contextmanager
def edited(path: Path) -> Iterator[bytearray]:
    """Change the bytes of a file."""
    data = bytearray(path.read_bytes())
    yield data
    path.write_bytes(data)
