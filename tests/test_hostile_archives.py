"""Archives that lie are refused before they cost memory, and no image is taken for another."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ReleaseMaker
from origin_server import OriginServer
from reading import list_archive, read_member, read_png_size
from zips import Unseekable, edited, read_zip, zip_of

from geogen_hf.errors import ArchiveError, GeoGenError, ReleaseError
from geogen_hf.export.folder import export_release
from geogen_hf.export.options import ExportOptions
from geogen_hf.release.inspection import inspect_release
from geogen_hf.release.release import MAX_METADATA_BYTES, read_release
from geogen_hf.release.subjects import index_images
from geogen_hf.source.parts import ALL_PARTS, METADATA_PART, locate_parts
from geogen_hf.source.zip_directory import (
    MAX_DIRECTORY_BYTES,
    MAX_ENTRIES,
    MAX_IMAGE_BYTES,
    MAX_SUBJECT_BYTES,
    Directory,
)
from geogen_hf.source.zip_reader import Archives

LOCAL, ENTRY = b"PK\x03\x04", b"PK\x01\x02"


def png(size: int = 1000) -> bytes:
    """As much of a PNG as its header, and noise."""
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">L4sLL5B", 13, b"IHDR", 16, 16, 8, 2, 0, 0, 0)
    return header + os.urandom(size)


def noise_in(path: Path, names: list[str], *, streamed: bool = False) -> Path:
    zip_of(Unseekable(path) if streamed else path, {name: png() for name in names})
    return path


def entry(data: bytearray, number: int) -> int:
    """Find the directory entry of a member by its number."""
    place = -1
    for _ in range(number + 1):
        place = data.index(ENTRY, place + 1)
    return place


def outcomes(path: Path) -> dict[str, str]:
    """What reading each member whole and reading only its head come to: "" or the message."""
    found: dict[str, str] = {}
    directory = list_archive(path)
    with Archives() as archives:
        for member in directory.members:
            for read in (read_member, read_png_size):
                try:
                    read(archives, member)
                    found.setdefault(member.name, "")
                except ArchiveError as error:
                    found[member.name] = str(error)
    return found | {refused.name: f"refused: {refused.reason}" for refused in directory.refused}


# --- The local header says the same as the directory ---


def swap_names(path: Path, one: str, other: str) -> None:
    with edited(path) as data:
        first, second = data.rindex(one.encode()), data.rindex(other.encode())
        data[first : first + len(one)] = other.encode()
        data[second : second + len(other)] = one.encode()


@pytest.mark.parametrize("streamed", [False, True])
def test_names_exchanged_in_the_directory_are_refused(tmp_path: Path, streamed: bool) -> None:
    path = noise_in(tmp_path / "a.zip", ["s/0.png", "s/1.png", "s/2.png"], streamed=streamed)
    assert set(outcomes(path).values()) == {""}
    swap_names(path, "s/0.png", "s/1.png")
    found = outcomes(path)
    assert "a.zip: 's/1.png' (at byte 0)" in found["s/1.png"]
    assert "expected: the name 's/1.png' in the local header" in found["s/1.png"]
    assert "found: 's/0.png'" in found["s/1.png"]
    assert "found: 's/1.png'" in found["s/0.png"]
    assert found["s/2.png"] == ""


def test_heads_alone_are_compared_too(tmp_path: Path) -> None:
    # The name ends after the first bytes that are read for the size.
    long = [f"{'x' * 700}/{view}.png" for view in range(2)]
    path = noise_in(tmp_path / "a.zip", long)
    swap_names(path, *long)
    with Archives() as archives:
        for member in list_archive(path).members:
            with pytest.raises(ArchiveError, match="the name 'xxx"):
                read_png_size(archives, member)


@pytest.mark.parametrize(
    ("offset", "form", "what"),
    [
        (6, "<H", "flags 0x0"),
        (8, "<H", "method 8"),
        (14, "<L", "CRC-32 0x"),
        (18, "<L", "packed size "),
        (22, "<L", "size 1,029"),
    ],
)
def test_each_field_of_the_local_header_is_compared(
    tmp_path: Path, offset: int, form: str, what: str
) -> None:
    path = noise_in(tmp_path / "a.zip", ["s/0.png"])

    with edited(path) as data:
        (value,) = struct.unpack_from(form, data, offset)
        struct.pack_into(form, data, offset, value ^ 0x20)
    assert f"expected: {what}" in outcomes(path)["s/0.png"]


def test_effort_of_the_packer_does_not_matter(tmp_path: Path) -> None:
    path = noise_in(tmp_path / "a.zip", ["s/0.png"])
    with edited(path) as data:
        struct.pack_into("<H", data, 6, 0x2)
    assert outcomes(path) == {"s/0.png": ""}


def with_descriptor(path: Path, form: str, signature: bytes) -> Path:
    """Write a zip of one member with this data descriptor, as other packers do."""
    noise_in(path, ["s/0.png"], streamed=True)
    data = path.read_bytes()
    place = data.index(b"PK\x07\x08")
    crc, packed, size = struct.unpack_from("<LLL", data, place + 4)
    descriptor = signature + struct.pack(form, crc, packed, size)
    rest = bytearray(data[place + 16 :])
    struct.pack_into("<L", rest, len(rest) - 6, place + len(descriptor))  # where the directory is
    path.write_bytes(data[:place] + descriptor + rest)
    return path


@pytest.mark.parametrize("form", ["<LLL", "<LQQ"])
@pytest.mark.parametrize("signature", [b"", b"PK\x07\x08"])
def test_data_descriptors_of_any_form_are_passed_over(
    tmp_path: Path, form: str, signature: bytes
) -> None:
    path = with_descriptor(tmp_path / "a.zip", form, signature)
    assert outcomes(path) == {"s/0.png": ""}
    # The directory says the same, and the bytes are held to that.
    with edited(path) as data:
        struct.pack_into("<L", data, entry(data, 0) + 16, 7)
    assert "expected: CRC-32 00000007" in outcomes(path)["s/0.png"]


def test_zip64_sizes_in_the_local_header_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as zipped, zipped.open("s/0.png", "w", force_zip64=True) as out:
        out.write(png())
    assert outcomes(path) == {"s/0.png": ""}
    place = 30 + len("s/0.png") + 4
    with edited(path) as data:
        struct.pack_into("<Q", data, place, 2**64 - 1)
    assert "found: 18,446,744,073,709,551,615" in outcomes(path)["s/0.png"]
    with edited(path) as data:
        struct.pack_into("<H", data, place - 4, 0x7777)  # another field
    assert "found: 4,294,967,295" in outcomes(path)["s/0.png"]


def test_extra_fields_and_bytes_before_and_between_are_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for view in range(3):
            info = zipfile.ZipInfo(f"s/{view}.png")
            info.extra = struct.pack("<HH12s", 0x7777, 12, b"x" * 12)
            zipped.writestr(info, png())
            zipped.fp.write(b"padding")  # type: ignore[union-attr]
            zipped.start_dir = zipped.fp.tell()  # type: ignore[attr-defined, union-attr]
    path.write_bytes(b"#!self-extractor\n" + path.read_bytes())
    assert outcomes(path) == {f"s/{view}.png": "" for view in range(3)}


# --- Records do not overlap ---


def test_two_entries_on_one_record_are_refused(tmp_path: Path) -> None:
    path = noise_in(tmp_path / "a.zip", ["s/0.png", "s/1.png", "s/2.png"])

    with edited(path) as data:
        struct.pack_into("<L", data, entry(data, 1) + 42, 0)
    found = outcomes(path)
    assert "overlaps" in found["s/0.png"]
    assert "overlaps" in found["s/1.png"]
    assert found["s/2.png"] == ""


def test_a_record_within_another_is_refused_with_it(tmp_path: Path) -> None:
    inner = noise_in(tmp_path / "inner.zip", ["s/1.png"]).read_bytes()
    path = tmp_path / "a.zip"
    contents = {"s/0.png": png() + inner, "s/1.png": b"", "s/2.png": png()}
    zip_of(path, contents, zipfile.ZIP_STORED)

    with edited(path) as data:
        place, inside = entry(data, 2), data.index(inner)
        whole = inner.index(ENTRY)
        data[place + 16 : place + 28] = inner[whole + 16 : whole + 28]  # CRC-32 and sizes
        data[place + 10 : place + 12] = inner[whole + 10 : whole + 12]
        struct.pack_into("<L", data, place + 42, inside)
    found = outcomes(path)
    assert "overlaps" in found["s/0.png"]
    assert "overlaps" in found["s/1.png"]
    assert found["s/2.png"] == ""


# --- Whole releases ---


def test_export_and_inspect_refuse_exchanged_pictures(maker: ReleaseMaker, tmp_path: Path) -> None:
    zip_name, first = maker.first_image()
    second = list(maker.zips[zip_name])[1]
    folder = maker.write()
    swap_names(folder / zip_name, first, second)
    with pytest.raises(ArchiveError, match="in the local header, as in the directory"):
        export_release(
            read_release(locate_parts(folder)), tmp_path / "out", ExportOptions(), workers=1
        )
    found = inspect_release(folder)
    details = [p.detail for p in found.report.problems if p.kind == "damaged image"]
    assert len(details) == 2
    assert all("the name" in detail for detail in details)


def test_export_refuses_two_entries_on_one_record(maker: ReleaseMaker) -> None:
    zip_name, _ = maker.first_image()
    folder = maker.write()

    with edited(folder / zip_name) as data:
        struct.pack_into("<L", data, entry(data, 1) + 42, 0)
    with pytest.raises(ReleaseError, match="overlaps another"):
        read_release(locate_parts(folder)).sound_subjects()


def test_exchanged_names_behind_a_url_are_found_without_more_requests(tmp_path: Path) -> None:
    path = noise_in(tmp_path / "a.zip", [f"s/{view}.png" for view in range(7)])

    def sizes(url: str) -> list[str]:
        found = []
        members = list_archive(f"{url}/a.zip").members
        with Archives() as archives:
            for member, (head,) in zip(
                members, archives.heads([[member] for member in members]), strict=True
            ):
                try:
                    found.append(str(archives.png_size_from(member, head)))
                except ArchiveError as error:
                    found.append(str(error))
        return found

    with OriginServer(tmp_path) as server:
        assert set(sizes(server.url)) == {"(16, 16)"}
        sound = server.count("GET")
        server.reset_counts()
        swap_names(path, "s/0.png", "s/1.png")
        found = sizes(server.url)
        assert server.count("GET") == sound
    assert ["the name" in text for text in found] == [True] * 2 + [False] * 5


# --- Names, offsets and sizes that cannot be ---


@pytest.mark.parametrize("cut", [1, 10, 100, 5000])
def test_an_archive_whose_front_is_missing(tmp_path: Path, cut: int) -> None:
    path = noise_in(tmp_path / "a.zip", [f"s/{view}.png" for view in range(7)])
    path.write_bytes(path.read_bytes()[cut:])
    with pytest.raises(ArchiveError, match=f"the first {cut:,} bytes are missing"):
        list_archive(path)


@pytest.mark.parametrize("stored", [b"", b"\0", b"\0s/0.png"])
def test_members_without_a_name(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / "a.zip"
    contents = {"x" * len(stored) or "y": png(), "s/1.png": png()}
    zip_of(path, contents, zipfile.ZIP_STORED)
    if stored:
        path.write_bytes(path.read_bytes().replace(b"x" * len(stored), stored))
    else:
        with edited(path) as whole:
            place = entry(whole, 0)
            del whole[place + 46]
            struct.pack_into("<H", whole, place + 28, 0)
            (length,) = struct.unpack_from("<L", whole, len(whole) - 10)
            struct.pack_into("<L", whole, len(whole) - 10, length - 1)
    directory = list_archive(path)
    assert [member.name for member in directory.members] == ["s/1.png"]
    assert directory.refused[0].reason in (
        "it has no name",
        "its name holds unprintable characters",
    )


NUMBERS = [0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1]


@pytest.mark.parametrize("field", ["size", "packed", "offset"])
@pytest.mark.parametrize("value", NUMBERS)
def test_impossible_numbers_in_zip64_fields(tmp_path: Path, field: str, value: int) -> None:
    path = noise_in(tmp_path / "a.zip", ["s/0.png", "s/1.png"])

    with edited(path) as data:
        place = entry(data, 0)
        at = {"size": 24, "packed": 20, "offset": 42}[field]
        struct.pack_into("<L", data, place + at, 0xFFFFFFFF)
        struct.pack_into("<H", data, place + 30, 12)
        extra = struct.pack("<HHQ", 1, 8, value)
        data[place + 46 + 7 : place + 46 + 7] = extra
        (length,) = struct.unpack_from("<L", data, len(data) - 10)
        struct.pack_into("<L", data, len(data) - 10, length + len(extra))
    found = outcomes(path)
    # The first member's record is at 0; from 1 on, as long a record reaches into the second's.
    assert (found["s/0.png"] == "") == (field == "offset" and value == 0)
    assert (found["s/1.png"] == "") == ((field, value) != ("offset", 1))


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("field", [24, 32, 40, 48])
def test_impossible_numbers_in_the_zip64_end_record(tmp_path: Path, field: int, value: int) -> None:
    path = noise_in(tmp_path / "a.zip", ["s/0.png", "s/1.png"])

    with edited(path) as data:
        end = len(data) - 22
        size, start = struct.unpack_from("<LL", data, end + 12)
        record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, size, start)
        data[end:end] = record + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
        struct.pack_into("<Q", data, end + field, value)
    try:
        found = outcomes(path)
    except GeoGenError:
        return
    # The directory is found by its end and size. Without a size it has no entries; where it is said
    # to begin moves all members, and none is where it should be then.
    assert {reason[:8] for reason in found.values()} <= ({"refused:"} if field == 48 else {""})


# --- Memory ---

MEASURED = """
import sys
from pathlib import Path
from geogen_hf.errors import GeoGenError
from geogen_hf.release.release import read_release
from geogen_hf.release.shards import make_shards, read_images
from geogen_hf.source.parts import locate_parts
place = sys.argv[1]
try:
    release = read_release(locate_parts(place if "://" in place else Path(place)))
    release.sound_subjects()
    print("accepted")
except GeoGenError as error:
    print(type(error).__name__, error)
status = Path("/proc/self/status").read_text()
print("peak", int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""

measures = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures with /proc")


def read_in_process(place: object) -> tuple[str, float]:
    """Read a release in a process of its own: what it said, and its peak in MB.

    `getrusage` would do, but a process inherits the figure of the one that started it.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(place)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    message, _, peak = done.stdout.rpartition("peak ")
    return message, int(peak) / 1e6


@measures
def test_metadata_of_gigabytes_is_refused_unread(maker: ReleaseMaker) -> None:
    folder = maker.write()
    blanks = b" " * 2**20
    with zipfile.ZipFile(folder / METADATA_PART.name, "a", zipfile.ZIP_DEFLATED) as zipped:
        for number in range(MAX_METADATA_BYTES // 2**20):
            zipped.writestr(f"x/{number}.json", blanks, compresslevel=1)
    message, peak = read_in_process(folder)
    assert message.startswith("ArchiveError")
    assert f"at most {MAX_METADATA_BYTES:,} bytes" in message
    assert peak < 500


@measures
def test_a_large_stored_image_that_claims_little_is_refused_unread(maker: ReleaseMaker) -> None:
    zip_name, first = maker.first_image()
    folder = maker.write()
    path = folder / zip_name
    huge = 1_900_000_000
    members = read_zip(path)
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in members.items():
            if name != first:
                zipped.writestr(name, content)
        start = zipped.fp.tell()  # type: ignore[union-attr]
        zipped.writestr(first, bytes(1200))
        # A hole in the file: it takes no space on disk.
        zipped.fp.seek(start + 30 + len(first) + huge)  # type: ignore[union-attr]
        zipped.start_dir = zipped.fp.tell()  # type: ignore[attr-defined, union-attr]
        zipped.getinfo(first).compress_size = huge
    with path.open("r+b") as file:
        file.seek(start + 18)
        file.write(struct.pack("<L", huge))
    (refused,) = list_archive(path).refused
    assert f"it claims {huge:,} bytes, over the limit of {MAX_IMAGE_BYTES:,}" in refused.reason
    message, peak = read_in_process(folder)
    assert message.startswith("ReleaseError")
    assert peak < 500


def test_a_stored_member_has_one_size(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    zip_of(path, {"s/0.png": png(5000)}, zipfile.ZIP_STORED)
    with edited(path) as data:
        struct.pack_into("<L", data, entry(data, 0) + 24, 1200)
    assert "packed into more" in list_archive(path).refused[0].reason


def test_a_subject_of_very_many_large_images_is_refused_unread(tmp_path: Path) -> None:
    (image,) = list_archive(noise_in(tmp_path / "a.zip", ["s/0.png"])).members
    count = MAX_SUBJECT_BYTES // MAX_IMAGE_BYTES + 1
    members = [
        replace(image, name=f"{name}/{view}.png", size=MAX_IMAGE_BYTES)
        for name, views in (("s", count), ("t", count - 1))
        for view in range(views)
    ]
    index, problems = index_images([Directory(image.archive, 9, tuple(members), ())])
    assert list(index) == ["t"]
    assert [problem.subject_id for problem in problems] == ["s"]
    assert f"over {MAX_SUBJECT_BYTES:,}" in problems[0].detail


@measures
def test_directories_of_a_quarter_gigabyte_each_are_refused_unread(tmp_path: Path) -> None:
    size = 250 * 10**6
    for part in ALL_PARTS:
        with (tmp_path / part.name).open("wb") as file:
            file.truncate(size)
            file.seek(size)
            file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, size, 0, 0))
    with OriginServer(tmp_path) as server:
        message, peak = read_in_process(server.url)
        assert server.bytes_sent < 20 * 2**20
    assert message.startswith("ArchiveError")
    assert f"at most {MAX_DIRECTORY_BYTES:,} bytes" in message
    assert all(part.name in message for part in ALL_PARTS)
    assert peak < 500


def empty_entries(path: Path, count: int) -> None:
    """Write a zip that is all directory: entries of one letter."""
    record = struct.pack("<4s30sLL", LOCAL, bytes(30), 0, 0)
    one = struct.pack("<4s6H3L5H2L", ENTRY, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    size = len(one) * count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, size, len(record), 0)
    path.write_bytes(record + one * count + end)


@measures
def test_entries_of_all_parts_are_counted_together(tmp_path: Path) -> None:
    for part in ALL_PARTS:
        empty_entries(tmp_path / part.name, MAX_ENTRIES // len(ALL_PARTS) + 1)
    message, peak = read_in_process(tmp_path)
    assert f"{MAX_ENTRIES:,} entries" in message
    assert peak < 500
