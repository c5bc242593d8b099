"""`geogen download` and `geogen inspect URL` against a real server."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from conftest import ReleaseMaker
from origin_server import Faults, OriginServer
from warm import GEOGEN, Child, geogen

from geogen_hf.source.parts import ALL_PARTS


def same_files(one: Path, other: Path) -> bool:
    return all(
        (one / part.name).read_bytes() == (other / part.name).read_bytes() for part in ALL_PARTS
    )


def test_download_gives_the_parts_and_a_lock_file(maker: ReleaseMaker, tmp_path: Path) -> None:
    source, out = maker.write(), tmp_path / "out"
    with OriginServer(source) as origin:
        run = geogen("download", out, "--base-url", origin.url)
        assert run.returncode == 0, run.stderr
        assert run.stderr == ""
        assert same_files(source, out)
        assert "parts.lock.json" in run.stdout
        sent = origin.bytes_sent
        assert geogen("download", out, "--base-url", origin.url, "--locked").returncode == 0
        assert origin.bytes_sent == sent


def test_single_parts(maker: ReleaseMaker, tmp_path: Path) -> None:
    with OriginServer(maker.write()) as origin:
        out = tmp_path / "out"
        run = geogen("download", out, "--base-url", origin.url, "--part", 2, "--part", 8)
        assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in out.glob("*.zip")) == [
        "images_batch_2.zip",
        "metadata_files.zip",
    ]


def test_a_missing_part_is_named_and_the_others_are_kept(
    maker: ReleaseMaker, tmp_path: Path
) -> None:
    source, out = maker.write(), tmp_path / "out"
    with OriginServer(source) as origin:
        (source / "images_batch_4.zip").rename(source / "elsewhere")
        run = geogen("download", out, "--base-url", origin.url)
        assert run.returncode == 1
        assert "Traceback" not in run.stderr
        assert f"{origin.url}/images_batch_4.zip" in run.stderr
        assert "7 of 8 parts" in run.stderr
        (source / "elsewhere").rename(source / "images_batch_4.zip")
        assert geogen("download", out, "--base-url", origin.url).returncode == 0
    assert same_files(source, out)


def test_a_part_that_changed_upstream_is_refused(maker: ReleaseMaker, tmp_path: Path) -> None:
    source, out = maker.write(), tmp_path / "out"
    with OriginServer(source) as origin:
        assert geogen("download", out, "--base-url", origin.url).returncode == 0
        (out / "images_batch_1.zip").unlink()
        maker.zips["images_batch_1.zip"]["subj_00000/0.png"] += b" "
        maker.write()
        run = geogen("download", out, "--base-url", origin.url)
        assert run.returncode == 1
        assert "changed upstream" in run.stderr
        run = geogen("download", out, "--base-url", origin.url, "--accept-changes")
        assert run.returncode == 0, run.stderr
    assert same_files(source, out)


def test_ctrl_c_ends_quietly_and_the_same_command_goes_on(
    maker: ReleaseMaker, tmp_path: Path
) -> None:
    source, out = maker.write(), tmp_path / "out"
    with OriginServer(source) as origin:
        origin.faults["images_batch_1.zip"] = Faults(trickle_s=0.2, piece=64)
        process = Child(*GEOGEN, "download", out, "--base-url", origin.url)
        deadline = time.monotonic() + 30
        while len(list(out.glob("*.zip"))) < 7 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        ended = process.finish()
        assert ended.returncode == 130
        assert "Traceback" not in ended.stderr
        assert "run the same command again" in ended.stderr
        origin.faults.clear()
        assert geogen("download", out, "--base-url", origin.url).returncode == 0
    assert same_files(source, out)


def test_inspect_reads_remote_parts_without_fetching_them(
    maker: ReleaseMaker, by_subject: Path
) -> None:
    named = ("--camera-convention", "world_to_camera opencv")
    local = json.loads(geogen("inspect", by_subject, "--json", *named).stdout)
    with OriginServer(by_subject) as origin:
        remote = json.loads(geogen("inspect", origin.url, "--json", *named).stdout)
    for key in ("subjects", "images", "views_per_subject", "splits", "problems"):
        assert remote[key] == local[key]
    assert remote["headers_read"] < local["headers_read"] == 280
