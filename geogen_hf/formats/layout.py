"""What the formats share: a scene that is to be laid out, and how a tool wants scenes laid out.

Open this module to see which views are held out, or to add a property of formats.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from geogen_hf.cameras.hull import SurfacePoints
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.silhouettes import Foreground
from geogen_hf.errors import ReleaseError
from geogen_hf.release.shards import Split
from geogen_hf.report import some_of

Entries = Mapping[str, Sequence[str]]
"""An identity's share of the indexes: JSON values as text, by the name of the list they go in."""
Index = tuple[str, ...]
"""The pieces of a file over all identities: text, and every second one the name of a list, in whose
place the entries of all identities go."""

MANIFEST = "convert.json"
DERIVED = "derived from the published images and cameras by geogen-hf; not published with them"
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}(?<!\.)", re.ASCII)

ATTRIBUTION = """# Where these images and cameras are from

Images and cameras of Microsoft's GeoGen data set, https://github.com/microsoft/GeoGen, laid out for
another tool by `geogen convert` (unless the source was a rendered sample, which is free to use).
The data set is for non-commercial research, under the Research Use of Data Agreement 1.0:
https://github.com/microsoft/GeoGen/blob/main/LICENSE. Its terms hold for this folder too.

Masks, point clouds and moved worlds are derived by this package; Microsoft did not publish them.

If you use the data, cite:

Esposito, S., Xu, Q., Kania, K., Hewitt, C., Mariotti, O., Petikam, L., Valentin, J., Onken, A. and
Mac Aodha, O.: GeoGen: Geometry-Aware Generative Modeling via Signed Distance Functions. CVPR
Workshops, 2024, pages 7479-7488. https://arxiv.org/abs/2406.04254
"""


@dataclass(frozen=True, eq=False)
class Scene:
    """One identity with its V views, read."""

    subject_id: str
    split: Split  # of the data set, not of its views
    view_ids: tuple[int, ...]  # V numbers, ascending
    images: tuple[bytes, ...]  # V encoded files
    names: tuple[str, ...]  # V, `<view>.png` (`.webp`, `.jpg` where an export was transcoded)
    sizes: tuple[tuple[int, int], ...]  # V pairs of width and height, pixels
    extrinsics: FloatArray  # (V, 4, 4) float64 world-to-camera, OpenCV axes, unit of the release
    intrinsics: FloatArray  # (V, 3, 3) float64, pixels; pixel (0, 0) covers [0, 1) x [0, 1)
    folder: str = ""  # its name in a conversion
    holdout: int | None = None  # see `hold_out`
    foregrounds: tuple[Foreground, ...] = ()  # V, where masks are wanted
    points: SurfacePoints | None = None  # where the format holds points
    similarity: Mapping[str, Any] | None = None  # from the release's world, if it was moved

    def view_lists(self) -> dict[str, tuple[int, ...]]:
        """Rows of the views for each purpose, as `hold_out` divides them."""
        return hold_out(len(self.names), self.holdout)


def hold_out(count: int, holdout: int | None) -> dict[str, tuple[int, ...]]:
    """Say which views of a scene are for training, for tools that fit one scene.

    The last `holdout` views are held out: the second half of them for testing, the first half for
    validation; one alone serves for both. Without any held out, or if none would be left to train
    on, every view serves for everything: tools fail where a list is missing or empty.

    Example:
        >>> hold_out(7, 2)
        {'train': (0, 1, 2, 3, 4), 'val': (5,), 'test': (6,)}
        >>> hold_out(3, 1), hold_out(2, None)["val"]
        ({'train': (0, 1), 'val': (2,), 'test': (2,)}, (0, 1))
    """
    views = tuple(range(count))
    if holdout is None or holdout >= count:
        return dict.fromkeys(("train", "val", "test"), views)
    train, held = views[: count - holdout], views[count - holdout :]
    return {"train": train, "val": held[: holdout // 2] or held, "test": held[holdout // 2 :]}


@dataclass(frozen=True)
class Format:
    """How a tool wants identities laid out."""

    train: str  # command; {folder} stands for the output folder, {scene} for an identity's
    up: tuple[float, float, float]  # axis of the world that points upwards in the tool's viewers
    radius: float  # how far from the origin the tool's own settings expect cameras
    normalises: bool = False  # whether the tool moves and scales cameras by itself
    images: str = "images"  # folder of the images in the identity's; "" for that itself
    # The identity's other files, by path in its folder; CameraError where they cannot hold it.
    files: Callable[[Scene], dict[str, bytes]] = lambda _: {}
    entries: Callable[[Scene], Entries] = lambda _: {}
    # By path in the output folder; gzipped if that ends in .jgz.
    indexes: Mapping[str, Index] = field(default_factory=dict)
    home: str = ""  # folder of the identities' folders
    masks: Literal["files", "alpha"] | None = "files"  # "alpha": of the images
    needs_masks: bool = False  # whether the tool reads nothing without
    points: bool = False  # whether `Scene.points` is used
    mirrors: bool = False  # whether mirrored copies can be added
    numbered: bool = False  # whether folders and images are numbered, not named as published
    # What the tool will ignore or refuse of a scene.
    advice: Callable[[Scene], str | None] = lambda _: None

    def all_indexes(self) -> dict[str, Index]:
        """The format's indexes, and licence and origin, which are beside every conversion."""
        return {"ATTRIBUTION.md": (ATTRIBUTION,), **self.indexes}

    def folders(self, subject_ids: Sequence[str]) -> dict[str, str]:
        """Name of each identity's folder in `home`."""
        if self.numbered:
            # Sorted: the same identities get the same numbers from the zips and from an export.
            return {subject_id: f"{row:05d}" for row, subject_id in enumerate(sorted(subject_ids))}
        prefix = self.home and f"{self.home}/"
        paths = [p.removeprefix(prefix) for p in self.all_indexes() if p.startswith(prefix)]
        check_folder_names(subject_ids, {MANIFEST, *(path.split("/")[0] for path in paths)})
        return {subject_id: subject_id for subject_id in subject_ids}

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


def check_folder_names(subject_ids: Iterable[str], reserved: Iterable[str] = ()) -> None:
    """Raise `ReleaseError` for names that cannot be folders everywhere, or differ by case only.

    Archives are input from a stranger.
    """
    taken = {name.lower() for name in reserved}
    bad: list[str] = []
    for subject_id in subject_ids:
        folded = subject_id.lower()
        if folded in taken or not _FOLDER_NAME.fullmatch(subject_id):
            bad.append(repr(subject_id))
        taken.add(folded)
    if bad:
        raise ReleaseError(
            "names of subjects that cannot be names of folders",
            expected="letters, digits, '_', '-' and '.', not at the ends; not differing by "
            "case only",
            found=some_of(bad),
            remedy="name the subjects to convert, without these",
        )


def mask_path(name: str) -> str:
    """Where the mask of an image is, in the identity's folder."""
    return f"masks/{Path(name).stem}.png"


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
        found["similarity"] = scene.similarity
    if scene.foregrounds:
        pairs = zip(scene.view_ids, scene.foregrounds, strict=True)
        doubts = {str(view): mask.doubt for view, mask in pairs if mask.doubt is not None}
        found["masks"] = {"from": "the even background", "doubtful_views": doubts}
    return found


def json_bytes(value: Any) -> bytes:
    """Encode plain values, floats so that reading them gives the same float64."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def write_index(index: Index, records: Sequence[Path], path: Path, *, packed: bool) -> None:
    """Write and sync an index from the records of the identities, which are read one at a time."""
    with path.open("wb") as file:
        # Neither name nor time in the header: the same entries give the same bytes.
        with gzip.GzipFile("", "wb", 6, file, mtime=0) if packed else nullcontext(file) as stream:
            for number, piece in enumerate(index):
                for text in _entries(piece, records) if number % 2 else (piece,):
                    stream.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _entries(name: str, records: Sequence[Path]) -> Iterator[str]:
    between = "\n"
    for record in records:
        for entry in json.loads(record.read_bytes()).get(name, ()):
            yield between + entry
            between = ",\n"
