"""Export on Ray, by the executor of a few lines that the documentation shows."""

from __future__ import annotations

import re
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest
from conftest import digests
from pushing import exported

from geogen_hf import export_release

PAGE = Path(__file__).parents[1] / "docs/publish.md"


def documented() -> type[Executor]:
    """Run the page's block that defines the executor, and return it."""
    blocks = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "class RayExecutor" in block]
    names: dict[str, type[Executor]] = {}
    exec(code.partition("\nray.init")[0], names)
    return names["RayExecutor"]


@pytest.mark.filterwarnings("ignore")  # what Ray itself does on import and in its start
def test_ray_writes_the_same_bytes(ray: Any, by_subject: Path, tmp_path: Path) -> None:
    executor = documented()()
    there = export_release(by_subject, tmp_path / "ray", executor=executor).folder
    assert digests(there) == digests(exported(by_subject, tmp_path / "threads"))
