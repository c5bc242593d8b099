"""A row as it is stored: images encoded, cameras canonical."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geogen_hf.cameras import FloatArray
from geogen_hf.errors import UsageError, explain
from geogen_hf.training.views import Indices


@dataclass(frozen=True, eq=False)
class StoredRow:
    """One row of `sequences` with V views, or of `views` with one.

    Attributes:
        subject_id: The identity.
        view_ids: `(V,)`.
        images: V encoded images.
        extrinsics: `(V, 4, 4)`, canonical.
        intrinsics: `(V, 3, 3)`, canonical.
    """

    subject_id: str
    view_ids: NDArray[np.int64]
    images: list[bytes]
    extrinsics: FloatArray
    intrinsics: FloatArray

    @classmethod
    def of(cls, batch: dict[str, Any], index: int) -> StoredRow:
        """Take one row out of columns.

        Raises:
            UsageError: Its images are not encoded, or it has none.
        """
        row = {name: column[index] for name, column in batch.items()}
        if "images" not in row:  # a row of `views`
            row = {name: [value] for name, value in row.items()} | {
                "subject_id": row["subject_id"],
                "images": [row.get("image")],
                "view_ids": [row["view_id"]],
            }
        return cls(
            row["subject_id"],
            np.asarray(row["view_ids"], np.int64),
            [_encoded_bytes(image) for image in row["images"]],
            np.asarray(row["extrinsics"], np.float64),
            np.asarray(row["intrinsics"], np.float64),
        )

    def select(self, chosen: Indices) -> StoredRow:
        """Keep some views, in the order given."""
        return StoredRow(
            self.subject_id,
            self.view_ids[chosen],
            [self.images[index] for index in chosen],
            self.extrinsics[chosen],
            self.intrinsics[chosen],
        )

    def where(self, index: int) -> str:
        """Name a view, for messages."""
        return f"{self.subject_id}, view {self.view_ids[index]}"


def _encoded_bytes(image: Any) -> bytes:
    if not isinstance(image, dict) or not isinstance(image.get("bytes"), bytes):
        raise UsageError(
            explain(
                "images are to come encoded",
                expected="{'bytes': …, 'path': …}",
                found=type(image).__name__,
                remedy="load with `undecoded(dataset)`, or use `as_tensors`",
            )
        )
    data: bytes = image["bytes"]
    return data
