"""The command line as a person or a script meets it: in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ReleaseMaker
from PIL import Image
from typer.core import TyperGroup
from typer.main import get_command
from warm import GEOGEN, Child, geogen, run

from geogen_hf.cli import app

Demo = tuple[subprocess.CompletedProcess[str], Path]
"""What it printed, and where it ran."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    place = tmp_path_factory.mktemp("demo")
    return geogen("demo", "--subjects", 4, "--size", 48, cwd=place), place


@pytest.mark.datasets
def test_demo_shows_splits_features_row_and_pictures(demo: Demo) -> None:
    run, place = demo
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    for expected in ("train", "validation", "extrinsics", "subj_00000", "Next:"):
        assert expected in run.stdout
    with Image.open(place / "geogen_demo" / "contact_sheet.png") as sheet:
        assert sheet.width > 7 * 128
    with Image.open(place / "geogen_demo" / "contact_sheet-rig.png") as rig:
        assert len(np.unique(np.asarray(rig).reshape(-1, 3), axis=0)) > 500
    again = geogen("demo", "--subjects", 4, "--size", 48, cwd=place)
    assert again.returncode == 0, again.stderr


@pytest.mark.datasets
def test_the_command_that_the_demo_suggests_works(demo: Demo, tmp_path: Path) -> None:
    done, place = demo
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    suggestions = done.stdout.split("Next:\n")[1].strip().splitlines()
    assert len(suggestions) == 3
    for suggestion in suggestions:
        program, *words = shlex.split(suggestion)
        arguments = {"geogen": (*GEOGEN, *words), "python": words}[program]
        ended = run(*arguments, cwd=place, env=environment)
        assert ended.returncode == 0, ended.stderr
    assert (place / "geogen_demo" / "geogen" / "README.md").exists()


def test_sample_writes_what_inspect_reports(tmp_path: Path) -> None:
    out = tmp_path / "parts"
    run = geogen("sample", out, "--subjects", 9, "--size", 48, "--layout", "by-view")
    assert run.returncode == 0, run.stderr
    run = geogen("inspect", out)
    assert run.returncode == 0, run.stdout
    assert "problems           0" in run.stdout
    found = json.loads(geogen("inspect", out, "--json").stdout)
    assert found["subjects"] == 9
    assert found["images"] == 63
    assert found["views_per_subject"] == {"7": 9}
    assert found["image_sizes"] == {"48 x 48": 63}
    assert sum(found["splits"].values()) == 9
    assert found["problems"] == {}
    assert [archive["members"] for archive in found["archives"]] == [9] * 8
    part = json.loads(geogen("inspect", out, "--json", "--part", 3).stdout)
    assert part["images"] == 9


def test_inspect_reports_problems_and_exits_with_1(maker: ReleaseMaker) -> None:
    zip_name, member = maker.first_image()
    maker.zips[zip_name][member] = b"no picture"
    del maker.zips["metadata_files.zip"]["metadata_00003.json"]
    folder = maker.write()
    run = geogen("inspect", folder)
    assert run.returncode == 1
    assert "images without metadata: 1" in run.stdout
    assert "damaged image: 1" in run.stdout
    assert "subj_00003" in run.stdout
    assert member in run.stdout
    run = geogen("inspect", folder, "--json")
    assert run.returncode == 1
    assert json.loads(run.stdout)["problems"]["damaged image"]["count"] == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["inspect", "/nowhere/at/all"], "does not exist"),
        (["preview", ".", "--out", "x.xyz"], "x.png"),
        (["preview", ".", "--out", "/tmp"], "a folder"),
    ],
)
def test_errors_have_no_traceback(tmp_path: Path, arguments: list[str], expected: str) -> None:
    run = geogen(*arguments, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert expected in run.stderr
    assert "Traceback" not in run.stderr


def test_help_and_version(tmp_path: Path) -> None:
    assert geogen("--version").stdout.strip().count(".") == 2
    listing = geogen("--help").stdout
    for command in ("demo", "sample", "inspect"):
        assert command in listing
        assert "--help" in geogen(command, "--help").stdout


def test_every_option_says_what_it_does() -> None:
    """The section `Options:` of a docstring, and what commands share, cover all parameters."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    parameters = [(name, p) for name, command in group.commands.items() for p in command.params]
    assert [(name, p.name) for name, p in parameters if not getattr(p, "help", None)] == []
    assert all("Options:" not in str(command.help) for command in group.commands.values())


def test_interrupting_leaves_nothing_half_written(tmp_path: Path) -> None:
    out = tmp_path / "parts"
    process = Child(*GEOGEN, "sample", out, "--subjects", 500, "--size", 64)
    deadline = time.monotonic() + 30
    while not list(out.glob(".sample-*/*.zip")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    ended = process.finish()
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert list(out.iterdir()) == []


def test_names_from_outside_cannot_command_a_terminal(maker: ReleaseMaker) -> None:
    zip_name, _ = maker.first_image()
    hostile = "subj_\x1b]0;owned\x07\u202e\x1b[31m/" + "x" * 60_000 + ".txt"
    maker.zips[zip_name][hostile] = b"text"
    run = geogen("inspect", maker.write())
    shown = run.stdout + run.stderr
    assert "owned" in shown
    assert not [c for c in shown if c != "\n" and not c.isprintable()]
    assert max(map(len, shown.splitlines())) < 3000


def test_inspect_draws_the_proof(tmp_path: Path) -> None:
    geogen("sample", tmp_path / "parts", "--subjects", 3, "--size", 48)
    run = geogen("inspect", tmp_path / "parts", "--picture", tmp_path / "proof.png", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["camera_convention"]["evidence"]["settled"]
    with Image.open(tmp_path / "proof.png") as proof:
        pixels = np.asarray(proof.convert("RGB")).reshape(-1, 3).astype(int)
    green = (pixels[:, 1] > pixels[:, 0] + 60) & (pixels[:, 1] > pixels[:, 2] + 40)
    assert green.sum() > 500
