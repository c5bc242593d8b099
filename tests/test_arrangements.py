"""Plausible arrangements of the metadata load, or are refused with a remedy that works."""

from __future__ import annotations

import pytest
from arrangements import ARRANGEMENTS, HELD_OUT, outcome

REMEDIED = {"left and right", "all, lists of lists", "f in mm alone", "two poses that differ"}
REMEDIED |= {"all under unknown keys", "view id in another key", "a number that is no view beside"}
REFUSED = {"spherical"}
"""Arrangements that leave a doubt, or hold no pose in any known form; all others load."""


@pytest.mark.parametrize("name", [*ARRANGEMENTS, *HELD_OUT])
def test_every_camera_is_the_true_one(name: str) -> None:
    found, text = outcome({**ARRANGEMENTS, **HELD_OUT}[name])
    expected = "remedied" if name in REMEDIED else "refused" if name in REFUSED else "loads"
    assert found == expected, text
