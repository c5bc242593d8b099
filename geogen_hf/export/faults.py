"""What goes wrong while writing, told as the package tells errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from geogen_hf.errors import GeoGenError, explain

CONTINUES = "the same export again continues"


class ExportError(GeoGenError, OSError):
    """An export cannot be written: the disk fails, or whoever does the work."""

    __str__ = Exception.__str__


@contextmanager
def disk_errors_explained(where: object) -> Iterator[None]:
    """Turn the operating system's errors on writing into `ExportError`.

    Args:
        where: What was being written.

    Raises:
        ExportError: Instead of any `OSError` that is not one of this package's own.

    Example:
        >>> with disk_errors_explained("data"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        geogen_hf.export.faults.ExportError: cannot write
          where: data
          found: [Errno 28] No space left on device
          remedy: free some space; the same export again continues
    """
    try:
        yield
    except GeoGenError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = f"free some space; {CONTINUES}" if full else f"see to it; {CONTINUES}"
        message = explain("cannot write", where=where, found=error, remedy=remedy)
        raise ExportError(message) from error
