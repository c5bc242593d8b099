"""Reconstructions from what a conversion wrote agree with the exact geometry of sample heads."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from geogen_hf.cameras.poses import camera_centre, project
from geogen_hf.formats.driver import convert
from geogen_hf.release.convention import CameraOptions
from geogen_hf.sample import signed_distance, subject_cameras, write_release

Array = NDArray[np.float64]
SUBJECT = "subj_00000"  # short hair: every ray from between the ears leaves the head once
HEAD_M = 0.23  # chin to crown
STEP_M = 0.0005
REACHES = np.arange(0.03, 0.3, STEP_M)
NAMED = CameraOptions("world_to_camera opencv unchecked")


def directions(count: int) -> Array:
    """Unit vectors from the head's middle, of which none goes to the shoulders."""
    drawn = np.random.default_rng(0).normal(size=(4 * count, 3))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn[drawn[:, 1] > -0.3][:count]


def way_out(inside: NDArray[np.bool_]) -> Array:
    """Where each ray is outside for the first time: `(N,)` of `(N, REACHES)`."""
    assert inside[:, 0].all()
    assert not inside.all(axis=1).any()
    return np.asarray(REACHES[np.argmax(~inside, axis=1)])


def carved(scene: Path, points: Array) -> NDArray[np.bool_]:
    """Whether points are in every silhouette, by the rules of nerfstudio alone."""
    meta = json.loads((scene / "transforms.json").read_text())
    kept = np.ones(len(points), dtype=bool)
    for frame in ({**meta, **frame} for frame in meta["frames"]):
        to_camera = np.linalg.inv(frame["transform_matrix"])
        x, y, z = to_camera[:3, :3] @ points.T + to_camera[:3, 3:]
        column = np.floor(frame["cx"] - frame["fl_x"] * x / z).astype(int)
        row = np.floor(frame["cy"] + frame["fl_y"] * y / z).astype(int)
        with PIL.Image.open(scene / frame["mask_path"]) as image:
            mask = np.asarray(image) > 127
        seen = (column >= 0) & (column < frame["w"]) & (row >= 0) & (row < frame["h"])
        kept[seen] &= mask[row[seen], column[seen]]
    return kept


@pytest.mark.slow
def test_a_hull_carved_from_nerfstudio_masks_is_the_head(tmp_path: Path) -> None:
    """Within 1 % of the head's size, with as many outlines as a hull needs for that.

    No number of outlines shows a hollow such as the eyes' or the one under the nose, so the bound
    on what is left over is one on the mean. Nothing of the head may be missing anywhere.
    """
    write_release(tmp_path / "parts", subjects=1, views=28, size=192)
    convert(tmp_path / "parts", tmp_path / "out", "nerfstudio", masks=True, cameras=NAMED)
    rays = directions(1000)
    points = (rays[:, None] * REACHES[:, None]).reshape(-1, 3)
    shape = len(rays), len(REACHES)
    hull = way_out(carved(tmp_path / "out" / SUBJECT, points).reshape(shape))
    true = way_out((signed_distance(SUBJECT, points) < 0).reshape(shape))
    assert np.abs(hull - true).mean() < 0.01 * HEAD_M
    assert np.median(np.abs(hull - true)) < 0.005 * HEAD_M
    assert signed_distance(SUBJECT, rays * hull[:, None]).min() > -0.01 * HEAD_M


def surface_points(count: int) -> Array:
    """Points on the head to a nanometre, by bisection of the exact distance."""
    rays = directions(count)
    high = way_out(signed_distance(SUBJECT, rays[:, None] * REACHES[:, None]) < 0)
    low = high - STEP_M
    for _ in range(20):
        middle = (low + high) / 2
        inside = signed_distance(SUBJECT, rays * middle[:, None]) < 0
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray(rays * high[:, None])


def seen_from(eye: Array, points: Array) -> NDArray[np.int64]:
    """Rows of the points between which and the camera there is nothing of the head."""
    along = np.linspace(0.01, 0.95, 200)[:, None, None]
    free = signed_distance(SUBJECT, points + along * (eye - points)) > 0
    return np.flatnonzero(free.all(axis=0))


def write_matches(path: Path, model: Any, points: Array) -> dict[int, NDArray[np.int64]]:
    """A database of what the sample's own cameras see of the points, to 0.05 px.

    Returns:
        The row of the point of each observation, by image.
    """
    import pycolmap

    extrinsics, intrinsics = subject_cameras(SUBJECT, size=256)
    noise = np.random.default_rng(1)
    rows: dict[int, NDArray[np.int64]] = {}
    with pycolmap.Database.open(path) as database:
        for camera in model.cameras.values():
            database.write_camera(camera, use_camera_id=True)
        for number, image in model.images.items():
            view = int(Path(image.name).stem)
            rows[number] = seen_from(camera_centre(extrinsics)[view], points)
            pixels, _ = project(points[rows[number]], extrinsics[view], intrinsics[view])
            listed = pycolmap.Image(name=image.name, camera_id=image.camera_id, image_id=number)
            database.write_image(listed, use_image_id=True)
            pixels += noise.normal(scale=0.05, size=pixels.shape)
            database.write_keypoints(number, pixels.astype(np.float32))
        for one, two in combinations(sorted(rows), 2):
            _, *found = np.intersect1d(rows[one], rows[two], return_indices=True)
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            geometry.inlier_matches = np.stack(found, axis=1).astype(np.uint32)
            database.write_matches(one, two, geometry.inlier_matches)
            database.write_two_view_geometry(one, two, geometry)
    return rows


def test_colmap_triangulates_points_of_the_head_with_the_written_poses(tmp_path: Path) -> None:
    import pycolmap

    write_release(tmp_path / "parts", subjects=1, size=256)
    convert(tmp_path / "parts", tmp_path / "out", "colmap", cameras=NAMED)
    scene = tmp_path / "out" / SUBJECT
    model = pycolmap.Reconstruction(scene / "sparse" / "0")
    points = surface_points(400)
    rows = write_matches(tmp_path / "matches.db", model, points)
    (tmp_path / "found").mkdir()
    found = pycolmap.triangulate_points(
        model, tmp_path / "matches.db", scene / "images", tmp_path / "found"
    )
    assert len(found.points3D) > 300
    for point in found.points3D.values():
        seen = {int(rows[e.image_id][e.point2D_idx]) for e in point.track.elements}
        assert len(seen) == 1
        assert np.linalg.norm(point.xyz - points[seen.pop()]) < 0.002 * HEAD_M
