"""Processor time of decoders of PNG: `python -m benchmarks.decoders`.

Those that are installed take turns on the same images, and their pixels are compared with Pillow's.
"""

from __future__ import annotations

import io
import statistics
import time
import zipfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.releases import big_release
from geogen_hf.images import decode_rgb
from geogen_hf.source.parts import IMAGE_PARTS

ROUNDS = 10
IMAGES = 21
Decode = Callable[[bytes, Any], None]
"""Decodes into an array `(H, W, 3)`."""


def main() -> None:
    files = _pngs()
    out = np.empty((IMAGES, 512, 512, 3), np.uint8)
    expected = [np.asarray(Image.open(io.BytesIO(data))) for data in files]
    times: dict[str, list[float]] = {}
    decoders = dict(_decoders())
    for _ in range(ROUNDS):
        for name, decode in decoders.items():
            began = time.process_time()
            for data, place in zip(files, out, strict=True):
                decode(data, place)
            times.setdefault(name, []).append((time.process_time() - began) / IMAGES * 1e3)
            if not all(map(np.array_equal, out, expected)):
                raise SystemExit(f"{name} gives other pixels than Pillow")
    for name, taken in times.items():
        print(f"{name:28} {statistics.median(taken):6.2f} ms, at best {min(taken):.2f}")


def _pngs() -> list[bytes]:
    with zipfile.ZipFile(big_release(60) / IMAGE_PARTS[0].name) as zipped:
        return [zipped.read(name) for name in zipped.namelist()[:IMAGES]]


def _decoders() -> list[tuple[str, Decode]]:
    found: list[tuple[str, Decode]] = [
        ("Pillow", lambda data, out: _copy(out, np.asarray(Image.open(io.BytesIO(data))))),
        ("geogen_hf.images", lambda data, out: _copy(out, decode_rgb(data))),
    ]
    makers: dict[str, Callable[[Any], Decode]] = {
        "kornia_rs.io": lambda module: (
            lambda data, out: _copy(out, module.decode_image_png_u8(data, out.shape[:2], "rgb"))
        ),
        "pyspng": lambda module: lambda data, out: _copy(out, module.load(data)),
        "imagecodecs": lambda module: lambda data, out: module.spng_decode(data, out=out),
        "cv2": lambda module: (
            lambda data, out: _copy(
                out, module.imdecode(np.frombuffer(data, np.uint8), module.IMREAD_COLOR_RGB)
            )
        ),
        "pyvips": lambda module: (
            lambda data, out: _copy(
                out, module.Image.new_from_buffer(data, "", access="sequential").numpy()
            )
        ),
    }
    for name, make in makers.items():
        try:
            found.append((name, make(import_module(name))))
        except ImportError:
            print(f"{name}: not installed")
    return found


def _copy(out: Any, pixels: Any) -> None:
    out[...] = pixels


if __name__ == "__main__":
    main()
