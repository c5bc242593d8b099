"""Examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in [ROOT / "geogen.py", *sorted((ROOT / "geogen_hf").rglob("*.py"))]
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str, tmp_path: Path) -> None:
    results = doctest.testmod(importlib.import_module(name), extraglobs={"tmp_path": tmp_path})
    assert results.attempted > 0
    assert results.failed == 0
