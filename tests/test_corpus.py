"""Every hostile input, over the commands that can meet it: right, or one message and status 1."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from corpus import (
    DOCUMENTS,
    EXPORTS,
    FIRST,
    IMAGES,
    NOTES,
    UNCHECKED,
    URLS,
    ZIPS,
    Ended,
    geogen,
    in_a_process,
    places,
)
from PIL import Image
from zips import read_zip, zip_of

from geogen_hf import open_export
from geogen_hf.errors import GeoGenError
from geogen_hf.images import LONGEST_PX
from geogen_hf.sample import subject_cameras, write_release
from geogen_hf.sample.schemas import SCHEMAS, CamerasOf
from geogen_hf.source.parts import IMAGE_PARTS, METADATA_PART

sys.path.append(str(Path(__file__).parents[1]))  # last: the installed package is what is tested
from benchmarks.fuzz import TARGETS, fuzz

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="links and limits of POSIX"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three heads of 16 px, two views each: as little as all commands take."""
    out = tmp_path_factory.mktemp("sound") / "parts"
    return write_release(out, subjects=3, views=2, size=16)


@pytest.fixture(scope="module")
def exported(sound: Path) -> Path:
    folder = sound.parent / "geogen"
    assert geogen("export", sound, folder, *UNCHECKED).status == 0
    return folder


@pytest.fixture
def parts(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "in" / "parts"))


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """The only folder that commands may write to."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out", "cache", "downloads"}


def ends(*arguments: object, report: bool = False) -> Ended:
    """Run a command that is right, or ends with one message (or its report) and status 1."""
    ended = geogen(*arguments)
    if ended.status == 0:
        return ended
    assert ended.status == 1, (arguments, ended)
    if not (report and ended.stdout):
        assert ended.stderr.startswith("error: "), (arguments, ended)
        assert ended.stderr.count("error: ") == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    assert len(ended.stderr) < 20_000
    return ended


def fails(*arguments: object) -> Ended:
    ended = ends(*arguments)
    assert ended.status == 1, (arguments, ended)
    return ended


def rezip(folder: Path, name: str, change: dict[str, bytes]) -> None:
    """Write a zip anew with other contents of some members."""
    zip_of(folder / name, read_zip(folder / name) | change)


@pytest.mark.parametrize("name", ZIPS)
def test_zips(name: str, parts: Path, out: Path) -> None:
    ZIPS[name](parts)
    inspected = ends("inspect", parts, *UNCHECKED, report=True)
    exported = ends("export", parts, out / "geogen", *UNCHECKED)
    converted = ends("convert", parts, out / "scenes", "--to", "nerfstudio", *UNCHECKED)
    assert inspected.status == exported.status == converted.status
    ends("view", parts, "--html", out / "a.html", *UNCHECKED)
    ends("push", parts, "me/x", "--raw", "--dry-run")
    ends("sample", parts, "--subjects", 1, "--views", 1, "--size", 8)


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str, parts: Path, out: Path) -> None:
    member, png = next(iter(read_zip(parts / FIRST).items()))
    rezip(parts, FIRST, {member: IMAGES[name](png)})
    ends("inspect", parts, *UNCHECKED, report=True)
    converted = ends("convert", parts, out / "scenes", "--to", "co3d", *UNCHECKED)
    exported = ends("export", parts, out / "geogen", *UNCHECKED)
    for ended in (converted, exported):
        assert ended.status == 1 or name == "long"
        assert "subj_00000" in ended.stderr or ended.status == 0
    drawn = ends("preview", parts, "--out", out / "a.png", *UNCHECKED)
    shown = ends("view", parts, "--subject", "subj_00000", "--html", out / "a.html", *UNCHECKED)
    assert drawn.status == shown.status


def test_an_image_too_long_for_webp(parts: Path, out: Path) -> None:
    member, png = next(iter(read_zip(parts / FIRST).items()))
    rezip(parts, FIRST, {member: IMAGES["long"](png)})
    ended = fails("export", parts, out / "geogen", "--image-format", "webp", *UNCHECKED)
    assert "subj_00000" in ended.stderr


@pytest.mark.parametrize("name", DOCUMENTS)
def test_metadata(name: str, parts: Path, out: Path) -> None:
    documents = read_zip(parts / METADATA_PART.name)
    for changed in (list(documents)[:1], list(documents)):
        rezip(parts, METADATA_PART.name, dict.fromkeys(changed, DOCUMENTS[name]))
        assert ends("inspect", parts, *UNCHECKED, report=True).status == 1
        fails("convert", parts, out / "scenes", "--to", "eg3d", *UNCHECKED)
    fails("view", parts, "--html", out / "a.html", *UNCHECKED)
    assert not any(out.iterdir())


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("ending", ["toml", "json"])
def test_camera_schemas(name: str, ending: str, sound: Path, tmp_path: Path) -> None:
    schema = tmp_path / f"schema.{ending}"
    schema.write_bytes(DOCUMENTS[name])
    ends("inspect", sound, "--camera-schema", schema, *UNCHECKED, report=True)


EXPORTED_AGAIN = (
    "rows are a number", "deep JSON", "YAML infinity", "CSV with NUL", "sums are not UTF-8",
    "hollow Parquet", "NaN",
)  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_exports(name: str, exported: Path, sound: Path, tmp_path: Path, out: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "in"))
    EXPORTS[name](folder)
    assert ends("verify", folder, report=True).status == 1
    assert ends("verify", folder, "--quick", report=True).status == 1
    fails("push", folder, "me/x", "--dry-run")
    ends("convert", folder, out / "scenes", "--to", "nerfstudio")
    ends("view", folder, "--html", out / "a.html")
    with suppress(GeoGenError), open_export(folder) as export:
        for subject_id in export:
            export[subject_id]
    if name in EXPORTED_AGAIN:  # which takes a second: it is refused, or all is written again
        again = ends("export", sound, folder, *UNCHECKED)
        refused = "no export" in again.stderr or "another export" in again.stderr
        assert refused if again.status else ends("verify", folder).status == 0


@pytest.mark.parametrize("name", NOTES)
def test_notes_on_downloads(name: str, sound: Path, out: Path) -> None:
    part = METADATA_PART.name
    get = ("download", out, "--base-url", sound.as_uri(), "--part", METADATA_PART.number)
    (out / f"{part}.part").write_bytes(b"PK\3\4 and more")
    url = f"{sound.as_uri()}/{part}".encode()
    (out / f"{part}.part.json").write_bytes(NOTES[name].replace(b"URL", url))
    assert ends(*get).status == 0
    assert (out / part).read_bytes() == (sound / part).read_bytes()
    (out / "parts.lock.json").write_bytes(NOTES[name])
    assert "lock file" in fails(*get).stderr
    assert "lock file" in fails("push", *_with_lock(sound, out), "--raw", "--dry-run").stderr


def _with_lock(sound: Path, out: Path) -> tuple[Path, str]:
    for zipped in sound.glob("*.zip"):
        shutil.copy(zipped, out)
    return out, "me/x"


def test_places_that_hold_nothing(tmp_path: Path, out: Path) -> None:
    (tmp_path / "in").mkdir()
    for place in (*places(tmp_path / "in").values(), "~nosuchuser/x", *URLS):
        fails("inspect", place)
        fails("verify", place)
        fails("download", out / "parts", "--base-url", place)
    for place in (tmp_path / "in" / "circle", *URLS[:3]):
        fails("export", place, out / "geogen")
        fails("preview", place, "--out", out / "a.png")
        fails("convert", place, out / "scenes", "--to", "eg3d")
        fails("view", place, "--html", out / "a.html")
        fails("push", place, "me/x", "--dry-run")
        fails("push", place, "me/x", "--dry-run", "--raw")
    assert {path.name for path in out.iterdir()} <= {"parts"}


def test_places_that_cannot_be_written(sound: Path, tmp_path: Path) -> None:
    wrong = places(tmp_path)
    before = sorted(tmp_path.iterdir())
    for place in wrong.values():
        fails("export", sound, place, *UNCHECKED)
        fails("convert", sound, place, "--to", "eg3d", *UNCHECKED)
        fails("download", place, "--base-url", sound.as_uri(), "--part", 8)
        fails("sample", place, "--subjects", 1, "--views", 1, "--size", 8)
        fails("demo", place, "--subjects", 1, "--size", 16)
        below = f"{place}/a"
        fails("preview", sound, "--out", f"{below}.png", *UNCHECKED)
        fails("view", sound, "--html", f"{below}.html", *UNCHECKED)
        fails("inspect", sound, "--picture", f"{below}.png", *UNCHECKED)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures with /proc")
def test_the_largest_images_fit_into_half_a_gigabyte(tmp_path: Path) -> None:
    """With alpha, which takes most memory, and of several subjects, so that threads meet."""
    large = BytesIO()
    Image.new("RGBA", (LONGEST_PX, LONGEST_PX)).save(large, "PNG", compress_level=1)
    parts = write_release(tmp_path / "parts", subjects=4, views=2, size=LONGEST_PX // 64)
    for part in IMAGE_PARTS:
        rezip(parts, part.name, dict.fromkeys(read_zip(parts / part.name), large.getvalue()))
    names = [f"subj_{number:05}" for number in range(4)]
    cameras = [CamerasOf(n, *subject_cameras(n, views=2, size=LONGEST_PX), 9) for n in names]
    rezip(parts, METADATA_PART.name, dict(SCHEMAS["list"].members(iter(cameras), None)))
    for command, status in (
        (("export", parts, tmp_path / "geogen", *UNCHECKED), 0),
        (("verify", tmp_path / "geogen"), 1),  # one picture is in several splits
        (
            ("convert", parts, tmp_path / "out", "--to", "co3d", "--subject", names[0], *UNCHECKED),
            0,
        ),
    ):
        found = in_a_process([command])
        assert found["ended"][0]["status"] == status, found
        assert found["peak_mb"] < 500, command


# Root needs no permissions, unless it drops the capabilities that say so.
UNWRITABLE = {
    "Permission denied": "setpriv --bounding-set=-dac_override,-dac_read_search",
    "Read-only file system": 'unshare --map-root-user --mount sh -c \'mount --bind "$0" "$0" && '
    'mount -o remount,ro,bind "$0" && exec "$@"\' FOLDER',
}


@pytest.mark.parametrize("fault", UNWRITABLE)
def test_folders_that_cannot_be_written(
    fault: str, sound: Path, exported: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "denied"
    shutil.copytree(exported, folder / "geogen")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "cache").symlink_to(folder)
    prefix = shlex.split(UNWRITABLE[fault].replace("FOLDER", shlex.quote(str(folder))))
    if fault == "Permission denied" and os.geteuid() != 0:
        prefix = []
    elif shutil.which(prefix[0]) is None or subprocess.call([*prefix, "true"]):
        pytest.skip(f"{prefix[0]} is not possible here")
    commands = (
        ("export", sound, folder / "new", *UNCHECKED),
        ("export", sound, folder / "geogen", "--overwrite", *UNCHECKED),
        ("convert", exported, folder / "new", "--to", "eg3d"),
        ("download", folder, "--base-url", sound.as_uri()),
        ("sample", folder / "new", "--subjects", 1, "--views", 1, "--size", 8),
        ("demo", folder / "new", "--subjects", 1, "--size", 16),
        ("demo", tmp_path / "demo", "--subjects", 1, "--size", 16),
        ("preview", exported, "--out", folder / "a.png"),
        ("view", exported, "--html", folder / "a.html"),
    )
    paths = sorted(path for path in folder.rglob("*") if path.is_dir())
    for path in (folder, *paths):
        path.chmod(0o555)
    try:
        found = in_a_process(commands, prefix)["ended"]
    finally:
        for path in (folder, *paths):
            path.chmod(0o755)
    for command, ended in zip(commands, found, strict=True):
        assert ended["status"] == 1, command
        assert ended["stderr"].startswith("error: "), (command, ended)
        assert fault in ended["stderr"]
    assert {path.name for path in folder.iterdir()} == {"geogen"}
    assert ends("verify", folder / "geogen").status == 0


def test_names_that_are_not_utf8(sound: Path, exported: Path, tmp_path: Path) -> None:
    """pyarrow and `datasets` open none, so none is begun."""
    place = os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9mo")
    for command in (
        ("demo", place),
        ("sample", place),
        ("export", sound, place, *UNCHECKED),
        ("convert", exported, place, "--to", "eg3d"),
        ("download", place, "--base-url", sound.as_uri()),
        ("inspect", place),
        ("verify", place),
    ):
        assert "not the name of a file or folder" in fails(*command).stderr
    assert not any(tmp_path.iterdir())


def test_devices_are_not_replaced(sound: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "a.html"
    os.mkfifo(fifo)
    assert "not a file" in fails("view", sound, "--html", fifo, *UNCHECKED).stderr
    assert fifo.is_fifo()


@pytest.mark.parametrize("limit", [0, 100])
def test_files_that_may_not_grow(limit: int, sound: Path, exported: Path, tmp_path: Path) -> None:
    """As on a full disk: EFBIG where ENOSPC would come."""
    commands = (
        ("export", sound, tmp_path / "geogen", *UNCHECKED),
        ("convert", exported, tmp_path / "colmap", "--to", "colmap"),
        ("download", tmp_path / "parts", "--base-url", sound.as_uri()),
        ("sample", tmp_path / "sample", "--subjects", 1, "--size", 16),
        ("demo", tmp_path / "demo", "--subjects", 1, "--size", 16),
        ("preview", sound, "--out", tmp_path / "a.png", *UNCHECKED),
        ("view", sound, "--html", tmp_path / "a.html", *UNCHECKED),
    )
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for command in commands:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            ended = fails(*command)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert "File too large" in ended.stderr
    left = [path.name for path in tmp_path.rglob(".*") if path.is_file()]
    assert [name for name in left if not name.endswith(".lock")] == []
    for command in commands[:3]:
        assert ends(*command).status == 0


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_of_the_fuzzer(target: str, tmp_path: Path) -> None:
    count, failures = fuzz(target, tmp_path, 60, seed=1, inputs=40 if target == "export" else 150)
    assert (count > 0, failures) == (True, [])
