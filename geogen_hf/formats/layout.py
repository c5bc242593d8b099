"""What a format is: files of each identity, and files over all of them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geogen_hf.formats.scene import Scene

Entries = Mapping[str, Sequence[str]]
"""An identity's share of the indexes: JSON values as text, by the name of the list they go in."""


@dataclass(frozen=True)
class Listing:
    """The place in an index where all identities' entries of one name go, between commas."""

    name: str


@dataclass(frozen=True)
class Index:
    """A file over all identities.

    Attributes:
        path: Relative to the output folder; gzipped if it ends in `.jgz`.
        pieces: Text, and the lists of entries between.
    """

    path: str
    pieces: tuple[str | Listing, ...]


def _no_files(scene: Scene) -> dict[str, bytes]:
    return {}


def _no_entries(scene: Scene) -> Entries:
    return {}


@dataclass(frozen=True)
class Format:
    """How a tool wants identities laid out.

    Attributes:
        images: Folder of the images within the identity's folder; `""` for that itself.
        files: An identity's other files, by path in its folder. Raises `CameraError` where the
            format cannot hold it.
        entries: Its share of the indexes.
        indexes: Files over all identities.
        home: Folder that holds the identities' folders.
    """

    images: str = "images"
    files: Callable[[Scene], dict[str, bytes]] = _no_files
    entries: Callable[[Scene], Entries] = _no_entries
    indexes: tuple[Index, ...] = ()
    home: str = ""

    def taken_names(self) -> set[str]:
        """Names in `home` that no identity's folder may have."""
        prefix = f"{self.home}/" if self.home else ""
        paths = (i.path.removeprefix(prefix) for i in self.indexes if i.path.startswith(prefix))
        return {path.split("/")[0] for path in paths}

    def files_of(self, scene: Scene) -> dict[str, bytes]:
        """All files of an identity, images first, by path in its folder."""
        prefix = f"{self.images}/" if self.images else ""
        pictures = zip(scene.names, scene.images, strict=True)
        return {f"{prefix}{name}": image for name, image in pictures} | self.files(scene)


def json_bytes(value: Any) -> bytes:
    r"""Encode plain values, floats so that reading them gives the same float64.

    Example:
        >>> json_bytes({"a": 0.1})
        b'{\n "a": 0.1\n}\n'
    """
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def write_index(index: Index, records: Sequence[Path], path: Path) -> None:
    """Write and sync an index, one identity's entries in memory at a time.

    Args:
        index: What to write.
        records: JSON files of the identities' `Entries`, in order.
        path: Where to write it.
    """
    with path.open("wb") as file:
        # Neither name nor time in the header: the same entries give the same bytes.
        packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if index.path.endswith(".jgz") else None
        with packed or nullcontext(file) as stream:
            for text in _texts(index.pieces, records):
                stream.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _texts(pieces: Iterable[str | Listing], records: Sequence[Path]) -> Iterator[str]:
    for piece in pieces:
        if isinstance(piece, str):
            yield piece
            continue
        between = "\n"
        for record in records:
            for entry in json.loads(record.read_bytes()).get(piece.name, ()):
                yield between + entry
                between = ",\n"
