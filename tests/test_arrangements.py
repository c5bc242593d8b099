"""Plausible arrangements of the metadata load, or are refused with a remedy that works."""

from __future__ import annotations

import pytest
from arrangements import ARRANGEMENTS, HELD_OUT, outcome

REMEDIED = {"left and right", "all, lists of lists", "f in mm alone"}
REMEDIED |= {"view id in another key", "a number that is no view beside"}
REMEDIED |= {"spherical, keys nobody knows", "spherical, from the pole", "K of somebody else"}
REMEDIED |= {"numbers that could be either"}
REMEDIED |= {"K of larger images", "fx fy of larger images"}
"""Arrangements that leave a doubt, which what the refusal says settles; all others load."""


@pytest.mark.parametrize("name", [*ARRANGEMENTS, *HELD_OUT])
def test_every_camera_is_the_true_one(name: str) -> None:
    found, text = outcome({**ARRANGEMENTS, **HELD_OUT}[name])
    expected = "remedied" if name in REMEDIED else "loads"
    assert found == expected, text
