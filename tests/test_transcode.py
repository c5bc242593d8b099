"""Other sizes and formats: pixels kept where promised, cameras that go with them."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ReleaseMaker
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from geogen_hf.cameras.poses import project
from geogen_hf.errors import ArchiveError, UsageError
from geogen_hf.export.folder import export_release
from geogen_hf.export.options import ExportOptions, fit_size, transcode_subject
from geogen_hf.release.release import read_release
from geogen_hf.release.shards import Shard, read_images
from geogen_hf.release.subjects import Subject
from geogen_hf.source.parts import locate_parts

SubjectAndImages = tuple[Subject, list[bytes]]


@pytest.fixture(scope="module")
def stored(by_subject: Path) -> SubjectAndImages:
    subject = read_release(locate_parts(by_subject)).subjects[3]
    (read,) = read_images(Shard((subject,)))
    return read


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def transcoded(stored: SubjectAndImages, data: bytes, options: ExportOptions) -> Image.Image:
    """Transcode one image in the place of an identity's first, with intrinsics of its size."""
    subject, images = stored
    try:
        width, height = Image.open(io.BytesIO(data)).size
    except (OSError, Image.DecompressionBombError):
        width = height = 48
    intrinsics = subject.intrinsics.copy()
    intrinsics[0] *= np.array([[width / 48], [height / 48], [1]])
    subject = replace(subject, intrinsics=intrinsics)
    _, found, sizes = transcode_subject(subject, [data, *images[1:]], options)
    image = decoded(found[0])
    assert image.size == sizes[0]
    image.info["bytes"] = len(found[0])
    return image


def test_png_of_the_stored_size_is_passed_through(stored: SubjectAndImages) -> None:
    subject, images, sizes = transcode_subject(*stored, ExportOptions())
    assert images == stored[1]
    assert subject is stored[0]
    assert sizes == [(48, 48)] * 7


def test_webp_keeps_every_pixel(stored: SubjectAndImages) -> None:
    subject, images, _ = transcode_subject(*stored, ExportOptions(image_format="webp"))
    for before, after in zip(stored[1], images, strict=True):
        assert after[8:12] == b"WEBP"
        assert decoded(after).convert("RGB").tobytes() == decoded(before).convert("RGB").tobytes()
    np.testing.assert_array_equal(subject.intrinsics, stored[0].intrinsics)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_keeps_noise_and_colours_under_transparency(
    stored: SubjectAndImages, mode: str
) -> None:
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (37, 53, len(mode)), dtype=np.uint8), mode=None)
    if mode == "RGBA":
        noise.putalpha(Image.fromarray(np.tile([0, 90, 255], (37, 18))[:, :53].astype(np.uint8)))
    found = transcoded(stored, png(noise), ExportOptions(image_format="webp"))
    assert found.mode == mode
    assert found.tobytes() == noise.tobytes()


def test_jpeg_is_close_and_smaller_with_less_quality(stored: SubjectAndImages) -> None:
    large = decoded(stored[1][0]).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
    sizes = []
    for quality in (95, 50):
        options = ExportOptions(image_format="jpeg", quality=quality)
        found = transcoded(stored, png(large), options)
        difference = ImageChops.difference(found, large)
        assert np.asarray(difference).mean() < 4
        assert found.format == "JPEG"
        sizes.append(found.info["bytes"])
    assert sizes[0] > 1.5 * sizes[1]


def test_resizing_does_not_alias(stored: SubjectAndImages) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (96, 48))  # as fine as can be
    found = transcoded(
        stored, png(Image.fromarray(stripes).convert("RGB")), ExportOptions(image_size=20)
    )
    pixels = np.asarray(found).astype(int)
    assert found.size == (20, 20)
    assert np.abs(pixels - 128).max() < 24  # grey; taking single pixels would give 0 and 255


@pytest.mark.parametrize("size", [24, 7 * 8, 9])
@pytest.mark.parametrize("image_format", ["png", "webp", "jpeg"])
def test_a_known_point_lands_on_the_same_place(
    stored: SubjectAndImages, size: int, image_format: str
) -> None:
    subject, images = stored
    wide = [png(decoded(data).resize((30, 18))) for data in images]  # so that fx and fy part ways
    stored_k = subject.intrinsics * np.array([[30 / 48], [18 / 48], [1]])
    wide_subject = replace(subject, intrinsics=stored_k)
    options = ExportOptions(image_size=size, image_format=image_format)  # type: ignore[arg-type]
    found, encoded, sizes = transcode_subject(wide_subject, wide, options)
    points = np.array([[0.03, -0.05, 0.08], [-0.06, 0.1, 0.02]])
    for view in range(7):
        width, height = decoded(encoded[view]).size
        assert (width, height) == sizes[view]
        assert max(width, height) == size
        before, depth = project(points, subject.extrinsics[view], stored_k[view])
        after, depth_after = project(points, found.extrinsics[view], found.intrinsics[view])
        np.testing.assert_allclose(after / [width, height], before / [30, 18], atol=1e-12)
        np.testing.assert_array_equal(depth, depth_after)
        assert not np.allclose(after, before)


def test_what_a_camera_sees_stays_where_it_points(stored: SubjectAndImages) -> None:
    """A dot painted where a point projects to is found where the new camera projects it to."""
    subject, _ = stored
    point = np.array([[0.04, -0.03, 0.05]])
    intrinsics = subject.intrinsics * np.array([[200 / 48], [200 / 48], [1]])
    big = replace(subject, intrinsics=intrinsics)
    y, x = np.mgrid[:200, :200] + 0.5
    images = []
    for view in range(7):
        (u, v), _ = (value[0] for value in project(point, big.extrinsics[view], intrinsics[view]))
        dot = 255 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 50)
        images.append(png(Image.fromarray(dot.astype(np.uint8)).convert("RGB")))
    found, encoded, _ = transcode_subject(big, images, ExportOptions(image_size=75))
    for view in range(7):
        light = np.asarray(decoded(encoded[view]).convert("L")).astype(float)
        rows, columns = np.mgrid[:75, :75] + 0.5
        centre = [(light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()]
        wanted = project(point, found.extrinsics[view], found.intrinsics[view])[0][0]
        np.testing.assert_allclose(centre, wanted, atol=0.1)


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(8, 8192))
def test_sizes_keep_their_proportions(width: int, height: int, longer: int) -> None:
    new_width, new_height = fit_size((width, height), longer)
    assert max(new_width, new_height) == longer
    assert min(new_width, new_height) >= 1
    assert abs(new_width * height - new_height * width) <= max(width, height)


def test_palettes_with_transparency_are_resized_as_colours(stored: SubjectAndImages) -> None:
    image = Image.new("P", (64, 64))
    image.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    image.paste(1, (0, 0, 64, 31))
    data = png(image, transparency=bytes([255, 128, 0]))
    found = transcoded(stored, data, ExportOptions(image_size=8))
    assert found.mode == "RGBA"
    colours = {colour for _, colour in found.getcolors() or ()}
    assert len(colours) > 2  # blends at the border
    assert found.getpixel((0, 0)) == (0, 0, 255, 128)
    webp = transcoded(stored, data, ExportOptions(image_format="webp"))
    assert webp.tobytes() == decoded(data).convert("RGBA").tobytes()


def cut_short(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def wrong_checksum(data: bytes) -> bytes:
    spoilt = bytearray(data)
    spoilt[data.index(b"IDAT") + 12] ^= 0x55
    return bytes(spoilt)


def no_picture(data: bytes) -> bytes:
    return b"<html>Not Found</html>" * 3


def claims_to_be_huge(data: bytes) -> bytes:
    header = bytearray(data[:33])
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    return bytes(header) + data[33:]


DAMAGE = [cut_short, wrong_checksum, no_picture, claims_to_be_huge]


@pytest.mark.parametrize("spoil", DAMAGE)
@pytest.mark.parametrize("image_format", ["png", "webp", "jpeg"])
def test_damaged_images_are_named(
    stored: SubjectAndImages, spoil: Callable[[bytes], bytes], image_format: str
) -> None:
    options = ExportOptions(image_size=12, image_format=image_format)  # type: ignore[arg-type]
    with pytest.raises(ArchiveError, match=re.escape(str(stored[0].images[0]))):
        transcoded(stored, spoil(stored[1][0]), options)


def test_identities_with_damaged_images_are_left_out_where_asked(
    maker: ReleaseMaker, tmp_path: Path
) -> None:
    zip_name, member = maker.first_image()
    maker.zips[zip_name][member] = cut_short(maker.zips[zip_name][member])
    release = read_release(locate_parts(maker.write()))
    options = ExportOptions(image_format="webp")
    with pytest.raises(ArchiveError, match=member) as raised:
        export_release(release, tmp_path / "x", options, workers=1)
    if Path("/proc/self/fd").exists():  # closed by now, though the error still holds every frame
        assert raised.tb is not None
        opened = [
            str(place.readlink()) for place in Path("/proc/self/fd").iterdir() if place.is_symlink()
        ]
        assert not [name for name in opened if name.startswith(str(maker.folder))]
    done = export_release(release, tmp_path / "x", options, on_bad_subject="skip", workers=1)
    assert sum(done.rows["sequences"].values()) == 6
    assert sum(done.rows["cameras"].values()) == 42


@pytest.mark.parametrize(("image_format", "mode"), [("jpeg", "RGBA"), ("webp", "L")])
def test_what_a_format_cannot_hold_is_refused(
    stored: SubjectAndImages, image_format: str, mode: str
) -> None:
    options = ExportOptions(image_format=image_format)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"{image_format} does not go(.|\n)*mode {mode}"):
        transcoded(stored, png(Image.new(mode, (16, 16))), options)


def test_sixteen_bits_are_not_spoilt(stored: SubjectAndImages) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    data = png(Image.fromarray(ramp))
    found = transcoded(stored, data, ExportOptions(image_size=16))
    assert found.mode == "I;16"
    wanted = ramp.reshape(16, 4, 16, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(np.asarray(found)[2:-2, 2:-2], wanted[2:-2, 2:-2], rtol=0.02)
