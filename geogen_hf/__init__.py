"""The machinery behind `geogen`: Microsoft's GeoGen data set for Hugging Face `datasets`.

`geogen_hf.open_release` is `geogen_hf.access.open_release`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported when first used, and by name: the modules below are to import this one freely.
    if name == "open_release":
        return import_module("geogen_hf.access").open_release
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
