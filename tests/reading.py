"""Reading for tests that start processes: those can import this, but not a test module."""

from __future__ import annotations

from geogen_hf.source.zip_directory import Directory
from geogen_hf.source.zip_reader import Archives


def read_all(directory: Directory) -> list[bytes]:
    with Archives() as archives:
        return [archives.read(member) for member in directory.members]
