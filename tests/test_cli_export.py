"""The commands `export`, `verify` and `preview`, driven as typer drives them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from origin_server import OriginServer
from PIL import Image
from typer.testing import CliRunner, Result

from geogen_hf.cli.export import export
from geogen_hf.cli.verify import verify
from geogen_hf.cli.view import preview
from geogen_hf.errors import GeoGenError, PartsError, ReleaseError

app = typer.Typer()
for command in (export, verify, preview):
    app.command()(command)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def exported(by_subject: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "geogen"
    done = run("export", by_subject, folder, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert f"Next: geogen verify {folder}" in done.output
    assert "sequences   train:" in done.output
    return folder


def test_every_option_reaches_the_export(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "geogen"
    options = ["--config", "views", "--config", "cameras", "--workers", 2, "--image-format", "jpeg"]
    more = ["--image-size", 12, "--quality", 81, "--split-seed", 5, "--on-bad-subject", "skip"]
    done = run("export", tiny, folder, *options, *more, "--part", 1, "--part", 2)
    assert done.exit_code == 0, done.output
    source = json.loads((folder / "provenance.json").read_text())["source"]
    assert source["options"] == {
        "configs": ["views", "cameras"],
        "split_seed": 5,
        "image_format": "jpeg",
        "image_size": 12,
        "quality": 81,
    }
    assert sorted(source["parts"]) == [
        "images_batch_1.zip", "images_batch_2.zip", "metadata_files.zip",
    ]  # fmt: skip
    found = run("verify", folder, "--json")
    assert found.exit_code == 0
    assert json.loads(found.output)["ok"] is True


def test_another_export_needs_overwrite(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "geogen"
    first = ["export", tiny, folder, "--config", "cameras", "--workers", 1]
    assert run(*first).exit_code == 0
    refused = run(*first, "--split-seed", 1)
    assert isinstance(refused.exception, ReleaseError)
    assert "options.split_seed" in str(refused.exception)
    assert run(*first, "--split-seed", 1, "--overwrite").exit_code == 0
    assert "0 shards written now" in run(*first, "--split-seed", 1).output


def test_verify_says_what_it_found_and_exits_with_1_on_damage(
    exported: Path, tmp_path: Path
) -> None:
    found = run("verify", exported, "--workers", 1)
    assert found.exit_code == 0
    assert "images      280 decoded" in found.output
    assert "all promises kept" in found.output
    quick = run("verify", exported, "--quick", "--workers", 1)
    assert quick.exit_code == 0
    assert "decoded" not in quick.output
    path = exported / "splits.csv"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"train", b"test", 1))
    try:
        for options in ([], ["--quick"]):
            damaged = run("verify", exported, "--workers", 1, *options)
            assert damaged.exit_code == 1
            assert "failure: splits.csv: its SHA-256 is not" in damaged.output
        as_json = run("verify", exported, "--workers", 1, "--json")
        assert as_json.exit_code == 1
        report = json.loads(as_json.output)
        assert report["ok"] is False
        assert any("splits.csv" in failure for failure in report["failures"])
    finally:
        path.write_bytes(whole)
    assert isinstance(run("verify", tmp_path).exception, PartsError)


@pytest.fixture
def served(by_subject: Path) -> Iterator[str]:
    with OriginServer(by_subject) as server:
        yield server.url


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_preview_shows_the_same_from_parts_url_and_export(
    by_subject: Path, exported: Path, served: str, tmp_path: Path
) -> None:
    subjects = ["--subject", "subj_00031", "--subject", "subj_00002"]
    for name, source in (("parts", by_subject), ("url", served), ("export", exported)):
        shown = run("preview", source, *subjects, "--out", tmp_path / f"{name}.png", "--cell", 32)
        assert shown.exit_code == 0, shown.exception
    sheet, rig = pixels(tmp_path / "parts.png"), pixels(tmp_path / "parts-rig.png")
    assert sheet.shape[1] > 7 * 32
    assert len(np.unique(rig.reshape(-1, 3), axis=0)) > 500
    for name in ("url", "export"):
        np.testing.assert_array_equal(pixels(tmp_path / f"{name}.png"), sheet)
        # Cameras are float32 in the export: a line may move by a fraction of a pixel.
        difference = pixels(tmp_path / f"{name}-rig.png").astype(int) - rig
        assert np.abs(difference).mean() < 0.05
    other = run("preview", exported, "--subject", "subj_00005", "--out", tmp_path / "other.png")
    assert other.exit_code == 0
    assert not np.array_equal(pixels(tmp_path / "other-rig.png"), rig)


def test_preview_of_an_export_of_views_and_without_images(
    by_subject: Path, tiny: Path, exported: Path, tmp_path: Path
) -> None:
    run("export", by_subject, tmp_path / "views", "--config", "views", "--workers", 1)
    for name, folder in (("a", exported), ("b", tmp_path / "views")):
        assert run("preview", folder, "--out", tmp_path / f"{name}.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    run("export", tiny, tmp_path / "cameras", "--config", "cameras", "--workers", 1)
    refused = run("preview", tmp_path / "cameras", "--out", tmp_path / "c.png")
    assert isinstance(refused.exception, PartsError)


def test_preview_names_unknown_identities(by_subject: Path, exported: Path, tmp_path: Path) -> None:
    for source in (by_subject, exported):
        refused = run("preview", source, "--subject", "subj_9", "--out", tmp_path / "x.png")
        assert isinstance(refused.exception, GeoGenError)
        assert "subj_9" in str(refused.exception)
