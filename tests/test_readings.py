"""Metadata that can be read in several ways: the images decide, or nobody does."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrangements import ARRANGEMENTS, HELD_OUT, SEVEN, documents
from arrangements import SIZE as OWN_SIZE
from arrangements import heads as heads_of
from PIL import Image
from test_arrangements import REMEDIED
from zips import read_zip, zip_of

from geogen_hf.errors import CameraError, MetadataError
from geogen_hf.export.folder import export_release
from geogen_hf.metadata.keys import DoubtError
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import Release, read_release
from geogen_hf.release.shards import Shard, read_images
from geogen_hf.sample import head_of, subject_cameras, write_release
from geogen_hf.sample.render import render
from geogen_hf.source.parts import ALL_PARTS, METADATA_PART, locate_parts

pytestmark = pytest.mark.slow

SIZE, SUBJECTS = 48, 3
# Of these the images see too little.
LEFT_OPEN = {"f in mm alone", "K of somebody else", "fx fy of larger images"}
Cameras = list[tuple[np.ndarray, np.ndarray]]  # (7, 4, 4) and (7, 3, 3) of each subject


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("heads"), subjects=SUBJECTS, size=SIZE)


@pytest.fixture(scope="module")
def cameras() -> Cameras:
    return [subject_cameras(f"subj_{row:05d}", size=SIZE) for row in range(SUBJECTS)]


def with_metadata(heads: Path, folder: Path, value: object) -> Path:
    """The same images with one document for all."""
    folder.mkdir()
    for part in ALL_PARTS[:-1]:
        (folder / part.name).symlink_to(heads / part.name)
    zip_of(folder / METADATA_PART.name, {"all.json": json.dumps(value)})
    return folder


def opened(folder: Path, options: CameraOptions | None = None) -> Release:
    return read_release(locate_parts(folder), options)


def by_name(cameras: Cameras, view: Callable[[int, int], dict[str, Any]]) -> dict[str, Any]:
    return {
        f"subj_{row:05d}": [
            {"w2c": e[v].tolist(), "K": k[v].tolist(), **view(row, v)} for v in range(len(e))
        ]
        for row, (e, k) in enumerate(cameras)
    }


def every_view(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (view for views in value.values() for view in views)


def other_numbers(cameras: Cameras) -> object:
    """One of two keys that nobody knows is the view."""
    return {
        name: views[::-1]
        for name, views in by_name(cameras, lambda _, v: {"a": v, "b": (v * 3 + 1) % 7}).items()
    }


def no_names(cameras: Cameras) -> object:
    return [
        [{"w2c": each.tolist(), "K": lens.tolist()} for each, lens in zip(e, k, strict=True)]
        for e, k in cameras
    ]


def another_pose(cameras: Cameras) -> object:
    """Poses of the body stand beside those of the camera."""
    value = by_name(cameras, lambda _, v: {})
    for view in every_view(value):
        view["camera"] = {"pose": view.pop("w2c")}
        view["head"] = {"pose": np.diag([1.0, -1.0, -1.0, 1.0]).tolist()}
    return value


def of_larger_images(cameras: Cameras) -> object:
    larger = [(e, k * [[4.0], [4.0], [1.0]]) for e, k in cameras]
    return by_name(larger, lambda *_: {"resolution": [4 * SIZE, 4 * SIZE]})


def size_elsewhere(cameras: Cameras) -> object:
    larger = [(e, k * [[4.0], [4.0], [1.0]]) for e, k in cameras]
    return {
        "render": {"width": 4 * SIZE, "height": 4 * SIZE},
        "all": by_name(larger, lambda *_: {}),
    }


def with_a_box(cameras: Cameras) -> object:
    """What was kept of images twice as large, and not their middle."""
    box = {"resolution": [2 * SIZE, 2 * SIZE], "crop": [20, 12, SIZE, SIZE]}
    moved = [(e, k + np.array([[0, 0, 20], [0, 0, 12], [0, 0, 0]])) for e, k in cameras]
    return by_name(moved, lambda *_: box)


def two_corners(cameras: Cameras) -> object:
    half = SIZE // 2
    box = {"resolution": [SIZE, SIZE], "crop_box": [12, 20, 12 + half, 20 + half]}
    moved = [
        (e, k * [[0.5], [0.5], [1]] + np.array([[0, 0, 12], [0, 0, 20], [0, 0, 0]]))
        for e, k in cameras
    ]
    return by_name(moved, lambda *_: box)


@pytest.mark.parametrize(
    "arranged",
    [
        other_numbers,
        no_names,
        another_pose,
        of_larger_images,
        size_elsewhere,
        with_a_box,
        two_corners,
    ],
    ids=lambda f: f.__name__,
)
def test_the_reading_that_fits_the_images_is_taken(
    arranged: Callable[[Cameras], object], heads: Path, cameras: Cameras, tmp_path: Path
) -> None:
    folder = with_metadata(heads, tmp_path / "parts", arranged(cameras))
    with pytest.raises(DoubtError):  # without a look at the images there is a doubt
        next(
            read_images(
                Shard(opened(folder, CameraOptions("world_to_camera opencv unchecked")).subjects)
            )
        )
    release = opened(folder)
    first, *_ = release.camera_convention.warnings
    assert first.kind == "settled_by_images"
    for subject, _ in read_images(Shard(release.sound_subjects())):
        row = int(subject.subject_id[-5:])
        np.testing.assert_allclose(subject.extrinsics, cameras[row][0], atol=1e-6)
        np.testing.assert_allclose(subject.intrinsics, cameras[row][1], atol=1e-6)


def test_what_the_images_decided_is_remembered(
    heads: Path, cameras: Cameras, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geogen_hf.cameras.proof")
    folder = with_metadata(heads, tmp_path / "parts", other_numbers(cameras))
    options = CameraOptions(memory=tmp_path / "memory")
    first = opened(folder, options)
    caplog.clear()
    again = opened(folder, options)
    assert not [record for record in caplog.records if record.name == "geogen_hf.cameras.proof"]
    assert again.camera_convention.how == "remembered"
    for one, other in zip(first.subjects, again.subjects, strict=True):
        np.testing.assert_array_equal(one.extrinsics, other.extrinsics)


def test_keys_from_the_archives_stay_out_of_the_card(
    heads: Path, cameras: Cameras, tmp_path: Path
) -> None:
    numbers = by_name(cameras, lambda _, v: {"a<i>": v, "b<b>": (v * 3 + 1) % 7})
    value = {name: views[::-1] for name, views in numbers.items()}
    folder = with_metadata(heads, tmp_path / "parts", value)
    export_release(folder, tmp_path / "out", workers=1)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "images proved one of them" in card
    assert "<i>" not in card
    (warning, *_) = json.loads((tmp_path / "out" / "provenance.json").read_text())["source"][
        "cameras"
    ]["warnings"]
    assert warning["numbers"] == {"subject": "key of root", "view": "*.*.a<i>"}


def test_readings_that_fit_nearly_alike_are_left_to_the_user(
    heads: Path, cameras: Cameras, tmp_path: Path
) -> None:
    value = by_name(cameras, lambda *_: {})
    for view in every_view(value):
        longer = np.array(view["K"]) * [[1.04, 1.04, 1.0], [1.04, 1.04, 1.0], [1, 1, 1]]
        view["matrix_2"], view["matrix_1"] = longer.tolist(), view.pop("K")
    folder = with_metadata(heads, tmp_path / "parts", value)
    with pytest.raises(DoubtError, match="images: they do not settle it") as caught:
        opened(folder)
    assert 'camera_schema={"intrinsics": "matrix_2"} or {"intrinsics": "matrix_1"}' in str(
        caught.value
    )
    stated = opened(folder, CameraOptions(schema={"intrinsics": "matrix_1"}))
    np.testing.assert_allclose(stated.subjects[0].intrinsics, cameras[0][1])


def test_a_crop_is_never_taken_for_a_resize(heads: Path, cameras: Cameras, tmp_path: Path) -> None:
    edge = SIZE // 8
    folder = with_metadata(
        heads, tmp_path / "parts", by_name(cameras, lambda *_: {"resolution": [SIZE, SIZE]})
    )
    for part in ALL_PARTS[:-1]:
        images = read_zip(folder / part.name)
        (folder / part.name).unlink()
        for name, data in images.items():
            file = io.BytesIO()
            with Image.open(io.BytesIO(data)) as image:
                image.crop((edge, edge, SIZE - edge, SIZE - edge)).save(file, "PNG")
            images[name] = file.getvalue()
        zip_of(folder / part.name, images)
    with pytest.raises(CameraError, match="images of another size") as caught:
        opened(folder)
    assert '{"intrinsics_units": "cropped"}' in str(caught.value)
    release = opened(folder, CameraOptions(schema={"intrinsics_units": "cropped"}))
    (subject, _), *_ = read_images(Shard(release.sound_subjects()))
    expected = cameras[0][1] - np.array([[0, 0, edge], [0, 0, edge], [0, 0, 0]])
    np.testing.assert_allclose(subject.intrinsics, expected)


def two_exchanged(cameras: Cameras) -> object:
    first, *others, last = cameras
    return no_names([last, *others, first])


def one_exchanged_with_a_stranger(cameras: Cameras) -> object:
    return no_names([*cameras[:2], subject_cameras("subj_00009", size=SIZE)])


def numbers_wrong_for_one(cameras: Cameras) -> object:
    view = lambda row, v: {"a": (v + (row == 1)) % 7, "b": (v * 3 + 1) % 7}  # noqa: E731
    return {name: views[::-1] for name, views in by_name(cameras, view).items()}


def test_an_order_is_taken_only_if_everybody_was_looked_at(
    heads: Path, cameras: Cameras, tmp_path: Path
) -> None:
    folder = with_metadata(heads, tmp_path / "parts", no_names(cameras))
    with pytest.raises(DoubtError, match="images: they do not settle it"):
        opened(folder, CameraOptions(pixel_subjects=1))


def two_imprecise_sets(cameras: Cameras) -> object:
    rng = np.random.default_rng(0)

    def off_by(degrees: float) -> Cameras:
        found = []
        for e, k in cameras:
            angles = np.radians(degrees) * rng.choice([-1, 1], len(e))
            turns = np.tile(np.eye(4), (len(e), 1, 1))
            turns[:, 0, 0] = turns[:, 2, 2] = np.cos(angles)
            turns[:, 0, 2], turns[:, 2, 0] = np.sin(angles), -np.sin(angles)
            found.append((turns @ e, k))
        return found

    near, far = off_by(0.3), off_by(3.0)
    return {"frames": by_name(near, lambda *_: {}), "views": by_name(far, lambda *_: {})}


def two_wrong_lenses(cameras: Cameras) -> object:
    value = by_name(cameras, lambda *_: {})
    for view in (view for views in value.values() for view in views):
        k = np.array(view.pop("K"))
        near, far = np.diag([0.9, 0.9, 1.0]), np.diag([0.4, 0.4, 1.0])
        view["matrix_1"], view["matrix_2"] = (k @ near).tolist(), (k @ far).tolist()
    return value


def mm_of_another_sensor(cameras: Cameras) -> object:
    short = by_name(cameras, lambda row, v: {"f": cameras[row][1][v, 0, 0] / SIZE * 24})
    for view in (view for views in short.values() for view in views):
        del view["K"]
    return short


def lens_of_another_size(cameras: Cameras) -> object:
    """The lens is of images four times as large, the size that of something larger still."""
    value = by_name(cameras, lambda *_: {"width": 5 * SIZE, "height": 5 * SIZE})
    for view in every_view(value):
        view["fx"] = view["fy"] = 4 * view.pop("K")[0][0]
    return value


def resized_from_another_size(cameras: Cameras) -> object:
    """Too small for a crop, but of images that were smaller than it says."""
    larger = [(e, k * [[3.9], [3.9], [1.0]]) for e, k in cameras]
    return by_name(larger, lambda *_: {"resolution": [4 * SIZE, 4 * SIZE]})


def size_of_something_else(cameras: Cameras) -> object:
    larger = [(e, k * [[2.0], [2.0], [1.0]]) for e, k in cameras]
    return {"texture": {"width": 132, "height": 132}, "all": by_name(larger, lambda *_: {})}


@pytest.mark.parametrize(
    "arranged",
    [
        two_exchanged,
        one_exchanged_with_a_stranger,
        numbers_wrong_for_one,
        two_imprecise_sets,
        two_wrong_lenses,
        mm_of_another_sensor,
        lens_of_another_size,
        size_of_something_else,
        resized_from_another_size,
    ],
    ids=lambda f: f.__name__,
)
def test_no_reading_is_taken_where_none_is_right(
    arranged: Callable[[Cameras], object], heads: Path, cameras: Cameras, tmp_path: Path
) -> None:
    with pytest.raises(DoubtError, match="images: they do not settle it"):
        opened(with_metadata(heads, tmp_path / "parts", arranged(cameras)))


@pytest.mark.parametrize("name", sorted(REMEDIED))
def test_what_the_metadata_alone_leaves_open(name: str, tmp_path: Path) -> None:
    said = {**ARRANGEMENTS, **HELD_OUT}[name]
    names = said.names if said.names == SEVEN else said.names[:3]
    every = heads_of(names, one_lens=said.one_lens, orbit=said.orbit, shifted=said.shifted)
    for row, part in enumerate(ALL_PARTS[:-1]):
        images: dict[str, bytes] = {}
        for index in range(row, len(every), 7):
            head = every[index]
            shown = render(head_of(f"subj_{index:05d}"), head.e, head.k, OWN_SIZE)
            for view, pixels in enumerate(shown, said.first_view):
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                images[f"{head.name}/{view}.png"] = file.getvalue()
        zip_of(tmp_path / part.name, images)
    texts = {document.path: document.text for document in documents(said, every)}
    zip_of(tmp_path / METADATA_PART.name, texts)
    if name in LEFT_OPEN:
        with pytest.raises(MetadataError, match=r"remedy: .*camera_schema="):
            opened(tmp_path)
        return
    release = opened(tmp_path)
    assert release.report.problems == ()
    for subject, _ in read_images(Shard(release.sound_subjects())):
        head = next(head for head in every if head.name == subject.subject_id)
        np.testing.assert_allclose(subject.extrinsics, head.e, atol=1e-3)
        np.testing.assert_allclose(subject.intrinsics, head.k, atol=1e-3 * OWN_SIZE)
