"""The notebooks run from top to bottom, and are kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def test_notebooks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in one kernel, without each other's names and files."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    together = nbformat.v4.new_notebook()
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        assert not any(cell.get("outputs") for cell in notebook.cells)
        own = tmp_path / path.stem
        own.mkdir()
        together.cells += [nbformat.v4.new_code_cell(f"%reset -f\n%cd {own}"), *notebook.cells]
    NotebookClient(together, timeout=120).execute()
    assert (tmp_path / "publish" / "geogen" / "README.md").exists()
