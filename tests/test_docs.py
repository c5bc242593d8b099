"""README, docs and card say what the code does, and their snippets run."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from typer.testing import CliRunner
from warm import run

import geogen
from geogen_hf.cli import app
from geogen_hf.hub.contents import check_card
from geogen_hf.release.features import CITATION, FEATURES, LICENSE_NAME, LICENSE_URL
from geogen_hf.sample import write_release

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LOAD = (ROOT / "docs" / "load.md").read_text()
CARD = (ROOT / "dataset_card.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rows_of_table(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+)`[^|]*\| one [^|]*\| (.*) \|$", text, re.MULTILINE))


@pytest.mark.parametrize("text", [LOAD, CARD], ids=["docs", "card"])
def test_table_names_every_column_of_every_config(text: str) -> None:
    table = rows_of_table(text)
    for config, features in FEATURES.items():
        named = set(re.findall(r"`(\w+)`", table[config]))
        if "as `views` less `image`" in table[config]:
            named = (named - {"views", "image"}) | (set(FEATURES["views"]) - {"image"})
        assert named == set(features)


def type_and_shape(feature: Any) -> tuple[str, list[str]]:
    """As the card's table of columns spells them; shapes of one image a row first."""
    if isinstance(feature, (datasets.Array2D, datasets.Array3D)):
        inner = ", ".join(map(str, feature.shape[-2:]))
        return feature.dtype, [f"({inner})", f"(V, {inner})"]
    if isinstance(feature, datasets.Image):
        return "Image", ["H × W × 3"]
    if isinstance(feature, datasets.Value):
        return feature.dtype, [""]
    name, _ = type_and_shape(feature.feature)
    return name, ["V of H × W × 3" if name == "Image" else "(V)"]


@pytest.mark.datasets
def test_card_describes_every_column_as_the_features_do() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ?([^|]*?) ?\| (.+) \|$", CARD, re.MULTILINE)
    described = {name: (kind, shape) for name, kind, shape, _ in rows}
    columns = {name: f for features in FEATURES.values() for name, f in features.items()}
    assert set(described) == set(columns)
    assert list(described) == [row[0] for row in rows]
    for features in FEATURES.values():
        for name, feature in features.items():
            kind, shapes = type_and_shape(feature)
            assert described[name][0] == kind, name
            assert described[name][1] in shapes, name


def test_card_says_all_that_a_card_must() -> None:
    titles = re.findall(r"^## (.+)$", CARD, re.MULTILINE)
    assert titles == [
        "Composition", "Configs and columns", "Cameras", "Splits", "Loading", "Provenance",
        "Limitations", "Licence", "Disclaimer", "Citation",
    ]  # fmt: skip
    check_card(CARD, "dataset_card.md")
    assert "Results" in CARD.split("## Licence")[1]


def test_docs_list_every_command_and_every_option_of_loading() -> None:
    listing = CliRunner().invoke(app, ["--help"]).output.split("Commands:")[1]
    commands = re.findall(r"^  (\w+) +(.+)$", listing, re.MULTILINE)
    page = (ROOT / "docs" / "cli.md").read_text()
    assert commands == re.findall(r"^\| `geogen (\w+)[^`]*` \| (.+) \|$", page, re.MULTILINE)
    own = set(vars(geogen.GeoGenConfig())) - {
        "name", "version", "data_dir", "data_files", "description",
    }  # fmt: skip
    assert own == set(re.findall(r"^\| `(\w+)=", LOAD, re.MULTILINE))


def test_card_has_valid_front_matter_with_licence_and_gate() -> None:
    front = yaml.safe_load(CARD.split("---")[1])
    assert front["license"] == "other"
    assert front["license_name"] == LICENSE_NAME
    assert front["license_link"] == LICENSE_URL
    assert LICENSE_URL in front["extra_gated_prompt"]


@pytest.mark.parametrize("text", [README, CARD], ids=["README", "card"])
def test_citation_is_the_same_everywhere(text: str) -> None:
    assert CITATION.strip() in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_and_links_within_the_project_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_fits_two_screens() -> None:
    assert len(README.splitlines()) <= 130


def test_the_first_screen_says_how_much_is_downloaded_and_what_is_untried() -> None:
    screen = "\n".join(README.splitlines()[:30])
    assert "GB" in screen
    assert "Nobody has run this package on the real archives" in screen


def test_the_start_page_shows_or_links_what_newcomers_look_for() -> None:
    page = (ROOT / "docs" / "index.md").read_text()
    for wanted in (
        "open_release(", "camera_centre(", "project(", "z into the scene", 'with_format("numpy")',
        "SourceTargetViews(", "(train.md#resume)", "(cameras.md)", "(limits.md)",
    ):  # fmt: skip
        assert wanted in page


def snippets(page: Path) -> str:
    """All of a page's Python, in order, as one program."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return "\n".join(blocks)


ONE_AFTER_THE_OTHER = """
import os, runpy, sys, warnings
if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for program in sys.argv[1:]:
        os.chdir(os.path.dirname(program))
        runpy.run_path(program, run_name="__main__")
"""


@pytest.mark.datasets
def test_snippets_run(tmp_path: Path) -> None:
    """In one process, which imports `datasets` once."""
    parts = write_release(tmp_path / "parts", subjects=12, size=32)
    programs = []
    for page in PAGES:
        if text := snippets(page):
            # A folder for each, with `parts`: what one leaves behind does not help another.
            programs.append(tmp_path / page.stem / f"{page.stem}.py")
            shutil.copytree(parts, programs[-1].parent / "parts")
            programs[-1].write_text(f"if __name__ == '__main__':\n{textwrap.indent(text, '    ')}")
    assert len(programs) > 4
    script = tmp_path / "all.py"
    script.write_text(ONE_AFTER_THE_OTHER)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = run(script, *programs, env=environment)
    assert done.returncode == 0, done.stderr
