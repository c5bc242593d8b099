from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import geogen
import geogen_hf

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(geogen_hf.__path__, "geogen_hf.")
    if not info.name.startswith("geogen_hf.cli")
)
MODULES.append("geogen")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"tmp_path": tmp_path})
    assert failed == 0


def test_there_are_examples() -> None:
    tried = sum(
        doctest.testmod(
            importlib.import_module(name), extraglobs={"tmp_path": Path("/x")}
        ).attempted
        for name in ("geogen_hf.release.splits", "geogen_hf.source.parts")
    )
    assert tried > 4
    assert geogen.load.__doc__ is not None
    assert ">>>" in geogen.load.__doc__
