"""The exported folder: what plain `datasets` gets out of it, its bytes, and how it survives."""

from __future__ import annotations

import csv
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import SUBJECTS, Once, ReleaseMaker, digests
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from filelock import FileLock
from huggingface_hub import DatasetCardData
from PIL import Image
from test_contract import rows_of
from warm import Child, run
from zips import edited

import geogen
from geogen_hf.errors import ArchiveError, OutputError, ReleaseError, UsageError
from geogen_hf.export.folder import EXPORT, Exported, export_release
from geogen_hf.export.options import DEFAULT_CONFIGS, ExportOptions
from geogen_hf.export.tasks import file_count
from geogen_hf.export.verify import verify_export
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.features import FEATURES, IMAGE_CONFIGS
from geogen_hf.release.release import Release, read_release
from geogen_hf.release.shards import SPLITS, split_of, split_position
from geogen_hf.source.parts import ALL_PARTS, IMAGE_PARTS, locate_parts, select_parts
from geogen_hf.source.zip_directory import MAX_SUBJECT_BYTES

pytestmark = pytest.mark.slow

ALL_CONFIGS = ("sequences", "views", "cameras", "metadata")
EVERYTHING = ExportOptions(configs=ALL_CONFIGS)


def opened(parts: Path) -> Release:
    return read_release(locate_parts(parts))


@pytest.fixture(scope="module")
def release(unmarked: Path) -> Release:
    return opened(unmarked)


@pytest.fixture(scope="module")
def exported(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """All three configs, in a folder named `geogen`."""
    folder = tmp_path_factory.mktemp("export") / "geogen"
    return export_release(release, folder, EVERYTHING, workers=1)


@pytest.fixture(scope="module")
def default(release: Release, once: Once) -> Path:
    """An export with the default options."""
    return (
        once("default", lambda out: export_release(release, out / "geogen", workers=1)) / "geogen"
    )


@pytest.fixture
def finished(default: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(default, tmp_path / "geogen"))


OTHER = ExportOptions(configs=("cameras",))


@pytest.fixture(scope="module")
def other(release: Release, once: Once) -> Path:
    """An export of `OTHER`, with other splits."""
    return once("other", lambda out: export_release(release, out, OTHER, split_seed=1, workers=1))


SLOW = ExportOptions(image_size=112, image_format="webp")


@pytest.fixture(scope="module")
def slow(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An undisturbed export of `SLOW`."""
    return export_release(release, tmp_path_factory.mktemp("slow"), SLOW, workers=2)


@pytest.fixture(scope="module")
def two_views(by_view: Path) -> Release:
    """Too few views of each identity to prove a convention, and to draw that proof."""
    named = CameraOptions("world_to_camera opencv unchecked")
    return read_release(locate_parts(by_view, select_parts([1, 2])), named)


@pytest.fixture
def beside(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(exported.folder.parent)
    return exported.folder


# --- What plain datasets gets out of it ---


@pytest.mark.datasets
@pytest.mark.parametrize("config", ALL_CONFIGS)
def test_load_dataset_by_name_gives_the_rows_of_the_parts(
    config: str, beside: Path, unmarked: Path, tmp_path: Path
) -> None:
    reference = geogen.load(config, data_dir=str(unmarked), cache_dir=str(tmp_path / "parts"))
    wanted = rows_of(reference)
    total = sum(map(len, wanted.values()))
    assert total == SUBJECTS * (1 if config in ("sequences", "metadata") else 7)
    for streaming in (False, True):
        loaded = datasets.load_dataset(
            "geogen", config, streaming=streaming, cache_dir=str(tmp_path / "exported")
        )
        assert list(loaded) == list(reference) == list(SPLITS)
        assert {split: dataset.features for split, dataset in loaded.items()} == dict.fromkeys(
            SPLITS, FEATURES[config]
        )
        assert rows_of(loaded) == wanted


@pytest.mark.datasets
def test_the_first_config_is_the_default_and_images_decode(beside: Path, tmp_path: Path) -> None:
    row = datasets.load_dataset("geogen", split="train", cache_dir=str(tmp_path))[0]
    assert list(row) == list(FEATURES["sequences"])
    assert [image.size for image in row["images"]] == [(48, 48)] * 7
    assert len({image.tobytes() for image in row["images"]}) == 7


@pytest.mark.datasets
def test_columns_can_be_chosen(beside: Path) -> None:
    rows = datasets.load_dataset(
        "geogen", split="train", streaming=True, columns=["subject_id", "view_ids"]
    )
    for row in rows:
        assert list(row) == ["subject_id", "view_ids"]
        assert row["view_ids"] == list(range(7))


@pytest.mark.datasets
def test_with_format_torch(beside: Path) -> None:
    import torch

    rows = datasets.load_dataset("geogen", "cameras", split="train", streaming=True)
    row = next(iter(rows.with_format("torch")))
    assert row["extrinsics"].shape == (4, 4)
    assert row["extrinsics"].dtype == torch.float32


@pytest.mark.datasets
def test_cards_yaml_says_what_the_files_hold(exported: Exported) -> None:
    front = yaml.safe_load((exported.folder / "README.md").read_text().split("---\n")[1])
    assert (front["license"], front["license_name"]) == ("other", "r-uda-1.0")
    assert front["license_link"].startswith("https://")
    assert front["extra_gated_fields"]
    assert front["size_categories"] == ["n<1K"]
    assert [entry["config_name"] for entry in front["configs"]] == list(ALL_CONFIGS)
    assert [entry.get("default") for entry in front["configs"]] == [True, None, None, None]
    for info in front["dataset_info"]:
        config = info["config_name"]
        read = datasets.DatasetInfo._from_yaml_dict(info)
        assert read.features == FEATURES[config]
        files = list((exported.folder / "data" / config).iterdir())
        assert info["download_size"] == sum(file.stat().st_size for file in files)
        assert {s["name"]: s["num_examples"] for s in info["splits"]} == exported.rows[config]
        for split in info["splits"]:
            tables = (pq.read_table(file) for file in files if file.name.startswith(split["name"]))
            assert split["num_bytes"] == pytest.approx(sum(t.nbytes for t in tables), rel=0.02)


def as_datasets_writes_it(card: dict[str, Any]) -> tuple[Any, Any]:
    """Configs and infos read and written again by `datasets` itself."""
    data = DatasetCardData(**card)
    infos, configs = DatasetInfosDict.from_dataset_card_data(data), MetadataConfigs()
    for name, values in MetadataConfigs.from_dataset_card_data(data).items():
        configs[name] = values
    written = DatasetCardData()
    infos.to_dataset_card_data(written)
    configs.to_dataset_card_data(written)
    return written["configs"], written["dataset_info"]


@pytest.mark.datasets
def test_cards_yaml_is_what_datasets_itself_would_write(exported: Exported) -> None:
    front = yaml.safe_load((exported.folder / "README.md").read_text().split("---\n")[1])
    configs, infos = as_datasets_writes_it(front)
    assert sorted(front["configs"], key=lambda c: c["config_name"]) == configs
    text = yaml.safe_dump(sorted(front["dataset_info"], key=lambda i: i["config_name"]))
    # The one difference: lists are spelt as every version reads them.
    assert yaml.safe_load(text.replace("sequence:", "list:")) == yaml.safe_load(
        yaml.safe_dump(infos).replace("sequence:", "list:")
    )


@pytest.mark.datasets
def test_the_body_of_the_card_tells_of_this_export(release: Release, tmp_path: Path) -> None:
    options = ExportOptions(configs=("views",), image_format="jpeg", image_size=12, quality=80)
    folder = export_release(release, tmp_path / "geogen", options, workers=1).folder
    body = (folder / "README.md").read_text().split("---\n", 2)[2]
    assert "| `views` (default) | one image |" in body
    assert "`sequences`" not in body
    assert "`cameras`" not in body
    assert body.count("JPEG, quality 80, longer side 12 px") == 2
    assert "published PNG" not in body
    assert "<!--" not in body
    assert "`metadata`" not in body
    assert "| `image` | Image |" in body
    command = "geogen export PARTS OUT --config views --image-format jpeg --image-size 12"
    assert f"\n{command} --quality 80\n" in body
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"][0]["image"].size == (12, 12)


# --- The files ---


def test_what_stands_in_the_folder(exported: Exported) -> None:
    folder = exported.folder
    beside_data = {path.name for path in folder.iterdir()}
    assert beside_data == {
        "README.md", "SHA256SUMS", "camera_proof.png", "contact_sheet.png", "croissant.json",
        "data", "provenance.json", "splits.csv",
    }  # fmt: skip
    names = sorted(path.name for path in (folder / "data" / "sequences").iterdir())
    assert names[0] == "test-00000-of-00001.parquet"
    assert not list(folder.rglob("*.py"))
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.width > 7 * 128
        assert sheet.height > 4 * 128
    assert "(contact_sheet.png)" in (folder / "README.md").read_text()


def test_manifest_and_checksums(exported: Exported) -> None:
    with open(exported.folder / "splits.csv", newline="") as file:
        manifest = {row["subject_id"]: row["split"] for row in csv.DictReader(file)}
    assert len(manifest) == SUBJECTS
    assert all(split == split_of(subject_id) for subject_id, split in manifest.items())
    found = digests(exported.folder)
    lines = (exported.folder / "SHA256SUMS").read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)  # type: ignore[arg-type]
    del found["SHA256SUMS"]
    assert listed == found


def test_provenance_names_parts_options_and_versions(
    exported: Exported, release: Release, unmarked: Path
) -> None:
    value = json.loads((exported.folder / "provenance.json").read_text())
    source = value["source"]
    assert set(source["parts"]) == {part.name for part in ALL_PARTS}
    for name, part in source["parts"].items():
        assert part["size"] == (unmarked / name).stat().st_size
        assert len(part["directory_sha256"]) == 64
    assert source["options"]["configs"] == list(ALL_CONFIGS)
    assert source["versions"]["pyarrow"] == pa.__version__
    assert source["subjects"]["count"] == SUBJECTS
    assert value["rows"] == exported.rows
    assert value["left_out"] == []
    assert str(unmarked) not in json.dumps(value)


def test_a_whole_export_is_fewer_than_100_files_and_enough_for_64_workers() -> None:
    with_images = {n: file_count(n) for n in (8000, 1000)}
    assert with_images == {8000: 8 * 8, 1000: 8}
    small = len(SPLITS) * sum(config not in IMAGE_CONFIGS for config in DEFAULT_CONFIGS)
    beside_data, of_git = 7, 1  # as the next test counts, with croissant.json; .gitattributes
    assert with_images[8000] + 2 * with_images[1000] + small + beside_data + of_git < 100


def test_rows_stand_in_the_order_of_their_hash(exported: Exported) -> None:
    for config in ALL_CONFIGS:
        for split in SPLITS:
            files = sorted((exported.folder / "data" / config).glob(f"{split}-*"))
            counts = [pq.read_metadata(file).num_rows for file in files]
            assert len(files) == 1 or config in IMAGE_CONFIGS
            assert max(counts) - min(counts) <= (1 if config == "sequences" else 7)
            ids = [i for f in files for i in pq.read_table(f)["subject_id"].to_pylist()]
            positions = [split_position(subject_id) for subject_id in ids]
            assert positions == sorted(positions)
            assert ids != sorted(ids) or len(set(ids)) < 3


def test_large_subjects_are_exported_one_at_a_time(maker: ReleaseMaker, tmp_path: Path) -> None:
    def most_threads(out: Path) -> int:
        counts: list[int] = []

        def look(done: int, total: int) -> None:
            counts.append(sum(t.name.startswith("geogen_") for t in threading.enumerate()))

        export_release(opened(maker.write(zipfile.ZIP_STORED)), out, progress=look)
        return max(counts)

    assert most_threads(tmp_path / "small") > 1
    first = maker.zips[maker.first_image()[0]]
    for name in list(first)[:3]:  # of one subject: over half of what it may have
        first[name] += bytes(MAX_SUBJECT_BYTES // 6 + 1)
    assert most_threads(tmp_path / "large") == 1


def test_parquet_is_made_for_streaming(maker: ReleaseMaker, tmp_path: Path) -> None:
    noise = random.Random(3)
    for part in IMAGE_PARTS:
        for name in maker.zips[part.name]:  # what follows a PNG's end belongs to the file, too
            maker.zips[part.name][name] += noise.randbytes(300_000)
    parts = maker.write(zipfile.ZIP_STORED)
    folder = export_release(opened(parts), tmp_path / "geogen", EVERYTHING, workers=1).folder
    for config in ALL_CONFIGS:
        path = next((folder / "data" / config).glob("train-*"))
        metadata = pq.read_metadata(path)
        images = [
            metadata.row_group(group).column(index)
            for group in range(metadata.num_row_groups)
            for index in range(metadata.num_columns)
            if metadata.row_group(group).column(index).path_in_schema.startswith("image")
        ]
        assert all(column.compression == "UNCOMPRESSED" for column in images)
        assert bool(images) == (config in IMAGE_CONFIGS)
        for group in range(metadata.num_row_groups):
            columns = [
                metadata.row_group(group).column(index) for index in range(metadata.num_columns)
            ]
            assert sum(column.total_compressed_size for column in columns) < 5 * 2**20
            assert all(column.has_offset_index for column in columns)
            ids = next(column for column in columns if column.path_in_schema == "subject_id")
            assert ids.has_column_index
            assert ids.statistics.min <= ids.statistics.max
            assert ids.compression == "ZSTD"
        assert metadata.metadata[b"use_content_defined_chunking"]
        assert metadata.metadata[b"content_defined_chunking"]
        # Several row groups, so that the first row does not cost everything.
        assert (metadata.num_row_groups > 1) == (config in IMAGE_CONFIGS)


@pytest.mark.datasets
@pytest.mark.parametrize("config", ALL_CONFIGS)
def test_features_in_the_schema_are_spelt_for_every_datasets(
    config: str, exported: Exported
) -> None:
    schema = pq.read_schema(next((exported.folder / "data" / config).glob("train-*")))
    described = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert datasets.Features.from_dict(described) == FEATURES[config]
    # Lists as 3.6 writes them: it does not know what 4 and later write.
    assert '"List"' not in json.dumps(described)
    if config == "sequences":
        assert described["view_ids"]["_type"] == "Sequence"


# --- The same bytes, whoever writes them ---


class _Counting(ThreadPoolExecutor):
    """Shows that the executor given is the one that works."""

    submitted = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.submitted += 1
        return super().submit(*args, **kwargs)


def executors() -> Iterator[Executor]:
    with _Counting(3) as threads:
        yield threads
        assert threads.submitted > 3
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as processes:
        yield processes


def test_the_same_bytes_whatever_the_executor(two_views: Release, tmp_path: Path) -> None:
    one = export_release(two_views, tmp_path / "one", EVERYTHING, workers=1)
    two = export_release(two_views, tmp_path / "two", EVERYTHING, workers=2)
    wanted = digests(one.folder)
    assert digests(two.folder) == wanted
    assert (two.rows, two.size, two.written) == (one.rows, one.size, one.written)
    for number, executor in enumerate(executors()):
        folder = tmp_path / str(number)
        export_release(two_views, folder, EVERYTHING, executor=executor)
        assert digests(folder) == wanted


def test_the_same_rows_from_either_layout_of_the_parts(
    exported: Exported, by_view: Path, tmp_path: Path
) -> None:
    folder = export_release(opened(by_view), tmp_path / "x", EVERYTHING, workers=1).folder
    one, other = digests(exported.folder), digests(folder)
    assert {n: d for n, d in one.items() if n.startswith("data/")} == {
        n: d for n, d in other.items() if n.startswith("data/")
    }
    assert one["provenance.json"] != other["provenance.json"]


def test_progress_tells_every_image(two_views: Release, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    export_release(two_views, tmp_path / "x", workers=2, progress=lambda a, b: told.append((a, b)))
    assert told[-1] == (SUBJECTS * 2, SUBJECTS * 2)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


# --- Interrupted ---

SCRIPT = """
import sys
from pathlib import Path
from geogen_hf import ExportOptions, export_release
if __name__ == "__main__":
    options = ExportOptions(image_size=112, image_format="webp")
    export_release(sys.argv[1], sys.argv[2], options, workers=int(sys.argv[3]))
"""


def records(folder: Path) -> set[Path]:
    return set((folder / EXPORT.state).glob("*-of-*.json"))


def temporary_files(folder: Path) -> set[Path]:
    return set((folder / EXPORT.state / "work").glob("*.parquet.*"))


def test_killed_at_any_moment_it_continues_to_the_same_bytes(
    release: Release, slow: Exported, unmarked: Path, tmp_path: Path
) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "geogen"
    script.write_text(SCRIPT)
    moments = random.Random(5)
    for workers, reached in ((1, temporary_files), (2, records)):
        before = reached(folder)
        process = Child(script, unmarked, folder, workers)
        while not reached(folder) - before:
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(moments.random() * 0.03)
        os.killpg(process.pid, signal.SIGKILL)
        process.finish()
        assert not (folder / "README.md").exists()
    assert records(folder)
    kept = {
        folder / file["path"]: (folder / file["path"]).stat().st_ino
        for record in records(folder)
        for file in json.loads(record.read_text())["files"]
        if file["config"] == "sequences"
    }
    left = folder / EXPORT.state / "work" / "cameras-test-00000-of-00001.parquet.abc"
    left.write_text("left by a process that was killed")
    continued = export_release(release, folder, SLOW, workers=2)
    assert {path: path.stat().st_ino for path in kept} == kept
    assert digests(folder) == digests(slow.folder)
    assert continued.written == slow.written - len(kept)
    assert continued.written < slow.written


def test_a_finished_export_is_left_alone(release: Release, finished: Path) -> None:
    folder = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = export_release(release, folder, workers=1)
    assert again.written == 0
    assert sum(again.rows["sequences"].values()) == SUBJECTS
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    next(folder.glob("data/cameras/test-*")).unlink()  # incomplete again
    assert export_release(release, folder, workers=1).written > 0
    assert verify_export(folder, workers=1).failures == ()


def test_another_export_is_refused_with_the_reason(
    release: Release, by_view: Path, finished: Path, other: Path
) -> None:
    before = digests(finished)
    with pytest.raises(ReleaseError, match=r"difference in options\.split_seed\n.*--overwrite"):
        export_release(release, finished, split_seed=1)
    with pytest.raises(ReleaseError, match=r"difference in parts\.images_batch_1\.zip"):
        export_release(opened(by_view), finished)
    assert digests(finished) == before
    export_release(release, finished, OTHER, split_seed=1, overwrite=True, workers=1)
    assert digests(finished) == digests(other)


def test_overwriting_the_same_export_starts_anew(release: Release, finished: Path) -> None:
    before = digests(finished)
    shard = next(finished.glob("data/sequences/train-*"))
    shard.write_bytes(bytes(shard.stat().st_size))
    again = export_release(release, finished, overwrite=True, workers=1)
    assert again.written > 0
    assert digests(finished) == before


def test_an_interrupted_overwrite_can_go_on(release: Release, finished: Path, other: Path) -> None:
    # Ended while it removed files: what tells that this is an export goes last.
    (finished / "README.md").unlink()
    shutil.rmtree(finished / "data")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    options: dict[str, Any] = {"split_seed": 1, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        export_release(release, finished, OTHER, overwrite=True, progress=interrupt, **options)
    with pytest.raises(ReleaseError, match=r"difference in options\.configs"):
        export_release(release, finished, **options)
    assert records(finished)
    export_release(release, finished, OTHER, **options)  # no --overwrite: this is its own now
    assert digests(finished) == digests(other)


def test_other_peoples_folders_are_not_touched(two_views: Release, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ReleaseError, match="not empty and holds no export"):
            export_release(two_views, tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="not a folder"):
        export_release(two_views, tmp_path / "thesis.tex")


def test_two_exports_into_one_folder_are_not_mixed(two_views: Release, tmp_path: Path) -> None:
    state = tmp_path / "geogen" / EXPORT.state
    state.mkdir(parents=True)
    with (
        FileLock(str(state / "lock")),
        pytest.raises(ReleaseError, match="another process is writing"),
    ):
        export_release(two_views, tmp_path / "geogen", workers=1)
    # And what is left of one that ended before it had planned anything is in nobody's way.
    assert export_release(two_views, tmp_path / "geogen", workers=1).written > 0


def test_what_was_left_out_comes_back_where_it_must_not_be(
    maker: ReleaseMaker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    zip_name, member = maker.first_image()
    parts = maker.write()
    damage(parts / zip_name, member)
    release = opened(parts)
    with pytest.raises(ArchiveError, match=member):
        export_release(release, tmp_path / "geogen", workers=1)
    assert not (tmp_path / "geogen" / "README.md").exists()
    with caplog.at_level(logging.WARNING):
        done = export_release(release, tmp_path / "geogen", on_bad_subject="skip", workers=1)
    subject_id = member.split("/")[0]
    assert subject_id in caplog.text
    assert sum(done.rows["sequences"].values()) == 6
    assert json.loads((done.folder / "provenance.json").read_text())["left_out"] == [subject_id]
    assert verify_export(done.folder, workers=1).failures == ()


def test_records_without_the_damaged_serve_only_who_may_leave_them_out(
    maker: ReleaseMaker, tmp_path: Path
) -> None:
    zip_name, member = maker.first_image()
    parts = maker.write()
    damage(parts / zip_name, member)
    release, folder = opened(parts), tmp_path / "geogen"

    def stop(done: int, total: int) -> None:
        if records(folder) and any(
            len(json.loads(record.read_text())["subject_ids"]) < 7 for record in records(folder)
        ):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_release(release, folder, on_bad_subject="skip", workers=1, progress=stop)
    assert records(folder)
    with pytest.raises(ArchiveError, match=member):
        export_release(release, folder, on_bad_subject="raise", workers=1)


def damage(path: Path, member: str) -> None:
    """Flip a byte in the middle of a member's compressed content."""
    found = next(
        image
        for subject in opened(path.parent).subjects
        for image in subject.images
        if image.name == member and Path(image.archive.address) == path
    )
    with edited(path) as data:
        data[found.start + 60 + len(member)] ^= 0xFF


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_told_and_outlived(
    small_disk: Path, release: Release, default: Path, workers: int
) -> None:
    folder = small_disk / "geogen"
    with pytest.raises(OutputError, match=r"No space left on device(.|\n)*free some space"):
        export_release(release, folder, workers=workers)
    assert not (folder / "README.md").exists()
    assert not list(folder.rglob("*.parquet.*"))
    larger = ["mount", "-o", "remount,size=64m", str(small_disk)]
    subprocess.run(larger, check=True)
    export_release(release, folder, workers=workers)
    assert digests(folder) == digests(default)


class _Dying(ProcessPoolExecutor):
    """One process, killed when it comes to its third task."""

    submitted = 0

    def submit(self, *task: Any, **options: Any) -> Any:
        self.submitted += 1
        if self.submitted == 3:
            return super().submit(signal.raise_signal, signal.SIGKILL)
        return super().submit(*task, **options)


def test_a_process_that_dies_is_told_and_outlived(
    release: Release, slow: Exported, tmp_path: Path
) -> None:
    with _Dying(1, mp_context=get_context("forkserver")) as pool:
        told = r"an exporting process died(.|\n)*resumes"
        with pytest.raises(OutputError, match=told):
            export_release(release, tmp_path / "x", SLOW, executor=pool)
    kept = len(records(tmp_path / "x"))
    assert kept == 2
    assert export_release(release, tmp_path / "x", SLOW).written <= slow.written - kept
    assert digests(tmp_path / "x") == digests(slow.folder)


INTERRUPTED = """
import signal, sys, threading, time
from pathlib import Path
from geogen_hf import ExportOptions, export_release
if __name__ == "__main__":
    folder = Path(sys.argv[2])
    def press() -> None:
        while not list(folder.glob(".export/work/sequences-*")):
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)
        sent.append(time.process_time())
    sent: list[float] = []
    threading.Thread(target=press, daemon=True).start()
    try:
        export_release(sys.argv[1], folder, ExportOptions(image_size=512, image_format="webp"))
    except KeyboardInterrupt:
        print(time.process_time() - sent[0], threading.active_count())
"""


def test_ctrl_c_ends_every_thread_within_a_subject(unmarked: Path, tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "geogen"
    script.write_text(INTERRUPTED)
    done = run(script, unmarked, folder)
    assert done.returncode == 0, done.stderr
    worked_s, threads = done.stdout.split()
    # An identity takes a third of a second of a core; two threads' shards of eight take five.
    assert float(worked_s) < 2
    assert int(threads) <= 2  # the main one, and the one that pressed the key
    assert not temporary_files(folder)
    assert not (folder / "README.md").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"configs": ()},
        {"configs": ("views", "views")},
        {"configs": ("heads",)},
        {"image_format": "gif"},
        {"image_size": 4},
        {"quality": 0},
    ],
)
def test_impossible_options_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ExportOptions(**arguments)
