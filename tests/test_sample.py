"""The sample release: same bytes for the same arguments, and pictures that fit their cameras."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from warm import run

from geogen_hf.cameras.poses import look_at, pixel_centres, project, rays
from geogen_hf.errors import UsageError
from geogen_hf.sample import (
    head_of,
    nose_tip,
    render,
    render_view,
    signed_distance,
    subject_cameras,
    write_release,
)
from geogen_hf.sample.heads import HAIR_STYLES
from geogen_hf.sample.render import BACKGROUND_RGB, Views, trace
from geogen_hf.sample.shape import BOUND_CENTRE, BOUND_RADIUS

PARTS = [*(f"images_batch_{number}.zip" for number in range(1, 8)), "metadata_files.zip"]
SMALL = {"subjects": 4, "views": 7, "size": 16}
EVERY_STYLE = [f"subj_{index:05d}" for index in range(len(HAIR_STYLES))]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("small"), **SMALL)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def members_of(folder, part=None):
    """Content by member name, of one part or of all image parts."""
    found = {}
    for name in [part] if part else PARTS[:-1]:
        with zipfile.ZipFile(folder / name) as archive:
            assert archive.testzip() is None
            assert not set(archive.namelist()) & set(found)
            found.update({member: archive.read(member) for member in archive.namelist()})
    return found


def foreground(pixels):
    return (pixels != BACKGROUND_RGB).any(axis=-1)


def front_camera(subject_id, size):
    """A camera straight in front of a subject, with the subject's own intrinsics; one view."""
    _, intrinsics = subject_cameras(subject_id, size=size)
    return look_at([(0.0, -0.03, 0.68)], (0.0, -0.03, 0.0), (0.0, 1.0, 0.0)), intrinsics[:1]


# The release


def test_release_is_the_eight_parts_with_every_member(small):
    assert sorted(files_of(small)) == sorted(PARTS)
    expected = {f"subj_{i:05d}/{v}.png" for i in range(4) for v in range(7)}
    assert set(members_of(small)) == expected
    assert set(members_of(small, PARTS[-1])) == {f"metadata_{i:05d}.json" for i in range(4)}


@pytest.mark.parametrize("workers", [1, 2])
def test_same_arguments_same_bytes(small, tmp_path, workers):
    again = write_release(tmp_path, **SMALL, workers=workers)
    assert files_of(again) == files_of(small)


def test_other_seed_other_pictures_and_cameras(small, tmp_path):
    other = write_release(tmp_path, **SMALL, seed=1)
    for part in (None, PARTS[-1]):
        ours, theirs = members_of(small, part), members_of(other, part)
        assert ours.keys() == theirs.keys()
        assert all(ours[name] != theirs[name] for name in ours)


def test_a_subject_does_not_depend_on_how_many_there_are(small, tmp_path):
    fewer = members_of(write_release(tmp_path, **{**SMALL, "subjects": 2}))
    assert fewer == {name: members_of(small)[name] for name in fewer}


def test_layouts_differ_in_place_only(small, tmp_path):
    by_view = write_release(tmp_path, **SMALL, layout="by-view")
    assert members_of(by_view) == members_of(small)
    for number, part in enumerate(PARTS[:-1]):
        assert list(members_of(by_view, part)) == [f"subj_{i:05d}/{number}.png" for i in range(4)]
        subjects = {name.split("/")[0] for name in members_of(small, part)}
        assert all(f"{s}/{v}.png" in members_of(small, part) for s in subjects for v in range(7))


def test_by_subject_blocks_are_contiguous_and_ids_are_not_padded(tmp_path):
    out = write_release(tmp_path, subjects=11, views=1, size=8)
    order = [name for part in PARTS[:-1] for name in members_of(out, part)]
    assert order == [f"subj_{i:05d}/0.png" for i in range(11)]
    assert all(members_of(out, part) for part in PARTS[:-1])


@pytest.mark.parametrize("layout", ["by-subject", "by-view"])
def test_few_subjects_and_many_views(tmp_path, layout):
    out = write_release(tmp_path, subjects=1, views=9, size=8, layout=layout)
    assert set(members_of(out)) == {f"subj_00000/{v}.png" for v in range(9)}
    per_part = [len(members_of(out, part)) for part in PARTS[:-1]]
    assert per_part == ([9, 0, 0, 0, 0, 0, 0] if layout == "by-subject" else [2, 2, 1, 1, 1, 1, 1])


def test_members_carry_no_time_owner_or_platform(small):
    for part in PARTS:
        with zipfile.ZipFile(small / part) as archive:
            for member in archive.infolist():
                assert member.date_time == (1980, 1, 1, 0, 0, 0)
                assert (member.create_system, member.external_attr >> 16) == (3, 0o100644)


def test_metadata_keeps_every_digit(small):
    for index in range(4):
        record = json.loads(members_of(small, PARTS[-1])[f"metadata_{index:05d}.json"])
        extrinsics, intrinsics = subject_cameras(f"subj_{index:05d}", views=7, size=16)
        assert record.keys() == {"name", "cameras"}
        assert record["name"] == f"subj_{index:05d}"
        assert [camera.keys() for camera in record["cameras"]] == [{"extrinsics", "intrinsics"}] * 7
        assert np.array_equal([c["extrinsics"] for c in record["cameras"]], extrinsics)
        assert np.array_equal([c["intrinsics"] for c in record["cameras"]], intrinsics)


def test_render_view_is_the_picture_in_the_release(small):
    png = members_of(small)["subj_00002/5.png"]
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 16))
        assert np.array_equal(np.asarray(image), render_view("subj_00002", 5, size=16))


def test_progress_counts_every_subject(tmp_path):
    seen = []
    write_release(tmp_path, **SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_interrupted_run_leaves_the_folder_as_it_was(tmp_path):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        write_release(tmp_path, **SMALL, progress=interrupt)
    assert files_of(tmp_path) == {"notes.txt": b"mine"}
    write_release(tmp_path, **SMALL)
    complete = files_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_release(tmp_path, **SMALL, seed=5, overwrite=True, progress=interrupt)
    assert files_of(tmp_path) == complete
    assert complete["notes.txt"] == b"mine"


def run_script(path, text):
    path.write_text(text)
    return run(path)


def test_killed_run_leaves_no_half_zip(tmp_path):
    out = tmp_path / "out"
    script = (
        "import os, pathlib\n"
        "from geogen_hf.sample import write_release\n"
        f"write_release(pathlib.Path({str(out)!r}), subjects=3, views=2, size=8,\n"
        "    progress=lambda done, total: os._exit(9) if done == 2 else None)\n"
    )
    assert run_script(tmp_path / "killed.py", script).returncode == 9
    assert out.is_dir()
    assert list(out.glob("*.zip")) == []


def test_script_without_a_main_guard_is_told_the_remedy(tmp_path):
    script = (
        "import pathlib\n"
        "from geogen_hf.sample import write_release\n"
        f"write_release(pathlib.Path({str(tmp_path / 'out')!r}), subjects=2, size=8, workers=2)\n"
    )
    ended = run_script(tmp_path / "unguarded.py", script)
    assert ended.returncode == 1
    assert "workers=1" in ended.stderr
    assert files_of(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"subjects": 0}, "subjects"),
        ({"views": 0}, "views"),
        ({"views": 2.0}, "views"),
        ({"size": 7}, "size"),
        ({"size": 5000}, "size"),
        ({"seed": -1}, "seed"),
        ({"layout": "by-colour"}, "layout"),
        ({"workers": 0}, "workers"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(tmp_path, arguments, named):
    with pytest.raises(UsageError, match=named):
        write_release(tmp_path / "out", **{**SMALL, **arguments})
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="a folder"):
        write_release(tmp_path / "out", **SMALL)


# Cameras


@pytest.mark.parametrize("subject_id", EVERY_STYLE)
def test_cameras_surround_the_head(subject_id):
    extrinsics, _ = subject_cameras(subject_id, views=7)
    rotation = extrinsics[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(rotation), 1.0)
    backward = -rotation[:, 2]  # from the head towards the camera
    azimuth_deg = np.sort(np.degrees(np.arctan2(backward[:, 0], backward[:, 2])))
    gaps_deg = np.diff(np.append(azimuth_deg, azimuth_deg[0] + 360))
    assert gaps_deg.min() > 20
    assert gaps_deg.max() < 100
    elevation_deg = np.degrees(np.arcsin(backward[:, 1]))
    assert (elevation_deg > -10).all()
    assert (elevation_deg < 25).all()
    assert (rotation[:, 1, 1] < -0.9).all()  # y of the image points down


def test_phases_differ_between_subjects():
    first = [subject_cameras(subject_id)[0][0, 2, :3] for subject_id in EVERY_STYLE]
    assert len({tuple(direction.round(3)) for direction in first}) == len(first)


@pytest.mark.parametrize("size", [16, 100, 512])
def test_intrinsics_are_a_50_mm_lens_on_a_36_mm_sensor(size):
    _, intrinsics = subject_cameras("subj_00003", size=size)
    expected = [[50 / 36 * size, 0, size / 2], [0, 50 / 36 * size, size / 2], [0, 0, 1]]
    assert np.allclose(intrinsics, expected, rtol=1e-15)


def test_size_changes_no_geometry():
    assert np.array_equal(
        subject_cameras("subj_00003", size=16)[0], subject_cameras("subj_00003", size=500)[0]
    )


@pytest.mark.parametrize(
    "subject_id", ["subj_1", "subj_000001", "subj_", "3", "subj_00001 ", "subj_²²²²²"]
)
def test_unknown_forms_of_an_id_are_refused(subject_id):
    for function in (subject_cameras, head_of, lambda name: signed_distance(name, [0, 0, 0])):
        with pytest.raises(UsageError, match="subj_<5 digits>"):
            function(subject_id)


@pytest.mark.parametrize("arguments", [{"views": 0}, {"size": 0}, {"seed": -1}])
def test_impossible_cameras_are_refused(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        subject_cameras("subj_00000", **arguments)


# Geometry


@pytest.mark.parametrize("subject_id", EVERY_STYLE)
def test_distance_never_outruns_the_point(subject_id):
    rng = np.random.default_rng(3)
    first = rng.uniform(-0.45, 0.45, (20_000, 3)) + BOUND_CENTRE
    second = first + rng.normal(size=first.shape) * 10 ** rng.uniform(-4, -0.7, (20_000, 1))
    change = np.abs(signed_distance(subject_id, first) - signed_distance(subject_id, second))
    assert (change <= 1.05 * np.linalg.norm(first - second, axis=1)).all()


@pytest.mark.parametrize("subject_id", EVERY_STYLE)
def test_all_of_a_subject_lies_within_the_bound_of_the_tracer(subject_id):
    directions = np.random.default_rng(4).normal(size=(20_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shell = np.array(BOUND_CENTRE) + BOUND_RADIUS * directions
    assert signed_distance(subject_id, shell).min() > 0


def test_distance_keeps_the_shape_of_its_points():
    points = np.random.default_rng(5).uniform(-0.3, 0.3, (2, 5, 3))
    together = signed_distance("subj_00001", points)
    assert (together.shape, together.dtype) == ((2, 5), np.float64)
    assert together[1, 3] == signed_distance("subj_00001", points[1, 3])
    with pytest.raises(UsageError, match="3-D"):
        signed_distance("subj_00001", points[..., :2])


def first_crossing(subject_id, origins, directions):
    """Where rays first enter the subject, found by small steps and bisection; nan for a miss.

    Slower than sphere tracing and independent of it: it needs the sign of the distance only.
    """
    reach = np.arange(0.2, 1.2, 1e-3)
    points = origins[:, None] + reach[:, None] * directions[:, None]
    inside = signed_distance(subject_id, points) < 0
    first = inside.argmax(axis=1)
    low, high = reach[first - 1], reach[first]
    for _ in range(30):
        middle = (low + high) / 2
        within = signed_distance(subject_id, origins + middle[:, None] * directions) < 0
        low, high = np.where(within, low, middle), np.where(within, middle, high)
    return np.where(inside.any(axis=1), high, np.nan)


@pytest.mark.parametrize("subject_id", ["subj_00001", "subj_00004", "subj_00009"])
def test_pictures_show_the_surface_that_the_distance_describes(subject_id):
    size, view = 24, 2
    extrinsics, intrinsics = subject_cameras(subject_id, size=size)
    shown = foreground(render_view(subject_id, view, size=size))
    origins, directions = rays(pixel_centres(size, size), extrinsics[view], intrinsics[view])
    depth = first_crossing(subject_id, origins, directions)
    hit = np.isfinite(depth).reshape(size, size)
    assert not (hit & ~shown).any()
    # A shown pixel on the outline may be covered in part only, beside its centre.
    padded = np.pad(shown, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    inner = windows.all(axis=(2, 3))
    assert inner.sum() > 80
    assert hit[inner].all()
    surface = (origins + depth[:, None] * directions)[hit.ravel()]
    assert np.abs(signed_distance(subject_id, surface)).max() < 1e-3


def nearest_approach(subject_id, origins, directions):
    """The least distance of rays to the subject, found by ever smaller steps: independent of them.

    Negative for rays that enter.
    """
    reach = np.tile(np.arange(0.3, 1.1, 4e-3), (len(origins), 1))
    for step in (4e-3, 4e-4, 4e-5, 4e-6):
        points = origins[:, None] + reach[..., None] * directions[:, None]
        distance = signed_distance(subject_id, points)
        nearest = np.take_along_axis(reach, distance.argmin(axis=1)[:, None], axis=1)
        reach = nearest + np.linspace(-step, step, 21)
    return distance.min(axis=1)


@pytest.mark.parametrize("size", [64, 512, 2048])
def test_outlines_are_where_the_distance_says_at_any_size(size):
    subject_id, view = "subj_00007", 3
    extrinsics, intrinsics = subject_cameras(subject_id, size=size)
    shown = foreground(render_view(subject_id, view, size=64))
    row, column = np.nonzero(shown[1:] != shown[:-1])
    rng = np.random.default_rng(6)
    near = rng.uniform(-1, 1, (40, len(row), 2)) + np.stack([column + 0.5, row + 1.0], axis=-1)
    pixels = near.reshape(-1, 2) * (size / 64)
    views = Views(extrinsics[view, None], intrinsics[view, None])
    origins, directions = views.rays(np.zeros(len(pixels), dtype=np.intp), *pixels.T)
    start = np.full(len(pixels), 0.3, dtype=np.float32)
    hit = np.isfinite(trace(head_of(subject_id), origins, directions, start, views.pixel_angle))
    nearest = nearest_approach(subject_id, origins.T.astype(float), directions.T.astype(float))
    pixel_m = 0.68 / intrinsics[0, 0, 0]
    doubtful = np.abs(nearest) < 2 * pixel_m
    assert (hit & doubtful).sum() > 20 < (~hit & doubtful).sum()
    assert nearest[hit].max() < 0.05 * pixel_m
    assert nearest[~hit].min() > -0.05 * pixel_m


@pytest.mark.parametrize("subject_id", EVERY_STYLE)
def test_nose_lands_on_skin(subject_id):
    size = 96
    tip = nose_tip(head_of(subject_id))
    assert abs(signed_distance(subject_id, tip)) < 2e-3
    extrinsics, intrinsics = subject_cameras(subject_id, size=size)
    view = int(np.argmin(extrinsics[:, 2, 2]))  # the camera that looks most along -z
    pixels, _ = project(tip[None], extrinsics[view], intrinsics[view])
    column, row = np.floor(pixels[0]).astype(int)
    around = render_view(subject_id, view, size=size)[row - 1 : row + 2, column - 1 : column + 2]
    red, _, blue = around.reshape(-1, 3).mean(axis=0)
    assert red > 1.15 * blue  # warm, where the background is grey


@pytest.mark.parametrize("subject_id", EVERY_STYLE)
def test_no_outline_is_its_own_mirror_image(subject_id):
    camera = front_camera(subject_id, 64)
    outline = foreground(render(head_of(subject_id), *camera, 64)[0])
    mirrored = outline[:, ::-1]
    assert (outline & mirrored).sum() / (outline | mirrored).sum() < 0.97


@pytest.mark.parametrize("subject_id", EVERY_STYLE)
def test_framing_and_background(subject_id):
    for pixels in render(head_of(subject_id), *subject_cameras(subject_id, size=32), 32):
        shown = foreground(pixels)
        assert not shown[0].any()  # room above the hair
        assert not shown[:20, [0, -1]].any()  # and beside the head
        assert shown[-1].sum() >= 8  # the shoulders run out of the frame, as cut by its edge
        assert 0.2 < shown.mean() < 0.65
        assert len(np.unique(pixels[shown], axis=0)) > 60


def test_people_differ():
    heads = [head_of(subject_id) for subject_id in EVERY_STYLE]
    assert {head.hair_style for head in heads} == set(HAIR_STYLES)
    assert len({head.skin_rgb for head in heads}) == len(heads)
    pictures = [render(head, *front_camera("subj_00000", 32), 32)[0] for head in heads]
    outlines = {foreground(picture).tobytes() for picture in pictures}
    assert len(outlines) == len(heads)


def test_downloaded_zips_are_never_replaced(tmp_path: Path) -> None:
    write_release(tmp_path, **SMALL)
    with pytest.raises(UsageError, match=r"(?s)holds sample zips.*--overwrite"):
        write_release(tmp_path, **SMALL, seed=1)
    write_release(tmp_path, **SMALL, seed=1, overwrite=True)
    with zipfile.ZipFile(tmp_path / "images_batch_3.zip", "w") as zipped:
        zipped.writestr("0/0.png", b"downloaded")
    before = (tmp_path / "images_batch_3.zip").read_bytes()
    with pytest.raises(UsageError, match=r"found: images_batch_3\.zip"):
        write_release(tmp_path, **SMALL, overwrite=True)
    assert (tmp_path / "images_batch_3.zip").read_bytes() == before
    (tmp_path / "images_batch_3.zip").unlink()
    (tmp_path / "parts.lock.json").write_text("{}")
    with pytest.raises(UsageError, match=r"parts\.lock\.json"):
        write_release(tmp_path, **SMALL, overwrite=True)
