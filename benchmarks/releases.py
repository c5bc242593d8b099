"""Releases of realistic size to measure on, made once and kept in the temporary folder."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from geogen_hf.sample import head_of, render, subject_cameras
from geogen_hf.sample.heads import subject_name
from geogen_hf.source.parts import ALL_PARTS, IMAGE_PARTS, METADATA_PART

VIEWS = 7
DISTINCT_HEADS = 6
GRAIN = 4.0
"""Standard deviation of the noise laid over the renders: gives 512-px PNGs of about 200 KB."""


def big_release(subjects: int, size: int = 512, layout: str = "by-subject") -> Path:
    """Write the eight zips with PNGs of the size that real renders have; deflated, as usual.

    A few heads are rendered small, enlarged, given grain, and used under many names: what is
    measured moves bytes and decodes them, and does not care whose face they show.
    """
    name = f"geogen-benchmark-2-{subjects}-{size}-{layout}"
    folder = Path(tempfile.gettempdir()) / name
    if (folder / METADATA_PART.name).exists():
        return folder
    folder.mkdir(exist_ok=True)
    pictures = _pictures(size)
    zips = {part: zipfile.ZipFile(folder / f"{part.name}.new", "w") for part in ALL_PARTS}
    for index in range(subjects):
        subject_id = subject_name(index)
        for view in range(VIEWS):
            number = index * len(IMAGE_PARTS) // subjects if layout == "by-subject" else view
            png = pictures[(index % DISTINCT_HEADS) * VIEWS + view]
            _add(zips[IMAGE_PARTS[number]], f"{subject_id}/{view}.png", png)
        shown = subject_name(index % DISTINCT_HEADS)
        extrinsics, intrinsics = subject_cameras(shown, views=VIEWS, size=size)
        cameras = [
            {"extrinsics": e.tolist(), "intrinsics": k.tolist()}
            for e, k in zip(extrinsics, intrinsics, strict=True)
        ]
        text = json.dumps({"name": subject_id, "cameras": cameras}).encode()
        _add(zips[METADATA_PART], f"metadata_{index:05d}.json", text)
    for part, zipped in zips.items():
        zipped.close()
        (folder / f"{part.name}.new").rename(folder / part.name)
    return folder


def _add(zipped: zipfile.ZipFile, name: str, data: bytes) -> None:
    zipped.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, compresslevel=1)


def _pictures(size: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    pictures: list[bytes] = []
    for index in range(DISTINCT_HEADS):
        subject_id = subject_name(index)
        extrinsics, intrinsics = subject_cameras(subject_id, views=VIEWS, size=128)
        for small in render(head_of(subject_id), extrinsics, intrinsics, 128):
            large = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
            pixels = np.asarray(large).astype(np.float64)
            head = np.abs(pixels - pixels[0, 0]).max(axis=-1, keepdims=True) > 4
            grainy = pixels + head * rng.normal(0, GRAIN, pixels.shape)
            buffer = io.BytesIO()
            Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8)).save(buffer, "PNG")
            pictures.append(buffer.getvalue())
    return pictures
