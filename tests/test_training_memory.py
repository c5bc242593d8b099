"""The memory of batches is used again, but only once nobody holds it."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from numbered_batches import BATCHES, SIZE_WH, Numbered
from torch.utils.data import DataLoader
from warm import run

from geogen_hf.training.shared_memory import MAX_PIECES, MemoryPool, process_pool


def inode(tensor: torch.Tensor) -> int:
    """Name the file that a tensor's memory is, in whichever process."""
    descriptor, _ = tensor.untyped_storage()._share_fd_cpu_()
    return os.fstat(descriptor).st_ino


def taken(pool: MemoryPool, size: int, value: int) -> torch.Tensor:
    found = pool.take(size)
    assert found is not None
    images, memory = found
    memory[:] = value
    return images


def test_memory_that_nobody_holds_is_used_again() -> None:
    pool = MemoryPool(most=2)
    first = taken(pool, 100, 1)
    name = inode(first)
    view = first.reshape(10, 10)[3:]
    del first
    second = taken(pool, 100, 2)
    assert inode(second) != name
    assert pool.take(100) is None
    assert view.unique().tolist() == [1]
    del view
    third = taken(pool, 100, 3)
    assert inode(third) == name
    assert second.unique().tolist() == [2]


def test_memory_grows_with_what_is_asked_for() -> None:
    pool = MemoryPool(most=1)
    sizes = [10, 100_000, 10, 5_000_000, 3]
    names = set()
    for value, size in enumerate(sizes):
        images = taken(pool, size, value)
        names.add(inode(images))
        assert images.shape == (size,)
        assert images.unique().tolist() == [value]
        del images
    assert len(names) == 1


def loader(start: str) -> Any:
    return DataLoader(
        Numbered(), batch_size=None, num_workers=1, multiprocessing_context=start, timeout=60
    )


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_batches_that_are_kept_stay_as_they_are(start: str) -> None:
    kept, names = [], []
    for number, images, others in loader(start):
        assert images.shape == (2, 3, *SIZE_WH[::-1])
        assert images.unique().tolist() == others.unique().tolist() == [number]
        names.append(inode(others))
        if number % 2 or number > BATCHES - 4:
            kept.append((number, images[1, :, 4:6]))  # only a part of it
    assert len(kept) > MAX_PIECES
    assert all(view.unique().tolist() == [number] for number, view in kept)
    assert len(set(names)) < len(names)


def test_batches_that_are_let_go_share_their_memory() -> None:
    names = {inode(images) for _, images, _ in loader("fork")}
    assert len(names) < MAX_PIECES / 2


def test_a_worker_that_ends_leaves_its_batches() -> None:
    iterator = iter(loader("fork"))
    number, images, _ = next(iterator)
    for worker in iterator._workers:
        worker.kill()
        worker.join()
    del iterator
    assert images.unique().tolist() == [number]


FORKED = """
import os
from geogen_hf.training.shared_memory import process_pool

def inode():
    images, _ = process_pool().take(1000)
    return os.fstat(images.untyped_storage()._share_fd_cpu_()[0]).st_ino

names = [inode(), inode()]
assert names[0] == names[1], "it is not used again"
if os.fork() == 0:
    os._exit(inode() == names[0])
_, status = os.wait()
assert status == 0, "a forked process uses its parent's memory"
"""


def test_a_forked_process_has_a_pool_of_its_own() -> None:
    done = run("-c", FORKED)
    assert done.returncode == 0, done.stderr


def test_without_the_private_name_of_torch_there_is_no_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process_pool.cache_clear()
    monkeypatch.setattr(torch, "UntypedStorage", type("UntypedStorage", (), {}))
    assert process_pool() is None
    process_pool.cache_clear()


def test_without_such_memory_batches_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    process_pool.cache_clear()
    monkeypatch.delattr(os, "memfd_create")
    assert process_pool() is None
    numbers = [(number, images.unique().tolist()) for number, images, _ in loader("fork")]
    assert numbers == [(number, [number]) for number in range(BATCHES)]
    process_pool.cache_clear()
