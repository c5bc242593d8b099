from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import traceback
from pathlib import Path

import pytest
from fetching import FIRST, NUMBERS, PARTS, QUICK, SIZE, Site
from origin_server import Faults, OriginServer, replace, write_zip
from zips import edited

from geogen_hf.durable import write_durably
from geogen_hf.errors import FetchError, GeoGenError, UsageError
from geogen_hf.source.fetch import LockEntry, fetch_parts, read_lock, record
from geogen_hf.source.http_reader import hub_address


def leftovers(out: Path) -> list[str]:
    """Anything but parts, the lock file and the hidden locks."""
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    return sorted(names - {part.name for part in PARTS} - {"parts.lock.json"})


def replaced_upstream(site: Site, longer: int = 0) -> bytes:
    """Put another file in the place of the first part, and expect it from now on."""
    new = write_zip(site.root / "new.zip", SIZE + longer, seed=77)
    replace(site.origin.folder / FIRST.name, new)
    site.content[FIRST] = new
    return new


def test_parts_arrive_whole_and_are_noted(site: Site) -> None:
    site.fetch_right()
    assert site.origin.bytes_sent == site.total
    assert leftovers(site.out) == []
    table = json.loads((site.out / "parts.lock.json").read_text())
    assert table["version"] == 1
    for part, content in site.content.items():
        entry = table["parts"][part.name]
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["size"] == len(content)
        assert entry["url"].endswith(f"/{part.name}")
        assert entry["etag"].startswith('"')
        assert entry["last_modified"].endswith("GMT")


def test_what_is_here_is_not_transferred_again(site: Site) -> None:
    site.fetch_right()
    site.origin.reset_counts()
    site.fetch_right()
    assert site.origin.bytes_sent == site.origin.count("GET") == 0
    (site.out / FIRST.name).unlink()
    site.fetch_right()
    assert site.origin.bytes_sent == len(site.content[FIRST])


def test_verify_finds_a_damaged_byte(site: Site) -> None:
    site.fetch_right()
    site.origin.reset_counts()
    with edited(site.out / FIRST.name) as data:
        data[1234] ^= 1
    site.fetch()
    assert site.origin.bytes_sent == 0
    site.fetch_right(verify=True)
    assert site.origin.bytes_sent == len(site.content[FIRST])


def test_a_shortened_part_is_fetched_again(site: Site) -> None:
    site.fetch_right()
    os.truncate(site.out / FIRST.name, 1000)
    site.fetch_right()


def test_a_file_that_nobody_noted_is_not_believed(site: Site) -> None:
    site.out.mkdir()
    (site.out / FIRST.name).write_bytes(site.content[FIRST][::-1])
    site.fetch_right()


@pytest.mark.parametrize("longer", [0, 1000])
def test_a_change_upstream_is_refused_until_accepted(site: Site, longer: int) -> None:
    site.fetch_right()
    old = site.content[FIRST]
    new = replaced_upstream(site, longer)
    site.origin.reset_counts()
    with pytest.raises(FetchError, match=r"images_batch_1\.zip: changed upstream") as caught:
        site.fetch()
    assert "accept" in str(caught.value)
    assert f"{site.origin.url}/{FIRST.name}" in str(caught.value)
    assert site.origin.bytes_sent == 0
    assert (site.out / FIRST.name).read_bytes() == old
    with pytest.raises(FetchError, match="changed upstream"):
        site.fetch(locked=True)
    site.fetch_right(accept_changes=True)
    assert site.origin.bytes_sent == len(new)
    site.fetch_right(locked=True)


def test_deleting_the_entry_accepts_a_change(site: Site) -> None:
    site.fetch_right()
    replaced_upstream(site)
    lock = site.out / "parts.lock.json"
    table = json.loads(lock.read_text())
    del table["parts"][FIRST.name]
    lock.write_text(json.dumps(table))
    site.fetch_right()


def test_a_mirror_is_held_to_the_hash(site: Site) -> None:
    mirror = Path(shutil.copytree(site.origin.folder, site.root / "mirror"))
    site.fetch_right()
    with OriginServer(mirror) as other:
        site.fetch(place=other.url, locked=True)
        assert other.bytes_sent == 0
        (site.out / FIRST.name).unlink()
        site.fetch_right(place=other.url, locked=True)
        (site.out / FIRST.name).unlink()
        with edited(mirror / FIRST.name) as forged:
            forged[5000] ^= 1  # within a member: length and directory are as they were
        with pytest.raises(FetchError, match="changed upstream") as caught:
            site.fetch(place=other.url, locked=True)
    assert hashlib.sha256(site.content[FIRST]).hexdigest() in str(caught.value)
    assert not (site.out / FIRST.name).exists()
    assert leftovers(site.out) == []


def test_locked_refuses_what_the_lock_file_does_not_know(site: Site) -> None:
    with pytest.raises(FetchError, match="does not know images_batch_1"):
        site.fetch(locked=True)
    assert site.origin.requests == []
    shipped = site.root / "shipped.json"
    for part, content in site.content.items():
        digest = hashlib.sha256(content).hexdigest()
        record(shipped, part.name, LockEntry("https://host/x", len(content), None, None, digest))
    site.fetch_right(locked=True, lock_path=shipped)


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"version": 2, "parts": {}}', '{"version": 1, "parts": {"a": {"size": 3}}}'],
)
def test_an_unreadable_lock_file_is_refused(site: Site, content: str) -> None:
    site.out.mkdir()
    (site.out / "parts.lock.json").write_text(content)
    with pytest.raises(UsageError, match=r"parts\.lock\.json"):
        site.fetch()


def test_passwords_and_signatures_are_neither_kept_nor_shown(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place = site.origin.url.replace("http://", "http://me:s3cret@") + "?sig=s3cret"
    faults = site.spoil(Faults(cut_at=[100_000], status=503))
    faults.on_piece = lambda offset: setattr(faults, "status_times", 99)
    with pytest.raises(FetchError, match=FIRST.name) as caught:
        site.fetch(place=place)
    lock = site.out / "parts.lock.json"
    kept = [(site.out / f"{FIRST.name}.part.json").read_text(), lock.read_text()]
    site.mend()
    site.origin.reset_counts()
    site.fetch_right(place=place)
    assert site.sent() < len(site.content[FIRST])  # resumed: it is known to be the same
    assert {r.authorization for r in site.origin.requests} == {"Basic bWU6czNjcmV0"}
    with OriginServer(site.root) as gone:
        nowhere = place.replace(site.origin.url.split("/")[-1], gone.url.split("/")[-1])
    with pytest.raises(FetchError, match="Connection refused") as refused:
        site.fetch(place=nowhere)
    for error in (caught.value, refused.value):
        kept += [str(error), "".join(traceback.format_exception(error))]
    for text in (*kept, lock.read_text(), caplog.text):
        assert "s3cret" not in text
        assert "sig=" not in text


def test_ctrl_c_while_a_note_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", press)
    with pytest.raises(KeyboardInterrupt):
        write_durably(tmp_path / "note", b"new")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(site: Site) -> None:
    site.out.mkdir()
    left = site.out / f".{FIRST.name}.part.json.4711.42"
    left.touch()
    site.fetch_right()
    assert not left.exists()


@pytest.mark.parametrize("place", ["://", "://x", "foo://x", "http://[::1", "http://"])
def test_places_that_are_no_urls(tmp_path: Path, place: str) -> None:
    with pytest.raises(GeoGenError, match="URL"):
        fetch_parts(tmp_path, place=place, options=QUICK)


def test_lock_entries_of_many_writers_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "parts.lock.json"
    entries = {f"{n}.zip": LockEntry(f"u/{n}", n, None, None, "ab" * 32) for n in range(40)}
    writers = [threading.Thread(target=record, args=(path, n, e)) for n, e in entries.items()]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert read_lock(path) == entries


def test_options_that_contradict_each_other(site: Site) -> None:
    with pytest.raises(UsageError, match="locked"):
        site.fetch(locked=True, accept_changes=True)
    with pytest.raises(UsageError, match="jobs"):
        site.fetch(jobs=0)


def test_progress_counts_all_parts(site: Site) -> None:
    seen: list[tuple[int, int]] = []
    site.fetch(progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (site.total, site.total)
    assert {of for _, of in seen} == {site.total}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_other_sources_through_fsspec_and_folders(site: Site) -> None:
    folder = site.origin.folder
    site.fetch_right(place=folder.as_uri())
    shutil.rmtree(site.out)
    site.fetch_right(place=str(folder))
    with pytest.raises(UsageError, match="onto themselves"):
        fetch_parts(folder, parts=NUMBERS, place=str(folder))
    with pytest.raises(UsageError, match="no file system"):
        site.fetch(place="nosuch://bucket/x")
    shutil.rmtree(site.out)
    with pytest.raises(FetchError, match="cannot be read"):
        site.fetch(place=(folder / "x").as_uri())


def test_fsspec_sources_resume(site: Site) -> None:
    folder, content = site.origin.folder, site.content[FIRST]
    site.out.mkdir()
    # As a power cut leaves it: more bytes in the file than were surely synced. A byte that differs
    # within a member tells what was kept from what was read.
    known = bytearray(content[:200_000] + bytes(50_000))
    known[1000] ^= 1
    (site.out / f"{FIRST.name}.part").write_bytes(known)
    stat = (folder / FIRST.name).stat()
    state = {"version": 1, "url": f"{folder.as_uri()}/{FIRST.name}", "size": stat.st_size}
    state |= {"etag": None, "last_modified": str(stat.st_mtime), "synced": 200_000}
    (site.out / f"{FIRST.name}.part.json").write_text(json.dumps(state))
    path = site.fetch(place=folder.as_uri())[FIRST]
    assert path.read_bytes() == known[:200_000] + content[200_000:]


def test_hub_files_are_asked_for_at_their_address(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = hub_address("hf://datasets/me/raw@refs/pr/3/zips/a b.zip", {})
    assert address.endswith("/datasets/me/raw/resolve/refs%2Fpr%2F3/zips/a%20b.zip")
    assert hub_address("hf://me/model/x.zip", {})[0].endswith("co/me/model/resolve/main/x.zip")
    with pytest.raises(UsageError, match="Hub"):
        hub_address("hf://datasets/me", {})

    (site.root / "datasets/me/raw/resolve").mkdir(parents=True)
    site.origin.folder.rename(site.root / "datasets/me/raw/resolve/v1")
    site.origin.folder = site.root
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", site.origin.url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        site.origin.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    site.fetch_right(place="hf://datasets/me/raw@v1")
    assert {r.authorization for r in site.origin.requests} == {"Bearer hf_secret"}
