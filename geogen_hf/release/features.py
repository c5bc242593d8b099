"""The columns of every config, and the rows and Arrow tables made of subjects.

Open this to see or change what a row holds, or what cards and builders state of the data set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Array2D, Array3D, DatasetInfo, Features, Image, Value
from datasets import Sequence as ListOf

from geogen_hf.release.shards import Shard, read_image_sizes, read_images
from geogen_hf.release.subjects import Subject

HOMEPAGE = "https://github.com/microsoft/GeoGen"
LICENSE_NAME = "r-uda-1.0"
LICENSE_URL = "https://github.com/microsoft/GeoGen/blob/main/LICENSE"
DESCRIPTION = (
    "GeoGen: renders of 10,000 synthetic heads, seven views each over the full circle, with camera "
    "extrinsics (world-to-camera, OpenCV axes) and intrinsics (pixels of the stored image)."
)
CITATION = """\
@inproceedings{esposito2024geogen,
    author = {Esposito, Salvatore and Xu, Qingshan and Kania, Kacper and Hewitt, Charlie and \
Mariotti, Octave and Petikam, Lohit and Valentin, Julien and Onken, Arno and Mac Aodha, Oisin},
    title = {GeoGen: Geometry-Aware Generative Modeling via Signed Distance Functions},
    booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition \
(CVPR) Workshops},
    month = {June},
    year = {2024},
    pages = {7479-7488}
}
"""

_ID = {"subject_id": Value("string"), "view_id": Value("int32")}
_CAMERA = {"extrinsics": Array2D((4, 4), "float32"), "intrinsics": Array2D((3, 3), "float32")}

FEATURES = {
    "sequences": Features(
        {
            "subject_id": Value("string"),
            "images": ListOf(Image()),
            "view_ids": ListOf(Value("int32")),
            "extrinsics": Array3D((None, 4, 4), "float32"),
            "intrinsics": Array3D((None, 3, 3), "float32"),
        }
    ),
    "views": Features({**_ID, "image": Image(), **_CAMERA}),
    "cameras": Features({**_ID, **_CAMERA, "width": Value("int32"), "height": Value("int32")}),
    "metadata": Features({"subject_id": Value("string"), "metadata": Value("string")}),
}
"""The columns of every config, in order. `COLUMNS` says what they hold."""

COLUMNS = {
    "subject_id": "The identity, as the publisher names it.",
    "view_id": "The number in the image's file name.",
    "view_ids": "The number in each image's file name, ascending.",
    "image": "The render; PNG bytes as published, unless the export says otherwise.",
    "images": "The renders, in the order of `view_ids`.",
    "extrinsics": "World-to-camera 4 x 4, OpenCV axes (x right, y down, z into the scene), in the "
    "publisher's unit of length; of a sequence, one for each view.",
    "intrinsics": "3 x 3, in pixels of the stored image, where pixel (0, 0) covers [0, 1) x "
    "[0, 1); of a sequence, one for each view.",
    "width": "Of the stored image, pixels.",
    "height": "Of the stored image, pixels.",
    "metadata": "The identity's JSON as published.",
}
"""What every column holds, whatever the config."""

IMAGE_CONFIGS = ("sequences", "views")
"""The configs that hold images. The rows of the others are small."""


def dataset_info(config: str) -> DatasetInfo:
    """Describe a config to `datasets`."""
    return DatasetInfo(
        description=DESCRIPTION,
        features=FEATURES[config],
        homepage=HOMEPAGE,
        license=LICENSE_URL,
        citation=CITATION,
    )


Row = tuple[str, dict[str, Any]]
"""A unique key, and the columns of `FEATURES`."""


def shard_rows(config: str, shard: Shard) -> Iterator[Row]:
    """Read a shard and yield its rows.

    `cameras` reads no more of an image than its header, `metadata` nothing.

    Raises:
        ArchiveError: A member is damaged, and is not to be skipped.
    """
    if config == "cameras":
        for subject, sizes in read_image_sizes(shard):
            yield from subject_rows(config, subject, (), sizes)
    elif config == "metadata":
        for subject in shard.subjects:
            yield from subject_rows(config, subject, (), ())
    else:
        for subject, images in read_images(shard):
            yield from subject_rows(config, subject, images, ())


def subject_rows(
    config: str, subject: Subject, images: Sequence[bytes], sizes: Sequence[tuple[int, int]]
) -> Iterator[Row]:
    """Yield the rows of one identity, V views.

    Its V encoded images are looked at for `sequences` and `views` only, the V widths and heights in
    pixels for `cameras` only.
    """
    row: dict[str, Any] = {"subject_id": subject.subject_id}
    if config == "metadata":
        yield subject.subject_id, {**row, "metadata": subject.metadata}
        return
    extrinsics = subject.extrinsics.astype(np.float32)
    intrinsics = subject.intrinsics.astype(np.float32)
    if config == "sequences":
        encoded = [_encoded(image) for image in images]
        row |= {"images": encoded, "view_ids": list(subject.view_ids)}
        yield subject.subject_id, row | {"extrinsics": extrinsics, "intrinsics": intrinsics}
        return
    for index, view_id in enumerate(subject.view_ids):
        cameras = {"extrinsics": extrinsics[index], "intrinsics": intrinsics[index]}
        if config == "views":
            own = {"view_id": view_id, **cameras, "image": _encoded(images[index])}
        else:
            width, height = sizes[index]
            own = {"view_id": view_id, **cameras, "width": width, "height": height}
        yield f"{subject.subject_id}/{view_id}", row | own


def _encoded(image: bytes) -> dict[str, bytes | None]:
    # Without a path: datasets drops the bytes where a file of that name happens to exist.
    return {"bytes": image, "path": None}


class TableBuilder:
    """Gathers rows until their images have `most_bytes` or there are `most_rows`: a table.

    Example:
        >>> builder = TableBuilder(pa.schema({"view_id": pa.int32()}), most_bytes=9, most_rows=2)
        >>> [table["view_id"].to_pylist() for table in builder.tables([{"view_id": 3}] * 3)]
        [[3, 3], [3]]
    """

    def __init__(self, schema: pa.Schema, *, most_bytes: int, most_rows: int) -> None:
        self._schema, self._most_bytes, self._most_rows = schema, most_bytes, most_rows
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def tables(self, rows: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
        """Put rows into tables, each as soon as it is full; the order is kept."""
        for row in rows:
            if (table := self.add([row])) is not None:
                yield table
        if (table := self.finish()) is not None:
            yield table

    def add(self, rows: Iterable[dict[str, Any]]) -> pa.Table | None:
        """Take rows of `subject_rows` that stay together; gives a table once it is full."""
        for row in rows:
            self._rows.append(row)
            images = row.get("images") or ([row["image"]] if "image" in row else [])
            self._bytes += sum(len(image["bytes"]) for image in images)
        full = self._bytes >= self._most_bytes or len(self._rows) >= self._most_rows
        return self.finish() if full else None

    def finish(self) -> pa.Table | None:
        """Make a table of what there is, of one chunk; None if that is nothing."""
        if not self._rows:
            return None
        columns = [_column(self._rows, field) for field in self._schema]
        self._rows, self._bytes = [], 0
        return pa.Table.from_arrays(columns, schema=self._schema)


def _column(rows: list[dict[str, Any]], field: pa.Field) -> pa.Array:
    values = [row[field.name] for row in rows]
    if isinstance(values[0], np.ndarray):
        values = [value.tolist() for value in values]
    if not isinstance(field.type, pa.ExtensionType):
        return pa.array(values, field.type)
    return pa.ExtensionArray.from_storage(field.type, pa.array(values, field.type.storage_type))
