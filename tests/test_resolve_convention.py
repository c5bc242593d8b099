"""Whole releases in every schema and convention: the right one is named, and rows are canonical."""

from __future__ import annotations

import io
import json
import logging
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import warm
from arrangements import euler
from conftest import SUBJECTS
from PIL import Image
from zips import read_zip, zip_of

import geogen
import geogen_hf
from geogen_hf.cameras import intrinsics_matrix, look_at
from geogen_hf.cameras.conventions import CANDIDATES, CANONICAL, Convention, express
from geogen_hf.errors import CameraError, MetadataError, ReleaseError
from geogen_hf.metadata.assembly import SubjectCameras
from geogen_hf.metadata.stored_poses import Claims
from geogen_hf.release.convention import CameraOptions, resolve_convention
from geogen_hf.release.inspection import inspect_release
from geogen_hf.release.release import Release, read_release
from geogen_hf.sample import head_of, subject_cameras, write_release
from geogen_hf.sample.render import render
from geogen_hf.sample.schemas import SCHEMAS, CamerasOf
from geogen_hf.source.parts import ALL_PARTS, METADATA_PART, locate_parts

SIZE = 64
UPSTREAM_LENS = CameraOptions(default_intrinsics="upstream")
USUAL = [pytest.param(name, schema.usual, id=name) for name, schema in SCHEMAS.items()]


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("two"), subjects=2, size=SIZE)


def rewritten(
    source: Path, folder: Path, name: str, convention: Convention, subjects: int, size: int
) -> Path:
    """The same images with metadata in another schema and convention."""
    folder.mkdir()
    for part in ALL_PARTS[:-1]:
        (folder / part.name).symlink_to(source / part.name)
    ids = [f"subj_{index:05d}" for index in range(subjects)]
    cameras = [CamerasOf(one, *subject_cameras(one, size=size), size) for one in ids]
    zip_of(folder / METADATA_PART.name, dict(SCHEMAS[name].members(cameras, convention)))
    return folder


def with_views_moved(source: Path, folder: Path, by: int) -> Path:
    """The same images with the cameras of other views."""
    folder = rewritten(source, folder, "list", CANONICAL, 2, SIZE)
    values = {n: json.loads(text) for n, text in read_zip(folder / METADATA_PART.name).items()}
    for value in values.values():
        value["cameras"] = value["cameras"][by:] + value["cameras"][:by]
    zip_of(folder / METADATA_PART.name, {name: json.dumps(v) for name, v in values.items()})
    return folder


def opened(folder: Path, options: CameraOptions = UPSTREAM_LENS) -> Release:
    return read_release(locate_parts(folder), options)


def test_images_that_are_reduced_for_the_proof_keep_their_intrinsics(
    two_heads: Path, tmp_path: Path
) -> None:
    larger = 17  # 1,088 px: more than the proof looks at
    folder = rewritten(two_heads, tmp_path / "parts", "list", CANONICAL, 2, larger * SIZE)
    for part in ALL_PARTS[:-1]:
        images = read_zip(folder / part.name)
        (folder / part.name).unlink()
        with zipfile.ZipFile(folder / part.name, "w") as zipped:
            for name, data in images.items():
                with Image.open(io.BytesIO(data)) as image, zipped.open(name, "w") as file:
                    image.resize((larger * SIZE, larger * SIZE)).save(file, "PNG", compress_level=1)
    release = opened(folder)
    assert release.camera_convention.convention == CANONICAL
    for subject in release.subjects:
        _, intrinsics = subject_cameras(subject.subject_id, size=larger * SIZE)
        np.testing.assert_allclose(subject.intrinsics, intrinsics)


@pytest.mark.parametrize(("name", "convention"), USUAL)
def test_two_subjects_prove_the_convention(
    name: str, convention: Convention, two_heads: Path, tmp_path: Path
) -> None:
    folder = rewritten(two_heads, tmp_path / "parts", name, convention, 2, SIZE)
    release = opened(folder)
    assert release.camera_convention.convention == convention, str(release.camera_convention)
    assert release.report.problems == ()
    proven = replace(UPSTREAM_LENS, convention=f"{convention} unchecked")
    with geogen_hf.open_release(folder, cameras=proven) as identities:
        for subject_id, identity in identities.items():
            extrinsics, intrinsics = subject_cameras(subject_id, size=SIZE)
            np.testing.assert_allclose(identity.extrinsics, extrinsics, atol=1e-6)
            np.testing.assert_allclose(identity.intrinsics, intrinsics, atol=1e-6)


def test_many_subjects_prove_the_convention(by_subject: Path, tmp_path: Path) -> None:
    convention = Convention("world_to_camera", "opencv_mirrored_x", transposed=True)
    folder = rewritten(by_subject, tmp_path / "parts", "list", convention, SUBJECTS, 48)
    release = opened(folder)
    assert release.camera_convention.convention == convention, str(release.camera_convention)
    assert release.report.problems == ()


@pytest.mark.datasets
def test_rows_are_canonical_whatever_was_stored(two_heads: Path, tmp_path: Path) -> None:
    stored = Convention("camera_to_world", "opengl")
    folder = rewritten(two_heads, tmp_path / "parts", "normalised", stored, 2, SIZE)
    loaded = geogen.load("views", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    for row in (row for split in loaded.values() for row in split):
        extrinsics, intrinsics = subject_cameras(row["subject_id"], size=SIZE)
        np.testing.assert_allclose(row["extrinsics"], extrinsics[row["view_id"]], atol=1e-5)
        np.testing.assert_allclose(row["intrinsics"], intrinsics[row["view_id"]], rtol=1e-5)


@pytest.mark.datasets
def test_intrinsics_that_are_not_there_are_not_made_up(two_heads: Path, tmp_path: Path) -> None:
    folder = rewritten(two_heads, tmp_path / "parts", "no-intrinsics", CANONICAL, 2, SIZE)
    with pytest.raises((ReleaseError, CameraError), match="default_intrinsics"):
        geogen.load("views", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))


@pytest.mark.datasets
def test_an_unsettled_release_stops_with_the_scores_and_loads_by_name(
    two_heads: Path, tmp_path: Path
) -> None:
    folder = with_views_moved(two_heads, tmp_path / "parts", 3)
    options = {"data_dir": str(folder), "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(CameraError, match="cannot be told from the data") as caught:
        geogen.load("cameras", **options)
    assert "world_to_camera opencv" in str(caught.value)
    run = warm.geogen("inspect", folder)
    assert run.returncode == 1
    assert "camera convention: not settled" in run.stdout
    # Inconclusive: what is stated is taken, with a warning.
    named = geogen.load("cameras", camera_convention="world_to_camera opencv", **options)
    assert sum(map(len, named.values())) == 14


def test_inspect_prints_the_convention_and_puts_it_into_json(
    two_heads: Path, tmp_path: Path
) -> None:
    convention = Convention("camera_to_world", "opengl")
    folder = rewritten(two_heads, tmp_path / "parts", "list", convention, 2, SIZE)
    run = warm.geogen("inspect", folder)
    assert "camera convention: camera_to_world opengl" in run.stdout
    run = warm.geogen("inspect", folder, "--json")
    found = json.loads(run.stdout)["camera_convention"]
    assert found["convention"] == "camera_to_world opengl"
    assert found["evidence"]["scores"][0]["convention"] == "camera_to_world opengl"


def test_a_schema_that_no_key_tells_is_stated(two_heads: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    shutil.copytree(two_heads, folder)
    texts = {}
    for subject_id in ("subj_00000", "subj_00001"):
        views = [
            {"q17": e[:3, :3], "q18": e[:3, 3], "q19": k, "q20": [7] * 3}
            for e, k in zip(*subject_cameras(subject_id, size=SIZE), strict=True)
        ]
        value = {"name": subject_id, "cameras": views}
        texts[f"{subject_id}.json"] = json.dumps(value, default=np.ndarray.tolist)
    zip_of(folder / METADATA_PART.name, texts)
    with pytest.raises(MetadataError, match="camera_schema"):  # two that may be the translation
        opened(folder)
    schema = tmp_path / "schema.toml"
    schema.write_text('rotation = "q17"\ntranslation = "q18"\nintrinsics = "q19"\n')
    assert opened(folder, CameraOptions(schema=schema)).camera_convention.convention == CANONICAL
    run = warm.geogen("inspect", folder, "--camera-schema", schema)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("units", ["radians", "degrees"])
def test_a_schema_that_states_no_convention_is_checked(
    units: str, two_heads: Path, tmp_path: Path
) -> None:
    """Words for the numbers are no word for the cameras' axes, whatever the keys say of these."""
    folder = tmp_path / "parts"
    shutil.copytree(two_heads, folder)
    with zipfile.ZipFile(folder / METADATA_PART.name, "w") as zipped:
        for subject_id in ("subj_00000", "subj_00001"):
            extrinsics, intrinsics = subject_cameras(subject_id, size=SIZE)
            views = [
                {
                    "location": m[:3, 3].tolist(),
                    "rotation_euler": euler(m).tolist(),
                    "K": k.tolist(),
                }
                for m, k in zip(express(extrinsics, CANDIDATES[3]), intrinsics, strict=True)
            ]
            text = json.dumps({"name": subject_id, "cameras": views})
            zipped.writestr(f"{subject_id}.json", text)
    options = CameraOptions(schema={"euler_units": units, "euler_order": "XYZ"})
    found = opened(folder, options).camera_convention
    assert found.how == ("proven" if units == "radians" else "unsettled"), str(found)


@pytest.mark.parametrize(
    ("sense", "convention"), [(1, CANONICAL), (-1, Convention.from_name("w2c opencv_mirrored_x"))]
)
def test_angles_in_either_sense_are_proven_by_rendered_images(
    sense: int, convention: Convention, tmp_path: Path
) -> None:
    """Azimuth, elevation and distance alone, of cameras that look at the world's origin."""
    rng = np.random.default_rng(4)
    azimuth, elevation = rng.uniform(0, 2 * np.pi, (3, 7)), rng.uniform(-0.3, 0.6, (3, 7))
    level = np.cos(elevation)
    outward = [level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth)]
    extrinsics = look_at(0.7 * np.stack(outward, axis=-1), (0, 0, 0), (0, 1, 0))
    intrinsics = np.tile(intrinsics_matrix(90.0, 90.0, 31.0, 33.0), (7, 1, 1))
    for part in ALL_PARTS[1:-1]:
        zipfile.ZipFile(tmp_path / part.name, "w").close()
    with (
        zipfile.ZipFile(tmp_path / ALL_PARTS[0].name, "w") as images,
        zipfile.ZipFile(tmp_path / METADATA_PART.name, "w") as metadata,
    ):
        for row, poses in enumerate(extrinsics):
            pictures = render(head_of(f"subj_{row:05d}"), poses, intrinsics, SIZE)
            views = []
            for view, picture in enumerate(pictures):
                with images.open(f"{row}/{view}.png", "w") as file:
                    Image.fromarray(picture).save(file, "png")
                angles = (sense * azimuth[row, view], elevation[row, view], 0.7)
                place = dict(zip(("azimuth", "elevation", "distance"), angles, strict=True))
                views.append({**place, "K": intrinsics[view].tolist()})
            metadata.writestr(f"{row}.json", json.dumps(views))
    release = opened(tmp_path)
    assert release.camera_convention.how == "proven", str(release.camera_convention)
    assert release.camera_convention.convention == convention
    for subject, expected in zip(release.sound_subjects(), extrinsics, strict=True):
        np.testing.assert_allclose(subject.extrinsics, expected, atol=1e-9)


def test_a_proven_convention_is_remembered_for_this_release_only(
    two_heads: Path, tmp_path: Path
) -> None:
    options = CameraOptions(memory=tmp_path / "memory")
    assert opened(two_heads, options).camera_convention.proof is not None
    again = opened(two_heads, options).camera_convention
    assert again.convention == CANONICAL
    assert again.proof is None
    other = rewritten(
        two_heads, tmp_path / "parts", "list", Convention("camera_to_world", "opengl"), 2, SIZE
    )
    judged = opened(other, options).camera_convention
    assert judged.proof is not None
    assert judged.convention == Convention("camera_to_world", "opengl")


def test_a_convention_is_proven_anew_where_the_same_numbers_are_said_in_another_unit(
    two_heads: Path, tmp_path: Path
) -> None:
    release = opened(two_heads)
    options, cameras, images = CameraOptions(memory=tmp_path), {}, {}
    for found in release.subjects:
        name, views = found.subject_id, found.view_ids
        images[name] = dict(zip(views, found.images, strict=True))
        cameras[name] = SubjectCameras(
            name, views, found.extrinsics, found.lens, Claims(), found.metadata, "test"
        )
    assert resolve_convention(cameras, images, options).how == "proven"
    assert resolve_convention(cameras, images, options).how == "remembered"
    other = {
        name: replace(found, intrinsics=replace(found.intrinsics, kind="ndc", centre_kind="ndc"))
        for name, found in cameras.items()
    }
    with pytest.raises(CameraError):  # pixels taken for NDC lead far beyond the image
        resolve_convention(other, images, options)


@pytest.mark.datasets
def test_a_builder_proves_a_convention_once(
    two_heads: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geogen_hf.cameras.proof")
    for streaming, proofs in ((True, 1), (True, 0), (False, 0)):
        caplog.clear()
        geogen.load(
            "cameras",
            streaming=streaming,
            data_dir=str(two_heads),
            cache_dir=str(tmp_path / "cache"),
        )
        names = [record.name for record in caplog.records]
        assert names.count("geogen_hf.cameras.proof") == proofs


@pytest.mark.datasets
def test_a_stated_convention_that_the_data_contradicts_stops(
    two_heads: Path, tmp_path: Path
) -> None:
    options = CameraOptions("camera_to_world opengl")
    release = opened(two_heads, options)
    assert release.camera_convention.convention is None
    with pytest.raises(CameraError, match="contradicts the stated camera convention") as caught:
        release.sound_subjects()
    assert "world_to_camera opencv" in str(caught.value)
    assert "camera_convention='camera_to_world opengl unchecked'" in str(caught.value)
    with pytest.raises(CameraError, match="contradicts the stated"):
        geogen.load(
            "cameras",
            data_dir=str(two_heads),
            cache_dir=str(tmp_path / "cache"),
            camera_convention="camera_to_world opengl",
        )


def test_unchecked_insists_on_the_stated_convention(two_heads: Path) -> None:
    name = "world_to_camera opencv_turned"
    assert opened(two_heads, CameraOptions(name)).camera_convention.convention is None
    insisted = opened(two_heads, CameraOptions(f"{name} unchecked")).camera_convention
    assert insisted.require() == Convention.from_name(name)
    assert (insisted.how, insisted.proof) == ("unchecked", None)
    assert [warning.kind for warning in insisted.warnings] == ["not_checked"]


def test_a_stated_convention_that_is_right_is_checked_and_taken(two_heads: Path) -> None:
    found = opened(two_heads, CameraOptions("w2c opencv")).camera_convention
    assert (found.require(), found.how, found.warnings) == (CANONICAL, "stated", ())
    assert found.proof is not None
    assert found.proof.convention == CANONICAL


@pytest.mark.parametrize("suffix", ["", " unchecked"])
def test_a_stated_convention_is_taken_against_the_keys_with_a_warning(
    two_heads: Path, tmp_path: Path, suffix: str
) -> None:
    folder = rewritten(two_heads, tmp_path / "parts", "list", CANONICAL, 2, SIZE)
    texts = read_zip(folder / METADATA_PART.name)
    assert all(b'"extrinsics"' in text for text in texts.values())
    denied = {n: t.replace(b'"extrinsics"', b'"camera_to_world"') for n, t in texts.items()}
    zip_of(folder / METADATA_PART.name, denied)
    refused = opened(folder, CameraOptions()).camera_convention
    assert refused.convention is None, "the pictures contradict the keys"
    release = opened(folder, CameraOptions("world_to_camera opencv" + suffix))
    assert release.report.problems == ()
    for subject in release.sound_subjects():
        truth = subject_cameras(subject.subject_id, size=SIZE)[0]
        np.testing.assert_allclose(subject.extrinsics, truth, atol=1e-6)
    *_, warning = release.camera_convention.warnings
    assert warning.kind == "denied_by_keys"
    assert "the keys of the metadata say camera_to_world" in warning.text


def test_what_cannot_be_proven_is_taken_as_stated_with_a_warning(
    two_heads: Path, tmp_path: Path
) -> None:
    folder = with_views_moved(two_heads, tmp_path / "parts", 1)
    found = opened(folder, CameraOptions("world_to_camera opencv")).camera_convention
    assert (found.require(), found.how) == (CANONICAL, "stated")
    (warning,) = found.warnings
    assert warning.kind == "not_proven"
    assert "look shuffled" in warning.text or "look exchanged" in warning.text
    assert warning.text in found.describe()


def test_the_picture_shows_what_the_next_best_convention_cuts_away(two_heads: Path) -> None:
    picture = inspect_release(two_heads, cameras=UPSTREAM_LENS).proof()
    pixels = np.asarray(picture).astype(int)
    red = (pixels[..., 0] > pixels[..., 1] + 80) & (pixels[..., 0] > pixels[..., 2] + 80)
    green = (pixels[..., 1] > pixels[..., 0] + 40) & (pixels[..., 1] > pixels[..., 2] + 20)
    middle = picture.width // 2
    assert green[:, :middle].sum() > 500
    assert red[:, middle:].sum() > red[:, :middle].sum() + 100


def test_the_picture_is_of_a_subject_with_enough_views(unmarked: Path, tmp_path: Path) -> None:
    two = ("/0.png", "/1.png", ".json")
    for part in ALL_PARTS:
        found = read_zip(unmarked / part.name).items()
        kept = {name: data for name, data in found if "subj_00001/" in name or name.endswith(two)}
        zip_of(tmp_path / part.name, kept)
    named = CameraOptions("world_to_camera opencv unchecked")
    assert inspect_release(tmp_path, cameras=named).proof()


def test_the_picture_of_an_unsettled_release_has_the_two_best(
    two_heads: Path,
) -> None:
    found = inspect_release(two_heads, cameras=CameraOptions("camera_to_world opengl"))
    assert found.camera_convention.convention is None
    assert found.proof().height > 700  # two subjects with seven views in two rows
