"""The formats by name."""

from __future__ import annotations

from typing import Literal

from geogen_hf.errors import UsageError, explain
from geogen_hf.formats import blender, co3d, colmap, eg3d, nerfstudio
from geogen_hf.formats.layout import Format

FormatName = Literal["eg3d", "nerfstudio", "blender", "colmap", "co3d"]

FORMATS: dict[FormatName, Format] = {
    "eg3d": eg3d.FORMAT,
    "nerfstudio": nerfstudio.FORMAT,
    "blender": blender.FORMAT,
    "colmap": colmap.FORMAT,
    "co3d": co3d.FORMAT,
}


def format_named(name: FormatName) -> Format:
    """Look a format up.

    Raises:
        UsageError: There is none of this name.

    Example:
        >>> [index.path for index in format_named("eg3d").indexes]
        ['ATTRIBUTION.md', 'dataset.json']
    """
    if name not in FORMATS:
        raise UsageError(
            explain("unknown format to convert to", expected=", ".join(FORMATS), found=repr(name))
        )
    return FORMATS[name]
