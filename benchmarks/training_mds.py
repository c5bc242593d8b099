"""MosaicML streaming, in a virtual environment of its own: nothing else is imported here.

`python -m benchmarks.training_mds write PNGS OUT`, or a job of `benchmarks.training_loops`.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.training_loops import WORKERS, run

VIEWS = 7


def _import_streaming() -> Any:
    """Import it beside a PyTorch without CUDA.

    The torchvision that pip finds is built for CUDA; with another PyTorch its operators do not
    load, and its import fails on the lack of these two. No loader calls them.
    """
    try:
        import streaming.base.util
    except RuntimeError:
        begun = ("torchvision", "streaming")
        for name in [name for name in sys.modules if name.split(".")[0] in begun]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            schema = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
        import streaming.base.util
    return streaming


streaming = _import_streaming()


def write(pngs: str, out: str) -> None:
    """Write the images, bytes untouched, in shards of the default size (64 MiB)."""
    columns = {"subject_id": "str", **{f"image_{view}": "bytes" for view in range(VIEWS)}}
    with streaming.MDSWriter(out=out, columns=columns) as writer:
        for subject in sorted(Path(pngs, "train").iterdir()):
            images = {f"image_{v}": (subject / f"{v}.png").read_bytes() for v in range(VIEWS)}
            writer.write({"subject_id": subject.name, **images})


class Subjects(streaming.StreamingDataset):  # type: ignore[misc, name-defined]
    """A subject an item, decoded as in the documentation's examples: in `__getitem__`."""

    def __getitem__(self, index: int) -> torch.Tensor:
        row = super().__getitem__(index)
        views = (np.array(_decode(row[f"image_{view}"])) for view in range(VIEWS))
        return torch.stack([torch.from_numpy(view).permute(2, 0, 1) for view in views])


def mds(source: str, batch_size: int) -> Iterable[torch.Tensor]:
    """Read from a folder, or from a bucket by the S3 protocol (`S3_ENDPOINT_URL`)."""
    remote = source if "://" in source else None
    local = tempfile.mkdtemp(prefix="geogen-mds-") if remote else source
    streaming.base.util.clean_stale_shared_memory()  # of a run that was killed
    # A download is stuck now and then, and only begun anew after the timeout: 60 s if not told.
    options = {"remote": remote, "local": local, "download_timeout": 5.0}
    rows = Subjects(batch_size=batch_size, shuffle=False, **options)
    try:
        yield from streaming.StreamingDataLoader(rows, batch_size=batch_size, num_workers=WORKERS)
    finally:
        if remote:
            shutil.rmtree(local, ignore_errors=True)


def _decode(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(*sys.argv[2:])
    else:
        run({"mds": mds})
