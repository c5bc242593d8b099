"""Check one Parquet file of an export by itself: digest, schema, cameras and images.

What other files have to agree with is returned, for the checks of `verify`. Look here for the
fingerprints of pictures, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from geogen_hf.durable import sha256_of
from geogen_hf.errors import CameraError, ImageError, one_line
from geogen_hf.export.exported import UNREADABLE, DataFile, ExportedFolder
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
    """The fingerprints of a decoded image."""

    size: tuple[int, int]
    """Width and height, pixels."""
    pixels: bytes
    """128-bit digest of mode, size and decoded pixels."""
    look: bytes
    """256 bits of difference hash."""


def fingerprint(data: bytes) -> Picture:
    """Decode a PNG, WebP or JPEG and compute its fingerprints; `ImageError` if it is damaged."""
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
    """Find pictures of different groups that look alike, as pairs of indices, the smaller first.

    `looks` are `(N, 32)` uint8, `groups` `(N,)`. All pairs are compared, in blocks: with bits as
    ±1, the dot product of two looks is the number of bits minus twice the number that differ.
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
    """One view as one config describes it."""

    subject_id: str
    view_id: int
    cameras: bytes
    """Extrinsics, then intrinsics: 25 float32."""
    size: tuple[int, int] | None
    """Width and height; None if the config does not state it, or the image does not decode."""
    picture: Picture | None
    """None if the config has no images, or this one does not decode."""


@dataclass
class FileFindings:
    """What one file holds, and what is wrong in it; `views` is empty for the config `metadata`."""

    file: DataFile
    rows: int = 0
    subject_ids: list[str] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def fail(self, what: str) -> None:
        """Add a failure of this file."""
        self.failures.append(f"{self.file.path}: {what}")


def check_file(
    folder: ExportedFolder,
    file: DataFile,
    expected_sha256: str | None,
    decode: bool,
    control: Control | None,
) -> FileFindings:
    """Check digest, schema and, with `decode`, rows and images of one file.

    The digest is None where `SHA256SUMS` does not list the file; `control` says when to stop, and
    is None where the check runs in another process.
    """
    found = FileFindings(file)
    with folder.localised(file.path) as local:
        if expected_sha256 is None:
            found.fail("not in SHA256SUMS")
        elif sha256_of(local) != expected_sha256:
            found.fail("its SHA-256 is not the one in SHA256SUMS")
        try:
            _check_content(local, found, decode, control)
        except UNREADABLE as error:
            found.fail(f"cannot be read: {one_line(error) or repr(error)}")
    if file.config == "metadata" and len(set(found.subject_ids)) < len(found.subject_ids):
        found.fail("an identity is there twice")
    return found


def _check_content(local: Path, found: FileFindings, decode: bool, control: Control | None) -> None:
    config = found.file.config
    with pq.ParquetFile(local) as parquet:
        rows = parquet.metadata.num_rows
        if _check_schema(parquet.schema_arrow, portable_schema(config), found) and decode:
            for batch in parquet.iter_batches(batch_size=8 if config in IMAGE_CONFIGS else 512):
                if control is not None:
                    control.check()
                _check_rows(batch, found)
        found.rows = rows


def _check_schema(schema: pa.Schema, expected: pa.Schema, found: FileFindings) -> bool:
    """Collect what is wrong with a schema; return whether rows can be read with it."""
    if schema.names != expected.names:
        found.fail(f"columns are {', '.join(schema.names)} instead of {', '.join(expected.names)}")
        return False
    if not all(a.equals(b) for a, b in zip(schema.types, expected.types, strict=True)):
        found.fail("columns have other types than the config's")
        return False
    if (schema.metadata or {}).get(b"huggingface") != expected.metadata[b"huggingface"]:
        found.fail("the features in its schema are not the config's")
    return True


def _check_rows(batch: pa.RecordBatch, found: FileFindings) -> None:
    empty = [name for name in batch.schema.names if _has_nulls(batch.column(name))]
    if empty:
        found.fail(f"values are missing in {', '.join(empty)}")
        return
    found.subject_ids.extend(batch["subject_id"].to_pylist())
    if found.file.config == "metadata":
        return
    known = len(found.views)
    for row in batch.to_pylist():
        _check_row(row, found)
    _check_cameras([view for view in found.views[known:] if view.size is not None], found)


def _has_nulls(array: pa.Array) -> bool:
    """Whether a value is missing at any depth, except the paths of images, which always are."""
    if array.null_count:
        return True
    if pa.types.is_list(array.type):
        return _has_nulls(array.flatten())
    if pa.types.is_struct(array.type):
        return _has_nulls(array.field("bytes"))
    return False


def _check_row(row: dict[str, Any], found: FileFindings) -> None:
    """Check all of a row but the values of its cameras, and add its views."""
    subject_id, config = row["subject_id"], found.file.config
    sequence = config == "sequences"
    view_ids = row["view_ids"] if sequence else [row["view_id"]]
    images = row["images"] if sequence else [row["image"]] if config == "views" else None
    # They are stored as float32, so nothing is lost.
    extrinsics = np.asarray(row["extrinsics"], dtype="<f4").reshape(-1, 16)
    intrinsics = np.asarray(row["intrinsics"], dtype="<f4").reshape(-1, 9)
    lengths = {len(x) for x in (view_ids, extrinsics, intrinsics, images) if x is not None}
    if len(lengths) != 1 or 0 in lengths or list(view_ids) != sorted(set(view_ids)):
        found.fail(f"{subject_id}: views, images and cameras do not match")
        return
    for index, view_id in enumerate(view_ids):
        picture = _picture(f"{subject_id} view {view_id}", images[index], found) if images else None
        size = picture.size if picture else None
        if config == "cameras":
            size = row["width"], row["height"]
        cameras = extrinsics[index].tobytes() + intrinsics[index].tobytes()
        found.views.append(View(subject_id, view_id, cameras, size, picture))


def _picture(place: str, image: dict[str, Any], found: FileFindings) -> Picture | None:
    try:
        return fingerprint(image["bytes"])
    except ImageError as error:
        found.fail(f"{place}: does not decode: {one_line(error)}")
        return None


def _check_cameras(views: Sequence[View], found: FileFindings) -> None:
    """Check all cameras at once; if that fails, check them one by one to name which are bad."""
    if not views:
        return
    cameras = np.frombuffer(b"".join(view.cameras for view in views), "<f4").astype(np.float64)
    cameras = cameras.reshape(len(views), 25)
    extrinsics, intrinsics = cameras[:, :16].reshape(-1, 4, 4), cameras[:, 16:].reshape(-1, 3, 3)
    width, height = np.array([view.size for view in views]).T
    try:
        _validate(extrinsics, intrinsics, width, height)
    except CameraError:
        for view, *camera in zip(views, extrinsics, intrinsics, width, height, strict=True):
            try:
                _validate(*camera)
            except CameraError as error:
                found.fail(f"{view.subject_id} view {view.view_id}: {one_line(error)}")


def _validate(extrinsics: FloatArray, intrinsics: FloatArray, width: Any, height: Any) -> None:
    validate_extrinsics(extrinsics)
    validate_intrinsics(intrinsics, width, height)
