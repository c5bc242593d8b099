"""Exports read back, made from damaged images, damaged afterwards, or with links in their folder.

What a mutated export does to each command is in `test_corpus`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Once, ReleaseMaker
from corpus import shard

from geogen_hf import convert, export_release, open_export, open_release, verify_export
from geogen_hf.errors import ArchiveError, CameraError, PartsError, ReleaseError
from geogen_hf.export.options import ExportOptions
from geogen_hf.release.convention import CameraOptions
from geogen_hf.sample import write_release

NAMED = CameraOptions("world_to_camera opencv unchecked")


@pytest.fixture(scope="module")
def parts(once: Once) -> Path:
    """A release quickly exported: two views of each identity leave no proof to draw."""
    return once("two_views", lambda out: write_release(out, subjects=12, views=2, size=16))


@pytest.fixture(scope="module")
def sound(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "geogen"
    return export_release(parts, str(folder), cameras=NAMED, workers=1).folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "geogen"))


# --- Single identities ---


@pytest.mark.parametrize("config", ["sequences", "views"])
def test_identities_of_an_export_are_those_of_its_release(
    config: str, parts: Path, tmp_path: Path
) -> None:
    options = ExportOptions((config,))
    folder = export_release(parts, tmp_path / "x", options, cameras=NAMED).folder
    with open_release(parts, cameras=NAMED) as release, open_export(str(folder)) as export:
        assert set(export) == set(release)
        assert len(export) == 12
        assert "subj_00007" in export
        assert "subj_7" not in export
        for subject_id in release:
            one, other = release[subject_id], export[subject_id]
            assert (one.view_ids, one.images, one.split) == (
                other.view_ids, other.images, other.split
            )  # fmt: skip
            np.testing.assert_allclose(one.extrinsics, other.extrinsics, atol=1e-6)
            np.testing.assert_allclose(one.intrinsics, other.intrinsics, rtol=1e-6)
        with pytest.raises(KeyError, match="no subject 'subj_7'"):
            export["subj_7"]


def test_an_export_without_identities_is_refused(folder: Path) -> None:
    (folder / "splits.csv").write_text("subject_id,split\n")
    with pytest.raises(PartsError, match="an export without images"):
        open_export(folder)


# --- Changed after the end ---


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_finished_export_that_was_damaged_is_written_again(
    damage: str, folder: Path, sound: Path, parts: Path
) -> None:
    path = shard(folder)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[:-100])
    elif damage == "changed":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    assert export_release(parts, folder, cameras=NAMED).written > 0
    assert shard(folder).read_bytes() == shard(sound).read_bytes()
    assert export_release(parts, folder, cameras=NAMED).written == 0


# --- Images that do not decode, cameras of another resolution ---


def undecodable(data: bytes) -> bytes:
    return data[:8] + data[8:33] + b"\0\0\0\0IEND\xaeB`\x82"


def test_an_image_that_does_not_decode_obeys_the_policy(
    maker: ReleaseMaker, tmp_path: Path
) -> None:
    zip_name, member = maker.first_image()
    maker.zips[zip_name][member] = undecodable(maker.zips[zip_name][member])
    parts, subject_id = maker.write(), member.split("/")[0]
    told = rf"does not decode(.|\n)*{zip_name}: '{member}'.*subject {subject_id}, view 0"
    with pytest.raises(ArchiveError, match=told):
        export_release(parts, tmp_path / "x", cameras=NAMED)
    for number, options in enumerate([ExportOptions(), ExportOptions(image_format="webp")]):
        done = export_release(
            parts, tmp_path / str(number), options, cameras=NAMED, on_bad_subject="skip"
        )
        assert sum(done.rows["sequences"].values()) == 6
        left_out = json.loads((done.folder / "provenance.json").read_text())["left_out"]
        assert left_out == [subject_id]
        assert verify_export(done.folder).failures == ()


def test_an_export_without_any_image_that_decodes_is_refused(
    maker: ReleaseMaker, tmp_path: Path
) -> None:
    for members in maker.zips.values():
        for name in [name for name in members if name.endswith(".png")]:
            members[name] = undecodable(members[name])
    with pytest.raises(ReleaseError, match="no subject has images that can be decoded"):
        export_release(maker.write(), tmp_path / "x", cameras=NAMED, on_bad_subject="skip")
    assert not (tmp_path / "x").exists()


def test_intrinsics_of_another_resolution_are_refused(maker: ReleaseMaker, tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    for members in maker.zips.values():
        for name in [name for name in members if name.endswith(".png")]:
            buffer = BytesIO()
            Image.open(BytesIO(members[name])).resize((4, 4)).save(buffer, "PNG")
            members[name] = buffer.getvalue()
    with pytest.raises(CameraError, match=r"subject subj_\d+: intrinsics have an implausible cx"):
        export_release(maker.write(), tmp_path / "x", cameras=NAMED)
    assert not (tmp_path / "x").exists()


# --- Links ---


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("place", ["data", ".export", "data/sequences", "README.md"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_follows_no_link_in_its_folder(
    place: str, overwrite: bool, folder: Path, parts: Path, tmp_path: Path
) -> None:
    target, link = tmp_path / "else", folder / place
    if link.is_file():
        target.write_text("mine")
        link.unlink()
    elif link.exists():
        link.rename(target)
    else:
        target.mkdir()
        (target / "plan.json").write_text("mine")
    link.symlink_to(target)
    shard(folder, "cameras").write_bytes(b"")  # not finished
    before = {path: path.is_file() and path.read_bytes() for path in [target, *target.rglob("*")]}
    with pytest.raises(ReleaseError, match="contains a symbolic link"):
        export_release(parts, folder, cameras=NAMED, overwrite=overwrite)
    assert before == {
        path: path.is_file() and path.read_bytes() for path in [target, *target.rglob("*")]
    }


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("place", [".convert", "subj_00000"])
def test_a_conversion_follows_no_link_in_its_folder(
    place: str, parts: Path, tmp_path: Path
) -> None:
    out, target = tmp_path / "out", tmp_path / "else"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(parts, out, "eg3d", cameras=NAMED, progress=stop)
    if (out / place).exists():
        (out / place).rename(target)
    else:
        target.mkdir()
    (target / "thesis.tex").write_text("years of work")
    (out / place).symlink_to(target)
    before = sorted(target.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(ReleaseError, match="contains a symbolic link"):
            convert(parts, out, "eg3d", cameras=NAMED, overwrite=overwrite)
    assert sorted(target.rglob("*")) == before
