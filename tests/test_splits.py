from __future__ import annotations

from collections import Counter

import pytest

from geogen_hf.release.shards import split_of, split_position


@pytest.mark.parametrize(
    ("subject_id", "position", "split"),
    [
        # Published in docs/architecture.md. To change them would leak test identities into
        # somebody's training set.
        ("0", 0.673618, "train"),
        ("17", 0.427212, "train"),
        ("subj_00001", 0.877012, "validation"),
    ],
)
def test_published_splits_stay(subject_id: str, position: float, split: str) -> None:
    assert split_position(subject_id) == pytest.approx(position, abs=1e-6)
    assert split_of(subject_id) == split


def test_shares_are_80_10_10() -> None:
    counts = Counter(split_of(f"subj_{i}") for i in range(10_000))
    assert counts["train"] == pytest.approx(8000, abs=120)
    assert counts["validation"] == pytest.approx(1000, abs=90)
    assert counts["test"] == pytest.approx(1000, abs=90)


def test_another_seed_divides_anew() -> None:
    ids = [f"subj_{i}" for i in range(1000)]
    moved = sum(split_of(s) != split_of(s, seed=1) for s in ids)
    assert 200 < moved < 500
