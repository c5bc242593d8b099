"""Runs of training for tests that start, fork and kill processes; `main` does all of them at once.

Importing torch and datasets takes seconds, so one process imports them and forks the others.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import torch
import torch.distributed as dist
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, DistributedSampler
from torchdata.stateful_dataloader import StatefulDataLoader

import geogen
from geogen_hf.training import RandomViews, ToTensors, as_tensors, collate

RANKS = 4
COMBINATIONS = [
    ("folder", 1, 0, False), ("folder", 1, 0, True), ("folder", 1, 1, True),
    ("folder", 1, 3, False), ("folder", 2, 2, True), ("folder", 4, 0, False),
    ("folder", 4, 3, True), ("builder", 1, 3, True), ("builder", 2, 0, True),
    ("builder", 4, 3, True), ("prepared", 1, 0, True), ("prepared", 4, 3, True),
]  # fmt: skip
"""Where rows come from, nodes, workers and whether they are shuffled: edges and pairs."""
SHUFFLE_BLOCK = 5
Rows = list[str]
"""A row as its subject and the views chosen, such as `"subj_00003 1,4"`."""


def source(kind: str, folder: str) -> Any:
    """The exported `folder` as a stream, or map-style if `prepared`; the zips for `builder`."""
    if kind == "builder":
        return geogen.load(split="train", data_dir=f"{folder}/parts", streaming=True)
    path, cache = f"{folder}/geogen", f"{folder}/cache"
    streaming = kind == "folder"
    return datasets.load_dataset(path, split="train", streaming=streaming, cache_dir=cache)


def tensors(rows: Any, shuffle: bool, epoch: int = 0) -> Any:
    transform = ToTensors(views=RandomViews(2), seed=3)
    block = SHUFFLE_BLOCK if shuffle else None
    stream = as_tensors(rows, transform, shuffle_block=block, batch_size=3)
    stream.set_epoch(epoch)
    return stream


def names(batch: dict[str, Any]) -> Rows:
    return [
        f"{subject_id} {','.join(map(str, views.tolist()))}"
        for subject_id, views in zip(batch["subject_id"], batch["view_ids"], strict=True)
    ]


def read(loader: Any) -> Rows:
    return [name for batch in loader for name in names(batch)]


def share(kind: str, folder: str, rank: int, nodes: int, workers: int, shuffle: bool) -> Rows:
    """What one node reads in an epoch."""
    rows = source(kind, folder)
    options: dict[str, Any] = {"batch_size": 2, "num_workers": workers, "collate_fn": collate}
    if kind == "prepared":
        sampler: Any = DistributedSampler(rows, nodes, rank, shuffle=shuffle, seed=3)
        transform = ToTensors(views=RandomViews(2), seed=3)
        return read(DataLoader(as_tensors(rows, transform), sampler=sampler, **options))
    stream = tensors(split_dataset_by_node(rows, rank, nodes), shuffle)
    return read(DataLoader(stream, **options))


def node(rank: int, folder: str) -> None:
    """One of four nodes in a process group; the first writes down what all of them read."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    found = {}
    for kind, nodes, workers, shuffle in COMBINATIONS:
        mine = share(kind, folder, rank, nodes, workers, shuffle) if rank < nodes else None
        shares: list[Rows | None] = [None] * RANKS
        dist.all_gather_object(shares, mine)
        found[f"{kind} {nodes} {workers} {shuffle}"] = shares[:nodes]
    if rank == 0:
        Path(folder, "matrix.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def matrix(folder: str) -> None:
    """Every row on one node or several, each with workers or none."""
    context = multiprocessing.get_context("fork")
    nodes = [context.Process(target=node, args=(rank, folder)) for rank in range(RANKS)]
    for process in nodes:
        process.start()
    for process in nodes:
        process.join()
    if any(process.exitcode for process in nodes):
        raise RuntimeError("a node failed")


def trainer(kind: str, folder: str, workers: int, checkpoint: str, pace_s: float) -> None:
    """Train for an epoch, and save after every batch: where the data is, and what was seen."""
    stream = tensors(source(kind, folder), shuffle=True, epoch=2)
    loader = StatefulDataLoader(stream, batch_size=2, num_workers=workers, collate_fn=collate)
    seen: Rows = []
    if os.path.exists(checkpoint):  # noqa: PTH110
        saved = torch.load(checkpoint, weights_only=False)
        loader.load_state_dict(saved["data"])
        seen = saved["seen"]
    for batch in loader:
        seen += names(batch)
        torch.save({"data": loader.state_dict(), "seen": seen}, f"{checkpoint}.new")
        os.replace(f"{checkpoint}.new", checkpoint)  # noqa: PTH105
        time.sleep(pace_s)
    Path(f"{checkpoint}.done").touch()


def killed(kind: str, folder: str, workers: int) -> dict[str, Any]:
    """Kill a trainer twice and let it resume; return what was seen, and an undisturbed epoch."""
    context = multiprocessing.get_context("fork")
    checkpoint = Path(folder, f"checkpoint-{kind}-{workers}")
    exits, seen_when_killed = [], []
    for stop in (3, 9, None):
        pace_s = 0.0 if stop is None else 0.02
        process = context.Process(
            target=trainer, args=(kind, folder, workers, str(checkpoint), pace_s)
        )
        process.start()
        while stop is not None and process.is_alive() and _seen(checkpoint) < stop:
            time.sleep(0.005)
        if stop is not None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        exits.append(process.exitcode)
        seen_when_killed.append(_seen(checkpoint))
    stream = tensors(source(kind, folder), shuffle=True, epoch=2)
    whole = read(DataLoader(stream, batch_size=2, num_workers=workers, collate_fn=collate))
    seen = torch.load(checkpoint, weights_only=False)["seen"]
    return {"exits": exits, "stops": seen_when_killed, "seen": seen, "whole": whole}


def _seen(checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    return len(torch.load(checkpoint, weights_only=False)["seen"])


def persistent(kind: str, folder: str, method: str | None) -> dict[str, Rows]:
    """Epochs 0, 1 and 0 again with workers that stay; and 0 and 1 with a new loader each."""
    workers = 2 if method else 0
    options: dict[str, Any] = {"batch_size": 2, "collate_fn": collate, "num_workers": workers}
    stream = tensors(source(kind, folder), shuffle=True)
    loader = DataLoader(
        stream, **options, multiprocessing_context=method, persistent_workers=bool(method)
    )
    found = {}
    for label, epoch in (("0", 0), ("1", 1), ("0 again", 0)):
        stream.set_epoch(epoch)
        found[label] = read(loader)
    for epoch in (0, 1):
        stream = tensors(source(kind, folder), shuffle=True, epoch=epoch)
        found[f"new {epoch}"] = read(DataLoader(stream, **options))
    return found


def main(folder: str) -> None:
    """Do everything, and write down what was found."""
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    # Python 3.12 on: forking is what is tried here, and nothing else runs in this process.
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    multiprocessing.set_forkserver_preload(["torch.utils.data", "datasets", "geogen_hf.training"])
    source("prepared", folder)  # prepared once, before several do it
    scenarios: dict[str, Callable[[], Any]] = {
        "killed folder 0": lambda: killed("folder", folder, 0),
        "killed folder 2": lambda: killed("folder", folder, 2),
        "killed builder 2": lambda: killed("builder", folder, 2),
        "persistent folder None": lambda: persistent("folder", folder, None),
        "persistent folder fork": lambda: persistent("folder", folder, "fork"),
        "persistent folder forkserver": lambda: persistent("folder", folder, "forkserver"),
        "persistent builder fork": lambda: persistent("builder", folder, "fork"),
    }
    began = time.perf_counter()
    matrix(folder)
    print(f"matrix: {time.perf_counter() - began:.1f} s", flush=True)
    found: dict[str, Any] = {}
    for name, scenario in scenarios.items():
        began = time.perf_counter()
        try:
            found[name] = scenario()
        except Exception:  # noqa: BLE001 (told by the test of this scenario)
            found[name] = {"failed": traceback.format_exc()}
        print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)
    Path(folder, "scenarios.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
