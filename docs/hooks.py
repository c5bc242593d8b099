"""Fill the page of commands from the command line, and copy the notebooks, as the site is built."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

MARK = "<!-- commands -->"
COMMAND = [sys.executable, "-m", "typer", "geogen_hf.cli", "utils", "docs", "--name", "geogen"]


def on_pre_build(config: Any) -> None:
    """Copy the notebooks of `examples` to where the site finds pages."""
    docs = Path(config["docs_dir"])
    folder = docs / "notebooks"
    folder.mkdir(exist_ok=True)
    for notebook in (docs.parent / "examples").glob("*.ipynb"):
        shutil.copyfile(notebook, folder / notebook.name)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every command's help in the place of the mark."""
    if MARK not in markdown:
        return markdown
    text = subprocess.run(COMMAND, capture_output=True, text=True, check=True).stdout
    commands = text[text.index("## `geogen ") :]  # not the list: the page has its own
    return markdown.replace(MARK, commands)
