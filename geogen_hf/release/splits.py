"""Decide the split of an identity, from its id alone."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TRAIN_BELOW = 0.8
VALIDATION_BELOW = 0.9


def split_position(subject_id: str, seed: int = 0) -> float:
    """Map an identity to a number in [0, 1), evenly and reproducibly.

    Args:
        subject_id: The identity.
        seed: Another seed gives another, independent placement.

    Returns:
        The first 8 bytes, big-endian, of SHA-256 over `"{seed}:{subject_id}"`, divided by 2**64.

    Example:
        >>> round(split_position("subj_1"), 6)
        0.175799
    """
    digest = hashlib.sha256(f"{seed}:{subject_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(subject_id: str, seed: int = 0) -> Split:
    """Name the split of an identity: 80 % train, 10 % validation, 10 % test.

    Depends on nothing but its arguments: the same with one part or all eight, in every config,
    whatever other identities there are.

    Args:
        subject_id: The identity.
        seed: The split seed.

    Returns:
        `"train"`, `"validation"` or `"test"`.

    Example:
        >>> split_of("subj_1")
        'train'
    """
    position = split_position(subject_id, seed)
    if position < TRAIN_BELOW:
        return "train"
    return "validation" if position < VALIDATION_BELOW else "test"
