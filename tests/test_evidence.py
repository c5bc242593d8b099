"""Proving conventions: right cameras, wrong ones, odd rigs; on heads with exact cameras."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geogen_hf.cameras.conventions import AXES_SIGNS, CANDIDATES, Convention, canonicalise, express
from geogen_hf.cameras.hull import Silhouettes
from geogen_hf.cameras.poses import camera_centre, crop_intrinsics, intrinsics_matrix, look_at
from geogen_hf.cameras.proof import score_conventions
from geogen_hf.cameras.rigs import Rig, fit_orbit, measure_rigs
from geogen_hf.cameras.scores import ConventionResult
from geogen_hf.cameras.silhouettes import filled, outline, silhouette
from geogen_hf.errors import CameraError, UsageError
from geogen_hf.sample import head_of, subject_cameras
from geogen_hf.sample.render import render

Array = NDArray[np.float64]
Pictures = NDArray[np.uint8]

SIZE = 64
C2W_OPENGL = Convention("camera_to_world", "opengl")
W2C_OPENCV = Convention("world_to_camera", "opencv")


def subject_id(index: int) -> str:
    return f"subj_{index:05d}"


@functools.cache
def pictures_of(index: int) -> Pictures:
    cameras = subject_cameras(subject_id(index), size=SIZE)
    return render(head_of(subject_id(index)), *cameras, SIZE)


@functools.cache
def cameras_of(count: int) -> tuple[Array, Array]:
    """`(N, 7, 4, 4)` true extrinsics and `(N, 7, 3, 3)` intrinsics."""
    both = [subject_cameras(subject_id(index), size=SIZE) for index in range(count)]
    return np.stack([pose for pose, _ in both]), np.stack([lens for _, lens in both])


def proof_of(
    stored: Sequence[Array] | Array,
    lenses: Sequence[Array] | Array,
    pictures: Callable[[int], Any],
    **options: Any,
) -> ConventionResult:
    def images(index: int) -> Any:
        found = pictures(index)
        return None if found is None else (found, lenses[index])

    return score_conventions(list(stored), images, **options)


def result_of(stored: Array, **options: Any) -> ConventionResult:
    return proof_of(stored, cameras_of(len(stored))[1], pictures_of, **options)


def turn(axis: Array, degrees: float) -> Array:
    """Rotations by Rodrigues' formula."""
    x, y, z = np.moveaxis(axis / np.linalg.norm(axis, axis=-1, keepdims=True), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def rigid(rotation: Array, translation: Array | tuple[float, ...] = (0, 0, 0)) -> Array:
    matrix = np.zeros((*rotation.shape[:-2], 4, 4))
    matrix[..., :3, :3], matrix[..., :3, 3], matrix[..., 3, 3] = rotation, translation, 1
    return matrix


# The right answer


@pytest.mark.parametrize("convention", CANDIDATES, ids=str)
def test_two_subjects_name_every_convention(convention: Convention) -> None:
    extrinsics, _ = cameras_of(2)
    stored = express(extrinsics, convention)
    result = result_of(stored)
    assert result.convention == convention, str(result)
    assert result.require() == convention
    assert result.mirrored_world == convention.mirrored
    np.testing.assert_allclose(canonicalise(stored, convention), extrinsics, atol=1e-9)


@pytest.mark.parametrize(
    "name",
    ["world_to_camera opencv", "camera_to_world opengl", "c2w opencv_mirrored_y transposed"],
)
def test_fifty_subjects_name_the_convention(name: str) -> None:
    convention = Convention.from_name(name)
    result = result_of(express(cameras_of(50)[0], convention))
    assert result.convention == convention, str(result)
    assert result.subjects == 50
    assert 3 <= len(result.pixel_subjects) <= 12
    assert max(result.pixel_subjects) - min(result.pixel_subjects) > 30


WORLDS = {
    "on the z axis": rigid(np.eye(3), (0, 0, -2)),
    "z up, standing": rigid(turn(np.array([1.0, 0, 0]), -90), (0, -1.6, 0)),
    "anywhere": rigid(turn(np.array([1.0, 2, -1]), 77), (3, 1, -2)),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("convention", [W2C_OPENCV, C2W_OPENGL], ids=str)
def test_the_frame_of_the_world_does_not_matter(world: str, convention: Convention) -> None:
    stored = express(cameras_of(2)[0] @ WORLDS[world], convention)
    result = result_of(stored)
    assert result.convention == convention, str(result)
    assert not result.mirrored_world


def test_the_wrong_direction_can_be_a_sound_rig_too() -> None:
    # With the head on the world's z axis geometry cannot tell; the pictures did, above.
    extrinsics, _ = cameras_of(2)
    result = score_conventions(extrinsics @ WORLDS["on the z axis"])
    directions = {row.convention.direction for row in result.scores if row.standing}
    assert directions == {"world_to_camera", "camera_to_world"}


@pytest.mark.parametrize("axes", [axes for axes, signs in AXES_SIGNS.items() if np.prod(signs) < 0])
def test_left_handed_cameras_in_a_right_handed_world(axes: str) -> None:
    stored = np.linalg.inv(cameras_of(2)[0]) @ np.diag([*AXES_SIGNS[axes], 1])  # type: ignore[index]
    result = result_of(stored)
    assert result.convention == Convention("camera_to_world", axes), str(result)  # type: ignore[arg-type]
    assert not result.mirrored_world


# Wrong input


def shuffled(extrinsics: Array, rng: np.random.Generator) -> Array:
    """Every view of a subject has another view's camera."""
    orders = []
    while len(orders) < len(extrinsics):
        order = rng.permutation(extrinsics.shape[1])
        if (order != np.arange(len(order))).all():
            orders.append(order)
    return np.stack([cameras[order] for cameras, order in zip(extrinsics, orders, strict=True)])


def rotation_blocks_transposed(stored: Array) -> Array:
    wrong = stored.copy()
    wrong[..., :3, :3] = np.swapaxes(stored[..., :3, :3], -1, -2)
    return wrong


def noise(extrinsics: Array, rng: np.random.Generator) -> Array:
    return rigid(turn(rng.normal(size=(*extrinsics.shape[:-2], 3)), 30))


WRONG: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "shuffled": shuffled,
    "rotation blocks transposed": lambda e, _: rotation_blocks_transposed(e),
    "rotation blocks transposed, c2w": lambda e, _: rotation_blocks_transposed(np.linalg.inv(e)),
    "rotation blocks transposed, c2w OpenGL": lambda e, _: rotation_blocks_transposed(
        express(e, C2W_OPENGL)
    ),
    "rotation blocks transposed, elsewhere": lambda e, _: rotation_blocks_transposed(
        e @ WORLDS["anywhere"]
    ),
    "turned by 30 degrees about themselves": lambda e, rng: noise(e, rng) @ e,
    "turned by 30 degrees about the world": lambda e, rng: e @ noise(e, rng),
    "turned by 30 degrees, translation kept": lambda e, rng: np.concatenate(
        [(noise(e, rng) @ e)[..., :3], e[..., 3:]], axis=-1
    ),
    "x of the centres negated": lambda e, _: np.linalg.inv(
        np.linalg.inv(e) * np.where(np.arange(16).reshape(4, 4) == 3, -1, 1)
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input_has_no_winner(wrong: str) -> None:
    extrinsics, _ = cameras_of(2)
    result = result_of(WRONG[wrong](extrinsics, np.random.default_rng(2)))
    assert not result.settled, str(result)
    with pytest.raises(CameraError, match="name it: camera_convention="):
        result.require()


def test_subjects_in_different_conventions_have_no_winner() -> None:
    extrinsics, _ = cameras_of(6)
    stored = extrinsics.copy()
    stored[::3] = np.linalg.inv(extrinsics[::3])  # a third of them
    result = result_of(stored)
    assert not result.settled
    assert result.scores[0].geometry.sound == pytest.approx(4 / 6)
    assert "67% of the subjects" in result.reason


def test_matrices_that_are_no_cameras_have_no_winner() -> None:
    stored = np.random.default_rng(8).normal(size=(3, 7, 4, 4))
    stored[1, 2, 0, 0] = np.nan
    result = result_of(stored)
    assert not result.settled
    assert "not rotations" in result.reason
    assert "nan" not in json.dumps(result.to_json()).lower()
    assert "nan" not in str(result)


def test_cameras_that_look_away_have_no_winner() -> None:
    extrinsics, _ = cameras_of(3)
    centres = camera_centre(extrinsics)
    away = look_at(centres, centres + np.array([3.0, 0.2, 1.0]), (0, 1, 0))  # all the same way
    result = result_of(away)
    assert not result.settled
    assert "meet" in result.reason


def test_one_bad_subject_among_many_does_not_matter() -> None:
    stored = express(cameras_of(12)[0], C2W_OPENGL)
    stored[3] = np.nan
    stored[7, 2, :3, :3] *= 3
    result = result_of(stored)
    assert result.convention == C2W_OPENGL, str(result)
    assert result.scores[0].geometry.formed == pytest.approx(76 / 84)
    assert not {3, 7} & set(result.pixel_subjects)


# What a key says


def test_a_stated_direction_that_is_right_changes_nothing() -> None:
    stored = express(cameras_of(2)[0], C2W_OPENGL)
    result = result_of(stored, stated_direction="camera_to_world")
    assert result.convention == C2W_OPENGL
    assert not result.contradicted


def test_a_stated_direction_that_is_wrong_is_reported_and_not_overridden() -> None:
    stored = express(cameras_of(2)[0], C2W_OPENGL)
    result = result_of(stored, stated_direction="world_to_camera")
    assert result.contradicted
    assert result.convention is None
    assert "keys say world_to_camera" in result.reason
    assert "camera_to_world opengl" in result.reason


def test_contradicts_a_named_convention_only_if_that_is_clear() -> None:
    stored = express(cameras_of(2)[0], C2W_OPENGL)
    assert result_of(stored).contradicts(W2C_OPENCV)
    assert not result_of(stored).contradicts(C2W_OPENGL)
    # Geometry alone rules directions out, but not axes that are turned or mirrored.
    assert score_conventions(stored).contradicts(W2C_OPENCV)
    assert not score_conventions(stored).contradicts(Convention("camera_to_world", "opengl_turned"))


# Without pictures, or with odd ones


def test_without_pictures_geometry_only() -> None:
    result = score_conventions(express(cameras_of(5)[0], C2W_OPENGL))
    assert not result.settled
    standing = {row.convention.name for row in result.scores if row.standing}
    axes = ("opengl", "opengl_turned", "opengl_mirrored_x", "opengl_mirrored_y")
    assert standing == {f"camera_to_world {name}" for name in axes}
    assert "cannot tell mirrored or turned axes" in result.reason
    assert all(name in result.reason for name in standing)
    assert result.margin is None


def test_few_views_show_nothing() -> None:
    extrinsics, lenses = cameras_of(3)
    pairs = proof_of(extrinsics[:, :2], lenses[:, :2], lambda i: pictures_of(i)[:2])
    assert (pairs.convention, pairs.subjects) == (None, 0)
    assert "three views" in pairs.reason
    fives = proof_of(extrinsics[:, :5], lenses[:, :5], lambda i: pictures_of(i)[:5])
    assert (fives.convention, fives.subjects, fives.pixel_subjects) == (None, 3, ())


def test_numbers_of_views_and_sizes_of_pictures_may_vary() -> None:
    extrinsics, lenses = cameras_of(4)
    views = [slice(0, 7), slice(0, 1), slice(1, 7), slice(0, 2)]
    asked: list[int] = []

    def larger_and_larger(index: int) -> list[Pictures]:
        asked.append(index)
        shown = pictures_of(index)[views[index]]
        return [
            np.kron(each, np.ones((1 + v % 3,) * 2 + (1,), np.uint8))
            for v, each in enumerate(shown)
        ]

    scaled = [
        np.stack(
            [np.diag([1 + v % 3, 1 + v % 3, 1]) @ lens for v, lens in enumerate(lenses[i][part])]
        )
        for i, part in enumerate(views)
    ]
    stored = [express(extrinsics[i][part], C2W_OPENGL) for i, part in enumerate(views)]
    result = proof_of(stored, scaled, larger_and_larger)
    assert result.convention == C2W_OPENGL, str(result)
    assert (result.subjects, result.pixel_subjects) == (2, (0, 2))
    assert sorted(asked) == [0, 2]  # no picture is decoded for nothing


def test_cropped_pictures_with_the_principal_point_off_the_middle() -> None:
    extrinsics, lenses = cameras_of(2)
    cropped = {i: pictures_of(i)[:, 4:, 6:60] for i in range(2)}
    result = proof_of(express(extrinsics, C2W_OPENGL), crop_intrinsics(lenses, 6, 4), cropped.get)
    assert result.convention == C2W_OPENGL, str(result)


def test_grainy_pictures() -> None:
    rng = np.random.default_rng(1)

    def grainy(index: int) -> Pictures:
        pictures = pictures_of(index)
        return (pictures + rng.normal(0, 4, pictures.shape)).clip(0, 255).astype(np.uint8)

    extrinsics, lenses = cameras_of(4)
    result = proof_of(express(extrinsics, C2W_OPENGL), lenses, grainy)
    assert result.convention == C2W_OPENGL, str(result)


@pytest.mark.parametrize("tone", [190, 205, 230])
def test_light_clothes_before_a_light_background(tone: int) -> None:
    extrinsics, lenses = cameras_of(2)
    white = dict.fromkeys(("cloth_rgb", "accent_rgb", "collar_rgb"), (tone,) * 3)
    dressed = {
        index: render(
            replace(head_of(subject_id(index)), **white), extrinsics[index], lenses[index], SIZE
        )
        for index in range(2)
    }
    for pictures in dressed.values():
        contrast = np.abs(pictures.astype(int) - 213).max(axis=-1)
        assert ((contrast > 0) & (contrast < 8)).sum() > 300  # parts of them cannot be seen
    result = proof_of(express(extrinsics, C2W_OPENGL), lenses, dressed.get)
    # At the worst tone so much of the shoulders is gone that it may be undecided, but not wrong.
    assert result.convention == C2W_OPENGL or (tone == 205 and not result.settled), str(result)
    assert result.scores[0].convention == C2W_OPENGL


def test_pictures_without_an_even_background_are_left_out() -> None:
    rng = np.random.default_rng(2)

    def pictures(index: int) -> Pictures:
        if index < 3:
            return rng.integers(0, 256, (7, SIZE, SIZE, 3), dtype=np.uint8)
        return pictures_of(index)

    extrinsics, lenses = cameras_of(8)
    result = proof_of(express(extrinsics, C2W_OPENGL), lenses, pictures, pixel_subjects=3)
    assert result.convention == C2W_OPENGL, str(result)
    assert not {0, 1, 2} & set(result.pixel_subjects)


def test_a_wrong_focal_length_goes_unnoticed() -> None:
    extrinsics, lenses = cameras_of(2)
    wrong = lenses * np.array([[1.15], [1.15], [1]]) * np.array([1, 1, 0]) + lenses * [0, 0, 1]
    result = proof_of(express(extrinsics, C2W_OPENGL), wrong, pictures_of)
    assert result.convention == C2W_OPENGL, str(result)
    assert "do not show a focal length" in str(result)


# Odd rigs


def scattered_cameras(index: int) -> tuple[Array, Array]:
    """Cameras at different distances, rolled, looking beside the head's middle; fx is not fy."""
    rng = np.random.default_rng([index, 77])
    azimuth = np.radians(np.arange(7) * 360 / 7 + rng.uniform(-15, 15, 7))
    elevation = np.radians(rng.uniform(-15, 50, 7))
    outward = np.stack(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ],
        axis=-1,
    )
    target = np.array([0.01, -0.03, 0.02]) + rng.uniform(-0.03, 0.03, (7, 3))
    eye = target + rng.uniform(0.6, 0.85, (7, 1)) * outward
    up = np.array([0, 1, 0]) + rng.uniform(-0.1, 0.1, (7, 3))
    lens = intrinsics_matrix(1.3 * SIZE, 1.4 * SIZE, 0.53 * SIZE, 0.48 * SIZE)
    return look_at(eye, target, up), np.tile(lens, (7, 1, 1))


def test_cameras_that_stand_on_no_circle_and_look_at_no_one_point() -> None:
    both = [scattered_cameras(index) for index in range(2)]
    shown = {
        index: render(head_of(subject_id(index)), *cameras, SIZE)
        for index, cameras in enumerate(both)
    }
    stored = [express(pose, C2W_OPENGL) for pose, _ in both]
    result = proof_of(stored, [lens for _, lens in both], shown.get)
    assert result.convention == C2W_OPENGL, str(result)


def test_cameras_level_with_their_target_leave_up_and_down_open() -> None:
    azimuth = np.radians(np.arange(7) * 360 / 7 + 5)
    target = np.array([0, -0.03, 0])
    outward = np.stack([np.sin(azimuth), np.zeros(7), np.cos(azimuth)], axis=-1)
    extrinsics = look_at(target + 0.68 * outward, target, (0, 1, 0))
    lens = np.tile(intrinsics_matrix(1.4 * SIZE, 1.4 * SIZE, SIZE / 2, SIZE / 2), (7, 1, 1))
    shown = {0: render(head_of(subject_id(0)), extrinsics, lens, SIZE)}
    result = proof_of([extrinsics], [lens], shown.get)
    assert not result.settled
    first_two = {row.convention.name for row in result.scores[:2]}
    assert first_two == {"world_to_camera opencv", "world_to_camera opencv_mirrored_y"}
    assert result.margin == pytest.approx(0, abs=0.005)


# The report


def test_report_and_json_say_the_same() -> None:
    result = result_of(express(cameras_of(2)[0], C2W_OPENGL))
    text, plain = str(result), json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert "camera convention: camera_to_world opengl" in text
    assert plain["convention"] == "camera_to_world opengl"
    assert plain["settled"] is True
    assert len(plain["scores"]) == len(CANDIDATES)
    assert plain["scores"][0]["convention"] == plain["convention"]
    best, second = (row["misfit_percent"] for row in plain["scores"][:2])
    assert plain["margin"] == pytest.approx(1 - best / second, abs=0.002)
    assert plain["margin"] > 0.8
    assert plain["scores"][-1]["misfit_percent"] is None
    assert f"{best:.2f} %" in result.reason
    # What geometry rules out is counted, not listed; every column is explained.
    assert "25 more that geometry rules out" in text
    legend = text[text.index("more that geometry") :]
    for column in ("sound", "miss", "ahead", "ups", "gap", "as stated", "adjusted"):
        assert f"  {column}  " in legend


def test_the_same_input_gives_the_same_result() -> None:
    stored = express(cameras_of(2)[0], C2W_OPENGL)
    assert result_of(stored).to_json() == result_of(stored).to_json()


# Bad arguments


def test_shapes_that_do_not_fit_are_refused() -> None:
    extrinsics, lenses = cameras_of(2)
    with pytest.raises(CameraError, match="no subject"):
        score_conventions([])
    with pytest.raises(CameraError, match="for each subject"):
        score_conventions([extrinsics[0], np.zeros((0, 4, 4))])
    with pytest.raises(CameraError, match="shape"):
        score_conventions(extrinsics[..., :3, :])
    with pytest.raises(CameraError, match="6 pictures"):
        proof_of(extrinsics, lenses, lambda i: pictures_of(i)[:6])
    with pytest.raises(UsageError, match="uint8"):
        proof_of(extrinsics, lenses, lambda i: pictures_of(i) / 255)


# Parts


def test_rigs_of_many_subjects_are_those_of_each() -> None:
    extrinsics, _ = cameras_of(5)
    parts = [extrinsics[0], extrinsics[1][:3], extrinsics[2][:5], extrinsics[3], extrinsics[4][:4]]
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    together = measure_rigs(np.concatenate(parts), starts)
    for index, part in enumerate(parts):
        orbit = fit_orbit(part)
        azimuth, _, distance = orbit.angles(part)
        ordered = np.sort(azimuth)
        gap = np.diff(np.append(ordered, ordered[0] + 360)).max()
        np.testing.assert_allclose(together.centre[index], orbit.centre, atol=1e-6)
        assert together.gap_deg[index] == pytest.approx(gap, abs=1e-4)
        assert together.distance_spread[index] == pytest.approx(distance.std() / distance.mean())
        assert together.up[index] @ orbit.up == pytest.approx(together.up_agreement[index])
        assert together.sound[index]


def test_silhouettes_are_what_the_renderer_drew() -> None:
    picture = pictures_of(1)[0]
    found = silhouette(picture)
    assert found.plausible
    drawn = np.abs(picture.astype(int) - 213).max(axis=-1) > 0
    shrunk = found.mask[1::3, 1::3][:32, :32]  # masks are 96 px long, the picture 64
    differing = shrunk != drawn[0::2, 0::2]
    assert differing.mean() < 0.05
    np.testing.assert_allclose(found.scale, 1.5)


def test_holes_are_filled_and_bays_are_not() -> None:
    ring = np.zeros((9, 9), bool)
    ring[2:7, 2:7] = True
    bay = ring.copy()
    ring[4, 4], bay[2:5, 4] = False, False
    assert filled(ring).sum() == 25
    assert filled(bay).sum() == 22
    assert outline(filled(ring)).sum() == 16


def test_true_cameras_fit_the_silhouettes_and_others_do_not() -> None:
    extrinsics, lenses = cameras_of(2)
    swapped = extrinsics[1][[3, 1, 2, 0, 4, 5, 6]]
    seen = Silhouettes([silhouette(each) for each in pictures_of(1)], lenses[1])
    centre = fit_orbit(extrinsics[1]).centre
    assert seen.misfit(Rig(extrinsics[1], centre)) < 0.1
    assert seen.misfit(Rig(swapped, centre)) > 0.4
    assert seen.adjust(Rig(swapped, centre)).misfit > 0.25


def test_the_hull_as_a_view_sees_it_covers_the_silhouette_and_little_more() -> None:
    extrinsics, lenses = cameras_of(2)
    masks = [silhouette(each) for each in pictures_of(1)]
    seen = Silhouettes(masks, lenses[1])
    everywhere = [np.ones_like(each.mask) for each in masks]
    rig = Rig(extrinsics[1], fit_orbit(extrinsics[1]).centre)
    reached = seen.reached(everywhere, rig)[2]
    assert reached[masks[2].mask].mean() > 0.99
    assert (reached & ~masks[2].mask)[:64].mean() < 0.12  # below, the shoulders go on


def test_corrections_are_those_that_were_made() -> None:
    extrinsics, lenses = cameras_of(2)
    rng = np.random.default_rng(4)
    wrong = lenses[1].copy()
    moved_px = rng.uniform(-2.5, 2.5, 7)
    wrong[:, 0, 2] += moved_px
    seen = Silhouettes([silhouette(each) for each in pictures_of(1)], wrong)
    centre = fit_orbit(extrinsics[1]).centre
    adjusted = seen.adjust(Rig(extrinsics[1], centre))
    assert adjusted.misfit < 0.5 * seen.misfit(Rig(extrinsics[1], centre))
    found_px = -adjusted.corrections[:, 0] * SIZE / 96
    assert np.corrcoef(found_px, moved_px)[0, 1] > 0.7
