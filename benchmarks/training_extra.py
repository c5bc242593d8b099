"""The decoder alone, resuming, and memory over epochs: jobs, each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.training_loops import WORKERS

BATCH = 4
EPOCHS = 3
SHARES = (0.0, 0.1, 0.5, 0.9)
"""Where the epoch is left and resumed; 0 is a fresh start, to compare with."""


def decode(decoder: str, pngs: str, seconds: str) -> dict[str, Any]:
    """Decode images that are in memory, on as many processes as loaders have workers."""
    images = [path.read_bytes() for path in sorted(Path(pngs).glob("train/*/*.png"))[:84]]
    context = multiprocessing.get_context("spawn")
    together, counts = context.Barrier(WORKERS), context.Queue()
    arguments = (decoder, images, float(seconds), together, counts)
    processes = [context.Process(target=_decode_for, args=arguments) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    return {"images_per_s": sum(counts.get() for _ in processes)}


def _decode_for(decoder: str, images: list[bytes], seconds: float, together: Any, out: Any) -> None:
    decode_one = _decoder(decoder)
    decode_one(images[0])
    together.wait()
    started, count = time.perf_counter(), 0
    while (now := time.perf_counter()) < started + seconds:
        decode_one(images[count % len(images)])
        count += 1
    out.put(count / (now - started))


def _decoder(name: str) -> Any:
    import io

    import numpy as np
    from PIL import Image

    from geogen_hf.training import decode_rgb

    def pillow(data: bytes) -> Any:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    return decode_rgb if name == "fast" else pillow


def _rows(route: str, source: str) -> Any:
    from benchmarks.training_ours import folder_rows, zip_rows

    return {"folder": folder_rows, "zips": zip_rows}[route](source)


def _loader(route: str, source: str, persistent: bool = False) -> Any:
    from torchdata.stateful_dataloader import StatefulDataLoader

    from geogen_hf.training import ToTensors, as_tensors, collate

    return StatefulDataLoader(
        as_tensors(_rows(route, source), ToTensors(), batch_size=BATCH),
        batch_size=BATCH,
        num_workers=WORKERS,
        collate_fn=collate,
        persistent_workers=persistent,
    )


def shard(route: str, source: str) -> dict[str, Any]:
    """Read the rows of the first shard, images undecoded, in one process."""
    from geogen_hf.training import undecoded

    rows = undecoded(_rows(route, source))
    started = time.perf_counter()
    count = sum(1 for _ in rows.shard(rows.num_shards, 0))
    return {"seconds": time.perf_counter() - started, "rows": count}


def leave(route: str, source: str, states: str, subjects: str) -> dict[str, Any]:
    """Go through an epoch, and keep the state of the loader at every share of it."""
    batches = int(subjects) // BATCH
    loader = _loader(route, source)
    wanted = {int(share * batches): share for share in SHARES}
    seen, names = 0, []
    for number, batch in enumerate(loader, start=1):
        seen += len(batch["subject_id"])
        names += batch["subject_id"]
        if number in wanted:
            state = {"state": loader.state_dict(), "seen": list(names)}
            Path(states, str(wanted[number])).write_bytes(pickle.dumps(state))
    return {"rows": seen}


def resume(route: str, source: str, state: str) -> dict[str, Any]:
    """Start where an epoch was left, and take one batch."""
    path = Path(state)
    kept = pickle.loads(path.read_bytes()) if path.exists() else None
    loader = _loader(route, source)  # opening the data set is the same for all, and not timed
    started = time.perf_counter()
    if kept is not None:
        loader.load_state_dict(kept["state"])
    batch = next(iter(loader))
    seconds = time.perf_counter() - started
    assert kept is None or not set(kept["seen"]) & set(batch["subject_id"])
    return {"seconds": seconds}


def memory(route: str, source: str) -> dict[str, Any]:
    """Most memory of a worker in every epoch, MiB; pages shared with others counted in part."""
    import psutil

    loader = _loader(route, source, persistent=True)
    most: list[float] = []
    for epoch in range(EPOCHS):
        loader.dataset.set_epoch(epoch)
        most.append(0.0)
        for number, _ in enumerate(loader):
            if number % 4 == 0:
                workers = psutil.Process().children()
                used = [worker.memory_full_info().pss for worker in workers]
                most[-1] = max(most[-1], max(used) / 2**20)
    return {"mib": most}


JOBS = {job.__name__: job for job in (decode, shard, leave, resume, memory)}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](*sys.argv[2:])), flush=True)
    os._exit(0)  # what is prefetched is not waited for
