"""What a conversion derives: masks, points on the hull, moved worlds, mirrored copies."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import test_convert as reading
from numpy.typing import NDArray

from geogen_hf.cameras.hull import hull_surface
from geogen_hf.cameras.poses import camera_centre, project
from geogen_hf.cameras.silhouettes import foreground
from geogen_hf.errors import UsageError
from geogen_hf.formats import FormatName, driver
from geogen_hf.formats.driver import FORMATS
from geogen_hf.release.convention import CameraOptions
from geogen_hf.sample import head_of, render_view, signed_distance, subject_cameras, write_release
from geogen_hf.sample.render import Views, trace

Array = NDArray[np.float64]
SIZE = 128
SUBJECT = "subj_00002"
convert = functools.partial(driver.convert, cameras=CameraOptions("world_to_camera opencv"))


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three subjects, one of them for testing, large enough to have outlines."""
    out = tmp_path_factory.mktemp("heads")
    return str(write_release(out, subjects=3, size=SIZE, workers=1))


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, Path]:
    return reading.odd_sources(tmp_path_factory.mktemp("odd"))


def pictures(subject_id: str, size: int) -> list[NDArray[np.uint8]]:
    return [render_view(subject_id, view, size=size) for view in range(7)]


@pytest.mark.parametrize(("subject_id", "view"), [("subj_00009", 2), ("subj_00001", 1)])
def test_masks_agree_with_the_exact_geometry(subject_id: str, view: int) -> None:
    """Both show background through a gap in the hair."""
    size = 512
    extrinsics, intrinsics = subject_cameras(subject_id, size=size)
    views = Views(extrinsics[view, None], intrinsics[view, None])
    row, column = (axis.ravel() + 0.5 for axis in np.indices((size, size)))
    rays = views.rays(np.zeros(size * size, dtype=np.intp), column, row)
    start = np.full(size * size, 0.3, dtype=np.float32)
    exact = np.isfinite(trace(head_of(subject_id), *rays, start, views.pixel_angle))
    found = foreground(render_view(subject_id, view, size=size))
    mask = found.mask.ravel()
    assert found.doubt is None
    assert (mask & exact).sum() / (mask | exact).sum() >= 0.995
    assert ((found.alpha > 0) & (found.alpha < 255)).sum() > 500  # smooth outlines


def test_a_picture_without_an_even_background_is_doubted() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    empty = np.full((64, 64, 3), 213, dtype=np.uint8)
    pale = empty.copy()
    pale[20:, 12:52] = 206
    for picture, reason in ((noise, "not even"), (empty, "foreground would be"), (pale, "light")):
        assert reason in str(foreground(picture).doubt)


def test_the_hull_holds_the_head_and_its_points_are_what_pixels_show() -> None:
    size = 256
    shown, cameras = pictures(SUBJECT, size), subject_cameras(SUBJECT, size=size)
    masks = [foreground(picture).mask for picture in shown]
    found = hull_surface(shown, masks, *cameras, count=3000)
    again = hull_surface(shown, masks, *cameras, count=3000)
    assert np.array_equal(found.xyz, again.xyz)
    assert len(found.xyz) == 3000
    distance = signed_distance(SUBJECT, found.xyz)
    assert distance.min() > -0.006  # a pixel is 1.9 mm here
    assert np.median(distance) < 0.0023  # 1 % of a head of 23 cm
    for view in range(7):
        seen = found.view == view
        assert seen.sum() > 100
        pixels, depth = project(found.xyz[seen], cameras[0][view], cameras[1][view])
        assert (depth > 0).all()
        np.testing.assert_allclose(pixels, found.pixel[seen], atol=1e-3)
        column, row = np.floor(pixels).astype(int).T
        assert np.array_equal(shown[view][row, column], found.rgb[seen])


def test_pycolmap_reads_points_that_project_to_their_observations(
    heads: str, tmp_path: Path
) -> None:
    import pycolmap

    convert(heads, tmp_path / "out", "colmap", subjects=[SUBJECT])
    model = pycolmap.Reconstruction(str(tmp_path / "out" / SUBJECT / "sparse" / "0"))
    assert len(model.points3D) > 2000
    for image in model.images.values():
        seen = [point for point in image.points2D if point.has_point3D()]
        assert len(seen) > 100
        for point in seen[::50]:
            projected = image.project_point(model.points3D[point.point3D_id].xyz)
            np.testing.assert_allclose(projected, point.xy, atol=1e-3)
    lists = {
        part: (tmp_path / "out" / SUBJECT / f"{part}_list.txt").read_text().split()
        for part in ("train", "val", "test")
    }
    assert lists == {"train": [f"{v}.png" for v in range(5)], "val": ["5.png"], "test": ["6.png"]}


@pytest.mark.parametrize("to", list(FORMATS))
def test_centred_cameras_see_moved_points_on_the_same_pixels(
    to: FormatName, sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    convert(str(sources[to]), tmp_path / "out", to, centre=True)
    frames = reading.READERS[to](tmp_path / "out")
    with reading.open_release(sources[to]) as release:
        for (name, view), frame in frames.items():
            home = frame.file.parents[1 if FORMATS[to].images else 0]
            moved = json.loads((home / "derived.json").read_text())["similarity"]
            rotation = np.array(moved["rotation"])
            points = reading.known_points(name)
            there = moved["scale"] * points @ rotation.T + moved["translation"]
            identity = release[name]
            expected, _ = project(points, identity.extrinsics[view], identity.intrinsics[view])
            np.testing.assert_allclose(frame.project(there), expected, atol=1e-3, rtol=0)
            eyes = camera_centre(identity.extrinsics)
            away = np.linalg.norm(moved["scale"] * eyes @ rotation.T + moved["translation"], axis=1)
            assert np.median(away) == pytest.approx(FORMATS[to].radius)
            np.testing.assert_allclose(rotation @ [0, 1, 0], FORMATS[to].up, atol=1e-12)


def test_blender_images_carry_masks_as_alpha(heads: str, tmp_path: Path) -> None:
    convert(heads, tmp_path / "out", "blender", subjects=[SUBJECT], masks=True, holdout=1)
    folder = tmp_path / "out" / SUBJECT
    for view, picture in enumerate(pictures(SUBJECT, SIZE)):
        with PIL.Image.open(folder / "images" / f"{view}.png") as image:
            assert image.mode == "RGBA"
            assert "derived" in image.info["Description"]
            pixels = np.asarray(image)
        assert np.array_equal(pixels[..., :3], picture)
        assert np.array_equal(pixels[..., 3], foreground(picture).alpha)
    frames = {
        part: [f["file_path"] for f in json.loads(path.read_text())["frames"]]
        for part in ("train", "val", "test")
        if (path := folder / f"transforms_{part}.json")
    }
    assert len(frames["train"]) == 6
    assert frames["val"] == frames["test"] == ["./images/6"]


def test_nerfstudio_names_a_mask_for_every_image_or_none(heads: str, tmp_path: Path) -> None:
    for masks in (True, False):
        out = tmp_path / str(masks)
        convert(heads, out, "nerfstudio", subjects=[SUBJECT], masks=masks, holdout=None)
        meta = json.loads((out / SUBJECT / "transforms.json").read_text())
        assert len(meta["train_filenames"]) == len(meta["val_filenames"]) == 7
        named = [frame["mask_path"] for frame in meta["frames"] if "mask_path" in frame]
        assert len(named) == (7 if masks else 0)
        for name in named:
            with PIL.Image.open(out / SUBJECT / name) as image:
                assert (image.mode, image.size) == ("L", (SIZE, SIZE))


def test_co3d_holds_what_implicitron_demands(heads: str, tmp_path: Path) -> None:
    """`remove_empty_masks` wants a mass above 1, evaluation batches frames of the set `test`."""
    convert(heads, tmp_path, "co3d", split_seed=7)
    home = tmp_path / "head"
    with gzip.open(home / "frame_annotations.jgz") as file:
        frames: list[dict[str, Any]] = json.loads(file.read())
    lists = json.loads((home / "set_lists" / "set_lists_geogen.json").read_text())
    batches = json.loads((home / "eval_batches" / "eval_batches_geogen.json").read_text())
    kinds = {(f["sequence_name"], f["frame_number"]): f["meta"]["frame_type"] for f in frames}
    assert len(kinds) == 21
    for frame in frames:
        with PIL.Image.open(tmp_path / frame["mask"]["path"]) as image:
            alpha = np.asarray(image) / 255.0
        assert frame["mask"]["mass"] == pytest.approx(alpha.sum())
        left, top, width, height = map(int, frame["mask"]["bounding_box_xywh"])
        inside = np.zeros(alpha.shape, dtype=bool)
        inside[top : top + height, left : left + width] = True
        assert alpha[~inside].max(initial=0) < 0.51
        assert alpha[inside].mean() > 0.3
    assert len(batches) == 2 * len(lists["test"]) // 7
    for target, *known in batches:
        assert [target, *known] == [line for line in [target, *known] if line in lists["test"]]
        assert kinds[target[0], target[1]] == "test_unseen"
        assert {kinds[line[0], line[1]] for line in known} == {"test_known"}
        assert len(known) == 5


def test_eg3d_takes_mirrored_copies_at_its_own_sizes(
    sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    done = convert(str(sources["eg3d"]), tmp_path / "out", "eg3d", mirrored=True, image_size=128)
    assert done.images == 2 * 5 * reading.VIEWS
    labels = dict(json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"])
    points = reading.known_points(reading.NAMES[0])
    for view in range(reading.VIEWS):
        names = [f"00000/img0000000{view}{suffix}.png" for suffix in ("", "_mirror")]
        seen = []
        for name, world in zip(names, (points, points * [-1, 1, 1]), strict=True):
            label = np.array(labels[name])
            x, y, z = reading.through_inverse(label[:16].reshape(4, 4), world).T
            k = label[16:].reshape(3, 3)
            seen.append(np.stack([k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]], axis=1))
        np.testing.assert_allclose(seen[1], [1, 0] + seen[0] * [-1, 1], atol=1e-5)
        plain, flipped = (np.asarray(PIL.Image.open(tmp_path / "out" / name)) for name in names)
        assert plain.shape == (128, 128, 3)
        assert np.array_equal(plain[:, ::-1], flipped)


def test_options_that_cannot_work_are_refused(heads: str, tmp_path: Path) -> None:
    for to, arguments, complaint in (
        ("eg3d", {"masks": True}, "no masks"),
        ("nerfstudio", {"mirrored": True}, "no mirrored"),
        ("blender", {"radius": 4.0}, "radius"),
        ("blender", {"centre": True, "radius": -1.0}, "radius"),
        ("blender", {"holdout": 0}, "holdout"),
        ("eg3d", {"image_size": 1}, "image_size"),
    ):
        with pytest.raises(UsageError, match=complaint):
            convert(heads, tmp_path / "out", to, **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_what_a_tool_will_refuse_is_said_once(
    heads: str,
    sources: dict[FormatName, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    convert(str(sources["colmap"]), tmp_path / "odd", "colmap")
    convert(heads, tmp_path / "blender", "blender")
    text = caplog.text
    assert text.count("3DGS") == 1
    assert text.count("--masks writes RGBA") == 1
    assert text.count("--centre moves them") == 1
