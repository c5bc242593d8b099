"""The viewer: `python -m benchmarks.view`. Needs Chromium and nginx.

Each is measured beside what somebody would write without this package, on the same images of 512
px: a page of plain viser with seven camera frustums, `zipfile` over fsspec, and viser's own export
of the scene. Medians of alternating runs; the load of the machine is printed with them.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import viser
from PIL import Image

from benchmarks.link import open_link
from benchmarks.origin import BYTES_PER_S, NAMES, ROUND_TRIP_S, nginx
from benchmarks.releases import big_release
from geogen_hf import open_release, view
from geogen_hf.cameras import camera_centre
from geogen_hf.cameras.conventions import quaternion_from_rotation
from geogen_hf.release.release import Identities
from geogen_hf.viewer.frustums import IdentityFrustums, place_pictures
from geogen_hf.viewer.server import open_place
from tests.chromium import Page, open_browser

SUBJECTS, RUNS = 20, 7
ORANGE = (230, 126, 34)


def on_screen(page: Page, url: str) -> tuple[float, float]:
    """Seconds from the request of a page to the lines of the frustums: all of it, and since load.

    Taking a picture of the window is part of both; it takes a software renderer 0.1 s and more.
    """
    started = time.perf_counter()
    page.open(url)
    loaded = time.perf_counter()
    page.wait_until(lambda: _orange(page) > 1000, "the frustums are drawn", seconds=60)
    now = time.perf_counter()
    page.open("about:blank")
    return now - started, now - loaded


def _orange(page: Page) -> int:
    red, green, blue = page.picture().astype(int).transpose(2, 0, 1)
    return int(((red > 215) & (red - green > 50) & (green - blue > 60)).sum())


def plain_viser(shown: IdentityFrustums) -> Any:
    """The seven frustums as viser's examples draw them, seen from the same place."""
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host="127.0.0.1", port=8790, verbose=False)
    for frustum in shown.frustums:
        width, height = frustum.size_wh
        server.scene.add_camera_frustum(
            f"/camera_{frustum.view_id}",
            fov=2 * np.arctan2(height / 2, frustum.intrinsics[1, 1]),
            aspect=width / height,
            scale=frustum.depth,
            color=ORANGE,
            image=frustum.pixels,
            wxyz=quaternion_from_rotation(frustum.world_to_camera[:3, :3].T, "wxyz"),
            position=camera_centre(frustum.world_to_camera),
        )
    server.initial_camera.position = tuple(shown.overview_position())
    server.initial_camera.look_at = tuple(shown.orbit.centre)
    server.initial_camera.up = tuple(shown.orbit.up)
    return server


def _stop(server: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def first_on_screen(parts: Path) -> None:
    """Print the seconds to the first identity on screen."""
    with open_release(parts) as release:
        shown = place_pictures(next(iter(release.values())))
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    plain = plain_viser(shown)
    with (
        tempfile.TemporaryDirectory() as profile,
        open_browser(Path(profile)) as page,
        view(parts, port=0) as viewer,
    ):
        for _ in range(RUNS):
            theirs.append(on_screen(page, f"http://127.0.0.1:{plain.get_port()}"))
            ours.append(on_screen(page, viewer.url))
    _stop(plain)
    for name, runs in (("geogen view", ours), ("plain viser", theirs)):
        whole, since_load = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{name:22}{whole:8.2f} s from the request, {since_load:.2f} s from the page's load")


def remote_identity(parts: Path) -> None:
    """Print the seconds to read and place one identity over a link of 20 ms."""
    with (
        nginx({"parts": parts}) as port,
        open_link(port, round_trip_s=ROUND_TRIP_S, bytes_per_s=BYTES_PER_S) as link,
    ):
        url = f"{link.url}/parts"
        started = time.perf_counter()
        with open_place(url)[0] as identities:
            print(f"listed and proven     {time.perf_counter() - started:8.2f} s, once a release")
            names = list(identities)[1 : 1 + RUNS]
            before = link.traffic()
            ours = [_timed(_ours, identities, name) for name in names]
            requests = (link.traffic() - before).requests / RUNS
        theirs = [_timed(_by_zipfile, url, name) for name in names]
    print(f"an identity by http    {statistics.median(ours):8.2f} s, {requests:.1f} requests")
    print(f"zipfile over fsspec    {statistics.median(theirs):8.2f} s")


def _ours(identities: Identities, name: str) -> None:
    place_pictures(identities[name])


def _by_zipfile(url: str, name: str) -> None:
    for part in NAMES[:-1]:
        with fsspec.open(f"{url}/{part}") as file, zipfile.ZipFile(file) as zipped:
            for member in zipped.namelist():
                if member.startswith(f"{name}/"):
                    Image.open(io.BytesIO(zipped.read(member))).convert("RGB")


def html_size(parts: Path) -> None:
    """Print the size of an identity as one HTML file."""
    with tempfile.TemporaryDirectory() as folder, view(parts, port=0) as viewer:
        ours = viewer.save_html(Path(folder, "x.html")).stat().st_size
    with open_release(parts) as release:
        plain = plain_viser(place_pictures(next(iter(release.values()))))
    theirs = len(plain.scene.as_html().encode())
    _stop(plain)
    print(f"one HTML file          {ours / 1e6:8.2f} MB; plain viser {theirs / 1e6:.2f} MB")


def _timed(action: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - started


def main() -> None:
    parts = big_release(SUBJECTS)
    for measure in (first_on_screen, remote_identity, html_size):
        measure(parts)
        print(f"                       load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
