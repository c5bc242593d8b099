"""Camera geometry and intrinsics, against numbers worked out by hand and by other formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_cameras import SEEDS, Array, random_rotations

from geogen_hf.cameras import poses as cameras
from geogen_hf.cameras.rigs import Orbit
from geogen_hf.errors import CameraError

WIDTH, HEIGHT = 640, 360
INTRINSICS = np.array([[700.0, 0.0, 300.0], [0.0, 500.0, 200.0], [0.0, 0.0, 1.0]])
SKEWED = np.array([[700.0, 3.0, 300.0], [0.0, 500.0, 200.0], [0.0, 0.0, 1.0]])


def random_pose(rng: np.random.Generator) -> Array:
    """A world-to-camera matrix that sees the neighbourhood of the world's origin."""
    pose = np.eye(4)
    pose[:3, :3] = random_rotations(rng, 1)[0]
    pose[:3, 3] = rng.uniform([-1, -1, 5], [1, 1, 9])
    return pose


def test_known_point_lands_on_known_pixel() -> None:
    # The camera's x, y and z are the world's y, -z and -x.
    world_to_camera = np.array([[0, 1, 0, 0.5], [0, 0, -1, 1.0], [-1, 0, 0, 10.0], [0, 0, 0, 1]])
    # (2, 3, 4) -> camera (3.5, -3, 8) -> x = 700 * 3.5 / 8 + 300, y = 500 * -3 / 8 + 200.
    pixels, depth = cameras.project([[2.0, 3.0, 4.0]], world_to_camera, INTRINSICS)
    np.testing.assert_allclose(pixels, [[606.25, 12.5]])
    np.testing.assert_allclose(depth, [8.0])


def test_project_broadcasts_points_over_cameras() -> None:
    rng = np.random.default_rng(1)
    poses = np.stack([random_pose(rng) for _ in range(6)]).reshape(2, 3, 4, 4)
    points = rng.normal(size=(5, 3)) / 2
    pixels, depth = cameras.project(points, poses, INTRINSICS)
    assert pixels.shape == (2, 3, 5, 2)
    assert depth.shape == (2, 3, 5)
    for at in np.ndindex(2, 3):
        for i, point in enumerate(points):
            x, y, z = INTRINSICS @ (poses[at] @ [*point, 1])[:3]
            np.testing.assert_allclose(pixels[at][i], [x / z, y / z])
            np.testing.assert_allclose(depth[at][i], z)


def test_points_behind_the_camera_have_no_pixel() -> None:
    pose = cameras.look_at((1, 2, 5), (1, 2, 0), (0.1, 1, 0))
    pixels, depth = cameras.project([[1, 2, 7], [1, 2, 5], [1, 2, 3]], pose, INTRINSICS)
    np.testing.assert_allclose(depth, [-2, 0, 2])
    assert np.isnan(pixels).all(axis=1).tolist() == [True, True, False]


@given(SEEDS)
def test_unproject_undoes_project(seed: int) -> None:
    rng = np.random.default_rng(seed)
    poses = np.stack([random_pose(rng) for _ in range(3)])
    points = rng.uniform(-1, 1, size=(3, 4, 3))
    pixels, depth = cameras.project(points, poses, SKEWED)
    np.testing.assert_allclose(cameras.unproject(pixels, depth, poses, SKEWED), points, atol=1e-9)


@given(SEEDS)
def test_rays_start_at_the_camera_and_pass_through_what_is_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = random_pose(rng)
    points = rng.uniform(-1, 1, size=(4, 3))
    pixels, _ = cameras.project(points, pose, INTRINSICS)
    origins, directions = cameras.rays(pixels, pose, INTRINSICS)
    centre = np.linalg.solve(pose, [0, 0, 0, 1])[:3]
    np.testing.assert_allclose(origins, np.tile(centre, (4, 1)), atol=1e-9)
    towards = points - centre
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    np.testing.assert_allclose(directions, towards, atol=1e-9)


def test_pixel_centres_are_half_way_into_pixels() -> None:
    centres = cameras.pixel_centres(4, 3)
    assert centres.shape == (12, 2)
    np.testing.assert_array_equal(centres.reshape(3, 4, 2)[2, 1], [1.5, 2.5])


@given(SEEDS)
def test_invert_rigid_agrees_with_a_general_inverse(seed: int) -> None:
    pose = random_pose(np.random.default_rng(seed))
    np.testing.assert_allclose(cameras.invert_rigid(pose), np.linalg.inv(pose), atol=1e-9)


@given(SEEDS)
def test_look_at_centres_the_target_with_up_upwards(seed: int) -> None:
    rng = np.random.default_rng(seed)
    eye, target, up = rng.uniform(2, 4, size=3), rng.uniform(-1, 1, size=3), rng.normal(size=3)
    pose = cameras.look_at(eye, target, up)
    np.testing.assert_allclose(np.linalg.det(pose[:3, :3]), 1)
    np.testing.assert_allclose(cameras.camera_centre(pose), eye, atol=1e-9)
    above = target + up / np.linalg.norm(up) * 1e-3
    pixels, depth = cameras.project([target, above], pose, INTRINSICS)
    np.testing.assert_allclose(pixels[0], [300, 200], atol=1e-6)
    np.testing.assert_allclose(pixels[1, 0], 300, atol=1e-6)
    assert pixels[1, 1] < pixels[0, 1]
    np.testing.assert_allclose(depth[0], np.linalg.norm(target - eye))


def test_look_at_keeps_left_and_right() -> None:
    pose = cameras.look_at((0, -6, 1), (0, 0, 1), (0, 0, 1))  # from the front, z up
    pixels, _ = cameras.project([[1, 0, 1], [-1, 0, 1]], pose, INTRINSICS)
    assert pixels[0, 0] > 300 > pixels[1, 0]


@pytest.mark.parametrize(
    ("eye", "up", "message"),
    [
        ((1, 2, 3), (0, 1, 0), "line of sight"),
        ((1, 5, 3), (0, 1, 0), "up"),
        ((4, 2, 3), (0, 0, 0), "up"),
        ((math.nan, 2, 3), (0, 1, 0), "line of sight"),
    ],
)
def test_look_at_refuses_what_has_no_answer(
    eye: tuple[float, ...], up: tuple[float, ...], message: str
) -> None:
    with pytest.raises(CameraError, match=message):
        cameras.look_at(eye, (1, 2, 3), up)


@given(
    st.floats(-179, 179), st.floats(-80, 80), st.floats(0.5, 20), st.sampled_from(["y up", "z up"])
)
def test_orbit_angles_of_cameras_put_at_known_angles(
    azimuth_deg: float, elevation_deg: float, distance: float, world: str
) -> None:
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    ahead = math.cos(elevation) * math.cos(azimuth)
    aside = math.cos(elevation) * math.sin(azimuth)
    above = math.sin(elevation)
    if world == "y up":  # front +z, and from there towards +x
        up, front, direction = (0, 2, 0), (0, 0, 1), [aside, above, ahead]
    else:  # front -y, and from there towards +x
        up, front, direction = (0, 0, 2), (0, -3, 1), [aside, -ahead, above]
    centre = np.array([0.3, -0.2, 0.7])
    pose = cameras.look_at(centre + distance * np.array(direction), centre, up)
    found = Orbit(centre, np.array(up), np.array(front)).angles(pose)
    np.testing.assert_allclose(found, [azimuth_deg, elevation_deg, distance], atol=1e-6)


def test_orbit_angles_refuse_a_front_along_up() -> None:
    with pytest.raises(CameraError, match="front"):
        Orbit(np.zeros(3), np.array([0, 1, 0]), np.array([0, 4, 0])).angles(np.eye(4))


def test_a_lens_in_millimetres() -> None:
    lens = cameras.intrinsics_from_focal_mm([50, 85], 36, 512, 256)
    focal_px = 6400 / 9
    expected = np.array([[focal_px, 0, 256], [0, focal_px, 128], [0, 0, 1]])
    np.testing.assert_allclose(lens[0], expected)
    np.testing.assert_allclose(lens[:, 0, 0] * 36 / 512, [50, 85])


def test_field_of_view_of_an_off_centre_camera() -> None:
    # 300 px to the left and 340 to the right of the axis; 200 above and 160 below.
    expected = [
        math.degrees(math.atan(300 / 700) + math.atan(340 / 700)),
        math.degrees(math.atan(200 / 500) + math.atan(160 / 500)),
    ]
    np.testing.assert_allclose(cameras.field_of_view_deg(INTRINSICS, WIDTH, HEIGHT), expected)


@given(st.floats(5, 150))
def test_field_of_view_round_trip(fov_x_deg: float) -> None:
    lens = cameras.intrinsics_from_fov(fov_x_deg, WIDTH, HEIGHT)
    assert lens[0, 0] == lens[1, 1]
    assert cameras.field_of_view_deg(lens, WIDTH, HEIGHT)[0] == pytest.approx(fov_x_deg)


@given(SEEDS, st.integers(1, 2000), st.integers(1, 2000))
def test_points_move_with_the_pixels_of_a_resize(seed: int, width: int, height: int) -> None:
    rng = np.random.default_rng(seed)
    pose, points = random_pose(rng), rng.uniform(-1, 1, size=(5, 3))
    before, _ = cameras.project(points, pose, INTRINSICS)
    lens = cameras.resize_intrinsics(INTRINSICS, (WIDTH, HEIGHT), (width, height))
    after, _ = cameras.project(points, pose, lens)
    np.testing.assert_allclose(after / [width, height], before / [WIDTH, HEIGHT])


def test_a_resize_moves_intrinsics_as_it_moves_the_pixels_of_an_image() -> None:
    # A mark 8 pixels wide whose middle the camera sees; halved by averaging 2 x 2 blocks.
    image = np.zeros((HEIGHT, WIDTH))
    image[100:108, 420:428] = 1
    point = cameras.unproject([[424.0, 104.0]], [3.0], np.eye(4), INTRINSICS)
    halved = image.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3))
    rows, columns = np.nonzero(halved)
    lens = cameras.resize_intrinsics(INTRINSICS, (WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2))
    pixels, _ = cameras.project(point, np.eye(4), lens)
    np.testing.assert_allclose(pixels[0], [columns.mean() + 0.5, rows.mean() + 0.5])


@given(SEEDS, st.integers(-50, 50), st.integers(-50, 50))
def test_points_move_with_the_pixels_of_a_crop(seed: int, left: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    pose, points = random_pose(rng), rng.uniform(-1, 1, size=(5, 3))
    before, _ = cameras.project(points, pose, INTRINSICS)
    after, _ = cameras.project(points, pose, cameras.crop_intrinsics(INTRINSICS, left, top))
    np.testing.assert_allclose(after, before - [left, top], atol=1e-9)


def test_crops_of_a_batch_differ() -> None:
    lenses = cameras.crop_intrinsics(INTRINSICS, [10, 20], [1, 2])
    np.testing.assert_array_equal(lenses[:, :2, 2], [[290, 199], [280, 198]])


@given(SEEDS)
def test_mirrored_cameras_see_the_mirrored_world_in_the_flipped_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose, points, normal = random_pose(rng), rng.uniform(-1, 1, size=(5, 3)), rng.normal(size=3)
    before, depth_before = cameras.project(points, pose, SKEWED)
    mirrored_pose, mirrored_lens = cameras.mirror(pose, SKEWED, WIDTH, normal)
    reflected = points - 2 * np.outer(points @ normal, normal) / (normal @ normal)
    after, depth_after = cameras.project(reflected, mirrored_pose, mirrored_lens)
    np.testing.assert_allclose(after[:, 0], WIDTH - before[:, 0])
    np.testing.assert_allclose(after[:, 1], before[:, 1])
    np.testing.assert_allclose(depth_after, depth_before)
    np.testing.assert_allclose(np.linalg.det(mirrored_pose[:3, :3]), 1)
    assert mirrored_lens[0, 0] == 700


def test_mirroring_twice_changes_nothing() -> None:
    pose = random_pose(np.random.default_rng(5))
    twice_pose, twice_lens = cameras.mirror(*cameras.mirror(pose, INTRINSICS, WIDTH), WIDTH)
    np.testing.assert_allclose(twice_pose, pose)
    np.testing.assert_allclose(twice_lens, INTRINSICS)


def test_results_are_float64_whatever_goes_in() -> None:
    pose = random_pose(np.random.default_rng(2)).astype(np.float32)
    pixels, depth = cameras.project(
        np.ones((1, 3), dtype=np.float16), pose, INTRINSICS.astype(np.float32)
    )
    assert {pixels.dtype, depth.dtype, cameras.invert_rigid(pose).dtype} == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.eye(3), r"\(3, 3\)"),
        (np.zeros(4), r"\(4,\)"),
        ([[1, 2], [3]], "inhomogeneous"),
        ("pose", "could not convert"),
    ],
)
def test_wrong_shapes_are_named(values: object, found: str) -> None:
    with pytest.raises(CameraError, match=found) as caught:
        cameras.as_stack(values, "extrinsics", 4, 4)  # type: ignore[arg-type]
    assert "extrinsics" in str(caught.value)
    assert "(..., 4, 4)" in str(caught.value)
