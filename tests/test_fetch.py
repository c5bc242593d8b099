from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import traceback
from pathlib import Path

import pytest
from origin_server import Faults, OriginServer, quick_retry, replace, write_zip

from geogen_hf.durable import write_durably
from geogen_hf.errors import FetchError, GeoGenError, UsageError
from geogen_hf.source.fetch import LockEntry, fetch_parts, read_lock, record
from geogen_hf.source.files import TransferOptions
from geogen_hf.source.http_reader import hub_address
from geogen_hf.source.parts import Part, named_parts

NUMBERS = [1, 2, 3, 8]
PARTS = named_parts(NUMBERS)
FIRST = PARTS[0]
SIZE = 300_000
QUICK = TransferOptions(retry=quick_retry(3), max_retry_after_s=0.05, read_s=5, sync_s=0.0)


@pytest.fixture
def served(tmp_path: Path) -> dict[Part, bytes]:
    """Four parts in the folder that `origin` serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    return {part: write_zip(folder / part.name, SIZE, part.number) for part in PARTS}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def get(origin: OriginServer, out: Path, **options: object) -> dict[Part, Path]:
    arguments: dict[str, object] = {"place": origin.url, "options": QUICK, **options}
    return fetch_parts(out, parts=NUMBERS, **arguments)  # type: ignore[arg-type]


def assert_whole(paths: dict[Part, Path], served: dict[Part, bytes]) -> None:
    assert {part: path.read_bytes() for part, path in paths.items()} == served


def leftovers(out: Path) -> list[str]:
    """Anything but parts, the lock file and the hidden locks."""
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    return sorted(names - {part.name for part in PARTS} - {"parts.lock.json"})


def test_parts_arrive_whole_and_are_noted(served: dict[Part, bytes], out: Path) -> None:
    with OriginServer(out.parent / "served") as origin:
        paths = get(origin, out)
        assert origin.bytes_sent == sum(map(len, served.values()))
    assert_whole(paths, served)
    assert leftovers(out) == []
    table = json.loads((out / "parts.lock.json").read_text())
    assert table["version"] == 1
    for part, content in served.items():
        entry = table["parts"][part.name]
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["size"] == len(content)
        assert entry["url"].endswith(f"/{part.name}")
        assert entry["etag"].startswith('"')
        assert entry["last_modified"].endswith("GMT")


def test_what_is_here_is_not_transferred_again(served: dict[Part, bytes], out: Path) -> None:
    with OriginServer(out.parent / "served") as origin:
        get(origin, out)
        origin.reset_counts()
        assert_whole(get(origin, out), served)
        assert origin.bytes_sent == origin.count("GET") == 0
        (out / FIRST.name).unlink()
        assert_whole(get(origin, out), served)
        assert origin.bytes_sent == len(served[FIRST])


def test_verify_finds_a_damaged_byte(served: dict[Part, bytes], out: Path) -> None:
    with OriginServer(out.parent / "served") as origin:
        get(origin, out)
        origin.reset_counts()
        with open(out / FIRST.name, "r+b") as file:
            file.seek(1234)
            file.write(b"?!")
        get(origin, out)
        assert origin.bytes_sent == 0
        assert_whole(get(origin, out, verify=True), served)
        assert origin.bytes_sent == len(served[FIRST])


def test_a_shortened_part_is_fetched_again(served: dict[Part, bytes], out: Path) -> None:
    with OriginServer(out.parent / "served") as origin:
        get(origin, out)
        os.truncate(out / FIRST.name, 1000)
        assert_whole(get(origin, out), served)


def test_a_file_that_nobody_noted_is_not_believed(served: dict[Part, bytes], out: Path) -> None:
    out.mkdir()
    (out / FIRST.name).write_bytes(served[FIRST][::-1])
    with OriginServer(out.parent / "served") as origin:
        assert_whole(get(origin, out), served)


@pytest.mark.parametrize("longer", [0, 1000])
def test_a_change_upstream_is_refused_until_accepted(
    served: dict[Part, bytes], out: Path, longer: int
) -> None:
    folder = out.parent / "served"
    with OriginServer(folder) as origin:
        get(origin, out)
        new = write_zip(out.parent / "new.zip", SIZE + longer, seed=77)
        replace(folder / FIRST.name, new)
        origin.reset_counts()
        with pytest.raises(FetchError, match=r"images_batch_1\.zip: changed upstream") as caught:
            get(origin, out)
        assert "accept" in str(caught.value)
        assert f"{origin.url}/{FIRST.name}" in str(caught.value)
        assert origin.bytes_sent == 0
        assert (out / FIRST.name).read_bytes() == served[FIRST]
        with pytest.raises(FetchError, match="changed upstream"):
            get(origin, out, locked=True)
        assert_whole(get(origin, out, accept_changes=True), {**served, FIRST: new})
        assert origin.bytes_sent == len(new)
        assert_whole(get(origin, out, locked=True), {**served, FIRST: new})


def test_deleting_the_entry_accepts_a_change(served: dict[Part, bytes], out: Path) -> None:
    folder = out.parent / "served"
    with OriginServer(folder) as origin:
        get(origin, out)
        new = write_zip(out.parent / "new.zip", SIZE, seed=77)
        replace(folder / FIRST.name, new)
        lock = out / "parts.lock.json"
        table = json.loads(lock.read_text())
        del table["parts"][FIRST.name]
        lock.write_text(json.dumps(table))
        assert_whole(get(origin, out), {**served, FIRST: new})


def test_a_mirror_is_held_to_the_hash(served: dict[Part, bytes], out: Path) -> None:
    mirror = out.parent / "mirror"
    mirror.mkdir()
    for part in PARTS:
        (mirror / part.name).write_bytes(served[part])
    with OriginServer(out.parent / "served") as origin:
        get(origin, out)
    with OriginServer(mirror) as other:
        get(other, out, locked=True)
        assert other.bytes_sent == 0
        (out / FIRST.name).unlink()
        assert_whole(get(other, out, locked=True), served)
        (out / FIRST.name).unlink()
        forged = bytearray(served[FIRST])
        forged[5000] ^= 1  # within a member: length and directory are as they were
        (mirror / FIRST.name).write_bytes(forged)
        with pytest.raises(FetchError, match="changed upstream") as caught:
            get(other, out, locked=True)
    assert hashlib.sha256(served[FIRST]).hexdigest() in str(caught.value)
    assert not (out / FIRST.name).exists()
    assert leftovers(out) == []


def test_locked_refuses_what_the_lock_file_does_not_know(
    served: dict[Part, bytes], out: Path
) -> None:
    with OriginServer(out.parent / "served") as origin:
        with pytest.raises(FetchError, match="does not know images_batch_1"):
            get(origin, out, locked=True)
        assert origin.requests == []
        shipped = out.parent / "shipped.json"
        for part, content in served.items():
            entry = LockEntry(
                "https://host/x", len(content), None, None, hashlib.sha256(content).hexdigest()
            )
            record(shipped, part.name, entry)
        assert_whole(get(origin, out, locked=True, lock_path=shipped), served)


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"version": 2, "parts": {}}', '{"version": 1, "parts": {"a": {"size": 3}}}'],
)
def test_an_unreadable_lock_file_is_refused(out: Path, content: str) -> None:
    out.mkdir()
    (out / "parts.lock.json").write_text(content)
    with pytest.raises(UsageError, match=r"parts\.lock\.json"):
        fetch_parts(out, parts=NUMBERS, place="http://127.0.0.1:9")


def test_passwords_and_signatures_are_neither_kept_nor_shown(
    served: dict[Part, bytes], out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def unsafe(text: str) -> bool:
        return "s3cret" in text or "sig=" in text

    caplog.set_level(logging.INFO)
    with OriginServer(out.parent / "served") as origin:
        place = origin.url.replace("http://", "http://me:s3cret@") + "?sig=s3cret"
        origin.faults[FIRST.name] = Faults(cut_at=[100_000], status=503)
        faults = origin.faults[FIRST.name]
        faults.on_piece = lambda offset: setattr(faults, "status_times", 99)
        with pytest.raises(FetchError, match=FIRST.name) as caught:
            get(origin, out, place=place)
        sidecar = out / f"{FIRST.name}.part.json"
        kept = [sidecar.read_text(), (out / "parts.lock.json").read_text()]
        origin.faults.clear()
        origin.reset_counts()
        assert_whole(get(origin, out, place=place), served)
        assert origin.sent[FIRST.name] < len(served[FIRST])  # resumed: it is known to be the same
        assert {r.authorization for r in origin.requests} == {"Basic bWU6czNjcmV0"}
        gone = place
    with pytest.raises(FetchError, match="Connection refused") as refused:
        get(origin, out, place=gone)
    kept += [str(caught.value), str(refused.value), (out / "parts.lock.json").read_text()]
    kept += ["".join(traceback.format_exception(caught.value)), caplog.text]
    kept += ["".join(traceback.format_exception(refused.value))]
    assert not any(map(unsafe, kept))


def test_ctrl_c_while_a_note_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", press)
    with pytest.raises(KeyboardInterrupt):
        write_durably(tmp_path / "note", b"new")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(served: dict[Part, bytes], out: Path) -> None:
    out.mkdir()
    left = out / f".{FIRST.name}.part.json.4711.42"
    left.touch()
    with OriginServer(out.parent / "served") as origin:
        assert_whole(get(origin, out), served)
    assert not left.exists()


@pytest.mark.parametrize("place", ["://", "://x", "foo://x", "http://[::1", "http://"])
def test_places_that_are_no_urls(out: Path, place: str) -> None:
    with pytest.raises(GeoGenError, match="URL"):
        fetch_parts(out, place=place, options=QUICK)


def test_lock_entries_of_many_writers_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "parts.lock.json"
    entries = {f"{n}.zip": LockEntry(f"u/{n}", n, None, None, "ab" * 32) for n in range(40)}
    writers = [threading.Thread(target=record, args=(path, n, e)) for n, e in entries.items()]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert read_lock(path) == entries


def test_options_that_contradict_each_other(out: Path) -> None:
    with pytest.raises(UsageError, match="locked"):
        fetch_parts(out, parts=NUMBERS, locked=True, accept_changes=True)
    with pytest.raises(UsageError, match="jobs"):
        fetch_parts(out, parts=NUMBERS, jobs=0)


def test_progress_counts_all_parts(served: dict[Part, bytes], out: Path) -> None:
    seen: list[tuple[int, int]] = []
    total = sum(map(len, served.values()))
    with OriginServer(out.parent / "served") as origin:
        get(origin, out, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (total, total)
    assert {of for _, of in seen} == {total}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_other_sources_through_fsspec_and_folders(served: dict[Part, bytes], out: Path) -> None:
    folder = out.parent / "served"
    assert_whole(fetch_parts(out / "a", parts=NUMBERS, place=folder.as_uri()), served)
    assert_whole(fetch_parts(out / "b", parts=NUMBERS, place=str(folder)), served)
    with pytest.raises(UsageError, match="onto themselves"):
        fetch_parts(folder, parts=NUMBERS, place=str(folder))
    with pytest.raises(UsageError, match="no file system"):
        fetch_parts(out / "c", parts=NUMBERS, place="nosuch://bucket/x")
    with pytest.raises(FetchError, match="cannot be read"):
        fetch_parts(out / "d", parts=NUMBERS, place=(folder / "x").as_uri(), options=QUICK)


def test_fsspec_sources_resume(served: dict[Part, bytes], out: Path) -> None:
    folder = out.parent / "served"
    out.mkdir()
    # As a power cut leaves it: more bytes in the file than were surely synced. A byte that differs
    # within a member tells what was kept from what was read.
    known = bytearray(served[FIRST][:200_000] + bytes(50_000))
    known[1000] ^= 1
    (out / f"{FIRST.name}.part").write_bytes(known)
    stat = (folder / FIRST.name).stat()
    state = {"version": 1, "url": f"{folder.as_uri()}/{FIRST.name}", "size": stat.st_size}
    state |= {"etag": None, "last_modified": str(stat.st_mtime), "synced": 200_000}
    (out / f"{FIRST.name}.part.json").write_text(json.dumps(state))
    path = fetch_parts(out, parts=[1], place=folder.as_uri(), options=QUICK)[FIRST]
    assert path.read_bytes() == known[:200_000] + served[FIRST][200_000:]


def test_hub_files_are_asked_for_at_their_address(
    served: dict[Part, bytes], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = hub_address("hf://datasets/me/raw@refs/pr/3/zips/a b.zip", {})
    assert address.endswith("/datasets/me/raw/resolve/refs%2Fpr%2F3/zips/a%20b.zip")
    assert hub_address("hf://me/model/x.zip", {})[0].endswith("co/me/model/resolve/main/x.zip")
    with pytest.raises(UsageError, match="Hub"):
        hub_address("hf://datasets/me", {})

    hub = out.parent / "hub" / "datasets/me/raw/resolve/v1"
    hub.parent.mkdir(parents=True)
    (out.parent / "served").rename(hub)
    with OriginServer(out.parent / "hub") as origin:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", origin.url)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            origin.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        paths = fetch_parts(out, parts=NUMBERS, place="hf://datasets/me/raw@v1", options=QUICK)
        assert {r.authorization for r in origin.requests} == {"Bearer hf_secret"}
    assert_whole(paths, served)
