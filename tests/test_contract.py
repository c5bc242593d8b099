"""What every config must give, by every route, on every supported version of `datasets`."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from conftest import SUBJECTS, ReleaseMaker
from datasets import Image
from datasets.exceptions import DatasetGenerationError
from zips import edited

import geogen
from geogen_hf import builder as building
from geogen_hf.errors import ArchiveError, CameraError
from geogen_hf.release.features import FEATURES
from geogen_hf.release.release import read_release
from geogen_hf.release.shards import SPLITS, split_of
from geogen_hf.sample import subject_cameras
from geogen_hf.source.parts import locate_parts

pytestmark = pytest.mark.datasets

CONFIGS = ["sequences", "views", "cameras"]
RUNS_SCRIPTS = hasattr(datasets.config, "HF_DATASETS_TRUST_REMOTE_CODE")


def undecoded(dataset: Any) -> Any:
    """Encoded image bytes instead of pictures."""
    if "images" in dataset.features:
        return dataset.cast_column("images", datasets.Sequence(Image(decode=False)))
    if "image" in dataset.features:
        return dataset.cast_column("image", Image(decode=False))
    return dataset


def comparable(value: Any) -> Any:
    """Make one value equal across containers: digests for images, nested lists for arrays."""
    if isinstance(value, dict):
        return hashlib.sha256(value["bytes"]).hexdigest()
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [comparable(item) for item in value]
    if isinstance(value, (list, np.ndarray)):
        return np.asarray(value, dtype=np.float32).tolist()
    return value


def rows_of(loaded: Any) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Rows by split and by (subject, view)."""
    rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
    for split, dataset in loaded.items():
        rows[split] = {}
        for row in undecoded(dataset):
            key = (row["subject_id"], row.get("view_id"))
            assert key not in rows[split]
            rows[split][key] = {name: comparable(value) for name, value in row.items()}
    return rows


@pytest.fixture(scope="module", params=CONFIGS)
def config(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def reference(
    config: str, by_subject: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    cache = tmp_path_factory.mktemp("reference")
    return rows_of(geogen.load(config, data_dir=str(by_subject), cache_dir=str(cache)))


def test_features_are_the_documented_ones(config: str, by_subject: Path, tmp_path: Path) -> None:
    loaded = geogen.load(config, data_dir=str(by_subject), cache_dir=str(tmp_path))
    for dataset in loaded.values():
        assert dataset.features == FEATURES[config]
        assert list(dataset.features) == list(FEATURES[config])


def test_every_identity_is_in_the_split_of_its_hash_and_in_no_other(
    config: str, reference: dict[str, dict[tuple[Any, ...], Any]]
) -> None:
    assert list(reference) == list(SPLITS)
    where = {key[0]: split for split, rows in reference.items() for key in rows}
    assert len(where) == SUBJECTS
    assert all(split_of(subject_id) == split for subject_id, split in where.items())
    total = sum(len(rows) for rows in reference.values())
    assert total == (SUBJECTS if config == "sequences" else 7 * SUBJECTS)


@pytest.mark.parametrize("layout", ["by_subject", "by_view"])
@pytest.mark.parametrize("how", ["one process", "two processes", "streamed"])
def test_every_route_gives_the_same_rows(
    config: str,
    layout: str,
    how: str,
    reference: dict[str, dict[tuple[Any, ...], Any]],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "SMALL_SPLIT_BYTES", 0)  # processes for the smallest, too
    folder = request.getfixturevalue(layout)
    options: dict[str, Any] = {
        "one process": {},
        "two processes": {"num_proc": 2},
        "streamed": {"streaming": True},
    }[how]
    loaded = geogen.load(config, data_dir=str(folder), cache_dir=str(tmp_path), **options)
    assert rows_of(loaded) == reference
    if how != "streamed":
        assert len(loaded["train"].cache_files) == options.get("num_proc", 1)


@pytest.mark.parametrize("options", [{}, {"streaming": True}, {"num_proc": 2}], ids=str)
def test_the_script_itself_gives_the_same_rows_where_scripts_still_run(
    config: str,
    options: dict[str, Any],
    reference: dict[str, dict[tuple[Any, ...], Any]],
    by_subject: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "SMALL_SPLIT_BYTES", 0)
    assert geogen.__file__ is not None
    script = shutil.copy(geogen.__file__, tmp_path)
    options = {**options, "data_dir": str(by_subject), "cache_dir": str(tmp_path / "cache")}
    if RUNS_SCRIPTS:
        loaded = datasets.load_dataset(script, config, trust_remote_code=True, **options)
        assert rows_of(loaded) == reference
    else:
        with pytest.raises(RuntimeError, match="scripts are no longer supported"):
            datasets.load_dataset(script, config, **options)


def test_a_preparing_process_names_the_damaged_member(
    by_subject: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "SMALL_SPLIT_BYTES", 0)
    parts = Path(shutil.copytree(by_subject, tmp_path / "parts"))
    victim = next(
        subject
        for subject in read_release(locate_parts(parts)).subjects
        if split_of(subject.subject_id) == "train"
    ).images[3]
    archive = Path(victim.archive.address)
    with edited(archive) as content:
        content[victim.start + 60 + len(victim.name)] ^= 0xFF
    options: dict[str, Any] = {"data_dir": str(parts), "cache_dir": str(tmp_path / "cache")}
    with pytest.raises((ArchiveError, DatasetGenerationError), match=victim.name):
        geogen.load("sequences", num_proc=2, **options)
    loaded = geogen.load("sequences", num_proc=2, on_bad_subject="skip", **options)
    assert sum(map(len, loaded.values())) == SUBJECTS - 1


def test_cameras_are_the_ones_rendered_with(by_subject: Path, tmp_path: Path) -> None:
    for row in geogen.load(
        "sequences", split="train", data_dir=str(by_subject), cache_dir=str(tmp_path)
    ):
        extrinsics, intrinsics = subject_cameras(row["subject_id"], size=48)
        assert np.asarray(row["extrinsics"], dtype=np.float32).shape == (7, 4, 4)
        np.testing.assert_allclose(row["extrinsics"], extrinsics, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(row["intrinsics"], intrinsics, rtol=1e-6)
        assert row["view_ids"] == list(range(7))


def test_images_are_bit_exact_and_decode(maker: ReleaseMaker) -> None:
    published = {
        name: content for zipped in maker.zips.values() for name, content in zipped.items()
    }
    loaded = geogen.load("views", data_dir=str(maker.write()))
    rows = [row for split in loaded.values() for row in undecoded(split)]
    assert len(rows) == 49
    for row in rows:
        assert row["image"]["bytes"] == published[f"{row['subject_id']}/{row['view_id']}.png"]
    assert loaded["train"][0]["image"].size == (48, 48)


def test_metadata_is_the_untouched_json(maker: ReleaseMaker) -> None:
    texts = {content.decode() for content in maker.zips["metadata_files.zip"].values()}
    folder = str(maker.write())
    loaded = geogen.load("metadata", data_dir=folder)
    rows = [row for split in loaded.values() for row in split]
    assert len(rows) == 7
    assert {row["metadata"] for row in rows} == texts
    rows = [row for split in geogen.load("cameras", data_dir=folder).values() for row in split]
    assert {(row["width"], row["height"]) for row in rows} == {(48, 48)}


def test_arrow_is_self_contained(maker: ReleaseMaker, tmp_path: Path) -> None:
    folder = maker.write()
    loaded = geogen.load("sequences", data_dir=str(folder), cache_dir=str(tmp_path / "c"))
    before = rows_of(loaded)
    shutil.rmtree(folder)
    assert rows_of(loaded) == before
    again = geogen.load("sequences", data_dir=str(folder), cache_dir=str(tmp_path / "c"))
    assert rows_of(again) == before


def test_prepared_files_are_reused(by_subject: Path, tmp_path: Path) -> None:
    def written() -> int:
        loaded = geogen.load("views", split="train", data_dir=str(by_subject), cache_dir=tmp_path)
        return Path(loaded.cache_files[0]["filename"]).stat().st_mtime_ns

    assert written() == written()


def test_a_replaced_part_is_noticed(maker: ReleaseMaker, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache_dir": str(tmp_path / "c"), "on_bad_subject": "skip"}
    folder = str(maker.write())
    before = geogen.load("views", data_dir=folder, **options)
    assert sum(map(len, before.values())) == 49
    del maker.zips["images_batch_1.zip"][maker.first_image()[1]]
    maker.write()
    after = geogen.load("views", data_dir=folder, **options)
    assert sum(map(len, after.values())) == 42


def test_parts_and_split_seed(by_view: Path, tmp_path: Path) -> None:
    # Two views of each identity prove no convention: it has to be named.
    options: dict[str, Any] = {"data_dir": str(by_view), "cache_dir": str(tmp_path)}
    with pytest.raises(CameraError, match="name it: camera_convention="):
        geogen.load("views", parts=(2, 5), **options)
    options["camera_convention"] = "world_to_camera opencv"
    loaded = geogen.load("views", parts=(2, 5), **options)
    rows = rows_of(loaded)
    assert {key[1] for split in rows.values() for key in split} == {1, 4}
    other = geogen.load("cameras", parts=[1], split_seed=7, **options)
    for split, dataset in other.items():
        assert {split_of(s, seed=7) for s in dataset["subject_id"]} == {split}


def test_a_split_without_identities_is_left_out(maker: ReleaseMaker) -> None:
    expected = {split_of(f"subj_{i:05d}") for i in range(7)}
    assert expected != set(SPLITS)
    assert set(geogen.load("cameras", data_dir=str(maker.write()))) == expected


def test_shards_are_the_sharding_axis(by_subject: Path) -> None:
    stream = geogen.load("views", split="train", data_dir=str(by_subject), streaming=True)
    assert sum(split_of(f"subj_{i:05d}") == "train" for i in range(SUBJECTS)) == 26
    assert stream.num_shards == 3


def test_relative_and_absolute_folders_share_a_cache(
    maker: ReleaseMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = maker.write()
    monkeypatch.chdir(folder.parent)
    one = geogen.load("cameras", split="train", data_dir=folder.name, cache_dir="c")
    other = geogen.load("cameras", split="train", data_dir=str(folder), cache_dir="c")
    assert one.cache_files == other.cache_files
