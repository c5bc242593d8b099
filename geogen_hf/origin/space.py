"""Whether the disk can hold what is about to arrive."""

from __future__ import annotations

import shutil
from pathlib import Path

from geogen_hf.errors import FetchError, explain


def require_space(folder: Path, missing: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: Where it will go; exists.
        missing: Bytes that have yet to arrive.

    Raises:
        FetchError: There is less free than that.

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
