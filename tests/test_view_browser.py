"""What a browser shows: pixels of the live viewer and of the file that needs no server."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import EXECUTABLE, Page, open_browser
from numpy.typing import NDArray
from PIL import Image

import geogen_hf
from geogen_hf.cameras.poses import intrinsics_from_fov, look_at, project
from geogen_hf.sample import write_release
from geogen_hf.viewer.frustums import IdentityFrustums, place_pictures
from geogen_hf.viewer.page import caption
from geogen_hf.viewer.server import OVERVIEW_FOV_RAD, Viewer

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")

HOSTILE = "<img src=x onerror=document.body.id='owned'>"
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads; one has a name that would run a script if it were not escaped."""
    folder = write_release(tmp_path_factory.mktemp("view") / "parts", subjects=3, size=128)
    for path in folder.glob("*.zip"):
        renamed = path.with_suffix(".new")
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(renamed, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith(".json"):
                    content = content.replace(b"subj_00002", HOSTILE.encode())
                new.writestr(name.replace("subj_00002", HOSTILE), content)
        shutil.move(renamed, path)
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def viewer(parts: Path) -> Iterator[Viewer]:
    with geogen_hf.view(parts, port=0) as viewer:
        yield viewer


def placed(parts: Path, subject_id: str) -> IdentityFrustums:
    with geogen_hf.open_release(parts) as release:
        return place_pictures(release[subject_id])


def canvas(page: Page) -> tuple[int, int, int, int]:
    """Where the scene is in the window: left, top, width, height."""
    page.wait_until(lambda: page.evaluate("!!document.querySelector('canvas')"), "there is one")
    box = page.evaluate(
        "(() => { const b = [...document.querySelectorAll('canvas')].pop()"
        ".getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
    )
    left, top, width, height = map(int, box)
    return left, top, width, height


def orange(page: Page) -> int:
    """How many pixels have the colour of a frustum's lines, about: the renderer maps tones."""
    red, green, blue = page.picture().astype(int).transpose(2, 0, 1)
    return int(((red > 215) & (red - green > 50) & (green - blue > 60)).sum())


def difference_from(page: Page, picture: Pixels, *, head_only: bool = False) -> float:
    """Mean difference, 0..255, of the middle of the scene from a picture seen by its own camera."""
    left, top, width, height = canvas(page)
    side = round(height / 1.04)  # of a square picture: the window shows 4 % more
    x, y = left + (width - side) // 2, top + (height - side) // 2
    seen, expected = (
        np.asarray(Image.fromarray(p).resize((64, 64), Image.Resampling.BOX), np.float64)
        for p in (page.picture()[y : y + side, x : x + side], picture)
    )
    difference = np.abs(seen - expected)
    if head_only:
        difference = difference[np.abs(expected - expected[0, 0]).max(axis=-1) > 30]
    return float(difference.mean())


def facts(page: Page) -> str:
    text = page.evaluate("document.querySelector('.geogen-facts')?.innerText || ''")
    return str(text)


def test_the_live_viewer_shows_pictures_at_their_poses(
    viewer: Viewer, page: Page, parts: Path
) -> None:
    page.open(viewer.url)
    page.wait_until(lambda: "subj_00000" in facts(page), "the panel describes the identity")
    page.wait_until(lambda: orange(page) > 1500, "seven frustums are drawn")
    assert "world_to_camera opencv" in facts(page)

    # A click on the picture of a frustum looks through its camera.
    first = placed(parts, "subj_00000")
    left, top, width, height = canvas(page)
    overview = look_at(first.overview_position(), first.orbit.centre, first.orbit.up)
    across_deg = np.degrees(2 * np.arctan(np.tan(OVERVIEW_FOV_RAD / 2) * width / height))
    nearest = max(first.frustums, key=lambda f: -np.linalg.norm(
        f.position - first.overview_position()))  # fmt: skip
    share = nearest.depth / nearest.distance
    middle = nearest.position + share * (nearest.target - nearest.position)
    ((x, y),) = project(middle[None], overview, intrinsics_from_fov(across_deg, width, height))[0]
    page.click(left + x, top + y)
    page.wait_until(lambda: difference_from(page, nearest.pixels) < 6, "its picture is shown")

    # The next identity appears after a click, and is not the first one.
    page.click_text("Next")
    page.wait_until(lambda: "subj_00001" in facts(page), "the second identity is described")
    page.wait_until(lambda: viewer.subject_id == "subj_00001", "the second identity is shown")
    second = placed(parts, "subj_00001")
    page.click_text(caption(second.frustums[2]))
    page.wait_until(
        lambda: difference_from(page, second.frustums[2].pixels) < 6, "its third picture is shown"
    )
    assert difference_from(page, nearest.pixels) > 20
    page.click_text("Overview")
    page.wait_until(lambda: orange(page) > 1500, "all frustums are in sight again")
    assert page.faults == []


def test_the_html_file_needs_neither_server_nor_network(
    parts: Path, tmp_path: Path, page: Page
) -> None:
    with geogen_hf.view(parts, subjects=[HOSTILE], port=0) as viewer:
        path = viewer.save_html(tmp_path / "head.html")
    assert path.stat().st_size < 3_000_000
    page.go_offline()
    page.requested.clear()
    page.open(path.as_uri())
    page.wait_until(lambda: orange(page) > 1500, "seven frustums are drawn")
    assert HOSTILE in facts(page)
    assert page.evaluate("document.body.id") == ""

    third = placed(parts, HOSTILE).frustums[2]
    page.click_text(caption(third))
    page.wait_until(lambda: "view=2" in str(page.evaluate("location.search")), "a camera is asked")
    slider = "document.querySelector('#geogen-blend input')"
    page.wait_until(lambda: page.evaluate(f"{slider} && !{slider}.closest('[hidden]')"), "it is in")
    page.evaluate(f"{slider}.value = 1; {slider}.dispatchEvent(new Event('input'))")
    page.wait_until(lambda: difference_from(page, third.pixels) < 6, "its picture is shown")
    # Under the picture are the points of the hull, where the picture shows the head.
    page.evaluate(f"{slider}.value = 0; {slider}.dispatchEvent(new Event('input'))")
    page.wait_until(lambda: difference_from(page, third.pixels) > 6, "the picture is away")
    assert difference_from(page, third.pixels, head_only=True) < 40
    assert {url.split(":")[0] for url in page.requested} <= {"file", "data", "blob"}
    assert page.faults == []
