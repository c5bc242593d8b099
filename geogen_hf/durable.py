"""Files that a crash or a power cut leaves either as they were or as they should be."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file's content as a whole: written beside it, synced, renamed.

    Args:
        path: The file; its folder exists.
        content: What it is to hold.

    Raises:
        OSError: It cannot be written; what was there before still is.

    Example:
        >>> write_durably(tmp_path / "a", b"new")
        >>> [(file.name, file.read_bytes()) for file in tmp_path.iterdir()]
        [('a', b'new')]
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def move_durably(source: Path, target: Path) -> None:
    """Rename within a folder, so that the new name outlives a power cut.

    Args:
        source: A file whose content is synced already.
        target: Its new name; replaced if there.
    """
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to disk, where the system can (Windows does by itself)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
