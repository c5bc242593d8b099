"""`verify` finds every kind of damage, and nothing where there is none."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback import LoopbackServer, QuietHandler
from PIL import Image
from zips import edited

from geogen_hf.errors import PartsError
from geogen_hf.export.folder import export_release
from geogen_hf.export.options import ExportOptions
from geogen_hf.export.parquet import portable_schema
from geogen_hf.export.verify import Verification, verify_export
from geogen_hf.export.verify_rows import fingerprint, near_pairs
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import read_release
from geogen_hf.sample import write_release
from geogen_hf.source.parts import locate_parts

CONFIGS = ("sequences", "views", "cameras", "metadata")


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A sound export, to be spoilt."""
    return Path(shutil.copytree(exported, tmp_path / "geogen"))


def verified(folder: Path, **options: Any) -> Verification:
    return verify_export(folder, workers=1, **options)


def shard(folder: Path, config: str, split: str = "train") -> Path:
    return sorted((folder / "data" / config).glob(f"{split}-*"))[0]


def correct_sums(folder: Path) -> None:
    """Make the checksums agree with whatever is there: the damage must be found without them."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


Rows = list[dict[str, Any]]


def change_rows(
    folder: Path, config: str, change: Callable[[Rows], Any], split: str = "train"
) -> None:
    """Edit the rows of a config's first file, and correct the checksums."""
    path = shard(folder, config, split)
    rows = pq.read_table(path).to_pylist()
    change(rows)
    write_rows(path, config, rows)
    correct_sums(folder)


def write_rows(path: Path, config: str, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(rows, portable_schema(config)), path)


# --- Sound folders ---


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sound_folder_passes(exported: Path, workers: int) -> None:
    told: list[tuple[int, int]] = []
    found = verify_export(exported, workers=workers, progress=lambda a, b: told.append((a, b)))
    files = len(list(exported.glob("data/*/*")))
    assert found.failures == ()
    assert told == [(number, files) for number in range(1, files + 1)]
    assert sum(found.subjects.values()) == 40
    assert found.rows["cameras"] == {split: 7 * n for split, n in found.subjects.items()}
    assert found.rows["metadata"] == found.subjects
    assert found.images == 2 * 280
    assert found.other_view_counts == {}
    assert json.loads(json.dumps(found.to_json()))["ok"] is True


@pytest.mark.parametrize("image_format", ["webp", "jpeg"])
def test_transcoded_folders_pass(by_subject: Path, tmp_path: Path, image_format: str) -> None:
    options = ExportOptions(CONFIGS, image_format=image_format, image_size=12)  # type: ignore[arg-type]
    release = read_release(locate_parts(by_subject))
    done = export_release(release, tmp_path / "x", options, workers=1)
    assert verified(done.folder).failures == ()


def test_other_numbers_of_views_are_told(tmp_path: Path) -> None:
    parts = write_release(tmp_path / "parts", subjects=3, views=5, size=16)
    named = CameraOptions("world_to_camera opencv")  # five views prove none
    release = read_release(locate_parts(parts), named)
    found = verified(export_release(release, tmp_path / "x", workers=1).folder)
    assert found.failures == ()
    assert found.other_view_counts == {5: 3}


def test_what_git_and_the_hub_leave_is_no_damage(folder: Path) -> None:
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "x.lock").touch()
    assert verified(folder).failures == ()


class _Listing(QuietHandler, http.server.SimpleHTTPRequestHandler):
    """Lists folders, from which fsspec knows what is in them."""


def test_a_folder_behind_http_is_verified(folder: Path) -> None:
    server = LoopbackServer(functools.partial(_Listing, directory=str(folder.parent)))
    server.start()
    try:
        found = verify_export(f"{server.url}/geogen", workers=2)
        assert found.failures == ()
        assert found.images == 2 * 280
        flip_byte(shard(folder, "cameras"))
        found = verify_export(f"{server.url}/geogen", workers=2)
        assert any("SHA-256" in failure for failure in found.failures)
    finally:
        server.stop()


def test_a_folder_of_any_fsspec_file_system_is_verified(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/verify/geogen", recursive=True)
    try:
        assert verify_export("memory://verify/geogen", workers=2).failures == ()
        memory.rm("/verify/geogen/splits.csv")
        failures = verify_export("memory://verify/geogen", workers=2).failures
        assert any(failure.startswith("splits.csv") for failure in failures)
    finally:
        memory.rm("/verify", recursive=True)


@pytest.mark.parametrize("name", ["README.md", "SHA256SUMS"])
def test_an_incomplete_export_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PartsError, match="not a complete export"):
        verified(folder)
    with pytest.raises(PartsError, match="no such folder"):
        verified(folder / "nowhere")


# --- Damage to files, found by their digests ---


def flip_byte(path: Path, place: float = 0.5) -> None:
    with edited(path) as data:
        data[int(len(data) * place)] ^= 0x10


def test_a_flipped_byte_anywhere_is_found(folder: Path) -> None:
    names = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    names = [name for name in names if name.name != "SHA256SUMS"]
    assert len(names) > 12
    for number, name in enumerate(names):
        whole = (folder / name).read_bytes()
        flip_byte(folder / name, (0.02, 0.5, 0.98)[number % 3])
        for quick in (True,) if number % 5 else (True, False):
            failures = verified(folder, quick=quick).failures
            message = f"{name.as_posix()}: its SHA-256 is not the one in SHA256SUMS"
            assert message in failures
        (folder / name).write_bytes(whole)
    assert verified(folder, quick=True).failures == ()


def test_missing_and_surplus_files_are_found(folder: Path) -> None:
    path = shard(folder, "cameras")
    path.rename(folder / "data" / "cameras" / "train-00007-of-00009.parquet")
    (folder / "data" / "notes.txt").write_text("x")
    (folder / "geogen.py").write_text("raise SystemExit")
    for quick in (False, True):
        text = "\n".join(verified(folder, quick=quick).failures)
        assert f"{path.relative_to(folder).as_posix()}: listed in SHA256SUMS, but missing" in text
        assert "data/cameras/train-00007-of-00009.parquet: not in SHA256SUMS" in text
        assert "data/cameras/train-*: the shards are not 0 to" in text
        assert "data/notes.txt: not data/<config>/<split>" in text
        assert "geogen.py: not in SHA256SUMS" in text


def test_a_missing_shard_is_found_without_its_digest(folder: Path) -> None:
    shard(folder, "sequences").unlink()
    correct_sums(folder)
    text = "\n".join(verified(folder).failures)
    assert "the shards are not 0 to" in text
    assert "README.md: sequences has" in text
    assert "provenance.json: sequences has" in text
    assert "sequences: identities or splits are not those of splits.csv" in text
    assert "the configs do not hold the same views" in text


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("README.md", b"# No YAML\n", "README.md: its YAML cannot be read"),
        ("README.md", b"---\na: [\n---\n", "README.md: its YAML cannot be read"),
        ("README.md", b"---\nlicense: other\n---\n", "README.md: its YAML lacks the rows"),
        ("README.md", b"\xff\xfe", "README.md: not UTF-8"),
        ("splits.csv", b"name,part\n", "splits.csv: its first line"),
        ("splits.csv", b"", "splits.csv: its first line"),
        ("splits.csv", b"subject_id,split\na\n", "splits.csv: line 2"),
        ("splits.csv", b"subject_id,split\na,train\na,test\n", "splits.csv: a is there twice"),
        ("provenance.json", b"{}", "provenance.json: cannot be understood"),
        ("provenance.json", b"[", "provenance.json: cannot be understood"),
        ("SHA256SUMS", b"nonsense\n", "SHA256SUMS: line 1 is not a digest"),
        ("SHA256SUMS", b"\xff", "SHA256SUMS: not UTF-8"),
        ("data/views/train-00000-of-00003.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_what_cannot_be_understood_is_a_failure(
    folder: Path, name: str, content: bytes, expected: str
) -> None:
    if name.startswith("data"):
        name = shard(folder, "views").relative_to(folder).as_posix()
    (folder / name).write_bytes(content)
    if name != "SHA256SUMS":
        correct_sums(folder)
    assert any(expected in failure for failure in verified(folder).failures)


# --- Lies, with digests that agree with them ---


def test_a_manifest_that_lies_is_found(folder: Path) -> None:
    path = folder / "splits.csv"
    path.write_text(re.sub(r",test\n", ",train\n", path.read_text(), count=1))
    correct_sums(folder)
    text = "\n".join(verified(folder).failures)
    assert "is in train; by its hash it belongs to test" in text
    for config in CONFIGS:
        assert f"{config}: identities or splits are not those of splits.csv" in text


@pytest.mark.parametrize("name", ["README.md", "provenance.json"])
def test_numbers_that_lie_are_found(folder: Path, name: str) -> None:
    path = folder / name
    count = verified(folder, quick=True).rows["views"]["train"]
    path.write_text(path.read_text().replace(str(count), str(count + 1)))
    correct_sums(folder)
    text = "\n".join(verified(folder, quick=True).failures)
    assert f"{name}: views has" in text
    assert f"{name}: cameras has" in text
    assert "sequences" not in text


def test_swapped_splits_are_found(folder: Path) -> None:
    for config in CONFIGS:
        one, other = shard(folder, config, "validation"), shard(folder, config, "test")
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    correct_sums(folder)
    text = "\n".join(verified(folder).failures)
    for config in CONFIGS:
        assert f"{config}: identities or splits are not those of splits.csv" in text


def test_an_identity_in_two_splits_is_found(folder: Path) -> None:
    stolen = pq.read_table(shard(folder, "sequences", "test")).to_pylist()[0]
    change_rows(folder, "sequences", lambda rows: rows.append(stolen))
    text = "\n".join(verified(folder).failures)
    subject_id = stolen["subject_id"]
    assert f"sequences: {subject_id} is in test and in train" in text
    assert f"{subject_id} view 0 is there twice" in text


def test_the_same_picture_in_two_splits_is_found(folder: Path) -> None:
    """Under another name, and in another file format."""
    stolen = pq.read_table(shard(folder, "sequences", "test")).to_pylist()[0]
    image = Image.open(io.BytesIO(stolen["images"][4]["bytes"]))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True)

    def replace(rows: Rows) -> None:
        rows[1]["images"][2] = {"bytes": buffer.getvalue(), "path": None}

    before = pq.read_table(shard(folder, "sequences")).to_pylist()[1]
    change_rows(folder, "sequences", replace)
    text = "\n".join(verified(folder).failures)
    assert "the same picture is in test" in text or "the same picture is in train" in text
    assert f"({stolen['subject_id']} view 4)" in text
    assert f"({before['subject_id']} view 2)" in text
    assert re.search(rf"{before['subject_id']} view 2: its picture is not the one in \w+", text)


def test_near_duplicates_are_a_warning(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "geogen"
    shutil.copytree(exported, folder, ignore=shutil.ignore_patterns("views"))
    before = set(verified(folder).warnings)
    stolen = pq.read_table(shard(folder, "sequences", "validation")).to_pylist()[0]
    image = Image.open(io.BytesIO(stolen["images"][0]["bytes"])).convert("RGB")
    buffer = io.BytesIO()
    image.point(lambda value: min(255, value + 1)).save(buffer, "PNG")

    def replace(rows: Rows) -> None:
        rows[0]["images"][6] = {"bytes": buffer.getvalue(), "path": None}

    victim = pq.read_table(shard(folder, "sequences")).to_pylist()[0]["subject_id"]
    change_rows(folder, "sequences", replace)
    found = verified(folder)
    assert all("views" in failure for failure in found.failures)  # taken away above
    new = set(found.warnings) - before
    names = f"{victim} view 6 (train)", f"{stolen['subject_id']} view 0 (validation)"
    assert any(all(name in warning for name in names) for warning in new)


def test_wrong_cameras_are_found(folder: Path) -> None:
    def change(rows: Rows) -> None:
        rows[0]["extrinsics"][0] = [-value for value in rows[0]["extrinsics"][0]]  # mirrored
        rows[1]["intrinsics"][0][0] *= -1
        rows[2]["extrinsics"][1][3] += 0.001

    ids = pq.read_table(shard(folder, "cameras"))["subject_id"].to_pylist()
    change_rows(folder, "cameras", change)
    failures = verified(folder).failures
    path = shard(folder, "cameras").relative_to(folder).as_posix()
    assert any(f.startswith(f"{path}: {ids[0]} view 0: ") and "mirrored" in f for f in failures)
    assert any(f.startswith(f"{path}: {ids[1]} view 1: ") and "fx" in f for f in failures)
    differing = [failure for failure in failures if "its camera is not the one" in failure]
    assert len(differing) == 3 * 2
    assert sum(f"{ids[2]} view 2" in failure for failure in differing) == 2


def test_a_wrong_size_is_found(folder: Path) -> None:
    change_rows(folder, "cameras", lambda rows: rows[3].update(width=49))
    failures = verified(folder).failures
    assert len(failures) == 2
    assert all(re.search(r"its size, 4[89] x 48, is not 4[89] x 48 as in", f) for f in failures)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"IDAT", b"IDAU"),
        lambda data: data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:],
        lambda data: b"",
        lambda data: b"GIF89a" + data,
    ],
    ids=["cut", "no pixels", "huge", "empty", "other format"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_that_do_not_decode_are_found(folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    (subject_id, *_) = pq.read_table(shard(folder, "views"))["subject_id"].to_pylist()
    change_rows(
        folder,
        "views",
        lambda rows: rows[0]["image"].update(bytes=spoil(rows[0]["image"]["bytes"])),
    )
    failures = verified(folder).failures
    assert any(f"{subject_id} view 0: does not decode" in failure for failure in failures)
    assert verified(folder, quick=True).failures == ()


def test_an_identity_twice_in_the_metadata_is_found(folder: Path) -> None:
    change_rows(folder, "metadata", lambda rows: rows.append(rows[0]))
    text = "\n".join(verified(folder).failures)
    assert "data/metadata/train-00000-of-00001.parquet: an identity is there twice" in text
    change_rows(folder, "metadata", lambda rows: rows.pop(0))
    change_rows(folder, "metadata", lambda rows: rows.pop())
    text = "\n".join(verified(folder).failures)
    assert "metadata: identities or splits are not those of splits.csv" in text


@pytest.mark.parametrize("column", ["subject_id", "image", "extrinsics", "view_id"])
def test_missing_values_are_found(folder: Path, column: str) -> None:
    change_rows(folder, "views", lambda rows: rows[0].update({column: None}))
    assert any(f"values are missing in {column}" in f for f in verified(folder).failures)


def test_missing_views_are_found(folder: Path) -> None:
    def change(rows: Rows) -> None:
        rows[0]["images"].pop()
        rows[1]["view_ids"].reverse()
        rows[2]["images"].clear()
        rows[3].update(images=[], view_ids=[], extrinsics=[], intrinsics=[])

    change_rows(folder, "sequences", change)
    failures = verified(folder).failures
    assert sum("views, images and cameras do not match" in failure for failure in failures) == 4
    assert any("the configs do not hold the same views" in failure for failure in failures)


def test_other_columns_types_and_features_are_found(folder: Path) -> None:
    table = pq.read_table(shard(folder, "cameras"))
    pq.write_table(table.drop_columns(["width"]), shard(folder, "cameras"))
    views = pq.read_table(shard(folder, "views"))
    cast = views.set_column(1, "view_id", views["view_id"].cast(pa.int64()))
    pq.write_table(cast, shard(folder, "views"))
    sequences = pq.read_table(shard(folder, "sequences"))
    pq.write_table(sequences.replace_schema_metadata({}), shard(folder, "sequences"))
    correct_sums(folder)
    text = "\n".join(verified(folder, quick=True).failures)
    assert "columns are subject_id" in text
    assert "columns have other types than the config's" in text
    assert "the features in its schema are not the config's" in text


# --- Fingerprints ---


def test_fingerprints_know_pixels_and_not_files() -> None:
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    found = []
    for options in ({"compress_level": 1}, {"compress_level": 9}):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        found.append(fingerprint(buffer.getvalue()))
    assert found[0] == found[1]
    image.putpixel((5, 5), (1, 2, 3))
    image.save(buffer := io.BytesIO(), "PNG")
    other = fingerprint(buffer.getvalue())
    assert other.pixels != found[0].pixels
    bits = [np.unpackbits(np.frombuffer(p.look, np.uint8)) for p in (other, found[0])]
    assert np.count_nonzero(bits[0] != bits[1]) <= 6


def test_near_pairs_are_those_of_counting_bits() -> None:
    rng = np.random.default_rng(4)
    looks = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    for one, other, flips in ((3, 41, 5), (7, 8, 6), (9, 50, 7), (10, 20, 0)):
        bits = np.unpackbits(looks[one])
        bits[rng.choice(256, flips, replace=False)] ^= 1
        looks[other] = np.packbits(bits)
    groups = np.array([0] * 8 + [1] * 30 + [2] * 22)
    bits = np.unpackbits(looks, axis=1)
    wanted = {
        (i, j)
        for i in range(60)
        for j in range(i + 1, 60)
        if groups[i] != groups[j] and np.count_nonzero(bits[i] != bits[j]) <= 6
    }
    assert wanted == {(3, 41), (7, 8)}
    assert set(near_pairs(looks, groups)) == wanted
