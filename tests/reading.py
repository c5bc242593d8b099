"""Reading for tests that start processes: those can import this, but not a test module."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from geogen_hf.source.files import open_file
from geogen_hf.source.parts import Location
from geogen_hf.source.zip_directory import Directory, Member, read_directory
from geogen_hf.source.zip_reader import Archives, unpack_member


def list_archive(address: str | Path, options: Mapping[str, Any] | None = None) -> Directory:
    """List the archive at a path or URL."""
    with closing(open_file(Location(str(address), storage_options=options or {}))) as file:
        return read_directory(file)


def read_all(directory: Directory) -> list[bytes]:
    with Archives() as archives:
        return [read_member(archives, member) for member in directory.members]


def read_member(archives: Archives, member: Member) -> bytes:
    ((record,),) = archives.records([[member]])
    return unpack_member(member, record)


def read_png_size(archives: Archives, member: Member) -> tuple[int, int]:
    ((head,),) = archives.heads([[member]])
    return archives.png_size_from(member, head)
