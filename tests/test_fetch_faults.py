from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fetching import CUT, FIRST, NUMBERS, PARTS, QUICK, SECOND, SIZE, Site
from origin_server import Faults, OriginServer, replace, write_zip
from warm import Child, run

from geogen_hf.errors import FetchError, OutputError
from geogen_hf.source.fetch import LockEntry, fetch_parts, read_lock, record
from geogen_hf.source.files import TransferOptions
from geogen_hf.source.parts import Part


def test_every_part_cut_at_60_percent_costs_under_2_percent(site: Site) -> None:
    for part, content in site.content.items():
        site.spoil(Faults(cut_at=[len(content) * 6 // 10]), part)
    site.fetch_right()
    assert site.total <= site.origin.bytes_sent < 1.02 * site.total
    resumed = [r for r in site.origin.requests if r.range]
    assert len(resumed) == len(PARTS)
    assert all(r.if_range and r.status == 206 for r in resumed)


@pytest.mark.parametrize("seed", range(3))
def test_resets_at_random_offsets(site: Site, seed: int) -> None:
    offsets = random.Random(seed)
    for part, content in site.content.items():
        cuts = [offsets.randrange(1, len(content)) for _ in range(5)]
        site.spoil(Faults(cut_at=[*cuts, len(content) - 1]), part)
    site.fetch_right()
    assert site.origin.bytes_sent < 1.02 * site.total


def test_a_transfer_that_advances_is_not_given_up(site: Site) -> None:
    site.spoil(Faults(cut_every=30_000))
    site.fetch_right()
    assert site.origin.count("GET", FIRST.name) > 10 > QUICK.retry.total + 1


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_passing_errors_are_survived(site: Site, status: int, method: str) -> None:
    site.spoil(Faults(status=status, status_times=2, status_methods=(method,)))
    site.fetch_right()
    assert site.origin.bytes_sent == site.total


def test_the_server_says_when_to_come_again(site: Site) -> None:
    asked = site.spoil(Faults(status=429, status_times=1, retry_after="3600"))
    times: list[float] = []
    begun = os.times().elapsed
    asked.on_piece = lambda offset: times.append(os.times().elapsed - begun)
    site.fetch_right()
    assert times[0] >= QUICK.max_retry_after_s - 0.02


def test_lasting_errors_leave_the_other_parts(site: Site) -> None:
    site.spoil(Faults(status=503, status_times=1000))
    text = site.fetch_wrong("given up after 3 attempts")
    assert "503" in text
    assert "3 of 4 parts are complete" in text
    site.mend()
    site.origin.reset_counts()
    site.fetch_right()
    assert site.origin.bytes_sent == len(site.content[FIRST])


def test_a_missing_part_is_named_and_not_asked_for_again(site: Site) -> None:
    site.spoil(Faults(missing=True))
    assert "404" in site.fetch_wrong("the server answers 404")
    assert site.origin.count("HEAD", FIRST.name) == 1


def test_a_part_that_goes_missing_on_the_way_keeps_its_bytes(site: Site) -> None:
    faults = site.spoil(Faults(cut_at=[CUT]))

    def leave(offset: int) -> None:
        faults.missing = True

    faults.on_piece = leave
    site.fetch_wrong("the server answers 404")
    site.mend()
    site.origin.reset_counts()
    site.fetch_right()
    assert site.origin.bytes_sent == len(site.content[FIRST]) - CUT


def test_a_server_that_ignores_ranges(site: Site) -> None:
    site.spoil(Faults(ignore_range=True, cut_at=[CUT]))
    site.fetch_right()
    assert site.sent() == CUT + len(site.content[FIRST])


def test_starting_anew_is_no_progress(site: Site) -> None:
    site.spoil(Faults(ignore_range=True, cut_every=CUT))
    site.fetch_wrong("given up after 3 attempts")
    assert site.sent() == 3 * CUT


@pytest.mark.parametrize("faults", [Faults(validators=False), Faults(weak=True)])
def test_without_proof_of_the_version_nothing_is_resumed(site: Site, faults: Faults) -> None:
    faults.cut_at.append(CUT)
    site.spoil(faults)
    site.fetch_right()
    assert site.sent() == CUT + len(site.content[FIRST])


def test_a_length_too_long_is_not_believed(site: Site) -> None:
    site.spoil(Faults(extra_length=500))
    site.fetch_wrong("given up")
    assert site.sent() < 1.02 * len(site.content[FIRST])


def test_a_length_too_short_is_not_believed(site: Site) -> None:
    site.spoil(Faults(extra_length=-500))
    site.fetch_wrong("not a whole zip archive")
    site.mend()
    site.fetch_right()


@pytest.mark.parametrize("length", [True, False])
def test_a_truncated_body_is_resumed(site: Site, length: bool) -> None:
    site.spoil(Faults(truncate_at=CUT, length=length))
    site.fetch_right()
    assert site.sent() == len(site.content[FIRST])


def test_a_file_cut_short_upstream_is_not_believed(site: Site) -> None:
    (site.origin.folder / FIRST.name).write_bytes(site.content[FIRST][:-100])
    assert "cut short" in site.fetch_wrong("not a whole zip archive")


@pytest.mark.parametrize("ignore_if_range", [False, True])
@pytest.mark.parametrize("longer", [0, 50_000])
def test_a_file_replaced_before_a_resume(site: Site, longer: int, ignore_if_range: bool) -> None:
    new = write_zip(site.root / "new.zip", SIZE + longer, seed=99)
    faults = Faults(cut_at=[CUT], replace_at=CUT, replacement=new, ignore_if_range=ignore_if_range)
    site.spoil(faults)
    site.content[FIRST] = new
    site.fetch_right()


def test_a_file_overwritten_under_the_transfer(site: Site) -> None:
    new = write_zip(site.root / "new.zip", SIZE, seed=99)
    assert len(new) == len(site.content[FIRST])
    site.spoil(Faults(replace_at=CUT, replacement=new, in_place=True))
    site.content[FIRST] = new
    site.fetch_right()
    assert site.sent() == 2 * len(new)


def test_a_file_replaced_between_two_runs(site: Site) -> None:
    interrupted(site)
    new = write_zip(site.root / "new.zip", SIZE, seed=99)
    replace(site.origin.folder / FIRST.name, new)
    site.content[FIRST] = new
    site.fetch_right()


def test_a_trickle_is_given_up(site: Site) -> None:
    site.spoil(Faults(trickle_s=0.02, piece=1))
    site.fetch_wrong("given up after 3 attempts.*\n.*\n.*bytes in 0.5 s")


@pytest.mark.parametrize("kind", ["text/html", "application/zip"])
def test_a_page_instead_of_a_part(site: Site, kind: str) -> None:
    site.spoil(Faults(html_times=1000, html_type=kind))
    site.fetch_wrong("web page|something else than the file")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("kind", ["text/html", "application/zip"])
def test_a_page_on_a_resume_drops_nothing(site: Site, kind: str, method: str) -> None:
    faults = site.spoil(Faults(cut_at=[CUT], html_type=kind, html_methods=(method,)))

    def fall_ill(offset: int) -> None:
        faults.html_times, faults.on_piece = 1, None

    faults.on_piece = fall_ill
    site.fetch_right()
    last = [r for r in site.origin.requests if r.name == FIRST.name and r.method == "GET"][-1]
    assert (last.range, last.status) == (f"bytes={CUT}-", 206)


def test_a_stall_is_resumed_after_the_timeout(site: Site) -> None:
    site.spoil(Faults(stall_at=[CUT]))
    site.fetch_right()
    assert site.sent() == len(site.content[FIRST])


def test_a_request_without_answer_is_asked_again(site: Site) -> None:
    site.spoil(Faults(stall_headers=1))
    site.fetch_right()


def test_a_server_without_head(site: Site) -> None:
    site.spoil(Faults(head=False, cut_at=[CUT]))
    site.fetch_right()
    assert site.sent() < 1.02 * len(site.content[FIRST])


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with OriginServer(tmp_path) as origin:
        gone = origin.url
    with pytest.raises(FetchError, match="given up") as caught:
        fetch_parts(tmp_path, parts=NUMBERS, place=gone, options=QUICK)
    assert all(name in str(caught.value) for name in (gone, *(part.name for part in PARTS)))


def interrupted(site: Site) -> Path:
    """Leave the first part half fetched, the others complete; return the sidecar's path."""
    faults = site.spoil(Faults(cut_at=[CUT]))

    def fail(offset: int) -> None:
        faults.status_times = 1000

    faults.on_piece = fail
    site.fetch_wrong("given up")
    site.mend()
    site.origin.reset_counts()
    assert json.loads((site.out / f"{FIRST.name}.part.json").read_text())["synced"] == CUT
    return site.out / f"{FIRST.name}.part.json"


def test_another_run_goes_on_where_the_first_ended(site: Site) -> None:
    interrupted(site)
    site.fetch_right()
    assert site.origin.bytes_sent == len(site.content[FIRST]) - CUT


def test_without_proof_of_the_version_another_run_starts_anew(site: Site) -> None:
    interrupted(site)
    site.spoil(Faults(validators=False))
    site.fetch_right()
    assert site.origin.bytes_sent == len(site.content[FIRST])


DAMAGE: dict[str, tuple[Callable[[Path, Path], object], int]] = {
    "longer than synced": (
        lambda part, _: part.write_bytes(part.read_bytes() + bytes(90_000)),
        CUT,
    ),
    "shorter than synced": (lambda part, _: os.truncate(part, 90_000), 90_000),
    "no note": (lambda _, note: note.unlink(), 0),
    "no part": (lambda part, _: part.unlink(), 0),
    "a torn note": (lambda _, note: note.write_bytes(note.read_bytes()[:20]), 0),
    "a note of another URL": (
        lambda _, note: note.write_text(note.read_text().replace("http://", "http://mirror.")),
        0,
    ),
}
"""What happens to a part and the note beside it, and how much of the part is kept."""


@pytest.mark.parametrize("name", DAMAGE)
def test_no_more_is_trusted_than_is_sure(site: Site, name: str) -> None:
    damage, kept = DAMAGE[name]
    sidecar = interrupted(site)
    damage(sidecar.with_suffix(""), sidecar)
    site.fetch_right()
    assert site.origin.bytes_sent == len(site.content[FIRST]) - kept


def test_killed_between_the_note_and_the_name(site: Site) -> None:
    site.fetch_right()
    new = write_zip(site.root / "new.zip", SIZE, seed=99)
    old = site.content[FIRST]
    replace(site.origin.folder / FIRST.name, new)
    site.content[FIRST] = new
    site.fetch(accept_changes=True)
    # Back to the moment before the rename: the lock file knows the new part, the name has the old.
    info = read_lock(site.out / "parts.lock.json")[FIRST.name]
    (site.out / FIRST.name).rename(site.out / f"{FIRST.name}.part")
    (site.out / FIRST.name).write_bytes(old)
    state = {"version": 1, "url": info.url, "size": info.size, "etag": info.etag}
    state |= {"last_modified": info.last_modified, "synced": info.size}
    (site.out / f"{FIRST.name}.part.json").write_text(json.dumps(state))
    site.origin.reset_counts()
    site.fetch_right()
    assert site.origin.bytes_sent == 0


AHEAD = 60_000
"""Bytes that the server below is at most ahead of what its client has written."""


def kill_once(site: Site, victim: Part, at: int) -> None:
    """Start a process, and kill it when so much of a part was sent; it may have it already."""
    started: list[Child] = []
    ready = threading.Event()

    def keep_close(part: Part, offset: int) -> None:
        written = site.out / f"{part.name}.part"
        while started[0].poll() is None and written.stat().st_size < offset - AHEAD:
            threading.Event().wait(0.001)

    def kill(part: Part, offset: int) -> None:
        assert ready.wait(30)
        keep_close(part, offset)
        if part == victim and offset >= at:
            started[0].kill()

    for part in PARTS:
        site.spoil(Faults(on_piece=partial(kill, part), piece=4096), part)
    started.append(site.process())
    ready.set()
    started[0].finish()
    site.mend()


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(site: Site, seed: int) -> None:
    moments = random.Random(seed)
    victims = moments.sample(PARTS, 3)
    for victim in victims:
        kill_once(site, victim, moments.randrange(150_000, SIZE))
        for part, content in site.content.items():  # whatever has its name by now is right
            path = site.out / part.name
            assert not path.exists() or path.read_bytes() == content
    site.fetch_right()
    assert any(r.range for r in site.origin.requests)
    # Of two parts on their way: what was ahead, and what was not yet synced.
    assert site.origin.bytes_sent <= site.total + len(victims) * 2 * (AHEAD + 4096 + 20_000)


@pytest.mark.parametrize("came", [CUT, 0])
def test_ctrl_c_is_prompt_and_keeps_what_came(site: Site, came: int) -> None:
    site.spoil(Faults(stall_at=[CUT]) if came else Faults(stall_headers=1))
    process = site.process()
    written = site.out / f"{FIRST.name}.part"
    while not any(r.status == 0 for r in site.origin.requests) or (
        came and written.stat().st_size < came
    ):
        assert process.poll() is None
        threading.Event().wait(0.01)
    process.send_signal(signal.SIGINT)
    ended = process.finish(timeout=20)  # the read timeout is 60 s
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    site.fetch_right()
    assert site.sent() == len(site.content[FIRST])


def test_ctrl_c_waits_for_last_words(tmp_path: Path) -> None:
    code = """
import os, signal, sys, threading, time
from geogen_hf.threads import Control, run_all
control, waiting = Control(), threading.Event()
def task():
    waiting.wait()
    os.kill(os.getpid(), signal.SIGINT)
    try:
        while True:
            control.check()
    finally:
        time.sleep(0.5)
        open(sys.argv[1], "x").close()
run_all({"task": task}, jobs=1, control=control, tick=waiting.set)
"""
    assert run("-c", code, tmp_path / "kept").stderr.endswith("KeyboardInterrupt\n")
    assert (tmp_path / "kept").exists()


def test_ctrl_c_stops_the_threads(site: Site) -> None:
    site.spoil(Faults(stall_at=[CUT]))
    before = set(threading.enumerate())

    def press(done: int, total: int) -> None:
        if any(r.status == 0 for r in site.origin.requests):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.fetch(progress=press, options=TransferOptions())  # synced only on leaving
    assert not {thread for thread in set(threading.enumerate()) - before if thread.daemon}
    site.fetch_right()
    assert site.sent() == len(site.content[FIRST])


def test_two_processes_fetch_each_part_once(site: Site) -> None:
    gate = threading.Event()
    for part in PARTS:
        site.spoil(Faults(on_piece=lambda offset: gate.wait(30) and None), part)
    processes = [site.process() for _ in range(3)]
    # Nothing is sent before every process has asked for something.
    while site.origin.count("HEAD") < len(processes) * len(PARTS):
        assert all(process.poll() is None for process in processes)
        threading.Event().wait(0.01)
    gate.set()
    for process in processes:
        ended = process.finish()
        assert ended.returncode == 0, ended.stderr
    assert site.origin.bytes_sent == site.total
    site.fetch_right(verify=True)
    assert set(read_lock(site.out / "parts.lock.json")) == {part.name for part in PARTS}


def test_space_is_looked_at_first(site: Site, small_disk: Path) -> None:
    site.out = small_disk / "out"
    with pytest.raises(FetchError, match="not enough space") as caught:
        site.fetch()
    assert f"{site.total:,} bytes free" in str(caught.value)
    assert site.origin.bytes_sent == 0


def test_a_disk_that_fills_up_on_the_way(site: Site, small_disk: Path) -> None:
    site.out = small_disk / "out"
    other = small_disk / "other"

    def fill(_offset: int) -> None:
        # Before the first piece is sent: the space was found enough, and no byte has come yet.
        if not other.exists():
            other.write_bytes(bytes(400_000))

    site.spoil(Faults(on_piece=fill))
    with pytest.raises(
        FetchError, match=r"(?s)cannot write.*images_batch_1\.zip.*No space"
    ) as caught:
        fetch_parts(site.out, parts=[1], place=site.origin.url, options=QUICK)
    assert "free some space" in str(caught.value)
    assert not (site.out / FIRST.name).exists()
    site.mend()
    other.unlink()
    paths = fetch_parts(site.out, parts=[1], place=site.origin.url, options=QUICK)
    assert paths[FIRST].read_bytes() == site.content[FIRST]
    assert any(r.range and r.status == 206 for r in site.origin.requests)


def test_a_folder_that_cannot_be_written(site: Site) -> None:
    site.out.mkdir()
    (site.out / f"{FIRST.name}.part").mkdir()
    with pytest.raises(FetchError, match=r"(?s)cannot write.*images_batch_1\.zip"):
        site.fetch()
    assert (site.out / SECOND.name).read_bytes() == site.content[SECOND]


def test_a_folder_that_cannot_be_made(site: Site) -> None:
    site.out.write_text("a file")
    with pytest.raises(OutputError, match=f"(?s)cannot write.*{site.out}"):
        site.fetch()
    site.out.unlink()
    (site.out / f".{FIRST.name}.lock").mkdir(parents=True)
    with pytest.raises(FetchError, match=r"(?s)cannot write.*images_batch_1\.zip"):
        site.fetch()


def test_a_lock_entry_is_not_made_by_a_failed_transfer(site: Site) -> None:
    entry = LockEntry("https://host/x", len(site.content[FIRST]), None, None, "ab" * 32)
    record(site.root / "lock.json", FIRST.name, entry)
    with pytest.raises(FetchError, match="changed upstream"):
        site.fetch(lock_path=site.root / "lock.json")
    assert read_lock(site.root / "lock.json")[FIRST.name] == entry
