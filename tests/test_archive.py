from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
from reading import list_archive, read_member, read_png_size
from zips import Unseekable, edited, zip_of

from geogen_hf.errors import ArchiveError
from geogen_hf.source.zip_directory import MAX_IMAGE_BYTES, MAX_MEMBER_BYTES
from geogen_hf.source.zip_reader import Archives, unpack_png


def patch(path: Path, old: bytes, new: bytes, *, last: bool = False) -> None:
    data = path.read_bytes()
    place = data.rindex(old) if last else data.index(old)
    path.write_bytes(data[:place] + new + data[place + len(old) :])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_read_back_bit_exact(tmp_path: Path, compression: int) -> None:
    members = {f"s/{i}.png": bytes([i]) * i * 1000 for i in range(20)}
    directory = list_archive(zip_of(tmp_path / "a.zip", members, compression))
    with Archives() as archives:
        assert {m.name: read_member(archives, m) for m in directory.members} == members
    assert directory.refused == ()


def test_zip64_local_headers_and_streamed_members(tmp_path: Path) -> None:
    # force_zip64 writes the long extra field; an unseekable output puts sizes behind the data.
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        with zipped.open("s/0.png", "w", force_zip64=True) as member:
            member.write(b"long")
        zipped.writestr("s/1.png", b"next")

    with Unseekable(tmp_path / "b.zip") as output:
        zip_of(output, {"s/0.png": b"streamed" * 100, "s/1.png": b"again" * 100})
    with Archives() as archives:
        for name, expected in (
            ("a", [b"long", b"next"]),
            ("b", [b"streamed" * 100, b"again" * 100]),
        ):
            directory = list_archive(tmp_path / f"{name}.zip")
            assert [read_member(archives, member) for member in directory.members] == expected


def test_bytes_before_the_archive_are_tolerated(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"s/0.png": b"content"})
    path.write_bytes(b"#!self-extractor\n" + path.read_bytes())
    with Archives() as archives:
        assert read_member(archives, list_archive(path).members[0]) == b"content"


def test_archive_without_members(tmp_path: Path) -> None:
    assert list_archive(zip_of(tmp_path / "a.zip", {})).members == ()


def test_litter_and_folders_are_ignored(tmp_path: Path) -> None:
    members = {
        "batch/": b"",
        "batch/s/0.png": b"x",
        "__MACOSX/batch/s/._0.png": b"x",
        "batch/.DS_Store": b"x",
        "batch/s/Thumbs.db": b"x",
        "batch/s/._1.png": b"x",
    }
    directory = list_archive(zip_of(tmp_path / "a.zip", members))
    assert [member.name for member in directory.members] == ["batch/s/0.png"]
    assert directory.refused == ()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"  <!DOCTYPE html><html>404</html>", "HTML"),
        (b"PK\x03\x04" + bytes(500), "cut short"),
        (b"something else entirely", "something"[:8]),
    ],
)
def test_what_is_not_a_zip_is_described(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "images_batch_3.zip"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="download this part again") as caught:
        list_archive(path)
    assert found in str(caught.value)
    assert str(path) in str(caught.value)


def test_truncated_archive(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {f"s/{i}.png": b"0123456789" * 50 for i in range(50)})
    data = path.read_bytes()
    for length in (len(data) // 2, len(data) - 10):
        path.write_bytes(data[:length])
        with pytest.raises(ArchiveError, match="cut short"):
            list_archive(path)


def test_archive_truncated_after_it_was_listed(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"s/0.png": b"0" * 5000}, zipfile.ZIP_STORED)
    (member,) = list_archive(path).members
    path.write_bytes(path.read_bytes()[:1000])
    with Archives() as archives, pytest.raises(ArchiveError, match="cut short"):
        read_member(archives, member)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_byte_names_part_member_and_offset(tmp_path: Path, compression: int) -> None:
    content = bytes(range(256)) * 20
    path = zip_of(tmp_path / "p.zip", {"s/0.png": b"first", "s/1.png": content}, compression)
    member = list_archive(path).members[1]
    with edited(path) as data:
        data[member.start + 60] ^= 0x10
    with Archives() as archives, pytest.raises(ArchiveError) as caught:
        read_member(archives, member)
    assert f"p.zip: 's/1.png' (at byte {member.start})" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["../s/0.png", "/s/0.png", "a/../../s/0.png", "..\\s\\0.png", "C:/s/0.png", "\\s\\0.png"],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    directory = list_archive(zip_of(tmp_path / "a.zip", {name: b"x", "s/1.png": b"y"}))
    assert [member.name for member in directory.members] == ["s/1.png"]
    assert "leads out" in directory.refused[0].reason


def test_names_in_odd_encodings(tmp_path: Path) -> None:
    path = zip_of(
        tmp_path / "a.zip", {"XXXXX/0.png": b"a", "YYYYY/0.png": b"b", "ZZZZZ/0.png": b"c"}
    )
    for _ in range(2):  # local header and directory
        patch(path, b"XXXXX", "Zoéy".encode())  # UTF-8 that does not say so
        patch(path, b"YYYYY", b"Zo\x82yz")  # cp437, the zip default
        patch(path, b"ZZZZZ", b"a\x1b[2J")  # would clear the reader's terminal
    directory = list_archive(path)
    assert [member.name for member in directory.members] == ["Zoéy/0.png", "Zoéyz/0.png"]
    assert "unprintable" in directory.refused[0].reason
    with Archives() as archives:
        assert [read_member(archives, member) for member in directory.members] == [b"a", b"b"]


def test_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"s/0.png": b"x"})
    with edited(path) as data:
        data[data.rindex(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in list_archive(path).refused[0].reason


def test_other_compression_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"s/0.png": b"x"}, zipfile.ZIP_BZIP2)
    assert "method 12" in list_archive(path).refused[0].reason


def test_what_unpacks_to_more_than_any_member_may_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, most in (("s/0.json", MAX_MEMBER_BYTES), ("s/0.png", MAX_IMAGE_BYTES)):
            with zipped.open(name, "w") as member:
                for _ in range(most // 2**24 + 1):
                    member.write(bytes(2**24))
        with zipped.open("s/1.png", "w") as member:
            member.write(bytes(2**24))
    assert path.stat().st_size < 2 * 2**20
    refused = list_archive(path).refused
    assert f"over the limit of {MAX_MEMBER_BYTES:,}" in refused[0].reason
    assert f"over the limit of {MAX_IMAGE_BYTES:,}" in refused[1].reason
    assert "a bomb" in refused[2].reason


def test_a_bomb_that_lies_about_its_size_stops_early(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"s/0.png": bytes(2**24)})
    with edited(path) as data:
        for place in (22, data.rindex(b"PK\x01\x02") + 24):  # local header and directory
            struct.pack_into("<L", data, place, 20_000)
    (member,) = list_archive(path).members
    assert member.size == 20_000
    with Archives() as archives, pytest.raises(ArchiveError, match="20,001 or more"):
        read_member(archives, member)


def test_directory_that_points_outside_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"s/0.png": b"x" * 99, "s/1.png": b"y"}, zipfile.ZIP_STORED)
    with edited(path) as data:
        struct.pack_into("<LL", data, data.index(b"PK\x01\x02") + 20, 10**6, 10**6)
    directory = list_archive(path)
    assert "reaches into the directory" in directory.refused[0].reason
    assert [member.name for member in directory.members] == ["s/1.png"]


def test_png_size_is_read_from_the_header_alone(by_subject: Path, tmp_path: Path) -> None:
    directory = list_archive(by_subject / "images_batch_1.zip")
    with Archives() as archives:
        assert {read_png_size(archives, member) for member in directory.members} == {(48, 48)}
    path = zip_of(tmp_path / "a.zip", {"s/0.png": b"GIF89a" + bytes(100)})
    (member,) = list_archive(path).members
    with Archives() as archives:
        with pytest.raises(ArchiveError, match="a PNG file"):
            read_png_size(archives, member)
        with pytest.raises(ArchiveError, match="a PNG file"):
            unpack_png(member, next(archives.records([[member]]))[0])
