"""Microsoft's GeoGen data set for Hugging Face `datasets`.

The names in `__all__` are the public API, next to `geogen.load` and the rooms
`geogen_hf.training`, `geogen_hf.cameras` and `geogen_hf.sample`. Each function takes a *place*: a
`str` or `Path` that names a folder or a URL. The command `geogen` calls exactly these functions.

Each name is imported when it is first used, so `import geogen_hf` costs next to nothing.

Example:
    >>> import geogen_hf
    >>> with geogen_hf.open_release("parts") as release:
    ...     release["subj_00002"].extrinsics.shape
    (7, 4, 4)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geogen_hf._version import __version__

if TYPE_CHECKING:
    from geogen_hf.errors import GeoGenError
    from geogen_hf.export.folder import export_release
    from geogen_hf.export.lookup import open_export
    from geogen_hf.export.options import ExportOptions
    from geogen_hf.export.verify import verify_export
    from geogen_hf.formats.driver import convert
    from geogen_hf.hub.push import PushOptions, push_export
    from geogen_hf.release.convention import CameraOptions
    from geogen_hf.release.inspection import inspect_release
    from geogen_hf.release.release import open_release
    from geogen_hf.source.fetch import fetch_parts
    from geogen_hf.viewer.server import view

__all__ = [
    "CameraOptions",
    "ExportOptions",
    "GeoGenError",
    "PushOptions",
    "__version__",
    "convert",
    "export_release",
    "fetch_parts",
    "inspect_release",
    "open_export",
    "open_release",
    "push_export",
    "verify_export",
    "view",
]

_MODULES = {
    "CameraOptions": "release.convention",
    "ExportOptions": "export.options",
    "GeoGenError": "errors",
    "PushOptions": "hub.push",
    "convert": "formats.driver",
    "export_release": "export.folder",
    "fetch_parts": "source.fetch",
    "inspect_release": "release.inspection",
    "open_export": "export.lookup",
    "open_release": "release.release",
    "push_export": "hub.push",
    "verify_export": "export.verify",
    "view": "viewer.server",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # asked once
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
