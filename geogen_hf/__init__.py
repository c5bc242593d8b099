"""The machinery behind `geogen`: Microsoft's GeoGen data set for Hugging Face `datasets`."""

from __future__ import annotations

__version__ = "0.1.0"
