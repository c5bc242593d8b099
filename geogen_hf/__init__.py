"""The machinery behind `geogen`: Microsoft's GeoGen data set for Hugging Face `datasets`.

`geogen_hf.open_release` is `geogen_hf.release.release.open_release`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from geogen_hf._version import __version__

__all__ = ["__version__", "open_release"]


def __getattr__(name: str) -> Any:
    # Imported when first used, and by name: the modules below are to import this one freely.
    if name == "open_release":
        return import_module("geogen_hf.release.release").open_release
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
