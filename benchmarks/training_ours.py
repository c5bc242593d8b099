"""This package's routes into training: the exported folder, and the stream out of the zips.

Loading is `datasets`' own; `geogen_hf.training` turns rows into tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import datasets
import torch
from torch.utils.data import DataLoader

import geogen
from benchmarks.training_loops import WORKERS, run
from geogen_hf.training import ToTensors, as_tensors, collate


def folder_rows(source: str) -> Any:
    """Stream an exported folder, or the same as a repository of the Hub."""
    datasets.disable_progress_bars()
    return datasets.load_dataset(source, "sequences", split="train", streaming=True)


def zip_rows(source: str) -> Any:
    """Stream zips out of a folder or from a URL."""
    where = {"base_url" if "://" in source else "data_dir": source}
    return geogen.load("sequences", split="train", streaming=True, **where)


def folder(source: str, batch_size: int) -> Iterable[torch.Tensor]:
    """Batches out of the exported folder, here or on the Hub."""
    return _images(folder_rows(source), batch_size)


def folder_256(source: str, batch_size: int) -> Iterable[torch.Tensor]:
    """Batches of 256 px, scaled down from what the folder holds."""
    return _images(folder_rows(source), batch_size, ToTensors(size_wh=(256, 256)))


def zips(source: str, batch_size: int) -> Iterable[torch.Tensor]:
    """Batches out of the zips."""
    return _images(zip_rows(source), batch_size)


def _images(
    rows: Any, batch_size: int, transform: ToTensors | None = None
) -> Iterable[torch.Tensor]:
    tensors = as_tensors(rows, transform or ToTensors(), batch_size=batch_size)
    loader = DataLoader(tensors, batch_size=batch_size, num_workers=WORKERS, collate_fn=collate)
    return (batch["images"] for batch in loader)


if __name__ == "__main__":
    run({"folder": folder, "folder_256": folder_256, "zips": zips})
