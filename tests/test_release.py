"""Bad releases: every structural problem is found before any image is read, and all are told."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ReleaseMaker
from PIL import Image
from zips import edited

import geogen
from geogen_hf.errors import ArchiveError, CameraError, PartsError, ReleaseError, UsageError
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import Release, read_release
from geogen_hf.release.shards import Shard, read_image_sizes, read_images
from geogen_hf.source.parts import ALL_PARTS, locate_parts, select_parts

METADATA = ALL_PARTS[-1].name


def opened(folder: Path, numbers: list[int] | None = None) -> Release:
    return read_release(locate_parts(folder, select_parts(numbers)))


def problems(folder: Path) -> list[tuple[str, str | None]]:
    return [(problem.kind, problem.subject_id) for problem in opened(folder).report.problems]


def edit_json(
    maker: ReleaseMaker, subject: int, change: Callable[[dict[str, object]], None]
) -> str:
    name = list(maker.zips[METADATA])[subject]
    value = json.loads(maker.zips[METADATA][name])
    subject_id = str(value["name"])
    change(value)
    maker.zips[METADATA][name] = json.dumps(value).encode()
    return subject_id


def subject_of(member: str) -> str:
    return member.split("/")[0]


def test_a_sound_release_has_no_problem(maker: ReleaseMaker) -> None:
    release = opened(maker.write())
    assert release.report.problems == ()
    assert [len(subject.images) for subject in release.subjects] == [7] * 7


def test_both_layouts_give_the_same_subjects(by_subject: Path, by_view: Path) -> None:
    one, other = opened(by_subject), opened(by_view)
    assert [s.subject_id for s in one.subjects] == [s.subject_id for s in other.subjects]
    assert all(a.view_ids == b.view_ids for a, b in zip(one.subjects, other.subjects, strict=True))
    crcs = [[image.crc for image in subject.images] for subject in one.subjects]
    assert crcs == [[image.crc for image in subject.images] for subject in other.subjects]


def test_an_extra_top_folder_is_tolerated(maker: ReleaseMaker) -> None:
    for number, part in enumerate(ALL_PARTS):
        members = maker.zips[part.name]
        maker.zips[part.name] = {f"batch_{number}/deep/{n}": c for n, c in members.items()}
    assert problems(maker.write()) == []


def test_padded_view_numbers_are_the_same_views(maker: ReleaseMaker) -> None:
    for part in ALL_PARTS[:-1]:
        members = maker.zips[part.name]
        maker.zips[part.name] = {n.replace("/", "/00"): data for n, data in members.items()}
    assert maker.zips[ALL_PARTS[0].name].keys() >= {"subj_00000/000.png"}
    assert problems(maker.write()) == []
    zip_name, member = maker.first_image()
    maker.zips[zip_name][member.replace("/00", "/0")] = maker.zips[zip_name][member]
    assert problems(maker.write()) == [("duplicate image", subject_of(member))]


def test_views_sort_by_number_and_names_match_exactly(maker: ReleaseMaker) -> None:
    zip_name, member = maker.first_image()
    png = maker.zips[zip_name][member]
    for name in maker.zips:
        maker.zips[name] = {}
    camera = {"extrinsics": None, "intrinsics": [[20, 0, 8], [0, 20, 8], [0, 0, 1]]}
    camera["extrinsics"] = [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 2], [0, 0, 0, 1]]
    for subject_id, count in (("subj_1", 12), ("subj_10", 2)):
        for view in range(count):
            maker.zips[ALL_PARTS[view % 7].name][f"{subject_id}/{view}.png"] = png
        text = json.dumps({"name": subject_id, "cameras": [camera] * count})
        maker.zips[METADATA][f"metadata_{subject_id}.json"] = text.encode()
    subjects = {s.subject_id: s for s in opened(maker.write()).subjects}
    assert subjects["subj_1"].view_ids == tuple(range(12))
    assert [m.name for m in subjects["subj_1"].images] == [f"subj_1/{v}.png" for v in range(12)]
    assert subjects["subj_10"].view_ids == (0, 1)


@pytest.mark.datasets
def test_missing_part_is_named(maker: ReleaseMaker) -> None:
    folder = maker.write()
    (folder / "images_batch_5.zip").unlink()
    with pytest.raises(PartsError, match=r"1 of 8 parts missing: images_batch_5\.zip"):
        geogen.load("views", data_dir=str(folder))


@pytest.mark.datasets
def test_all_parts_that_are_no_zips_are_named(maker: ReleaseMaker) -> None:
    folder = maker.write()
    (folder / "images_batch_2.zip").write_bytes(b"<html>Not Found</html>")
    whole = (folder / "images_batch_6.zip").read_bytes()
    (folder / "images_batch_6.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArchiveError) as caught:
        geogen.load("views", data_dir=str(folder))
    text = str(caught.value)
    assert "images_batch_2.zip" in text
    assert "HTML" in text
    assert "images_batch_6.zip" in text
    assert "cut short" in text


@pytest.mark.datasets
def test_fewer_images_than_cameras_and_the_reverse(maker: ReleaseMaker) -> None:
    zip_name, member = maker.first_image()
    del maker.zips[zip_name][member]

    def drop_last(value: dict[str, object]) -> None:
        value["cameras"] = value["cameras"][:-1]  # type: ignore[index]

    other = edit_json(maker, 3, drop_last)
    folder = maker.write()
    assert sorted(problems(folder)) == [
        ("camera without image", subject_of(member)),
        ("image without camera", other),
    ]
    with pytest.raises(ReleaseError, match="6 images, 7 cameras") as caught:
        geogen.load("sequences", data_dir=str(folder))
    assert "7 images, 6 cameras" in str(caught.value)
    assert "on_bad_subject='skip'" in str(caught.value)


def test_images_without_metadata_and_the_reverse(maker: ReleaseMaker) -> None:
    def rename(value: dict[str, object]) -> None:
        value["name"] = "somebody else"

    subject_id = edit_json(maker, 2, rename)
    assert sorted(problems(maker.write())) == [
        ("images without metadata", subject_id),
        ("metadata without images", "somebody else"),
    ]


def test_metadata_of_identities_without_images_stops_nobody(
    maker: ReleaseMaker, caplog: pytest.LogCaptureFixture
) -> None:
    text = next(iter(maker.zips[METADATA].values()))
    more = {**json.loads(text), "name": "subj_77777"}
    maker.zips[METADATA]["metadata_id_77777.json"] = json.dumps(more).encode()
    release = opened(maker.write())
    assert [problem.kind for problem in release.report.problems] == ["metadata without images"]
    assert len(release.sound_subjects()) == len(release.subjects)
    assert "subj_77777: named in" in caplog.text


def test_a_subset_of_parts_makes_no_problems(by_subject: Path, by_view: Path) -> None:
    for folder, subjects, views in ((by_subject, None, 7), (by_view, 40, 2)):
        release = opened(folder, [1, 2])
        assert release.report.problems == ()
        assert {len(subject.view_ids) for subject in release.subjects} == {views}
        assert subjects is None or len(release.subjects) == subjects
    assert opened(by_view, [3]).subjects[0].view_ids == (2,)


@pytest.mark.parametrize("spoil", ["broken", "nan", "huge"])
def test_bad_json(maker: ReleaseMaker, spoil: str) -> None:
    name = next(iter(maker.zips[METADATA]))
    text = maker.zips[METADATA][name]
    maker.zips[METADATA][name] = {
        "broken": text[:-20],
        "nan": text.replace(b"1.0", b"NaN"),
        "huge": text[:-1] + b" " * 2**24 + b"}",
    }[spoil]
    expected = {"broken": "bad metadata", "nan": "bad metadata", "huge": "refused member"}[spoil]
    kinds = {kind for kind, _ in problems(maker.write())}
    assert kinds == {expected, "images without metadata"}


@pytest.mark.parametrize("spoil", ["scaled", "mirrored", "transposed"])
def test_a_matrix_that_is_no_rotation(maker: ReleaseMaker, spoil: str) -> None:
    def change(value: dict[str, object]) -> None:
        matrix = value["cameras"][4]["extrinsics"]  # type: ignore[index]
        if spoil == "transposed":
            value["cameras"][4]["extrinsics"] = [  # type: ignore[index]
                list(column) for column in zip(*matrix, strict=True)
            ]
        for column in range(3):
            matrix[0][column] *= {"scaled": 1.1, "mirrored": -1.0, "transposed": 1.0}[spoil]

    subject_id = edit_json(maker, 1, change)
    folder = maker.write()
    assert problems(folder) == [("bad matrix", subject_id)]
    (problem,) = opened(folder).report.problems
    assert f"{subject_id} view 4" in problem.detail


def test_names_twice_within_and_across_parts(maker: ReleaseMaker) -> None:
    zip_name, member = maker.first_image()
    png = maker.zips[zip_name][member]
    maker.zips["images_batch_7.zip"][f"again/{member}"] = png
    folder = maker.write()
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(folder / zip_name, "a") as zipped,
    ):
        zipped.writestr(member, png)
    assert problems(folder) == [("duplicate image", subject_of(member))] * 2


def test_strange_names_are_problems_of_the_release(maker: ReleaseMaker) -> None:
    zip_name, member = maker.first_image()
    for name in ("readme.txt", "subj_x/first.png", "subj_x/+1.png", "0.png", "subj_x/0.jpg"):
        maker.zips[zip_name][name] = b"x"
    maker.zips[zip_name][f"../{subject_of(member)}/7.png"] = b"x"
    maker.zips[METADATA]["notes.txt"] = b"x"
    found = problems(maker.write())
    assert found.count(("unreadable name", None)) == 5
    assert ("refused member", subject_of(member)) in found


@pytest.mark.datasets
def test_encrypted_image_spoils_its_subject(maker: ReleaseMaker) -> None:
    zip_name, member = maker.first_image()
    folder = maker.write()
    path = folder / zip_name
    with edited(path) as data:
        data[data.index(b"PK\x01\x02") + 8] |= 1
    assert ("refused member", subject_of(member)) in problems(folder)
    assert len(geogen.load("views", data_dir=str(folder), on_bad_subject="skip")["train"]) > 0


@pytest.mark.datasets
def test_empty_parts(maker: ReleaseMaker) -> None:
    for name in maker.zips:
        maker.zips[name] = {}
    folder = maker.write()
    with pytest.raises(ReleaseError, match="no subject with images and cameras"):
        geogen.load("views", data_dir=str(folder))


@pytest.mark.datasets
def test_skip_loads_the_rest_and_names_what_is_left_out(
    maker: ReleaseMaker, caplog: pytest.LogCaptureFixture
) -> None:
    zip_name, member = maker.first_image()
    del maker.zips[zip_name][member]
    folder = maker.write()
    with caplog.at_level(logging.WARNING, logger="geogen_hf"):
        loaded = geogen.load("views", data_dir=str(folder), on_bad_subject="skip")
    ids = {row for split in loaded.values() for row in split["subject_id"]}
    assert len(ids) == 6
    assert subject_of(member) not in ids
    assert "left out 1 subjects" in caplog.text
    assert subject_of(member) in caplog.text


@pytest.mark.datasets
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("spoil", ["crc", "gif"])
def test_damaged_image(
    maker: ReleaseMaker, spoil: str, streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    zip_name, member = maker.first_image()
    if spoil == "gif":
        buffer = io.BytesIO()
        Image.new("L", (16, 16)).save(buffer, "GIF")
        maker.zips[zip_name][member] = buffer.getvalue()
    folder = maker.write(zipfile.ZIP_STORED)
    if spoil == "crc":
        with edited(folder / zip_name) as data:
            data[200] ^= 1

    def count(**options: str) -> int:
        loaded = geogen.load("views", data_dir=str(folder), streaming=streaming, **options)
        return sum(1 for split in loaded.values() for _ in split.select_columns("view_id"))

    with pytest.raises(ArchiveError, match="a member is damaged") as caught:
        count()
    assert zip_name in str(caught.value)
    assert f"'{member}' (at byte 0)" in str(caught.value)
    with caplog.at_level(logging.WARNING, logger="geogen_hf"):
        assert count(on_bad_subject="skip") == 42
    assert f"left out subject {subject_of(member)}" in caplog.text


@pytest.mark.datasets
def test_the_reason_survives_the_way_back_from_a_worker(maker: ReleaseMaker) -> None:
    from datasets.exceptions import DatasetGenerationError

    folder = maker.write(zipfile.ZIP_STORED)
    for part in ALL_PARTS[:7]:  # whichever worker starts first meets a damaged image
        with edited(folder / part.name) as data:
            data[200] ^= 1
    builder = geogen.GeoGen(
        config_name="views", data_dir=str(folder), camera_convention="world_to_camera opencv"
    )
    with pytest.raises(DatasetGenerationError, match="a member is damaged"):
        builder.download_and_prepare()


@pytest.mark.datasets
def test_unknown_options_are_refused_with_the_known_ones(by_subject: Path) -> None:
    with pytest.raises(UsageError, match="sequences, views, cameras"):
        geogen.load("images", data_dir=str(by_subject))
    with pytest.raises(UsageError, match="split_seed"):
        geogen.load("views", data_dir=str(by_subject), splitseed=3)
    with pytest.raises(UsageError, match="'raise' or 'skip'"):
        geogen.load("views", data_dir=str(by_subject), on_bad_subject="ignore")
    with pytest.raises(UsageError, match="num_proc"):
        geogen.load("views", data_dir=str(by_subject), streaming=True, num_proc=2)


def of_twice_the_resolution(value: dict[str, object]) -> None:
    for camera in value["cameras"]:  # type: ignore[attr-defined]
        camera["intrinsics"] = (np.diag([2, 2, 1]) @ camera["intrinsics"]).tolist()


def test_intrinsics_of_another_resolution_are_refused_before_a_load(maker: ReleaseMaker) -> None:
    for subject in range(7):
        edit_json(maker, subject, of_twice_the_resolution)
    with pytest.raises(CameraError, match=r"subj_0000[0-9]: intrinsics have an implausible cx"):
        opened(maker.write())


def test_one_subject_of_another_resolution_is_bad_alone(
    maker: ReleaseMaker, caplog: pytest.LogCaptureFixture
) -> None:
    bad = edit_json(maker, 0, of_twice_the_resolution)
    release = opened(maker.write())
    assert release.report.problems == ()
    for reader in (read_images, read_image_sizes):
        with pytest.raises(CameraError, match="implausible cx"):
            list(reader(Shard(release.subjects)))
        caplog.clear()
        read = list(reader(Shard(release.subjects, "skip")))
        assert [subject.subject_id for subject, _ in read] == [
            subject.subject_id for subject in release.subjects if subject.subject_id != bad
        ]
        assert f"left out subject {bad}" in caplog.text


def test_unchecked_conventions_leave_the_resolution_to_the_reading(maker: ReleaseMaker) -> None:
    for subject in range(7):
        edit_json(maker, subject, of_twice_the_resolution)
    parts = locate_parts(maker.write(), select_parts(None))
    release = read_release(
        parts, cameras=CameraOptions(convention="world_to_camera opencv unchecked")
    )
    with pytest.raises(CameraError, match="implausible cx"):
        next(read_images(Shard(release.subjects)))
