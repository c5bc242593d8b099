"""Rows to tensors for PyTorch, whether they come from the zips, a prepared data set or the Hub.

`as_tensors` connects a data set with `ToTensors`, which decodes images and keeps the cameras right;
`collate` makes batches, `ray_maps` and `plucker_maps` make maps of rays on any device. Needs the
extra `torch`; with the extra `fast` PNGs are decoded in a third of the time.
"""

from __future__ import annotations

from importlib.util import find_spec

from geogen_hf.errors import GeoGenError, install

if find_spec("torch") is None:
    error = GeoGenError("geogen_hf.training needs torch", remedy=install("torch,fast"))
    raise ImportError(str(error))

from geogen_hf.images import decode_rgb
from geogen_hf.training.choices import AllViews, RandomViews, SourceTargetViews
from geogen_hf.training.collate import collate
from geogen_hf.training.streams import TensorStream, as_tensors, undecoded
from geogen_hf.training.transform import ToTensors, plucker_maps, ray_maps

__all__ = [
    "AllViews",
    "RandomViews",
    "SourceTargetViews",
    "TensorStream",
    "ToTensors",
    "as_tensors",
    "collate",
    "decode_rgb",
    "plucker_maps",
    "ray_maps",
    "undecoded",
]
