"""Rows into training: tensors, fast, from whichever source; the rest is PyTorch's and `datasets`'.

`undecoded` leaves images encoded, `ToTensors` decodes them and keeps the cameras right,
`as_tensors` does both, `collate` makes batches. Needs the extra `torch`; with the
extra `fast` PNGs are decoded in a third of the time.
"""

from __future__ import annotations

from importlib.util import find_spec

from geogen_hf.errors import explain

if find_spec("torch") is None:
    raise ImportError(
        explain("geogen_hf.training needs torch", remedy='pip install "geogen-hf[torch,fast]"')
    )

from geogen_hf.images import decode_rgb
from geogen_hf.training.collate import collate
from geogen_hf.training.raymaps import plucker_maps, ray_maps
from geogen_hf.training.streams import as_tensors, undecoded
from geogen_hf.training.transform import AllViews, RandomViews, SourceTargetViews, ToTensors

__all__ = [
    "AllViews",
    "RandomViews",
    "SourceTargetViews",
    "ToTensors",
    "as_tensors",
    "collate",
    "decode_rgb",
    "plucker_maps",
    "ray_maps",
    "undecoded",
]
