"""The files of an exported folder, wherever they are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from geogen_hf.errors import PartsError, explain

CARD, SUMS, MANIFEST, PROVENANCE = "README.md", "SHA256SUMS", "splits.csv", "provenance.json"
_NOT_PART_OF_IT = (".git/", ".gitattributes", ".gitignore", ".cache/", ".export/")
"""What git, the Hub's client and an unfinished clearing up leave beside the files."""


class Source:
    """An exported folder: on disk, or behind any URL that fsspec can list.

    Attributes:
        local: Whether it is on disk.
        names: Paths of all files relative to the folder, sorted.

    Raises:
        PartsError: There is no such folder, or no complete export in it.
    """

    def __init__(self, folder: str) -> None:
        self._filesystem, root = fsspec.url_to_fs(folder)
        self._root = root.rstrip("/")
        protocol = self._filesystem.protocol
        self.local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        if not self._filesystem.isdir(root):
            raise PartsError(explain("no such folder", where=folder))
        prefix = self._root + "/"
        paths = sorted(path.removeprefix(prefix) for path in self._filesystem.find(root))
        self.names = [name for name in paths if not name.startswith(_NOT_PART_OF_IT)]
        if CARD not in self.names or SUMS not in self.names:
            raise PartsError(
                explain(
                    "not a complete export",
                    where=folder,
                    expected=f"{CARD} and {SUMS}",
                    found=", ".join(self.names[:8]) or "nothing",
                    remedy="run geogen export again: it continues",
                )
            )

    def read(self, name: str) -> bytes:
        """Read a small file whole."""
        return bytes(self._filesystem.cat_file(f"{self._root}/{name}"))

    @contextmanager
    def localised(self, name: str) -> Iterator[Path]:
        """Give a local path to a file, downloaded for the time being where it is remote."""
        if self.local:
            yield Path(self._root) / name
            return
        with tempfile.TemporaryDirectory(prefix="geogen-verify-") as temporary:
            path = Path(temporary) / "file"
            self._filesystem.get_file(f"{self._root}/{name}", str(path))
            yield path
