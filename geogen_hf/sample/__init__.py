"""A small fake release with real geometry: heads of exactly known shape and cameras.

For tests, demonstrations and work without the network. Nothing here is, or is made from, the
publisher's data.
"""

from __future__ import annotations

from geogen_hf.sample.heads import Head, head_of, subject_cameras
from geogen_hf.sample.render import render, render_view
from geogen_hf.sample.sample_zips import write_release
from geogen_hf.sample.shape import nose_tip, signed_distance

__all__ = [
    "Head",
    "head_of",
    "nose_tip",
    "render",
    "render_view",
    "signed_distance",
    "subject_cameras",
    "write_release",
]
