"""Fill the page of commands from the command line itself while the site is built."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

MARK = "<!-- commands -->"
COMMAND = [sys.executable, "-m", "typer", "geogen_hf.cli", "utils", "docs", "--name", "geogen"]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every command's help in the place of the mark."""
    if MARK not in markdown:
        return markdown
    text = subprocess.run(COMMAND, capture_output=True, text=True, check=True).stdout
    return markdown.replace(MARK, text.replace("\n#", "\n##").replace("# `", "## `", 1))
