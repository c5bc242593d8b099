from __future__ import annotations

from pathlib import Path

import pytest

import geogen
import geogen_hf
from geogen_hf.errors import PartsError, UsageError
from geogen_hf.source.parts import (
    ALL_PARTS,
    IMAGE_PARTS,
    UPSTREAM_URL,
    folder_stamp,
    locate_parts,
    resolve_place,
    select_parts,
)


def test_there_are_seven_image_parts_and_one_of_metadata() -> None:
    assert [part.name for part in select_parts()] == [
        *(f"images_batch_{n}.zip" for n in range(1, 8)),
        "metadata_files.zip",
    ]


@pytest.mark.parametrize("numbers", [[], [8], [0], [1, 9], [-1]])
def test_parts_that_are_none_of_the_release_are_refused(numbers: list[int]) -> None:
    with pytest.raises(UsageError, match="1 to 7"):
        select_parts(numbers)


def test_a_bare_number_of_a_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)bad parts.*parts=\(1,\)"):
        geogen.load("cameras", "train", data_dir="parts", parts=1)
    with pytest.raises(UsageError, match=r"(?s)bad parts.*parts=\(8,\)"):
        geogen_hf.fetch_parts(tmp_path, parts=8)


def test_default_source_is_the_publisher() -> None:
    locations = locate_parts(None, select_parts([2]))
    assert [location.address for location in locations.values()] == [
        f"{UPSTREAM_URL}/images_batch_2.zip",
        f"{UPSTREAM_URL}/metadata_files.zip",
    ]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PartsError, match="does not exist") as caught:
        locate_parts(tmp_path / "nowhere", ALL_PARTS)
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.mark.parametrize(
    ("present", "remedy"),
    [
        (
            ["README.md", "SHA256SUMS", "data"],
            "load_dataset loads it, geogen_hf.open_export opens it",
        ),
        ([part.name for part in IMAGE_PARTS], "fetch the cameras: geogen download FOLDER --part 8"),
        (
            ["images_batch_1.zip", "images_batch_3.zip", "metadata_files.zip"],
            "geogen download FOLDER; or use those that are here: parts=(1, 3) (--part 1 --part 3)",
        ),
        (["notes.txt"], "correct the path, or fetch what is missing: geogen download FOLDER"),
    ],
)
def test_the_remedy_for_missing_parts_suits_what_is_there(
    tmp_path: Path, present: list[str], remedy: str
) -> None:
    for name in present:
        (tmp_path / name).touch()
    with pytest.raises(PartsError) as caught:
        locate_parts(tmp_path)
    assert remedy in str(caught.value)


def test_for_a_zip_its_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "images_batch_1.zip").touch()
    with pytest.raises(PartsError, match=f"(?s)found: a file.*name the folder: {tmp_path}"):
        locate_parts(tmp_path / "images_batch_1.zip")


def test_empty_folder_and_missing_parts_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(PartsError, match="an empty folder"):
        locate_parts(tmp_path)
    for part in ALL_PARTS:
        if part.number not in (3, 8):
            (tmp_path / part.name).touch()
    with pytest.raises(PartsError, match=r"2 of 8.*images_batch_3\.zip, metadata_files\.zip"):
        locate_parts(tmp_path)


def test_a_url_as_data_dir_is_refused_with_the_right_option() -> None:
    with pytest.raises(UsageError, match="base_url='https://host/x'"):
        geogen.load("views", data_dir="https://host/x", streaming=True)


def test_a_place_may_be_a_folder_or_a_url(by_subject: Path) -> None:
    assert locate_parts(str(by_subject)) == locate_parts(by_subject)
    assert not any(location.remote for location in locate_parts(by_subject).values())
    assert all(location.remote for location in locate_parts("https://host/x/").values())


@pytest.mark.parametrize("place", ["://", "://x", "https://", "http://[::1"])
def test_what_is_no_url_is_refused(place: str) -> None:
    with pytest.raises(UsageError, match="not a URL"):
        resolve_place(place)


def test_stamp_changes_with_a_part(tmp_path: Path) -> None:
    parts = select_parts([1])
    assert folder_stamp(tmp_path, parts) is None
    for part in parts:
        (tmp_path / part.name).write_bytes(b"one")
    before = folder_stamp(tmp_path, parts)
    (tmp_path / parts[0].name).write_bytes(b"other")
    assert before is not None
    assert folder_stamp(tmp_path, parts) != before
