"""Every layout read back by other means than it was written with."""

from __future__ import annotations

import functools
import gzip
import io
import json
import math
import os
import re
import signal
import textwrap
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import typer
from conftest import ReleaseMaker, digests
from numpy.typing import NDArray
from origin_server import OriginServer
from typer.testing import CliRunner
from warm import Child

from geogen_hf.cameras.poses import project
from geogen_hf.cli.convert import convert as convert_command
from geogen_hf.errors import (
    ArchiveError,
    CameraError,
    GeoGenError,
    PartsError,
    ReleaseError,
    UsageError,
)
from geogen_hf.export.folder import export_release
from geogen_hf.export.options import ExportOptions
from geogen_hf.formats import FormatName, driver
from geogen_hf.formats.driver import FORMATS
from geogen_hf.formats.layout import check_folder_names, hold_out
from geogen_hf.release import release as access
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import read_release
from geogen_hf.release.shards import split_of
from geogen_hf.sample import head_of, nose_tip, subject_cameras
from geogen_hf.sample.schemas import SCHEMAS, CamerasOf
from geogen_hf.source.parts import ALL_PARTS, METADATA_PART, locate_parts

Array = NDArray[np.float64]
ALL: list[FormatName] = list(FORMATS)
NAMES = [f"subj_{index:05}" for index in range(5)]
VIEWS = 5


NAMED = CameraOptions("world_to_camera opencv unchecked")
"""Releases here are too small, or too strange, to prove their convention."""
convert = functools.partial(driver.convert, cameras=NAMED)
open_release = functools.partial(access.open_release, cameras=NAMED)


def size_of(file: Path) -> tuple[int, int]:
    with PIL.Image.open(file) as image:
        return image.size


def odd_lenses(count: int, width: int, height: int) -> Array:
    """Another lens for each view, fx != fy, off-centre."""
    lenses = np.tile(np.eye(3), (count, 1, 1))
    view = np.arange(count)
    lenses[:, 0, 0], lenses[:, 1, 1] = (1.31 + 0.02 * view) * width, (1.57 - 0.03 * view) * height
    lenses[:, 0, 2], lenses[:, 1, 2] = (0.41 + 0.01 * view) * width, (0.58 - 0.01 * view) * height
    return lenses


def plain_lenses(count: int, width: int, height: int) -> Array:
    """One lens, as the format of NeRF-synthetic knows it."""
    focal = 1.37 * width
    return np.tile([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], (count, 1, 1))


Lenses = Callable[[int, int, int], Array]


def write_parts(folder: Path, width: int, height: int, lenses: Lenses) -> Path:
    """A release of the sample's poses with lenses and images of one's own."""
    folder.mkdir()
    rng = np.random.default_rng(7)
    cameras = []
    for part in ALL_PARTS:
        zipfile.ZipFile(folder / part.name, "w").close()
    for index, name in enumerate(NAMES):
        extrinsics = subject_cameras(name, views=VIEWS)[0]
        cameras.append(CamerasOf(name, extrinsics, lenses(VIEWS, width, height), width))
        with zipfile.ZipFile(folder / ALL_PARTS[index].name, "a") as zipped:
            for view in range(VIEWS):
                png = io.BytesIO()
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                PIL.Image.fromarray(pixels).save(png, "PNG")
                zipped.writestr(f"{name}/{view}.png", png.getvalue())
    with zipfile.ZipFile(folder / METADATA_PART.name, "a") as zipped:
        for member, text in SCHEMAS["list"].members(cameras):
            zipped.writestr(member, text)
    return folder


def odd_sources(root: Path) -> dict[FormatName, Path]:
    """For each format, as odd a release as it can hold."""
    wide = write_parts(root / "wide", 48, 32, odd_lenses)
    square = write_parts(root / "square", 40, 40, odd_lenses)
    plain = write_parts(root / "plain", 48, 32, plain_lenses)
    return {"eg3d": square, "nerfstudio": wide, "blender": plain, "colmap": wide, "co3d": wide}


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, Path]:
    return odd_sources(tmp_path_factory.mktemp("odd"))


@dataclass(frozen=True)
class Frame:
    """One image as a reader finds it: its file, and the reader's own projection."""

    file: Path
    project: Callable[[Array], Array]


Frames = dict[tuple[str, int], Frame]


def through_inverse(camera_to_world: Any, points: Array) -> Array:
    """Points in the camera's own frame, by solving instead of transposing."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    return np.asarray(np.linalg.solve(np.array(camera_to_world), homogeneous.T).T[:, :3])


def read_eg3d(out: Path) -> Frames:
    """`ImageFolderDataset` for names and labels, `RaySampler` for the rays.

    There, a ray of uv in [0, 1] goes through ((u - cx) / fx, (v - cy) / fy, 1) of the camera.
    """
    walked = [
        os.path.relpath(Path(root, name), out) for root, _, names in os.walk(out) for name in names
    ]
    PIL.Image.init()
    images = sorted(n for n in walked if Path(n).suffix.lower() in PIL.Image.EXTENSION)
    labels = dict(json.loads((out / "dataset.json").read_text())["labels"])
    assert set(labels) == set(images)
    assert all(re.fullmatch(r"([0-9]{5})/img\1[0-9]{3}\.png", name) for name in images)
    origins = json.loads((out / "images.json").read_text())["images"]
    assert sorted(name for name, _, _ in origins) == images

    def frame(name: str) -> Frame:
        label = np.array(labels[name])
        assert label.shape == (25,)
        pose, lens = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
        size = np.array(size_of(out / name))

        def pixels(points: Array) -> Array:
            x, y, z = through_inverse(pose, points).T
            uv = np.stack([lens[0, 0] * x / z + lens[0, 2], lens[1, 1] * y / z + lens[1, 2]], 1)
            return np.asarray(uv * size)

        return Frame(out / name, pixels)

    return {(subject_id, view): frame(name) for name, subject_id, view in origins}


def opengl_pixels(
    pose: Any, fx: float, fy: float, cx: float, cy: float
) -> Callable[[Array], Array]:
    """nerfstudio and NeRF send the ray of pixel x, y along ((x - cx) / fx, -(y - cy) / fy, -1)."""

    def pixels(points: Array) -> Array:
        x, y, z = through_inverse(pose, points).T
        assert (z < 0).all()
        return np.stack([cx + fx * x / -z, cy - fy * y / -z], axis=1)

    return pixels


def scene_folders(out: Path) -> list[Path]:
    return sorted(path for path in out.iterdir() if path.is_dir())


def read_nerfstudio(out: Path) -> Frames:
    frames: Frames = {}
    for folder in scene_folders(out):
        meta = json.loads((folder / "transforms.json").read_text())
        assert meta["camera_model"] == "OPENCV"
        # As nerfstudio does: what stands at the top overrules the frames.
        top = {k: v for k, v in meta.items() if k in {"fl_x", "fl_y", "cx", "cy", "w", "h"}}
        assert len(top) in (0, 6)
        lists = [meta[f"{part}_filenames"] for part in ("train", "val", "test")]
        assert sorted(name for names in lists for name in names) == sorted(
            f["file_path"] for f in meta["frames"]
        )
        assert [len(names) for names in lists] == [VIEWS - 2, 1, 1]
        for f in ({**frame, **top} for frame in meta["frames"]):
            file = folder / f["file_path"]
            assert size_of(file) == (f["w"], f["h"])
            pixels = opengl_pixels(f["transform_matrix"], f["fl_x"], f["fl_y"], f["cx"], f["cy"])
            frames[folder.name, int(file.stem)] = Frame(file, pixels)
    return frames


def read_blender(out: Path) -> Frames:
    """`load_blender_data`: the size from the image, the focal length from the angle."""
    frames: Frames = {}
    for folder in scene_folders(out):
        for part, count in (("train", VIEWS - 2), ("val", 1), ("test", 1)):
            meta = json.loads((folder / f"transforms_{part}.json").read_text())
            assert len(meta["frames"]) == count
            for f in meta["frames"]:
                file = folder / (f["file_path"] + ".png")
                width, height = size_of(file)
                focal = 0.5 * width / math.tan(0.5 * float(meta["camera_angle_x"]))
                pixels = opengl_pixels(
                    f["transform_matrix"], focal, focal, width * 0.5, height * 0.5
                )
                frames[folder.name, int(file.stem)] = Frame(file, pixels)
    return frames


def read_colmap(out: Path) -> Frames:
    """As `read_write_model.py` of COLMAP reads text, two lines an image."""
    frames: Frames = {}
    for folder in scene_folders(out):
        model = folder / "sparse" / "0"
        cameras = {}
        for line in (model / "cameras.txt").read_text().splitlines():
            if not line.startswith("#"):
                camera_id, kind, *numbers = line.split()
                assert kind == "PINHOLE"
                cameras[camera_id] = list(map(float, numbers))
        lines = [li for li in (model / "images.txt").read_text().splitlines() if li[:1] != "#"]
        assert len(lines) == 2 * VIEWS
        for line in lines[::2]:
            _, *pose, camera_id, name = line.split()
            file = folder / "images" / name
            width, height, *lens = cameras[camera_id]
            assert size_of(file) == (width, height)
            pixels = colmap_pixels(np.array(list(map(float, pose))), *lens)
            frames[folder.name, int(file.stem)] = Frame(file, pixels)
    return frames


def colmap_pixels(
    pose: Array, fx: float, fy: float, cx: float, cy: float
) -> Callable[[Array], Array]:
    (w, *axis), translation = pose[:4], pose[4:]

    def pixels(points: Array) -> Array:
        # Rotation by a unit quaternion without its matrix: p + 2 w (a x p) + 2 a x (a x p).
        once = np.cross(axis, points)
        x, y, z = (points + 2 * w * once + 2 * np.cross(axis, once) + translation).T
        return np.stack([fx * x / z + cx, fy * y / z + cy], axis=1)

    return pixels


def read_co3d(out: Path) -> Frames:
    """implicitron's `JsonIndexDataset`, and the "Cameras" page of PyTorch3D for NDC."""
    with gzip.open(out / "head" / "frame_annotations.jgz") as file:
        annotations = json.loads(file.read())
    frames: Frames = {}
    for a in annotations:
        view, (height, width) = a["viewpoint"], a["image"]["size"]
        assert view["intrinsics_format"] == "ndc_isotropic"
        file = out / a["image"]["path"]
        assert size_of(file) == (width, height)
        frames[a["sequence_name"], a["frame_number"]] = Frame(
            file, co3d_pixels(view, width, height)
        )
    return frames


def co3d_pixels(view: dict[str, Any], width: int, height: int) -> Callable[[Array], Array]:
    def pixels(points: Array) -> Array:
        x, y, z = (points @ np.array(view["R"]) + np.array(view["T"])).T
        ndc = np.stack([x / z, y / z], axis=1) * view["focal_length"] + view["principal_point"]
        # +1 of NDC is left and up; the shorter side spans [-1, 1].
        return np.asarray(np.array([width, height]) / 2 - ndc * min(width, height) / 2)

    return pixels


READERS: dict[FormatName, Callable[[Path], Frames]] = {
    "eg3d": read_eg3d,
    "nerfstudio": read_nerfstudio,
    "blender": read_blender,
    "colmap": read_colmap,
    "co3d": read_co3d,
}


def known_points(subject_id: str) -> Array:
    """The tip of the nose, and points about the head."""
    around = np.random.default_rng(3).uniform(-0.12, 0.12, (20, 3))
    return np.concatenate([nose_tip(head_of(subject_id, 0))[None], around])


@pytest.mark.parametrize("to", ALL)
def test_known_points_land_on_the_same_pixels(
    to: FormatName, sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    convert(str(sources[to]), tmp_path / "out", to)
    frames = READERS[to](tmp_path / "out")
    with open_release(sources[to]) as release:
        assert set(frames) == {(name, view) for name in NAMES for view in range(VIEWS)}
        for (name, view), frame in frames.items():
            identity = release[name]
            points = known_points(name)
            expected, depth = project(points, identity.extrinsics[view], identity.intrinsics[view])
            assert (depth > 0).all()
            np.testing.assert_allclose(frame.project(points), expected, atol=1e-3, rtol=0)
            assert frame.file.read_bytes() == identity.images[view]


def test_3dgs_reads_all_but_the_principal_point(
    sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    """`colmap_loader.py` splits lines at blanks; `getProjectionMatrix` knows two angles only."""
    convert(str(sources["colmap"]), tmp_path, "colmap", subjects=[NAMES[0]])
    model = tmp_path / NAMES[0] / "sparse" / "0"
    lines = {
        file.stem: [li.split() for li in file.read_text().splitlines() if li[:1] != "#"]
        for file in model.iterdir()
    }
    assert len(lines["points3D"]) >= 1000
    for _, *xyz, red, green, blue, _ in (line[:8] for line in lines["points3D"]):
        assert np.isfinite(list(map(float, xyz))).all()
        assert min(int(red), int(green), int(blue)) >= 0
    cameras = {line[0]: list(map(float, line[2:])) for line in lines["cameras"]}
    with open_release(sources["colmap"]) as release:
        identity = release[NAMES[0]]
    images = [line for line in lines["images"] if line and line[-1].endswith(".png")]
    assert len(images) == VIEWS
    for _, *pose, camera_id, name in images:
        view = int(name.split(".")[0])
        width, height, fx, fy, cx, cy = cameras[camera_id]
        angles = 2 * math.atan(width / (2 * fx)), 2 * math.atan(height / (2 * fy))
        per_depth = np.tan(np.array(angles) / 2)
        seen = colmap_pixels(np.array(list(map(float, pose))), 1, 1, 0, 0)
        points = known_points(NAMES[0])
        pixels = (seen(points) / per_depth + 1) * [width / 2, height / 2]
        expected, _ = project(points, identity.extrinsics[view], identity.intrinsics[view])
        ignored = [cx - width / 2, cy - height / 2]
        np.testing.assert_allclose(pixels + ignored, expected, atol=1e-3, rtol=0)


def test_pycolmap_reads_and_projects_the_same(
    sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    import pycolmap

    convert(str(sources["colmap"]), tmp_path / "out", "colmap")
    with open_release(sources["colmap"]) as release:
        for name in NAMES:
            model = pycolmap.Reconstruction(str(tmp_path / "out" / name / "sparse" / "0"))
            assert len(model.images) == VIEWS
            assert len(model.cameras) == VIEWS  # a lens of its own for each view
            for image in model.images.values():
                view = int(Path(image.name).stem)
                camera = release[name].extrinsics[view], release[name].intrinsics[view]
                points = known_points(name)
                found = np.array([image.project_point(point) for point in points])
                np.testing.assert_allclose(found, project(points, *camera)[0], atol=1e-3)


def test_equal_lenses_are_one_colmap_camera(by_subject: Path, tmp_path: Path) -> None:
    convert(str(by_subject), tmp_path, "colmap", subjects=["subj_00003"])
    text = (tmp_path / "subj_00003" / "sparse" / "0" / "cameras.txt").read_text()
    assert sum(line.startswith("1 PINHOLE 48 48 ") for line in text.splitlines()) == 1
    assert len(text.splitlines()) == 2


def test_co3d_set_lists_are_the_splits(by_subject: Path, tmp_path: Path) -> None:
    convert(str(by_subject), tmp_path, "co3d")
    (subset,) = json.loads((tmp_path / "category_to_subset_name_list.json").read_text())["head"]
    lists = json.loads((tmp_path / "head" / "set_lists" / f"set_lists_{subset}.json").read_text())
    with gzip.open(tmp_path / "head" / "frame_annotations.jgz") as file:
        frames = json.loads(file.read())
    with gzip.open(tmp_path / "head" / "sequence_annotations.jgz") as file:
        sequences = json.loads(file.read())
    for name in ("frame", "sequence"):
        packed = (tmp_path / "head" / f"{name}_annotations.jgz").read_bytes()
        assert packed[3:8] == bytes(5)  # RFC 1952: no file name, no time
    of_frame = {tuple(line): part for part, lines in lists.items() for line in lines}
    assert len(of_frame) == len(frames) == 7 * len(sequences) == 280
    assert {s["category"] for s in sequences} == {"head"}
    for frame in frames:
        name = frame["sequence_name"]
        part = of_frame[name, frame["frame_number"], frame["image"]["path"]]
        assert part == split_of(name).replace("validation", "val")


@pytest.mark.parametrize("holdout", [None, 1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_view_is_for_something(count: int, holdout: int | None) -> None:
    lists = hold_out(count, holdout)
    held = {*lists["val"], *lists["test"]}
    assert all(lists.values())  # readers fail on an empty list
    assert {*lists["train"], *held} == set(range(count))
    if holdout is None or holdout >= count:
        assert lists["train"] == lists["test"] == tuple(range(count))
    else:
        assert held == set(range(count - holdout, count))
        assert held.isdisjoint(lists["train"])


NOT_BLENDERS: dict[str, tuple[Any, float]] = {
    "off-centre": ((3, 0, 2), 24.01),
    "flat pixels": ((slice(None), 1, 1), 1.371 * 48),
    "zooming": ((4, [0, 1], [0, 1]), 1.38 * 48),
    "skewed": ((2, 0, 1), 0.01),
}
"""Where in the plain lenses another number stands."""


def parts_with(change: str, folder: Path) -> str:
    def lenses(count: int, width: int, height: int) -> Array:
        matrices = plain_lenses(count, width, height)
        place, number = NOT_BLENDERS[change]
        matrices[place] = number
        return matrices

    return str(write_parts(folder, 48, 32, lenses))


@pytest.mark.parametrize("change", NOT_BLENDERS)
def test_blender_refuses_what_it_cannot_hold(change: str, tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"subj_00000: the blender layout(.|\n)*nerfstudio"):
        convert(parts_with(change, tmp_path / "parts"), tmp_path / "out", "blender")
    assert not (tmp_path / "out" / "subj_00000").exists()
    assert not (tmp_path / "out" / "convert.json").exists()


@pytest.mark.parametrize("to", ["nerfstudio", "colmap", "co3d"])
def test_skew_is_refused(to: FormatName, tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"subj_00000: .*skew"):
        convert(parts_with("skewed", tmp_path / "parts"), tmp_path / "out", to)


def test_eg3d_refuses_images_that_are_not_square(
    sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    with pytest.raises(CameraError, match=r"square(.|\n)*48 x 32"):
        convert(str(sources["colmap"]), tmp_path / "out", "eg3d")


@pytest.fixture(scope="session")
def exported(by_subject: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "geogen"
    release = read_release(locate_parts(by_subject))
    options = ExportOptions(("cameras", "sequences"))
    export_release(release, folder, options, split_seed=5, workers=1)
    return folder


@pytest.mark.parametrize("to", ["eg3d", "nerfstudio", "co3d"])
def test_an_export_converts_as_its_parts_do(
    to: FormatName, exported: Path, by_subject: Path, tmp_path: Path
) -> None:
    """The same images, splits and, up to float32, the same cameras."""
    chosen = ["subj_00002", "subj_00031", "subj_00007", "subj_00008", "subj_00017"]
    one = convert(str(by_subject), tmp_path / "parts", to, subjects=chosen, split_seed=5)
    two = convert(str(exported), tmp_path / "export", to, subjects=chosen)
    assert (one.subjects, one.images) == (two.subjects, two.images) == (5, 35)
    images = [
        {name: digest for name, digest in digests(tmp_path / side).items() if name.endswith(".png")}
        for side in ("parts", "export")
    ]
    assert images[0] == images[1]
    if to == "eg3d":
        before, after = (
            dict(json.loads((tmp_path / side / "dataset.json").read_text())["labels"])
            for side in ("parts", "export")
        )
        assert before.keys() == after.keys()
        for name, label in before.items():
            np.testing.assert_allclose(after[name], label, atol=1e-6)
    if to == "co3d":
        before, after = (
            json.loads((tmp_path / side / "head/set_lists/set_lists_geogen.json").read_text())
            for side in ("parts", "export")
        )
        assert {k: sorted(v) for k, v in before.items()} == {k: sorted(v) for k, v in after.items()}
        assert sum(map(bool, before.values())) > 1


def test_a_transcoded_export_keeps_its_bytes(by_subject: Path, tmp_path: Path) -> None:
    release = read_release(locate_parts(by_subject))
    options = ExportOptions(("sequences",), image_format="webp", image_size=12)
    export_release(release, tmp_path / "webp", options, workers=1)
    one = ["subj_00004"]
    convert(str(tmp_path / "webp"), tmp_path / "out", "nerfstudio", subjects=one)
    meta = json.loads((tmp_path / "out" / one[0] / "transforms.json").read_text())
    with PIL.Image.open(tmp_path / "out" / one[0] / meta["frames"][2]["file_path"]) as image:
        assert (image.format, image.size) == ("WEBP", (12, 12))
    assert meta["cx"] == 6
    with pytest.raises(CameraError, match=r"PNG files(.|\n)*0\.webp"):
        convert(str(tmp_path / "webp"), tmp_path / "refused", "blender", subjects=one)


def test_exports_that_do_not_serve_are_refused(
    exported: Path, by_subject: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="has its splits already"):
        convert(str(exported), tmp_path / "out", "eg3d", split_seed=1)
    release = read_release(locate_parts(by_subject))
    folder = tmp_path / "views"
    export_release(release, folder, ExportOptions(("cameras",)), workers=1)
    with pytest.raises(PartsError, match="sequences"):
        convert(str(folder), tmp_path / "out", "eg3d")
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(PartsError, match="not a complete export"):
        convert(str(folder), tmp_path / "out", "eg3d")
    assert not (tmp_path / "out").exists()


def test_a_release_behind_a_url(by_subject: Path, tmp_path: Path) -> None:
    with OriginServer(by_subject) as server:
        convert(server.url, tmp_path / "remote", "eg3d", splits=["validation"])
    convert(str(by_subject), tmp_path / "local", "eg3d", splits=["validation"])
    assert digests(tmp_path / "remote") == digests(tmp_path / "local")


def test_splits_and_subjects_are_chosen(by_subject: Path, tmp_path: Path) -> None:
    done = convert(str(by_subject), tmp_path / "out", "eg3d", splits=["test", "validation"])
    found = {name for name, _ in read_eg3d(tmp_path / "out")}
    names = {f"subj_{index:05}" for index in range(40)}
    assert found == {name for name in names if split_of(name) != "train"}
    assert done.subjects == done.written == len(found)
    for arguments, complaint in (
        ({"splits": ["testing"]}, "(?s)no split 'testing'.*did you mean 'test'"),
        ({"subjects": ["subj_1"]}, "(?s)no subject 'subj_1'.*did you mean 'subj_000"),
        ({"subjects": [min(found)], "splits": ["train"]}, "no subject to convert"),
    ):
        with pytest.raises(GeoGenError, match=complaint):
            convert(str(by_subject), tmp_path / "none", "eg3d", **arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown format"):
        convert(str(by_subject), tmp_path / "none", "obj")  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("to", ["eg3d", "colmap"])
def test_damaged_images_stop_or_are_left_out(
    to: FormatName, maker: ReleaseMaker, tmp_path: Path
) -> None:
    """One is no image; the other is one, and decoding alone shows that it is damaged."""
    zipped, member = maker.first_image()
    whole = maker.zips[zipped][member]
    other = next(iter(maker.zips[ALL_PARTS[1].name]))
    left_out = {name.split("/")[0] for name in (member, other)}
    maker.zips[zipped][member] = whole[:33] + whole[-12:]
    maker.zips[ALL_PARTS[1].name][other] = b"no image"
    source = str(maker.write())
    place = rf"{zipped}: '{member}'.*, subject {member.split('/')[0]}, view 0"
    with pytest.raises(ArchiveError, match=place):
        convert(source, tmp_path / "out", to)
    done = convert(source, tmp_path / "out", to, on_bad_subject="skip")
    assert (done.subjects, done.images) == (5, 35)
    if to == "eg3d":
        found = {name for name, _ in read_eg3d(tmp_path / "out")}
    else:
        found = {folder.name for folder in scene_folders(tmp_path / "out")}
    assert len(found) == 5
    assert not left_out & found
    *_, named = (word for word in done.train.split() if str(tmp_path) in word)
    assert Path(named.split("=")[-1]).is_dir()


def test_nothing_is_left_to_convert(maker: ReleaseMaker, tmp_path: Path) -> None:
    for members in maker.zips.values():
        members |= {name: b"no image" for name in members if name.endswith(".png")}
    with pytest.raises(ReleaseError, match="no subject could be converted"):
        convert(str(maker.write()), tmp_path / "out", "eg3d", on_bad_subject="skip")


CONVERT_SLOWLY = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import functools
    from geogen_hf.formats import driver
    from geogen_hf.release.convention import CameraOptions
    convert = functools.partial(
        driver.convert, cameras=CameraOptions("world_to_camera opencv"))

    def progress(done, total):
        print(done, flush=True)
        while sys.argv[4:] and not Path(sys.argv[4]).exists():
            time.sleep(0.01)
        time.sleep(0.002)

    convert(sys.argv[1], Path(sys.argv[2]), sys.argv[3], progress=progress)
    """
)


def kill_after(subjects: int, source: Path, out: Path, to: str) -> None:
    """Convert in a process of its own, and kill it in the midst of one identity or another."""
    process = Child("-c", CONVERT_SLOWLY, source, out, to)
    wait_for_lines(process, subjects)
    process.kill()
    assert process.finish().returncode == -signal.SIGKILL


def wait_for_lines(process: Child, count: int) -> None:
    while len(process.stdout.splitlines()) < count:
        assert process.poll() is None
        time.sleep(0.001)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("to", ["eg3d", "co3d"])
def test_killed_conversions_continue_to_the_same_bytes(
    to: FormatName, by_subject: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kill_after(2, by_subject, out, to)
    assert not (out / "convert.json").exists()
    home = out / FORMATS[to].home
    whole = {path for path in scene_folders(home) if path.name != ".convert"}
    assert whole
    times = {path: path.stat().st_mtime_ns for path in whole}
    kill_after(7, by_subject, out, to)
    done = convert(str(by_subject), out, to)
    assert 0 < done.written <= 40 - 2 - 7
    assert done.subjects == 40
    assert {path: path.stat().st_mtime_ns for path in whole} == times
    convert(str(by_subject), tmp_path / "undisturbed", to)
    assert digests(out) == digests(tmp_path / "undisturbed")
    assert convert(str(by_subject), out, to).written == 0


class Stop(Exception):
    pass


def stop_after(subjects: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == subjects:
            raise Stop

    return progress


def test_what_a_killed_run_may_leave_does_no_harm(tiny: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "out", str(tiny)
    with pytest.raises(Stop):
        convert(source, out, "nerfstudio", progress=stop_after(4))
    first, second, *_ = (path for path in scene_folders(out) if path.name != ".convert")
    (first / "images" / "0.png").rename(first / "images" / "half.png")
    (out / ".convert" / "records" / f"{first.name}.json").unlink()  # in place, not recorded
    (second / "transforms.json").unlink()
    second.rename(out / ".convert" / "gone")  # recorded, not in place
    for name in ("subj_00006", first.name):  # in the midst of being written
        (out / ".convert" / "work" / name / "images").mkdir(parents=True)
        (out / ".convert" / "work" / name / "images" / "half.png").write_bytes(b"half")
    assert convert(source, out, "nerfstudio").written == 7 - 2
    convert(source, tmp_path / "undisturbed", "nerfstudio")
    assert digests(out) == digests(tmp_path / "undisturbed")


def test_two_processes_do_not_write_to_one_folder(tiny: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    process = Child("-c", CONVERT_SLOWLY, tiny, tmp_path / "out", "eg3d", go_on)
    wait_for_lines(process, 1)
    for to in ("eg3d", "colmap"):
        with pytest.raises(ReleaseError, match="another process"):
            convert(str(tiny), tmp_path / "out", to, overwrite=True)
    go_on.touch()
    assert process.finish().returncode == 0
    convert(str(tiny), tmp_path / "alone", "eg3d")
    assert digests(tmp_path / "out") == digests(tmp_path / "alone")


@pytest.mark.parametrize("finished", [False, True])
def test_another_conversion_is_not_mixed_in(
    finished: bool, tiny: Path, sources: dict[FormatName, Path], tmp_path: Path
) -> None:
    out, source = tmp_path / "out", str(tiny)
    if finished:
        convert(source, out, "eg3d")
    else:
        with pytest.raises(Stop):
            convert(source, out, "eg3d", progress=stop_after(3))
    before = digests(out)
    for source_, to, arguments, named in (
        (sources["eg3d"], "eg3d", {}, "source"),
        (tiny, "colmap", {}, "format"),
        (tiny, "eg3d", {"splits": ["train"]}, "subjects"),
    ):
        with pytest.raises(ReleaseError, match=f"another conversion(.|\n)*in .*{named}"):
            convert(str(source_), out, to, **arguments)  # type: ignore[arg-type]
    assert digests(out) == before
    with pytest.raises(Stop):
        convert(source, out, "colmap", overwrite=True, progress=stop_after(2))
    convert(source, out, "colmap", overwrite=True)
    convert(source, tmp_path / "anew", "colmap")
    assert digests(out) == digests(tmp_path / "anew")


def test_strangers_files_are_left_alone(by_subject: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ReleaseError, match="holds no conversion"):
            convert(str(by_subject), tmp_path, "eg3d", overwrite=overwrite)
        with pytest.raises(UsageError, match="not a folder"):
            convert(str(by_subject), tmp_path / "thesis.tex", "eg3d", overwrite=overwrite)
        with pytest.raises(UsageError, match="source is in the folder"):
            convert(str(by_subject), by_subject.parent, "eg3d", overwrite=overwrite)
    assert list(digests(tmp_path)) == ["thesis.tex"]


@pytest.mark.parametrize(
    "names",
    [[".."], ["a/b"], ["a\\b"], [""], [".convert"], ["a."], ["a" * 121], ["A", "a"],
     ["Convert.json"], ["a\n"], ["C:"], ["ä"]],
)  # fmt: skip
def test_names_that_are_no_folders_are_refused(names: list[str]) -> None:
    check_folder_names(["subj_1", "subj_10", "head-2.b"], {"convert.json"})
    with pytest.raises(ReleaseError, match="cannot be names of folders"):
        check_folder_names(names, {"convert.json"})


def test_an_index_is_not_overwritten_by_a_subject_of_its_name(
    maker: ReleaseMaker, tmp_path: Path
) -> None:
    name = "ATTRIBUTION.md"
    for part, members in maker.zips.items():
        maker.zips[part] = {
            member.replace("subj_00000/", f"{name}/"): content.replace(
                b'"subj_00000"', f'"{name}"'.encode()
            )
            if member.endswith(".json")
            else content
            for member, content in members.items()
        }
    parts = str(maker.write())
    with pytest.raises(ReleaseError, match=r"'ATTRIBUTION\.md'"):
        convert(parts, tmp_path / "out", "nerfstudio")
    convert(parts, tmp_path / "out", "eg3d")  # whose folders have numbers for names
    assert (name, 0) in read_eg3d(tmp_path / "out")


@pytest.fixture
def command() -> Callable[..., Any]:
    app = typer.Typer()
    app.command()(convert_command)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command(command: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    run = command(tiny, tmp_path / "out", "--to", "colmap", "--split", "test",
                  "--split", "train", "--subject", "subj_00000")  # fmt: skip
    assert run.exit_code == 0, run.output
    assert f"1 subjects, 7 images for colmap: {tmp_path / 'out'}" in run.output
    assert "to train on it: python examples/simple_trainer.py" in run.output
    assert "Research Use of Data Agreement" in (tmp_path / "out" / "ATTRIBUTION.md").read_text()
    for held, found in (("none", 7), ("3", 4)):
        out = tmp_path / held
        run = command(tiny, out, "--to", "nerfstudio", "--subject", "subj_00000",
                      "--holdout", held)  # fmt: skip
        assert run.exit_code == 0, run.output
        meta = json.loads((out / "subj_00000" / "transforms.json").read_text())
        assert len(meta["train_filenames"]) == found
    assert command(tiny, tmp_path / "x", "--to", "colmap", "--holdout", "x").exit_code == 2
    refused = command(tiny, tmp_path / "out", "--to", "co3d")
    assert isinstance(refused.exception, GeoGenError)
    assert command(tiny, tmp_path / "out", "--to", "co3d", "--overwrite").exit_code == 0
    assert command(tiny, tmp_path / "out", "--to", "gltf").exit_code == 2
