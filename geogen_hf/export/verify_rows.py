"""Check one Parquet file of an export by itself: digest, schema, cameras and images.

What other files have to agree with is returned, for the checks of `verify`. Look here for the
fingerprints of pictures, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.validate import validate_extrinsics, validate_intrinsics
from geogen_hf.errors import CameraError, ImageError, one_line
from geogen_hf.export.exported import UNREADABLE, DataFile, sha256_of
from geogen_hf.export.parquet import portable_schema
from geogen_hf.images import decode_image, pixels_at_a_time, read_header
from geogen_hf.release.features import IMAGE_CONFIGS
from geogen_hf.threads import Control

GRID = 16
"""The difference hash of a picture is 16 x 16 comparisons of neighbouring cells."""
NEAR_BITS = 6
"""Pictures whose hashes differ in at most so many of the 256 bits are near-duplicates."""


@dataclass(frozen=True)
class Picture:
    """The fingerprints of a decoded image.

    Attributes:
        size: Width and height, pixels.
        pixels: 128-bit digest of mode, size and decoded pixels.
        look: 32 bytes, 256 bits of difference hash.
    """

    size: tuple[int, int]
    pixels: bytes
    look: bytes


def fingerprint(data: bytes) -> Picture:
    """Decode a PNG, WebP or JPEG and compute its fingerprints.

    Raises:
        ImageError: The image does not decode.
    """
    header = read_header(data)
    with pixels_at_a_time(header.size_wh):
        image = decode_image(data, header=header)
        digest = xxhash.xxh3_128(f"{image.mode}{image.size}".encode())
        digest.update(_memory(image))
        return Picture(image.size, digest.digest(), _look(image))


def _memory(image: Image.Image) -> bytes | pa.Buffer:
    """Return the decoded pixels, without a copy where Pillow lends its memory (11.3 and later)."""
    if hasattr(image, "__arrow_c_array__"):
        try:
            return pa.array(image).buffers()[-1]
        except ValueError:  # a mode that it does not lend, or an image in several blocks of memory
            pass
    return image.tobytes()


def _look(image: Image.Image) -> bytes:
    """Difference hash: is each cell clearly brighter than its left neighbour?

    N. Krawetz, "Kind of like that" (2013), with a margin, so that noise on an even background sets
    no bits.
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    # Resized before it is converted to grey, which is less work.
    small = image.resize((GRID + 1, GRID), Image.Resampling.BOX, reducing_gap=2.0)
    cells = np.asarray(small.convert("L")).astype(np.int16)
    return np.packbits(cells[:, 1:] > cells[:, :-1] + 2).tobytes()


def near_pairs(
    looks: NDArray[np.uint8], groups: NDArray[np.int64], most_bits: int = NEAR_BITS
) -> Iterator[tuple[int, int]]:
    """Find pictures of different groups that look alike.

    All pairs are compared, in blocks: with bits as ±1, the dot product of two looks is the number
    of bits minus twice the number that differ.

    Args:
        looks: `(N, 32)` uint8.
        groups: `(N,)` group of each, such as its split.
        most_bits: How many bits may differ.

    Yields:
        Pairs of indices, the smaller first.
    """
    bits = np.unpackbits(looks, axis=1).astype(np.float32) * 2 - 1
    block = 2048
    for group in np.unique(groups):
        ours, others = np.flatnonzero(groups == group), np.flatnonzero(groups > group)
        for a in range(0, len(ours), block):
            for b in range(0, len(others), block):
                left, right = ours[a : a + block], others[b : b + block]
                alike = bits[left] @ bits[right].T >= bits.shape[1] - 2 * most_bits
                for i, j in np.argwhere(alike):
                    one, other = int(left[i]), int(right[j])
                    yield min(one, other), max(one, other)


@dataclass(frozen=True)
class View:
    """One view as one config describes it.

    Attributes:
        subject_id: The identity.
        view_id: The view.
        cameras: Bytes of extrinsics and intrinsics, float32.
        size: Width and height in pixels; None if the config does not state it.
        picture: Fingerprints, if the config has images and they were decoded.
    """

    subject_id: str
    view_id: int
    cameras: bytes
    size: tuple[int, int] | None
    picture: Picture | None


@dataclass(frozen=True)
class FileFindings:
    """What one file holds, and what is wrong in it; `views` is empty for the config `metadata`."""

    path: str
    config: str
    split: str
    rows: int = 0
    subject_ids: frozenset[str] = frozenset()
    views: tuple[View, ...] = ()
    failures: tuple[str, ...] = ()


@dataclass
class _Collector:
    failures: list[str] = field(default_factory=list)
    subject_ids: list[str] = field(default_factory=list)
    views: list[View] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Camera:
    """Matrices of one view, the size of its image, and its name for messages."""

    place: str
    extrinsics: FloatArray
    intrinsics: FloatArray
    size: tuple[int, int]


def check_file(
    local: Path,
    file: DataFile,
    expected_sha256: str | None,
    decode: bool,
    control: Control | None = None,
) -> FileFindings:
    """Check digest, schema and, if images are to be decoded, rows of one file.

    Args:
        local: Path of the file on disk.
        file: What its name in the folder says.
        expected_sha256: Its digest by `SHA256SUMS`; None if it is not listed.
        decode: Whether to read rows and decode images.
        control: Says when to stop; None where the check runs in another process.
    """
    found = _Collector()
    path, config = file.path, file.config
    if expected_sha256 is None:
        found.failures.append(f"{path}: not in SHA256SUMS")
    elif sha256_of(local) != expected_sha256:
        found.failures.append(f"{path}: its SHA-256 is not the one in SHA256SUMS")
    try:
        with pq.ParquetFile(local) as parquet:
            rows = parquet.metadata.num_rows
            if _check_schema(path, parquet.schema_arrow, portable_schema(config), found) and decode:
                for batch in parquet.iter_batches(batch_size=8 if config in IMAGE_CONFIGS else 512):
                    if control is not None:
                        control.check()
                    _check_rows(path, config, batch, found)
    except UNREADABLE as error:
        found.failures.append(f"{path}: cannot be read: {one_line(error) or repr(error)}")
        rows = 0
    ids = frozenset(found.subject_ids)
    if config == "metadata" and len(ids) < len(found.subject_ids):
        found.failures.append(f"{path}: an identity is there twice")
    views, failures = tuple(found.views), tuple(found.failures)
    return FileFindings(path, config, file.split, rows, ids, views, failures)


def _check_schema(path: str, schema: pa.Schema, expected: pa.Schema, found: _Collector) -> bool:
    """Collect what is wrong with a schema; return whether rows can be read with it."""
    if schema.names != expected.names:
        names = f"{', '.join(schema.names)} instead of {', '.join(expected.names)}"
        found.failures.append(f"{path}: columns are {names}")
        return False
    if not all(a.equals(b) for a, b in zip(schema.types, expected.types, strict=True)):
        found.failures.append(f"{path}: columns have other types than the config's")
        return False
    if (schema.metadata or {}).get(b"huggingface") != expected.metadata[b"huggingface"]:
        found.failures.append(f"{path}: the features in its schema are not the config's")
    return True


def _check_rows(path: str, config: str, batch: pa.RecordBatch, found: _Collector) -> None:
    empty = [name for name in batch.schema.names if _has_nulls(batch.column(name))]
    if empty:
        found.failures.append(f"{path}: values are missing in {', '.join(empty)}")
        return
    found.subject_ids.extend(batch["subject_id"].to_pylist())
    if config == "metadata":
        return
    cameras: list[_Camera] = []
    for row in batch.to_pylist():
        cameras.extend(_check_row(path, config, row, found))
    _check_cameras(cameras, found)


def _has_nulls(array: pa.Array) -> bool:
    """Whether a value is missing at any depth, except the paths of images, which always are."""
    if array.null_count:
        return True
    if pa.types.is_list(array.type):
        return _has_nulls(array.flatten())
    if pa.types.is_struct(array.type):
        return _has_nulls(array.field("bytes"))
    return False


def _check_row(path: str, config: str, row: dict[str, Any], found: _Collector) -> Iterator[_Camera]:
    """Check all of a row but its cameras, which are returned."""
    subject_id = row["subject_id"]
    sequence = config == "sequences"
    view_ids = row["view_ids"] if sequence else [row["view_id"]]
    images = row["images"] if sequence else [row["image"]] if config == "views" else []
    extrinsics = _matrices(row["extrinsics"], 4)
    intrinsics = _matrices(row["intrinsics"], 3)
    lengths = {len(view_ids), len(extrinsics), len(intrinsics), *([len(images)] if images else [])}
    if len(lengths) != 1 or list(view_ids) != sorted(set(view_ids)):
        found.failures.append(f"{path}: {subject_id}: views, images and cameras do not match")
        return
    pictures = list(_pictures(path, subject_id, view_ids, images, found))
    for index, view_id in enumerate(view_ids):
        picture = pictures[index] if pictures else None
        size: tuple[int, int] | None = picture.size if picture else None
        if config == "cameras":
            size = row["width"], row["height"]
        if size is not None:  # else the image does not decode
            place = f"{path}: {subject_id} view {view_id}"
            yield _Camera(place, extrinsics[index], intrinsics[index], size)
        both = np.concatenate([extrinsics[index].ravel(), intrinsics[index].ravel()])
        cameras = both.astype("<f4").tobytes()
        found.views.append(View(subject_id, view_id, cameras, size, picture))


def _matrices(values: Any, side: int) -> FloatArray:
    return np.asarray(values, dtype=np.float64).reshape(-1, side, side)


def _pictures(
    path: str, subject_id: str, view_ids: list[int], images: list[Any], found: _Collector
) -> Iterator[Picture | None]:
    for view_id, image in zip(view_ids, images, strict=False):
        try:
            yield fingerprint(image["bytes"])
        except ImageError as error:
            message = f"{path}: {subject_id} view {view_id}: does not decode: {one_line(error)}"
            found.failures.append(message)
            yield None


def _check_cameras(cameras: list[_Camera], found: _Collector) -> None:
    """Check all cameras at once; if that fails, check them one by one to name which are bad."""
    try:
        _validate(cameras)
    except CameraError:
        for camera in cameras:
            try:
                _validate([camera])
            except CameraError as error:
                found.failures.append(f"{camera.place}: {one_line(error)}")


def _validate(cameras: list[_Camera]) -> None:
    if not cameras:
        return
    which = slice(None) if len(cameras) > 1 else 0  # the message names no index of a single one
    validate_extrinsics(np.stack([camera.extrinsics for camera in cameras])[which])
    width, height = np.array([camera.size for camera in cameras]).T[:, which]
    validate_intrinsics(np.stack([camera.intrinsics for camera in cameras])[which], width, height)
