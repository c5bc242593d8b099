"""The viewer: geometry, server and command. What a browser shows is in `test_view_browser`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from warm import GEOGEN, Child

import geogen_hf
from geogen_hf.cameras.poses import invert_rigid, unproject
from geogen_hf.cli import app
from geogen_hf.errors import UsageError
from geogen_hf.release.release import Identity, UnknownSubjectError
from geogen_hf.sample import write_release
from geogen_hf.viewer.frustums import place_pictures
from geogen_hf.viewer.page import facts_table
from geogen_hf.viewer.server import open_place

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("view"), subjects=4, size=16)


@pytest.fixture(scope="module")
def identity(parts: Path) -> Identity:
    with geogen_hf.open_release(parts) as release:
        return release["subj_00003"]


def test_pictures_stand_where_their_cameras_project_them(identity: Identity) -> None:
    intrinsics = identity.intrinsics.copy()
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = 20.0, 30.0  # fx, fy of a picture of 16 x 16
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = 5.0, 9.0
    placed = place_pictures(replace(identity, intrinsics=intrinsics))
    corners_px = np.array([[0, 0], [16, 0], [16, 16], [0, 16]], dtype=np.float64)
    for frustum in placed.frustums:
        camera_to_world = invert_rigid(frustum.world_to_camera)
        drawn = frustum.corners() @ camera_to_world[:3, :3].T + frustum.position
        depth = np.full(4, frustum.depth)
        expected = unproject(corners_px, depth, frustum.world_to_camera, frustum.intrinsics)
        np.testing.assert_allclose(drawn, expected, atol=1e-12)
    assert {frustum.view_id for frustum in placed.frustums} == set(identity.view_ids)


def test_a_window_shows_the_whole_picture(identity: Identity) -> None:
    intrinsics = identity.intrinsics.copy()
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = 20.0, 40.0
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = 4.0, 6.0
    (frustum, *_) = place_pictures(replace(identity, intrinsics=intrinsics)).frustums
    # At depth 1 it reaches from -0.2 to 0.6 across and from -0.15 to 0.25 down.
    wide, tall = (np.tan(frustum.fov_rad(aspect) / 2) for aspect in (10.0, 0.5))
    assert 0.25 < wide < 0.27
    assert 1.2 < tall < 1.3


def test_names_from_outside_are_escaped(identity: Identity) -> None:
    placed = place_pictures(replace(identity, subject_id=HOSTILE))
    html = facts_table(placed, [HOSTILE, HOSTILE])
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") == 3


def test_nothing_heavy_is_imported_before_the_viewer_is_asked_for() -> None:
    program = "import sys, geogen_hf.viewer.server, geogen_hf.cli; print('viser' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.stdout == "False\n", run.stderr


def test_a_port_in_use_is_refused_unless_no_port_was_named(parts: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on port {port}"):
            geogen_hf.view(parts, port=port)
    with pytest.raises(UsageError, match="cannot listen"):
        geogen_hf.view(parts, host="192.0.2.1")  # an address of documentation, nobody's
    with pytest.raises(UsageError, match="no such port"):
        geogen_hf.view(parts, port=65_536)


def test_the_viewer_is_reached_from_this_machine_only(parts: Path) -> None:
    with geogen_hf.view(parts, subjects=["subj_00002"], port=0) as viewer:
        assert viewer.subject_id == "subj_00002"
        assert f'src="{viewer.url}"' in viewer._repr_html_()
        port = int(viewer.url.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):  # bound to 0.0.0.0, it would answer
            socket.create_connection(("127.0.0.2", port), timeout=5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_an_exported_folder_is_opened_and_says_how_its_cameras_were_read(
    parts: Path, tmp_path: Path
) -> None:
    export = geogen_hf.export_release(parts, tmp_path / "geogen", workers=1).folder
    identities, (head, stored, *_) = open_place(export)
    shown = place_pictures(identities["subj_00001"])
    assert len(shown.frustums) == 7
    assert head == "camera convention: world_to_camera opencv, as exported"
    assert stored == "In the release: world_to_camera opencv, proven."
    (export / "provenance.json").write_text('{"source": {"cameras": []}}')
    _, (_, instead) = open_place(export)
    assert "does not say" in instead


def test_an_unknown_identity_is_refused(parts: Path) -> None:
    with pytest.raises(UnknownSubjectError, match="subj_99999"):
        geogen_hf.view(parts, subjects=["subj_99999"], port=0)


def test_ctrl_c_ends_the_command_cleanly(parts: Path) -> None:
    process = Child(*GEOGEN, "view", parts, "--port", 0)
    while not process.stdout.endswith("\n"):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    ended = process.finish(timeout=20)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ .*\nstopped\n", ended.stdout)


def test_html_holds_one_identity(parts: Path, tmp_path: Path) -> None:
    arguments = ("--html", tmp_path / "x.html", "--subject", "subj_00001", "--subject", "subj_2")
    run = CliRunner().invoke(app, ["view", str(parts), *map(str, arguments)])
    assert isinstance(run.exception, UsageError)
    assert "--html writes one identity" in str(run.exception)
    assert list(tmp_path.iterdir()) == []
