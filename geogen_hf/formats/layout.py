"""What a format is: files of each identity, and files over all of them."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from geogen_hf.cameras.silhouettes import Foreground
from geogen_hf.formats.scene import Scene, check_folder_names

Entries = Mapping[str, Sequence[str]]
"""An identity's share of the indexes: JSON values as text, by the name of the list they go in."""

MANIFEST = "convert.json"
DERIVED = "derived from the published images and cameras by geogen-hf; not published with them"


@dataclass(frozen=True)
class Listing:
    """The place in an index where all identities' entries of one name go, between commas."""

    name: str


@dataclass(frozen=True)
class Index:
    """A file over all identities.

    Attributes:
        path: Relative to the output folder; gzipped if it ends in `.jgz`.
        pieces: Text, and the lists of entries between.
    """

    path: str
    pieces: tuple[str | Listing, ...]


ATTRIBUTION = Index(
    "ATTRIBUTION.md",
    (
        """# Where these images and cameras are from

Images and cameras of Microsoft's GeoGen data set, https://github.com/microsoft/GeoGen, laid out for
another tool by `geogen convert` (unless the source was a rendered sample, which is free to use).
The data set is for non-commercial research, under the Research Use of Data Agreement 1.0:
https://github.com/microsoft/GeoGen/blob/main/LICENSE. Its terms hold for this folder too.

Masks, point clouds and moved worlds are derived by this package; Microsoft did not publish them.

If you use the data, cite:

Esposito, S., Xu, Q., Kania, K., Hewitt, C., Mariotti, O., Petikam, L., Valentin, J., Onken, A. and
Mac Aodha, O.: GeoGen: Geometry-Aware Generative Modeling via Signed Distance Functions. CVPR
Workshops, 2024, pages 7479-7488. https://arxiv.org/abs/2406.04254
""",
    ),
)
"""Licence and origin, beside every conversion."""


@dataclass(frozen=True)
class Format:
    """How a tool wants identities laid out.

    Attributes:
        train: The command that trains on the output: `{folder}` stands for the output folder,
            `{scene}` for the folder of an identity.
        up: The axis of the world that points upwards in the tool's viewers.
        radius: How far from the origin the tool's own settings expect cameras.
        normalises: Whether the tool moves and scales cameras by itself.
        images: Folder of the images within the identity's folder; `""` for that itself.
        files: An identity's other files, by path in its folder. Raises `CameraError` where the
            format cannot hold it.
        entries: Its share of the indexes.
        indexes: Files over all identities.
        home: Folder that holds the identities' folders.
        masks: Where masks go: into files of their own, into the images' alpha, or nowhere.
        needs_masks: Whether the tool reads nothing without masks.
        points: Whether `Scene.points` is used.
        mirrors: Whether mirrored copies can be added.
        numbered: Whether folders and images have numbers for names, and not the published ones.
        advice: What to tell the user about a scene: what the tool will ignore, or refuse.
    """

    train: str
    up: tuple[float, float, float]
    radius: float
    normalises: bool = False
    images: str = "images"
    files: Callable[[Scene], dict[str, bytes]] = lambda _: {}
    entries: Callable[[Scene], Entries] = lambda _: {}
    indexes: tuple[Index, ...] = (ATTRIBUTION,)
    home: str = ""
    masks: Literal["files", "alpha"] | None = "files"
    needs_masks: bool = False
    points: bool = False
    mirrors: bool = False
    numbered: bool = False
    advice: Callable[[Scene], Iterable[str]] = lambda _: ()

    def folders(self, subject_ids: Sequence[str]) -> dict[str, str]:
        """Name of each identity's folder in `home`.

        Raises:
            ReleaseError: An identity's name, which is to be the folder's, cannot be one.
        """
        if self.numbered:
            # Sorted: the same identities get the same numbers from the zips and from an export.
            return {subject_id: f"{row:05d}" for row, subject_id in enumerate(sorted(subject_ids))}
        check_folder_names(subject_ids, self.taken_names() | {MANIFEST})
        return {subject_id: subject_id for subject_id in subject_ids}

    def taken_names(self) -> set[str]:
        """Names in `home` that no identity's folder may have."""
        prefix = f"{self.home}/" if self.home else ""
        paths = (i.path.removeprefix(prefix) for i in self.indexes if i.path.startswith(prefix))
        return {path.split("/")[0] for path in paths}

    def files_of(self, scene: Scene) -> dict[str, bytes]:
        """All files of an identity, images first, by path in its folder."""
        prefix = f"{self.images}/" if self.images else ""
        pictures = zip(scene.names, scene.images, strict=True)
        found = {f"{prefix}{name}": image for name, image in pictures} | self.files(scene)
        if self.masks == "files":
            for name, mask in zip(scene.names, scene.foregrounds, strict=bool(scene.foregrounds)):
                found[mask_path(name)] = encode_png(mask_alpha(mask))
        if scene.foregrounds or scene.similarity:
            found["derived.json"] = json_bytes(_derived(scene))
        return found


def mask_path(name: str) -> str:
    """Where the mask of an image is, in the identity's folder.

    Example:
        >>> mask_path("3.webp")
        'masks/3.png'
    """
    return f"masks/{name.rpartition('.')[0]}.png"


def mask_alpha(foreground: Foreground) -> NDArray[np.uint8]:
    """Make a mask; all of it is foreground where the outline cannot be told."""
    return foreground.alpha if foreground.doubt is None else np.full_like(foreground.alpha, 255)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode `(H, W)`, `(H, W, 3)` or `(H, W, 4)` uint8, labelled as derived."""
    label = PngInfo()
    label.add_text("Description", DERIVED)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=label)
    return buffer.getvalue()


def _derived(scene: Scene) -> dict[str, Any]:
    """What of a scene was not published: how its world was moved, and how its masks came about."""
    found: dict[str, Any] = {"note": DERIVED}
    if scene.similarity is not None:
        found["similarity"] = scene.similarity.as_json()
    if scene.foregrounds:
        pairs = zip(scene.view_ids, scene.foregrounds, strict=True)
        doubts = {str(view): mask.doubt for view, mask in pairs if mask.doubt is not None}
        found["masks"] = {"from": "the even background", "doubtful_views": doubts}
    return found


def json_bytes(value: Any) -> bytes:
    r"""Encode plain values, floats so that reading them gives the same float64.

    Example:
        >>> json_bytes({"a": 0.1})
        b'{\n "a": 0.1\n}\n'
    """
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def write_index(index: Index, records: Sequence[Path], path: Path) -> None:
    """Write and sync an index from the records of the identities, which are read one at a time."""
    with path.open("wb") as file:
        # Neither name nor time in the header: the same entries give the same bytes.
        packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if index.path.endswith(".jgz") else None
        with packed or nullcontext(file) as stream:
            for text in _texts(index.pieces, records):
                stream.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _texts(pieces: Iterable[str | Listing], records: Sequence[Path]) -> Iterator[str]:
    for piece in pieces:
        if isinstance(piece, str):
            yield piece
            continue
        between = "\n"
        for record in records:
            for entry in json.loads(record.read_bytes()).get(piece.name, ()):
                yield between + entry
                between = ",\n"
