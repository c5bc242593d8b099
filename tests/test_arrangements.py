"""Plausible arrangements of the metadata load, or are refused with a remedy that works."""

from __future__ import annotations

import pytest
from arrangements import ARRANGEMENTS, outcome

REMEDIED = {"left and right", "all, lists of lists", "f in mm alone", "two poses that differ"}
"""Arrangements that leave a doubt; all others load."""


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_camera_is_the_true_one(name: str) -> None:
    found, text = outcome(ARRANGEMENTS[name])
    assert found == ("remedied" if name in REMEDIED else "loads"), text
