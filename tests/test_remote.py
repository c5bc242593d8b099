from __future__ import annotations

import multiprocessing
import os
import random
import threading
import traceback
import zipfile
from collections.abc import Iterator
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

import pytest
from origin_server import Faults, OriginServer, quick_retry, replace
from reading import list_archive, read_all, read_member

import geogen_hf
from geogen_hf.errors import ArchiveError, FetchError, UsageError
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.inspection import REMOTE_SAMPLE, inspect_release
from geogen_hf.release.release import UnknownSubjectError
from geogen_hf.source import files
from geogen_hf.source.files import TAIL_BYTES, TransferOptions, open_remote
from geogen_hf.source.http_reader import HttpFile
from geogen_hf.source.parts import ALL_PARTS, Location
from geogen_hf.source.zip_directory import Directory
from geogen_hf.source.zip_reader import Archives

SIZE = 3_000_000
HASTE = TransferOptions(retry=quick_retry(4), read_s=5.0)


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "OPTIONS", HASTE)


@pytest.fixture
def content() -> bytes:
    return random.Random(4).randbytes(SIZE)


@pytest.fixture
def origin(tmp_path: Path, content: bytes) -> Iterator[OriginServer]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(content)
    with OriginServer(tmp_path / "served") as server:
        yield server


def http_file(url: str, **options: Any) -> HttpFile:
    return HttpFile(Location(url), **options)


def spoil(origin: OriginServer, name: str = "a.bin", **changes: object) -> Faults:
    origin.faults[name] = Faults(**changes)  # type: ignore[arg-type]
    return origin.faults[name]


def test_ranges_and_tail(origin: OriginServer, content: bytes) -> None:
    file = http_file(f"{origin.url}/a.bin")
    start, tail = file.read_tail(1000)
    assert (start, bytes(tail)) == (SIZE - 1000, content[-1000:])
    assert file.location.version is not None
    assert file.location.version.size == SIZE
    assert bytes(file.read_range(10, 500_010)) == content[10:500_010]
    assert bytes(file.read_range(SIZE - 5, SIZE + 100)) == content[-5:]
    assert file.read_range(SIZE, SIZE + 1) == b""
    assert origin.count("GET") == 3


def test_a_tail_longer_than_the_file(origin: OriginServer, content: bytes) -> None:
    start, tail = http_file(f"{origin.url}/a.bin").read_tail(10 * SIZE)
    assert (start, bytes(tail)) == (0, content)


@pytest.mark.parametrize("status", [400, 416, 501])
def test_a_server_that_refuses_suffixes(origin: OriginServer, content: bytes, status: int) -> None:
    spoil(origin, status=status, status_times=1)
    start, tail = http_file(f"{origin.url}/a.bin").read_tail(1000)
    assert (start, bytes(tail)) == (SIZE - 1000, content[-1000:])
    assert [request.range for request in origin.requests] == [
        "bytes=-1000",
        "bytes=0-0",
        f"bytes={SIZE - 1000}-{SIZE - 1}",
    ]


def test_a_server_that_ignores_suffixes_only(origin: OriginServer, content: bytes) -> None:
    spoil(origin, ignore_suffix=True)
    start, tail = http_file(f"{origin.url}/a.bin").read_tail(1000)
    assert (start, bytes(tail)) == (SIZE - 1000, content[-1000:])
    assert [request.status for request in origin.requests] == [200, 206]


def test_a_server_that_ignores_ranges_is_borne_with_where_that_is_cheap(
    origin: OriginServer, content: bytes
) -> None:
    spoil(origin, ignore_range=True)
    file = http_file(f"{origin.url}/a.bin")
    assert bytes(file.read_range(100_000, 200_000)) == content[100_000:200_000]
    with pytest.raises(FetchError, match="does not serve byte ranges") as caught:
        file.read_range(1_000_000, 1_100_000)
    assert "geogen download" in str(caught.value)
    with pytest.raises(FetchError, match="does not serve byte ranges"):
        http_file(f"{origin.url}/a.bin").read_tail(1000)


def test_an_empty_file(origin: OriginServer) -> None:
    (origin.folder / "a.bin").write_bytes(b"")
    assert http_file(f"{origin.url}/a.bin").read_tail(1000) == (0, b"")
    with pytest.raises(ArchiveError, match="an empty file"):
        list_archive(f"{origin.url}/a.bin")


def test_resets_at_random_offsets_resume_where_they_broke(
    origin: OriginServer, content: bytes
) -> None:
    rng = random.Random(5)
    spoil(origin, cut_at=[rng.randrange(1000, SIZE) for _ in range(12)])
    file = http_file(f"{origin.url}/a.bin")
    assert bytes(file.read_range(1000, SIZE)) == content[1000:]
    assert origin.bytes_sent < SIZE * 1.02
    spoil(origin, cut_at=[SIZE - 500])
    assert bytes(file.read_tail(1000)[1]) == content[-1000:]


def test_a_body_that_ends_early_is_completed(origin: OriginServer, content: bytes) -> None:
    spoil(origin, truncate_at=1_234_567)
    file = http_file(f"{origin.url}/a.bin")
    assert bytes(file.read_range(0, SIZE)) == content


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_servers_are_asked_again(origin: OriginServer, content: bytes, status: int) -> None:
    spoil(origin, status=status, status_times=3, retry_after="0")
    assert bytes(http_file(f"{origin.url}/a.bin").read_range(5, 10)) == content[5:10]
    spoil(origin, status=status, status_times=99)
    with pytest.raises(FetchError, match=f"{status}") as caught:
        http_file(f"{origin.url}/a.bin").read_range(5, 10)
    assert f"{origin.url}/a.bin" in str(caught.value)


def test_what_is_not_there_is_asked_for_once(origin: OriginServer) -> None:
    with pytest.raises(FetchError, match=r"b\.bin: the server answers 404"):
        http_file(f"{origin.url}/b.bin").read_range(0, 10)
    assert origin.count("GET") == 1


def test_web_pages_are_no_files(origin: OriginServer, content: bytes) -> None:
    spoil(origin, html_times=2)
    assert bytes(http_file(f"{origin.url}/a.bin").read_range(5, 10)) == content[5:10]
    spoil(origin, html_times=99)
    with pytest.raises(FetchError, match="a web page instead"):
        http_file(f"{origin.url}/a.bin").read_range(5, 10)


def test_a_wrong_length_is_not_believed(origin: OriginServer) -> None:
    spoil(origin, extra_length=100)
    with pytest.raises(FetchError):
        http_file(f"{origin.url}/a.bin").read_tail(1000)


def test_a_trickle_is_given_up(origin: OriginServer, monkeypatch: pytest.MonkeyPatch) -> None:
    options = with_changes(HASTE, retry=quick_retry(2), read_s=0.1)
    spoil(origin, trickle_s=0.02, piece=10)
    with pytest.raises(FetchError, match="given up after 2 attempts"):
        http_file(f"{origin.url}/a.bin", options=options).read_range(0, 100_000)


def test_a_stalled_answer_is_asked_for_again(origin: OriginServer, content: bytes) -> None:
    spoil(origin, stall_at=[700_000], stall_headers=1)
    options = with_changes(HASTE, read_s=0.3)
    file = http_file(f"{origin.url}/a.bin", options=options)
    assert bytes(file.read_range(0, SIZE)) == content


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_replaced_in_mid_range_is_an_error(
    origin: OriginServer, content: bytes, same_size: bool
) -> None:
    new = bytes(reversed(content))[: SIZE if same_size else SIZE - 7]
    spoil(origin, replace_at=500_000, replacement=new, cut_at=[600_000])
    with pytest.raises(FetchError, match="changed upstream"):
        http_file(f"{origin.url}/a.bin").read_range(0, SIZE)


def test_a_file_that_became_shorter_is_an_error(origin: OriginServer) -> None:
    file = http_file(f"{origin.url}/a.bin")
    file.read_tail(10)
    replace(origin.folder / "a.bin", b"short")
    with pytest.raises(FetchError, match="changed upstream"):
        file.read_range(1000, 2000)


def test_closing_ends_reads_in_other_threads(origin: OriginServer) -> None:
    stalled = threading.Event()
    faults = spoil(origin, stall_at=[500_000])
    faults.on_piece = lambda offset: stalled.set() if offset >= 480_000 else None
    file = http_file(f"{origin.url}/a.bin", options=with_changes(HASTE, read_s=60.0))
    outcome: list[BaseException] = []

    def read() -> None:
        try:
            file.read_range(0, SIZE)
        except BaseException as error:  # noqa: BLE001
            outcome.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert stalled.wait(30)
    file.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(outcome) == 1


@pytest.mark.parametrize(
    "drip",
    [
        (b"HTTP/1.1 20", b"0"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_headers_that_never_end_are_given_up(
    origin: OriginServer, drip: tuple[bytes, bytes]
) -> None:
    spoil(origin, drip=drip)
    options = with_changes(HASTE, retry=quick_retry(2), read_s=0.3)
    with pytest.raises(FetchError, match=r"given up after 2[^;]*no complete headers in 0\.3 s"):
        http_file(f"{origin.url}/a.bin", options=options).read_range(0, 10)


CHUNKED = (
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/1000\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize("length", [b"0", b"a;note="])
def test_chunks_whose_length_never_ends_are_given_up(origin: OriginServer, length: bytes) -> None:
    spoil(origin, drip=(CHUNKED + length, length[-1:]))
    options = with_changes(HASTE, retry=quick_retry(2), read_s=0.3)
    with pytest.raises(FetchError, match=r"given up after 2[^;]*the transfer stalled \(0 bytes"):
        http_file(f"{origin.url}/a.bin", options=options).read_range(0, 10)


def test_trailers_that_never_end_are_not_waited_for(origin: OriginServer) -> None:
    spoil(origin, drip=(CHUNKED + b"a\r\n0123456789\r\n0\r\nX-More: ", b"x"))
    file = http_file(f"{origin.url}/a.bin", options=with_changes(HASTE, read_s=0.3))
    assert file.read_range(0, 10) == b"0123456789"


def test_a_length_of_thousands_of_digits_is_no_length(origin: OriginServer, content: bytes) -> None:
    spoil(origin, claimed_length="9" * 5_000)
    file = http_file(f"{origin.url}/a.bin")
    assert bytes(file.read_range(0, 1_000)) == content[:1_000]
    spoil(origin, claimed_length="9" * 5_000, ignore_range=True)
    with pytest.raises(FetchError, match="the size of the file"):
        http_file(f"{origin.url}/a.bin").read_tail(10)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("http://[::1", "a redirect to"),
        ("ftp://host/a.bin", "a redirect to"),
        ("/a.bin", "at most 10 redirects"),
    ],
)
def test_redirects_that_lead_nowhere(origin: OriginServer, target: str, found: str) -> None:
    spoil(origin, redirect=target)
    with pytest.raises(FetchError, match=found):
        http_file(f"{origin.url}/a.bin").read_range(0, 10)


def with_headers(url: str) -> HttpFile:
    options = {"headers": {"X-Key": "k", "Authorization": "Bearer x"}}
    return HttpFile(Location(url, storage_options=options))


def test_headers_stay_with_their_host(origin: OriginServer, content: bytes) -> None:
    with OriginServer(origin.folder) as first:
        first.faults["a.bin"] = Faults(redirect=f"{origin.url}/a.bin")
        first.faults["b.bin"] = Faults(redirect=f"{first.url}/c.bin")
        (first.folder / "c.bin").write_bytes(content)
        assert bytes(with_headers(f"{first.url}/a.bin").read_range(0, 9)) == content[:9]
        assert bytes(with_headers(f"{first.url}/b.bin").read_range(0, 9)) == content[:9]
        assert {(r.key, r.authorization) for r in first.requests} == {("k", "Bearer x")}
    assert [(r.key, r.authorization) for r in origin.requests] == [(None, None)]


@pytest.mark.parametrize("target", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "[::1]"])
def test_a_public_host_cannot_redirect_into_a_private_network(
    origin: OriginServer, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", origin.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    spoil(origin, redirect=f"http://{target}/latest")
    # 93.184.215.14 is a public address, which the proxy answers for.
    with pytest.raises(FetchError, match="redirected into a private network"):
        http_file("http://93.184.215.14/a.bin").read_range(0, 10)
    assert [request.name for request in origin.requests] == ["a.bin"]


def many_members(folder: Path, count: int) -> str:
    with zipfile.ZipFile(folder / "many.zip", "w") as zipped:
        for index in range(count):
            zipped.writestr(zipfile.ZipInfo(f"subj_{index:06d}/0.png"), b"%d" % index)
    return "many.zip"


def same(one: Directory, other: Directory) -> bool:
    def told(directory: Directory) -> list[tuple[object, ...]]:
        return [(m.name, m.start, m.stop, m.size, m.crc) for m in directory.members]

    return told(one) == told(other) and one.size == other.size


@pytest.mark.parametrize(("members", "requests"), [(500, 1), (66_000, 2)])
def test_directories_take_one_request_or_two(
    origin: OriginServer, members: int, requests: int
) -> None:
    name = many_members(origin.folder, members)
    directory = list_archive(f"{origin.url}/{name}")
    assert same(directory, list_archive(origin.folder / name))
    assert origin.count("GET") == requests
    assert origin.bytes_sent < TAIL_BYTES + members * 70
    assert len(directory.members) == members  # more than 65,535 are in zip64's own records
    with Archives() as archives:
        assert read_member(archives, directory.members[-1]) == b"%d" % (members - 1)


def test_remote_parts_that_are_no_zips_are_described(origin: OriginServer, content: bytes) -> None:
    with pytest.raises(ArchiveError, match="not a whole zip archive"):
        list_archive(f"{origin.url}/a.bin")
    (origin.folder / "p.zip").write_bytes(b"PK\x03\x04" + content)
    with pytest.raises(ArchiveError, match="cut short"):
        list_archive(f"{origin.url}/p.zip")


def test_a_part_replaced_after_it_was_listed_is_an_error(origin: OriginServer) -> None:
    name = many_members(origin.folder, 100)
    directory = list_archive(f"{origin.url}/{name}")
    with Archives() as archives:
        assert read_member(archives, directory.members[7]) == b"7"
    replace(origin.folder / name, (origin.folder / name).read_bytes())
    with Archives() as archives, pytest.raises(FetchError, match="changed upstream"):
        read_member(archives, directory.members[7])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_other_processes_read_over_connections_of_their_own(
    origin: OriginServer, method: str
) -> None:
    directory = list_archive(f"{origin.url}/{many_members(origin.folder, 40)}")
    expected = [b"%d" % index for index in range(40)]
    assert read_all(directory) == expected  # connections are open now
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(read_all, [directory] * 4) == [expected] * 4
        pool.close()
        pool.join()
    assert read_all(directory) == expected


def test_connections_are_used_again(origin: OriginServer) -> None:
    directory = list_archive(f"{origin.url}/{many_members(origin.folder, 40)}")
    before = origin.connections
    read_all(directory)
    assert origin.connections == before


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_other_file_systems(tmp_path: Path, scheme: str) -> None:
    import fsspec

    many_members(tmp_path, 3_000)
    url = f"file://{tmp_path}/many.zip"
    if scheme == "memory":
        url = f"memory://{tmp_path.name}/many.zip"
        with fsspec.open(url, "wb") as file:
            file.write((tmp_path / "many.zip").read_bytes())
    directory = list_archive(url)
    assert same(directory, list_archive(tmp_path / "many.zip"))
    assert read_all(directory)[:3] == [b"0", b"1", b"2"]
    with pytest.raises(FetchError, match="cannot be read"):
        list_archive(url.replace("many", "few"))
    if scheme == "file":
        stamp = (tmp_path / "many.zip").stat().st_mtime + 60
        os.utime(tmp_path / "many.zip", (stamp, stamp))
        with pytest.raises(FetchError, match="changed upstream"):
            read_all(directory)


def test_unknown_file_systems_are_refused() -> None:
    with pytest.raises(UsageError, match="no file system"):
        open_remote(Location("gopher://host/a.zip"))


NAMED = CameraOptions("world_to_camera opencv unchecked")
"""Nothing is read for evidence."""


@pytest.mark.parametrize("layout", ["by_subject", "by_view"])
def test_one_identity_takes_a_handful_of_requests(
    layout: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    with (
        geogen_hf.open_release(folder) as local,
        OriginServer(folder) as origin,
        geogen_hf.open_release(origin.url, cameras=NAMED) as remote,
    ):
        assert remote.subject_ids == local.subject_ids
        assert len(remote) == 40
        listing = len(origin.requests)
        assert listing <= 9
        for subject_id in ("subj_00017", "subj_00003"):
            one, other = remote[subject_id], local[subject_id]
            assert one.images == other.images
            assert one.view_ids == other.view_ids
            assert one.metadata == other.metadata
            assert (one.extrinsics == other.extrinsics).all()
            assert (one.intrinsics == other.intrinsics).all()
        assert len(origin.requests) - listing <= 2 * (1 if layout == "by_subject" else 7)
        assert "subj_1" not in remote
        with pytest.raises(UnknownSubjectError, match="no subject 'subj_1'"):
            remote["subj_1"]


def test_parts_limits_what_is_touched(by_subject: Path) -> None:
    with OriginServer(by_subject) as origin:
        with geogen_hf.open_release(origin.url, parts=[2]) as release:
            release[release.subject_ids[0]]
        touched = {request.name for request in origin.requests}
    assert touched == {"images_batch_2.zip", "metadata_files.zip"}


def test_one_cause_is_told_once(by_subject: Path, caplog: pytest.LogCaptureFixture) -> None:
    with OriginServer(by_subject) as origin:
        gone = origin.url
    with pytest.raises(FetchError) as caught:
        geogen_hf.open_release(gone)
    text = str(caught.value)
    assert text.count("Connection refused") == text.count("given up") == text.count(gone) == 1
    assert all(part.name in text for part in ALL_PARTS)
    warnings = {r.getMessage() for r in caplog.records if r.levelname == "WARNING"}
    assert len(warnings) == 1
    assert f"{gone.removeprefix('http://')}: the connection failed" in warnings.pop()
    story = "".join(traceback.format_exception(caught.value))
    assert story.count("Traceback") == 1


def test_a_server_without_ranges_is_told_once(tmp_path: Path) -> None:
    for part in ALL_PARTS:
        (tmp_path / part.name).write_bytes(bytes(1_000_000))
    with OriginServer(tmp_path) as origin:
        for part in ALL_PARTS:
            spoil(origin, part.name, ignore_range=True)
        with pytest.raises(FetchError) as caught:
            geogen_hf.open_release(origin.url)
    text = str(caught.value)
    assert text.count("does not serve byte ranges") == text.count("geogen download") == 1
    assert text.count(origin.url) == 1
    assert all(part.name in text for part in ALL_PARTS)


def test_all_parts_that_are_missing_are_named(by_subject: Path) -> None:
    with OriginServer(by_subject) as origin:
        spoil(origin, "images_batch_3.zip", missing=True)
        spoil(origin, "images_batch_6.zip", missing=True)
        with pytest.raises(FetchError) as caught:
            geogen_hf.open_release(origin.url)
    assert "images_batch_3.zip" in str(caught.value)
    assert "images_batch_6.zip" in str(caught.value)


def test_inspection_of_remote_parts_samples_the_images(by_view: Path) -> None:
    local = inspect_release(by_view)
    with OriginServer(by_view) as origin:
        remote = inspect_release(origin.url)
    assert local.headers_read == 280
    assert remote.headers_read == REMOTE_SAMPLE
    assert remote.image_sizes == {"48 x 48": REMOTE_SAMPLE}
    assert remote.archives == local.archives
    assert remote.splits == local.splits
    assert remote.to_json()["headers_read"] == REMOTE_SAMPLE
