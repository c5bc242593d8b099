"""Examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
import shutil
from pathlib import Path

import pytest
from conftest import Once

from geogen_hf.sample import write_release

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in [ROOT / "geogen.py", *sorted((ROOT / "geogen_hf").rglob("*.py"))]
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.fixture(scope="session")
def parts(once: Once) -> Path:
    return once("three", lambda out: write_release(out, subjects=3, size=32))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(
    name: str, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of their own, with the zips in `parts`, as on the pages."""
    monkeypatch.chdir(shutil.copytree(parts, tmp_path / "here" / "parts").parent)
    empty = tmp_path / "empty"
    empty.mkdir()
    results = doctest.testmod(importlib.import_module(name), extraglobs={"tmp_path": empty})
    assert results.attempted > 0
    assert results.failed == 0
