"""Write files so that they are whole or absent, also after a power cut or Ctrl-C."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from geogen_hf.errors import FetchError, explain


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file's content as a whole: write beside it, sync, rename.

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
    except BaseException:  # also KeyboardInterrupt
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


def require_space(folder: Path, missing: int) -> None:
    """Check that the disk can hold a download before it starts.

    Args:
        folder: Where the files will go; exists.
        missing: Bytes that have yet to arrive.

    Raises:
        FetchError: Less space is free.

    Example:
        >>> require_space(tmp_path, 1000)
    """
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise FetchError(
            explain(
                "not enough space on the disk",
                where=folder,
                expected=f"{missing:,} bytes free, for what is missing of the parts",
                found=f"{free:,} bytes free",
                remedy="free some space, choose another folder, or fewer parts",
            )
        )
