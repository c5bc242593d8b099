from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geogen_hf.release.splits import SPLITS, split_of, split_position


@given(st.text(), st.integers())
def test_position_is_the_documented_hash(subject_id: str, seed: int) -> None:
    try:
        digest = hashlib.sha256(f"{seed}:{subject_id}".encode()).digest()
    except UnicodeEncodeError:
        return  # a lone surrogate is no name that UTF-8 JSON can hold
    expected = int.from_bytes(digest[:8], "big") / 2**64
    assert split_position(subject_id, seed) == expected
    assert split_of(subject_id, seed) in SPLITS


def test_shares_are_80_10_10() -> None:
    counts = Counter(split_of(f"subj_{i}") for i in range(10_000))
    assert counts["train"] == pytest.approx(8000, abs=120)
    assert counts["validation"] == pytest.approx(1000, abs=90)
    assert counts["test"] == pytest.approx(1000, abs=90)


def test_known_identities_keep_their_split_for_ever() -> None:
    # Changing these would leak test identities into somebody's training set.
    assert [split_of(f"subj_{i:05d}") for i in range(6)] == [
        "train", "validation", "train", "train", "train", "validation",
    ]  # fmt: skip


def test_another_seed_divides_anew() -> None:
    ids = [f"subj_{i}" for i in range(1000)]
    moved = sum(split_of(s) != split_of(s, seed=1) for s in ids)
    assert 200 < moved < 500
