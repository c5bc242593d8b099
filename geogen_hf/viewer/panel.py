"""What stands beside the scene, as HTML: identity, intrinsics, convention, the strip of pictures.

Names and metadata come from a stranger's archive, so every value is escaped here.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.viewer.frustums import Frustum, IdentityFrustums

_LONGEST = 120  # characters of a name that are shown
_STRIP_PX = 160  # side of a picture in the strip; drawn at half of that


@dataclass(frozen=True)
class ConventionText:
    """How the cameras were read, in words.

    Attributes:
        sentences: The convention first, then what supports it and what to know about it.
        scores: Lines of a table in fixed-width letters; none where nothing was scored.
    """

    sentences: Sequence[str]
    scores: Sequence[str] = ()


def short(name: str) -> str:
    """Cut a name that is too long to show.

    Example:
        >>> short("subj_00001"), len(short("x" * 65_000))
        ('subj_00001', 121)
    """
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"


def facts_table(shown: IdentityFrustums, convention: ConventionText) -> str:
    """Describe an identity as an HTML table.

    Args:
        shown: The identity.
        convention: How the cameras were read.

    Returns:
        HTML without scripts; all values are escaped.
    """
    rows = {
        "Identity": short(shown.subject_id),
        "Split": shown.split,
        "Views": f"{len(shown.frustums)} of {_sizes(shown.frustums)} px",
        "Intrinsics": _intrinsics(shown.frustums),
        "Azimuth": f"0° is where the world's {_axis_in_front(shown)} axis points",
        "Distance": f"{shown.distance:.4g} (median, unit of the release)",
    }
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items()
    )
    head, *sentences = convention.sentences
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    scores = "\n".join(convention.scores)
    table = f"<pre>{escape(scores)}</pre>" if scores else ""
    return (
        f'<div class="geogen-facts">{_STYLE}<table>{cells}</table>'
        f"<details open><summary>{escape(head)}</summary>{paragraphs}{table}</details></div>"
    )


def strip(frustums: Sequence[Frustum]) -> str:
    """Show the pictures by azimuth, four in a row, as HTML that holds them."""
    cells = "".join(
        f'<div><img src="{data_url(frustum.pixels, _STRIP_PX)}" alt="">{escape(caption(frustum))}'
        "</div>"
        for frustum in frustums
    )
    return f'{_STYLE}<div class="geogen-strip">{cells}</div>'


def data_url(pixels: NDArray[np.uint8], longest_px: int) -> str:
    """Encode a picture, reduced, so that HTML can hold it."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def caption(frustum: Frustum) -> str:
    """Name a view by its number and its azimuth."""
    return f"{frustum.view_id} · {frustum.azimuth_deg:.0f}°"


def _axis_in_front(shown: IdentityFrustums) -> str:
    return "xyz"[int(np.argmax(shown.orbit.front))]


def _sizes(frustums: tuple[Frustum, ...]) -> str:
    sizes = sorted({frustum.size_wh for frustum in frustums})
    return ", ".join(f"{width} × {height}" for width, height in sizes)


def _intrinsics(frustums: tuple[Frustum, ...]) -> str:
    matrices = np.stack([frustum.intrinsics for frustum in frustums])
    width = np.array([frustum.size_wh[0] for frustum in frustums])
    fov_deg = np.degrees(2 * np.arctan(width / (2 * matrices[:, 0, 0])))
    named = {
        "fx": matrices[:, 0, 0],
        "fy": matrices[:, 1, 1],
        "cx": matrices[:, 0, 2],
        "cy": matrices[:, 1, 2],
    }
    pixels = ", ".join(f"{name} {_range(values)}" for name, values in named.items())
    return f"{pixels} px; {_range(fov_deg)}° across"


def _range(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low}–{high}"


_STYLE = """<style>
.geogen-facts{font-size:12px;line-height:1.45;padding:0 .6em .4em}
.geogen-facts table{border-collapse:collapse;width:100%}
.geogen-facts th{text-align:left;vertical-align:top;font-weight:600;padding:2px .8em 2px 0}
.geogen-facts td{padding:2px 0;overflow-wrap:anywhere}
.geogen-facts summary{font-weight:600;margin-top:.5em;cursor:pointer;overflow-wrap:anywhere}
.geogen-facts p{margin:.4em 0;overflow-wrap:anywhere}
.geogen-facts pre{overflow-x:auto;font-size:11px;margin:.4em 0;padding-bottom:6px}
.geogen-strip{display:grid;grid-template-columns:repeat(4,1fr);gap:6px;padding:2px .75em 8px;
 font-size:11px;text-align:center}
.geogen-strip img{width:100%;display:block;border-radius:3px}
</style>"""
