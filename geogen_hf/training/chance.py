"""Chance that every worker agrees on: drawn from the seed, the epoch and the subject alone."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


class Epoch:
    """The number of the current epoch, seen by workers that are already running.

    Kept in shared memory, as `datasets` keeps its own, so that `persistent_workers` see it change.

    Example:
        >>> epoch = Epoch()
        >>> epoch.set(3)
        >>> epoch
        Epoch(3)
    """

    def __init__(self, number: int = 0) -> None:
        """Start at `number`."""
        self._shared = torch.tensor(number, dtype=torch.int64)
        self._shared.share_memory_()  # type: ignore[no-untyped-call]

    def set(self, number: int) -> None:
        """Move on to epoch `number`, here and in every worker that has a copy."""
        self._shared.fill_(number)

    def __int__(self) -> int:
        return int(self._shared)

    def __repr__(self) -> str:
        return f"Epoch({int(self)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Epoch) and int(self) == int(other)

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, object]) -> Epoch:
        return self  # datasets copies transforms deeply: the copies keep the same epoch


def draw(seed: int, epoch: int, subject_id: str, purpose: str) -> np.random.Generator:
    """A random generator that depends on nothing but its arguments.

    Example:
        >>> [int(draw(0, epoch, "subj_00007", "views").integers(1000)) for epoch in (0, 0, 1)]
        [106, 106, 978]
    """
    digest = hashlib.sha256(f"{seed}:{epoch}:{subject_id}:{purpose}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
