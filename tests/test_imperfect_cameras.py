"""Cameras that are a little wrong: settled all the same, and what is wrong is told in numbers."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from geogen_hf.cameras import fit_orbit, look_at, project, unproject
from geogen_hf.cameras.conventions import CANDIDATES, Convention, express
from geogen_hf.cameras.proof import score_conventions
from geogen_hf.cameras.scores import CameraWarning, ConventionResult
from geogen_hf.errors import CameraError
from geogen_hf.sample import head_of, subject_cameras
from geogen_hf.sample.render import render

Array = NDArray[np.float64]

SIZE, SUBJECTS, SEED = 64, 5, 31
STORED = Convention("camera_to_world", "opengl")
IDS = tuple(f"subj_{index:05d}" for index in range(SUBJECTS))


@functools.cache
def pictures() -> NDArray[np.uint8]:
    return np.stack(
        [
            render(head_of(name, SEED), *subject_cameras(name, size=SIZE, seed=SEED), SIZE)
            for name in IDS
        ]
    )


def cameras() -> tuple[Array, Array]:
    both = [subject_cameras(name, size=SIZE, seed=SEED) for name in IDS]
    return np.stack([pose for pose, _ in both]), np.stack([lens for _, lens in both])


def proven(
    extrinsics: Array, intrinsics: Array, shown: NDArray[np.uint8] | None = None
) -> ConventionResult:
    images = pictures() if shown is None else shown
    return score_conventions(
        list(express(extrinsics, STORED)),
        lambda index: (images[index], intrinsics[index]),
        subject_ids=IDS,
        view_ids=[range(1, 8)] * len(extrinsics),
    )


def told(result: ConventionResult, kind: str) -> CameraWarning:
    assert result.convention == STORED, str(result)
    (warning,) = [each for each in result.warnings if each.kind == kind]
    assert warning.text in str(result)
    json.dumps(result.to_json(), allow_nan=False)
    return warning


def test_nothing_is_told_of_right_cameras() -> None:
    result = proven(*cameras())
    assert (result.convention, result.warnings) == (STORED, ())
    assert len(result.pixel_subjects) == 3  # no more pictures than needed


def test_a_principal_point_that_is_off_in_all_views() -> None:
    extrinsics, intrinsics = cameras()
    intrinsics[..., 0, 2] -= 0.02 * SIZE
    warning = told(proven(extrinsics, intrinsics), "principal_point")
    assert warning.numbers["x"] == pytest.approx(2.0, abs=0.5)
    assert f"({warning.numbers['x']:+.1f} %" in warning.text


def test_focal_lengths_that_are_an_average() -> None:
    extrinsics, intrinsics = cameras()
    rng = np.random.default_rng(1)
    intrinsics[..., [0, 1], [0, 1]] *= 1 + rng.uniform(-0.06, 0.06, (SUBJECTS, 7, 1))
    warning = told(proven(extrinsics, intrinsics), "focal_lengths")
    assert 1 < warning.numbers["focal"] < 5  # the standard deviation is 3.5


def test_principal_points_that_vary() -> None:
    extrinsics, intrinsics = cameras()
    rng = np.random.default_rng(2)
    intrinsics[..., :2, 2] += 0.03 * SIZE * rng.uniform(-1, 1, (SUBJECTS, 7, 2))
    warning = told(proven(extrinsics, intrinsics), "scattered_views")
    assert 0.8 < warning.numbers["scatter"] < 3  # 1.7 in each direction


def test_soft_outlines_do_not_hide_the_convention() -> None:
    blur = ImageFilter.GaussianBlur(2)
    soft = np.stack(
        [
            np.stack([np.asarray(Image.fromarray(view).filter(blur)) for view in subject])
            for subject in pictures()
        ]
    )
    assert proven(*cameras(), soft).convention == STORED


def test_two_exchanged_views_of_one_subject_are_named() -> None:
    extrinsics, intrinsics = cameras()
    extrinsics[2, [1, 4]] = extrinsics[2, [4, 1]]
    warning = told(proven(extrinsics, intrinsics), "exchanged_views")
    assert warning.text.startswith("Views 2 and 5 of subj_00002 look exchanged")
    assert warning.numbers["views"] == [2, 5]


def test_mirrored_images_are_told_and_read_consistently() -> None:
    extrinsics, intrinsics = cameras()
    result = proven(extrinsics, intrinsics, np.ascontiguousarray(pictures()[:, :, :, ::-1]))
    assert result.convention == Convention("camera_to_world", "opengl_mirrored_x")
    assert [warning.kind for warning in result.warnings] == ["mirrored"]
    assert "mirrored" in result.warnings[0].text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("exchanged", "two views of each subject look exchanged"),
        ("moved on", "the cameras look shuffled"),
        ("transposed", "the rotation blocks look transposed"),
    ],
)
def test_wrong_cameras_are_not_settled_and_recognised(wrong: str, said: str) -> None:
    extrinsics, intrinsics = cameras()
    if wrong == "exchanged":
        extrinsics[:, [0, 2]] = extrinsics[:, [2, 0]]
    elif wrong == "moved on":
        extrinsics = np.roll(extrinsics, 1, axis=1)
    else:
        extrinsics[..., :3, :3] = np.swapaxes(extrinsics[..., :3, :3], -1, -2)
    result = score_conventions(
        list(extrinsics), lambda i: (pictures()[i], intrinsics[i]), subject_ids=IDS
    )
    assert result.convention is None
    assert said in result.reason


def test_imperfect_wrong_cameras_are_not_settled() -> None:
    extrinsics, intrinsics = cameras()
    rng = np.random.default_rng(3)
    intrinsics[..., 0, 2] += 0.015 * SIZE
    for subject in extrinsics:
        one, other = rng.choice(7, 2, replace=False)
        subject[[one, other]] = subject[[other, one]]
    assert proven(extrinsics, intrinsics).convention is None


def test_a_release_of_one_subject_is_settled_only_if_nothing_is_wrong() -> None:
    extrinsics, intrinsics = cameras()
    one = slice(1, 2)
    assert proven(extrinsics[one], intrinsics[one], pictures()[one]).convention == STORED
    order = [1, 0, *range(2, 7)]
    assert proven(extrinsics[one][:, order], intrinsics[one], pictures()[one]).convention is None


def test_an_unsettled_result_names_the_difference_and_the_option() -> None:
    """Cameras level with their target leave up and down open."""
    extrinsics, intrinsics = cameras()
    level = extrinsics.copy()
    for subject in level:
        orbit = fit_orbit(subject)
        outward = np.linalg.inv(subject)[:, :3, 3] - orbit.centre
        outward[:, 1] = 0
        subject[:] = look_at(orbit.centre + outward, orbit.centre, (0, 1, 0))
    shown = np.stack(
        [
            render(head_of(name, SEED), pose, lens, SIZE)
            for name, pose, lens in zip(IDS[:3], level, intrinsics, strict=False)
        ]
    )
    result = proven(level[:3], intrinsics[:3], shown)
    assert result.convention is None
    assert "the two differ in up and down" in result.reason
    with pytest.raises(CameraError, match=r"camera_convention='camera_to_world \w+ unchecked'"):
        result.require()


def test_points_project_where_the_picture_shows_them() -> None:
    extrinsics, intrinsics = cameras()
    centre = fit_orbit(extrinsics[0]).centre
    pixels, depth = project(centre[None], extrinsics[0], intrinsics[0])
    assert np.abs(pixels - SIZE / 2).max() < 0.06 * SIZE
    again = unproject(pixels, depth, extrinsics[0], intrinsics[0])
    np.testing.assert_allclose(again, np.broadcast_to(centre, again.shape), atol=1e-9)


def test_the_order_of_the_candidates_does_not_matter() -> None:
    extrinsics, intrinsics = cameras()
    stored = list(express(extrinsics, STORED))
    backwards = score_conventions(
        stored, lambda i: (pictures()[i], intrinsics[i]), candidates=CANDIDATES[::-1]
    )
    assert backwards.convention == STORED
