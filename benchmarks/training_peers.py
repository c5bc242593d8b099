"""What else a training job would read from, each as its documentation shows; Pillow decodes.

`webdataset`: decoded and batched in the workers, as its documentation advises. A folder of files:
a plain `Dataset`. `imagefolder`: `with_format("torch")`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import webdataset as wds
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.training_loops import WORKERS, run

VIEWS = 7


def tars(source: str, batch_size: int) -> Iterable[torch.Tensor]:
    """Read tars of a folder or, named by a JSON list of URLs, over HTTP through curl."""
    urls = json.loads(source) if source.startswith("[") else sorted(map(str, _files(source)))
    rows = (
        wds.WebDataset(urls, shardshuffle=False)
        .decode("torchrgb8")
        .to_tuple(*(f"{view}.png" for view in range(VIEWS)))
        .map(torch.stack)
        .batched(batch_size, collation_fn=torch.stack)
    )
    return wds.WebLoader(rows, batch_size=None, num_workers=WORKERS)  # type: ignore[no-any-return]


def _files(folder: str) -> Iterable[Path]:
    return Path(folder).glob("*.tar")


class Folders(Dataset[torch.Tensor]):
    """A subject an item, out of its folder."""

    def __init__(self, root: str) -> None:
        self.folders = sorted(Path(root, "train").iterdir())

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> torch.Tensor:
        views = (Image.open(path).convert("RGB") for path in sorted(self.folders[index].iterdir()))
        return torch.stack([torch.from_numpy(np.array(v)).permute(2, 0, 1) for v in views])


def files(source: str, batch_size: int) -> Iterable[torch.Tensor]:
    """Read extracted files."""
    return DataLoader(Folders(source), batch_size=batch_size, num_workers=WORKERS)


def imagefolder(source: str, batch_size: int) -> Iterable[torch.Tensor]:
    """Read files by `datasets`: prepared from a folder, or streamed, named by a JSON list."""
    datasets.disable_progress_bars()
    cache = tempfile.mkdtemp(prefix="geogen-imagefolder-")
    options: dict[str, Any] = {"drop_labels": True, "split": "train", "cache_dir": cache}
    if source.startswith("["):
        names = json.loads(source)
        rows = datasets.load_dataset(
            "imagefolder", data_files={"train": names}, streaming=True, **options
        )
    else:
        rows = datasets.load_dataset("imagefolder", data_dir=f"{source}/train", **options)
    loader = DataLoader(
        rows.with_format("torch"), batch_size=batch_size * VIEWS, num_workers=WORKERS
    )
    return (batch["image"] for batch in loader)


if __name__ == "__main__":
    run({"tars": tars, "files": files, "imagefolder": imagefolder})
