from __future__ import annotations

from pathlib import Path

import pytest

from geogen_hf.errors import PartsError, UsageError
from geogen_hf.source.parts import (
    ALL_PARTS,
    UPSTREAM_URL,
    folder_stamp,
    locate_parts,
    parts_at_url,
    parts_in_folder,
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


def test_default_source_is_the_publisher() -> None:
    urls = locate_parts(select_parts([2]))
    assert list(urls.values()) == [
        f"{UPSTREAM_URL}/images_batch_2.zip",
        f"{UPSTREAM_URL}/metadata_files.zip",
    ]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PartsError, match="does not exist") as caught:
        parts_in_folder(tmp_path / "nowhere", ALL_PARTS)
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_empty_folder_and_missing_parts_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(PartsError, match="an empty folder"):
        parts_in_folder(tmp_path, ALL_PARTS)
    for part in ALL_PARTS:
        if part.number not in (3, 8):
            (tmp_path / part.name).touch()
    with pytest.raises(PartsError, match=r"2 of 8.*images_batch_3\.zip, metadata_files\.zip"):
        parts_in_folder(tmp_path, ALL_PARTS)


def test_a_url_as_data_dir_is_refused_with_the_right_option() -> None:
    with pytest.raises(UsageError, match="base_url='https://host/x'"):
        locate_parts(ALL_PARTS, data_dir="https://host/x")


def test_base_url_may_be_a_folder(by_subject: Path) -> None:
    assert parts_at_url(str(by_subject), ALL_PARTS) == parts_in_folder(by_subject, ALL_PARTS)


def test_stamp_changes_with_a_part(tmp_path: Path) -> None:
    parts = select_parts([1])
    assert folder_stamp(tmp_path, parts) is None
    for part in parts:
        (tmp_path / part.name).write_bytes(b"one")
    before = folder_stamp(tmp_path, parts)
    (tmp_path / parts[0].name).write_bytes(b"other")
    assert before is not None
    assert folder_stamp(tmp_path, parts) != before
