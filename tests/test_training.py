"""Rows to tensors: pixels, cameras, choices and batches."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from random_cameras import random_cameras
from torch.utils.data import DataLoader

import geogen
from geogen_hf.cameras.conventions import from_camera_to_world, from_eg3d
from geogen_hf.cameras.poses import intrinsics_matrix, pixel_centres, project, rays
from geogen_hf.errors import ImageError, UsageError
from geogen_hf.training import (
    AllViews,
    RandomViews,
    SourceTargetViews,
    ToTensors,
    as_tensors,
    collate,
    plucker_maps,
    ray_maps,
    undecoded,
)

WIDTH, HEIGHT, VIEWS = 48, 40, 5
EXTRINSICS, _ = random_cameras(11, count=VIEWS)
INTRINSICS = intrinsics_matrix(70.0, 55.0, 20.0 + np.arange(VIEWS), 23.0, 1.5)


def encoded(pixels: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def batch(pictures: list[Any], subject_id: str = "subj_00003") -> dict[str, Any]:
    count = len(pictures)
    return {
        "subject_id": [subject_id],
        "images": [[encoded(picture) for picture in pictures]],
        "view_ids": [list(range(10, 10 + count))],
        "extrinsics": [EXTRINSICS[:count].tolist()],
        "intrinsics": [INTRINSICS[:count].tolist()],
    }


def noise(width: int = WIDTH, height: int = HEIGHT, views: int = VIEWS) -> list[Any]:
    shape = (views, height, width, 3)
    return list(np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8))


def only_row(rows: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: column[0] for name, column in rows.items()}


def marked(x: int, y: int) -> Any:
    """Black, but for a soft white dot whose middle is at the middle of a pixel."""
    at = pixel_centres(WIDTH, HEIGHT).reshape(HEIGHT, WIDTH, 2)
    distance = np.linalg.norm(at - [x + 0.5, y + 0.5], axis=-1)
    grey = (255 * np.exp(-((distance / 2.5) ** 2))).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def middle(image: torch.Tensor) -> Any:
    """Where the dot is, in pixels."""
    weight = image[0].double().numpy()
    weight = np.where(weight > 20, weight, 0)
    at = pixel_centres(image.shape[-1], image.shape[-2]).reshape(*weight.shape, 2)
    return (at * weight[..., None]).sum(axis=(0, 1)) / weight.sum()


FRAMINGS: dict[str, dict[str, Any]] = {
    "as stored": {},
    "larger": {"size_wh": (96, 90)},
    "smaller and of another shape": {"size_wh": (30, 20)},
    "cut in the middle": {"crop_wh": (41, 33)},
    "cut anywhere": {"crop_wh": (40, 34), "crop_at": "random"},
    "flipped": {"flip_chance": 1.0},
    "flipped across another plane": {"flip_chance": 1.0, "mirror_normal": (0.3, -0.2, 0.9)},
    "all of it": {
        "crop_wh": (40, 34), "crop_at": "random", "size_wh": (30, 31), "flip_chance": 1.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_point_stays_on_its_pixel(name: str) -> None:
    """A world point in front of all cameras is drawn, and found where the new camera says."""
    options = FRAMINGS[name]
    pixels = np.array([[24, 19], [26, 21], [22, 18], [25, 17], [23, 22]])
    origins, directions = rays((pixels + 0.5)[:, None], EXTRINSICS, INTRINSICS)
    points = (origins + 3.0 * directions)[:, 0]  # one for each view
    pictures = [marked(*pixel) for pixel in pixels.tolist()]
    row = only_row(ToTensors(seed=4, **options)(batch(pictures)))
    if options.get("flip_chance"):  # the flipped image shows the mirrored world
        normal = np.array(options.get("mirror_normal", (1.0, 0.0, 0.0)))
        normal = normal / np.linalg.norm(normal)
        points = points - 2 * (points @ normal)[:, None] * normal
    for view in range(VIEWS):
        expected, depth = project(
            points[view][None], row["extrinsics"][view].numpy(), row["intrinsics"][view].numpy()
        )
        assert depth[0] > 0
        assert middle(row["images"][view]) == pytest.approx(expected[0], abs=0.12)
        rotation = row["extrinsics"][view, :3, :3].double()
        assert torch.linalg.det(rotation).item() == pytest.approx(1.0, abs=1e-5)
    size = options.get("size_wh") or options.get("crop_wh") or (WIDTH, HEIGHT)
    assert row["images"].shape == (VIEWS, 3, size[1], size[0])


def test_pixels_are_untouched_unless_asked() -> None:
    pictures = noise()
    row = only_row(ToTensors()(batch(pictures)))
    assert row["images"].dtype == torch.uint8
    assert np.array_equal(row["images"].permute(0, 2, 3, 1).numpy(), np.stack(pictures))
    assert row["images"].is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(row["extrinsics"].numpy(), EXTRINSICS.astype(np.float32))
    assert row["view_ids"].tolist() == [10, 11, 12, 13, 14]
    floats = only_row(ToTensors(dtype="float32")(batch(pictures)))["images"]
    assert torch.equal(floats, row["images"].float() / 255)


def test_scaling_down_does_not_alias() -> None:
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[:, ::2] = 255
    row = only_row(ToTensors(size_wh=(WIDTH // 4, HEIGHT // 4))(batch([stripes])))
    inner = row["images"][..., 1:-1].float()
    assert (inner - 127.5).abs().max() < 20


def test_further_forms_of_cameras() -> None:
    forms = ("camera_to_world", "eg3d", "rays", "plucker")
    transform = ToTensors(cameras=forms, size_wh=(12, 10), flip_chance=1.0)
    row = only_row(transform(batch(noise())))
    extrinsics, intrinsics = row["extrinsics"].numpy(), row["intrinsics"].numpy()
    back = from_camera_to_world(row["camera_to_world"].numpy())
    assert np.allclose(back, extrinsics, atol=1e-5)
    for found, expected in zip(
        from_eg3d(row["eg3d"].numpy(), 12, 10), (extrinsics, intrinsics), strict=True
    ):
        assert np.allclose(found, expected, atol=1e-4)
    origins, directions = rays(pixel_centres(12, 10), extrinsics, intrinsics)

    def maps(values: Any) -> Any:
        return np.moveaxis(values.reshape(VIEWS, 10, 12, 3), -1, 1)

    assert np.allclose(row["ray_origins"].numpy(), maps(origins), atol=1e-4)
    assert np.allclose(row["ray_directions"].numpy(), maps(directions), atol=1e-5)
    moments = np.cross(origins, directions)
    expected = np.concatenate([maps(directions), maps(moments)], axis=1)
    assert np.allclose(row["plucker"].numpy(), expected, atol=1e-4)
    assert {name: row[name].dtype for name in ("plucker", "eg3d")} == {
        "plucker": torch.float32, "eg3d": torch.float32,
    }  # fmt: skip


def test_ray_maps_take_batches_of_batches() -> None:
    extrinsics = torch.from_numpy(np.stack([EXTRINSICS, EXTRINSICS[::-1]]))
    intrinsics = torch.from_numpy(np.stack([INTRINSICS, INTRINSICS[::-1]]))
    origins, directions = ray_maps(extrinsics, intrinsics, (7, 4))
    assert origins.shape == directions.shape == (2, VIEWS, 3, 4, 7)
    alone = plucker_maps(extrinsics[1, 2], intrinsics[1, 2], (7, 4))
    together = plucker_maps(extrinsics, intrinsics, (7, 4))
    assert torch.allclose(together[1, 2], alone)


def chosen(transform: ToTensors, subject_id: str) -> list[int]:
    small = noise(8, 8)
    ids: list[int] = transform(batch(small, subject_id))["view_ids"][0].tolist()
    return ids


def test_choices_depend_on_seed_epoch_and_subject_alone() -> None:
    transform = ToTensors(views=RandomViews(2), seed=1)
    subjects = [f"subj_{i:05d}" for i in range(12)]
    first = [chosen(transform, subject) for subject in subjects]
    assert [chosen(transform, s) for s in reversed(subjects)] == first[::-1]
    assert [chosen(pickle.loads(pickle.dumps(transform)), s) for s in subjects] == first
    assert len({tuple(ids) for ids in first}) > 3
    assert all(len(set(ids)) == 2 and ids == sorted(ids) for ids in first)
    transform.set_epoch(1)
    assert [chosen(transform, s) for s in subjects] != first
    other = ToTensors(views=RandomViews(2), seed=2)
    assert [chosen(other, s) for s in subjects] != first
    transform.set_epoch(0)
    assert [chosen(transform, s) for s in subjects] == first


def test_sources_and_targets_are_apart() -> None:
    pairs = [chosen(ToTensors(views=SourceTargetViews(2, 1)), f"subj_{i:05d}") for i in range(30)]
    assert all(len(set(pair)) == 3 for pair in pairs)
    assert {pair[2] for pair in pairs} == {10, 11, 12, 13, 14}


def test_an_identity_is_flipped_as_a_whole() -> None:
    transform = ToTensors(flip_chance=0.5)
    pictures = noise()
    flipped = []
    for index in range(40):
        images = transform(batch(pictures, f"subj_{index:05d}"))["images"][0]
        same = [
            np.array_equal(i.permute(1, 2, 0), p) for i, p in zip(images, pictures, strict=True)
        ]
        assert len(set(same)) == 1
        flipped.append(not same[0])
    assert 8 < sum(flipped) < 32


def test_views_of_other_sizes_and_too_few_are_errors() -> None:
    mixed = [*noise(views=2), *noise(20, 30, views=1)]
    with pytest.raises(ImageError, match="differ in size") as error:
        ToTensors()(batch(mixed))
    assert "subj_00003, view 12" in str(error.value)
    assert ToTensors(size_wh=(9, 9))(batch(mixed))["images"][0].shape == (3, 3, 9, 9)
    with pytest.raises(ImageError, match="wrong size"):
        ToTensors(size_wh=(9, 9), stored_wh=(WIDTH, HEIGHT))(batch(mixed))
    with pytest.raises(ImageError, match="smaller than"):
        ToTensors(crop_wh=(30, 30))(batch(mixed))
    with pytest.raises(UsageError, match="too few views"):
        ToTensors(views=RandomViews(4))(batch(mixed))


@pytest.mark.parametrize(
    "options",
    [{"crop_at": "left"}, {"cameras": ("eg4d",)}, {"cameras": "eg3d"}, {"dtype": "float64"},
     {"size_wh": (0, 4)}, {"size_wh": 64}, {"crop_wh": (3.5, 4)}, {"stored_wh": "64"}, {"views": 2},
     {"flip_chance": 1.5}, {"flip_chance": "often"}, {"stored_wh": [64, 64]}],
)  # fmt: skip
def test_bad_options_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"bad {next(iter(options))}"):
        ToTensors(**options)


def test_a_bare_number_says_what_to_pass_instead() -> None:
    with pytest.raises(UsageError, match=r"pass views=RandomViews\(2\)"):
        ToTensors(views=2)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"pass size_wh=\(64, 64\)"):
        ToTensors(size_wh=64)  # type: ignore[arg-type]


def test_bad_counts_are_errors() -> None:
    wrong: Any
    for wrong in (0, -1, 1.5, "2"):
        for make in (RandomViews, lambda count: SourceTargetViews(count, 1)):
            with pytest.raises(UsageError, match="1 or more"):
                make(wrong)


def test_batches_of_rows_with_fewer_views() -> None:
    rows = []
    for count in (2, 5, 1):
        transformed = ToTensors(cameras=("plucker",))(batch(noise(views=count)))
        rows.append(only_row(transformed))
    together = collate(rows)
    assert together["view_mask"].sum(dim=1).tolist() == [2, 5, 1]
    assert together["images"].shape == (3, 5, 3, HEIGHT, WIDTH)
    for row, images, plucker, mask in zip(
        rows, together["images"], together["plucker"], together["view_mask"], strict=True
    ):
        assert torch.equal(images[mask], row["images"])
        assert torch.equal(plucker[mask], row["plucker"])
        assert not images[~mask].any()
    assert together["images"].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def collate_and_look(rows: list[dict[str, Any]]) -> dict[str, Any]:
    together = collate(rows)
    first, last = rows[0]["images"], rows[-1]["images"]
    same_place = together["images"].data_ptr() == first.data_ptr()
    same_pixels = torch.equal(together["images"][-1], last)
    together["read_where_it_was_decoded"] = same_place and same_pixels
    return together


@pytest.mark.datasets
def test_workers_decode_into_the_batch(by_subject: Path) -> None:
    rows = geogen.load("sequences", split="train", data_dir=str(by_subject), streaming=True)
    expected = list(as_tensors(rows, ToTensors(cameras=("eg3d", "plucker"))))
    stream = as_tensors(rows, ToTensors(cameras=("eg3d", "plucker")), batch_size=4)
    for loader_batch, copied in ((4, False), (2, False), (3, True)):
        batches = list(
            DataLoader(
                stream,
                batch_size=loader_batch,
                num_workers=1,
                collate_fn=collate_and_look,
                multiprocessing_context="fork",
            )
        )
        assert all(one["read_where_it_was_decoded"] for one in batches) != copied
        for name in expected[0].keys() - {"subject_id"}:
            values = [value for one in batches for value in one[name]]
            assert len(values) == len(expected)
            assert all(
                torch.equal(value, row[name]) for value, row in zip(values, expected, strict=True)
            )


@pytest.fixture
def sources(by_subject: Path, tmp_path: Path) -> list[Any]:
    options = {"split": "validation", "data_dir": str(by_subject)}
    return [
        geogen.load("sequences", **options),
        geogen.load("sequences", streaming=True, **options),
    ]


@pytest.mark.datasets
def test_undecoded_keeps_rows_and_writes_nothing(by_subject: Path, tmp_path: Path) -> None:
    for config, column in (("sequences", "images"), ("views", "image")):
        for streaming in (False, True):
            loaded = geogen.load(config, data_dir=str(by_subject), streaming=streaming)
            files = sorted(tmp_path.rglob("*.arrow"))
            plain = undecoded(loaded)
            assert type(plain) is type(loaded)
            assert sorted(tmp_path.rglob("*.arrow")) == files
            for split in loaded:
                row, picture = next(iter(plain[split])), next(iter(loaded[split]))
                assert row["subject_id"] == picture["subject_id"]
                image = row[column][0] if config == "sequences" else row[column]
                assert image["bytes"].startswith(b"\x89PNG")
                assert list(plain[split].features) == list(loaded[split].features)


@pytest.mark.datasets
def test_undecoded_follows_selections(by_subject: Path) -> None:
    loaded = geogen.load("sequences", split="train", data_dir=str(by_subject))
    some = loaded.shuffle(seed=1).select(range(5))
    assert [row["subject_id"] for row in undecoded(some)] == some["subject_id"][:]


@pytest.mark.datasets
def test_undecoded_needs_features(by_subject: Path) -> None:
    stream = geogen.load("sequences", split="train", data_dir=str(by_subject), streaming=True)
    with pytest.raises(UsageError, match="features"):
        undecoded(stream.map(lambda row: row, remove_columns=["view_ids"]))


@pytest.mark.datasets
def test_pictures_instead_of_bytes_are_an_error(sources: list[Any]) -> None:
    with pytest.raises(UsageError, match="are to come encoded"):
        sources[0].with_transform(ToTensors())[0]


@pytest.mark.datasets
def test_map_style_and_stream_give_the_same(sources: list[Any]) -> None:
    transform = ToTensors(views=RandomViews(3), size_wh=(12, 9), cameras=("eg3d",))
    mapped, streamed = (list(as_tensors(source, transform)) for source in sources)
    assert len(mapped) == len(streamed) > 2
    for one, other in zip(mapped, streamed, strict=True):
        assert one.keys() == other.keys()
        assert one["subject_id"] == other["subject_id"]
        for name in set(one) - {"subject_id"}:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.datasets
def test_rows_of_views_have_one_view(by_subject: Path) -> None:
    options = {"split": "validation", "data_dir": str(by_subject)}
    sequence = next(iter(as_tensors(geogen.load("sequences", **options), ToTensors())))
    for streaming in (False, True):
        rows = iter(as_tensors(geogen.load("views", streaming=streaming, **options), ToTensors()))
        for view in range(7):
            row = next(rows)
            for name in ("images", "extrinsics", "intrinsics", "view_ids"):
                assert torch.equal(row[name], sequence[name][view : view + 1]), name


@pytest.mark.datasets
def test_dictionaries_of_splits(by_subject: Path) -> None:
    loaded = geogen.load("sequences", data_dir=str(by_subject))
    tensors = as_tensors(loaded, ToTensors(views=AllViews()))
    assert isinstance(tensors, datasets.DatasetDict)
    assert {split: len(rows) for split, rows in tensors.items()} == loaded.num_rows


@pytest.mark.datasets
def test_blocks_are_for_streams(sources: list[Any]) -> None:
    with pytest.raises(UsageError, match="for streams"):
        as_tensors(sources[0], ToTensors(), shuffle_block=8)
