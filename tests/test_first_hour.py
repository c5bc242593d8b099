"""What somebody who has just installed the package does wrong, and what they are told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

import geogen
import geogen_hf
from geogen_hf import CameraOptions, GeoGenError
from geogen_hf.cli import app
from geogen_hf.export.tasks import dask_executor
from geogen_hf.training import ToTensors, as_tensors

WRONG_CALLS: list[tuple[Callable[[Path, Path], object], str]] = [
    (lambda parts, _: geogen.load(str(parts)), r"unknown config.*pass data_dir='/.*tiny'"),
    (lambda parts, _: geogen.load("train", data_dir=parts), r"unknown config.*pass split='train'"),
    (lambda parts, _: geogen.load("view", data_dir=parts), "did you mean 'views'"),
    (lambda _, no: geogen.load(split="val", data_dir=no), "no split 'val'.*'validation'"),
    (lambda _, no: geogen.load(split="train+tests", data_dir=no), "no split 'tests'.*'test'"),
    (lambda parts, _: geogen.load(part=(1,), data_dir=parts), "did you mean 'parts'"),
    (lambda _, export: geogen.load(data_dir=export), "load_dataset loads it"),
    (lambda _, export: geogen_hf.open_release(export), "geogen_hf.open_export opens it"),
    (lambda parts, _: geogen_hf.open_export(parts), "write one first: geogen export"),
    (lambda parts, _: geogen_hf.open_release(parts)[3], "no subject 3.*did you mean 'subj_00003'"),
    (
        lambda parts, _: geogen_hf.open_release(parts, cameras="opengl"),  # type: ignore[arg-type]
        r"pass cameras=CameraOptions\('opengl'\)",
    ),
    (
        lambda parts, _: geogen_hf.open_release(parts, cameras=CameraOptions("opengl")),
        'name both, such as "camera_to_world opengl"',
    ),
    (
        lambda parts, _: as_tensors(geogen.load("metadata", "train", data_dir=parts), ToTensors())[
            0
        ],
        "no images.*the config 'sequences' or 'views'",
    ),
]


@pytest.fixture(scope="module")
def export(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return geogen_hf.export_release(tiny, tmp_path_factory.mktemp("hour") / "geogen").folder


@pytest.mark.datasets
@pytest.mark.parametrize(("call", "told"), WRONG_CALLS, ids=[told for _, told in WRONG_CALLS])
def test_a_wrong_call_is_told_the_right_one(
    call: Callable[[Path, Path], object], told: str, tiny: Path, export: Path
) -> None:
    with pytest.raises(GeoGenError, match=f"(?s){told}"):
        call(tiny, export)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("inspect {export}", "geogen verify, view, preview, convert and push take it"),
        ("export {export} {out}", "geogen export wrote this folder"),
        ("push {parts} me/geogen", "write one first: geogen export SRC OUT; geogen push --raw"),
        ("verify {parts}", "write one first: geogen export SRC OUT"),
        ("convert {parts} {out} --to colmap --subject 3", "did you mean 'subj_00003'?"),
        ("preview {parts} --subject 3", "did you mean 'subj_00003'?"),
        ("export {parts} {out} --config sequence", "did you mean 'sequences'?"),
        ("sample {parts}", "the folder holds sample zips"),
    ],
)
def test_a_wrong_command_is_told_the_right_one(
    arguments: str, told: str, tiny: Path, export: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = arguments.format(parts=tiny, export=export, out=out).split()
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, GeoGenError)
    assert told in str(error)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["insepct", "parts"], "'inspect'"),
        (["inspect", "parts", "--parts", "1"], "--part"),
        (["convert", "parts", "out", "--to", "nerf"], "'nerfstudio'"),
        (["export", "parts", "out", "--image-fromat", "webp"], "--image-format"),
    ],
)
def test_the_near_command_and_option_are_named(words: list[str], near: str) -> None:
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 2
    assert near in run.output


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("torch", lambda: import_module("geogen_hf.training")),
        ("viser", lambda: geogen_hf.view("parts")),
        ("distributed", lambda: dask_executor("tcp://127.0.0.1:1").__enter__()),
    ],
)
def test_without_an_extra_both_ways_to_install_it_are_named(
    name: str, use: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "geogen_hf.training", raising=False)
    remedy = r'pip install "geogen-hf\[[a-z,]+\]"; in a checkout, pip install "\.\[[a-z,]+\]"'
    with pytest.raises((GeoGenError, ImportError), match=f"remedy: {remedy}"):
        use()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("geogen ins", ["inspect"]),
        ("geogen inspect --pi", ["--picture"]),
        ("geogen convert parts out --to ne", ["nerfstudio"]),
    ],
)
def test_the_shell_completes_commands_options_and_choices(typed: str, completed: list[str]) -> None:
    # What the script of `geogen --install-completion` asks for in bash.
    count = str(len(typed.split()) - 1)
    asked = {"_GEOGEN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": count}
    run = CliRunner().invoke(app, [], prog_name="geogen", env=asked)
    assert run.output.split() == completed


def test_the_list_of_commands_has_whole_sentences() -> None:
    listed = CliRunner().invoke(app, ["--help"]).output.split("Commands:\n")[1]
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.splitlines())
