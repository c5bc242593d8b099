"""One identity on its way to another tool's layout: images, names, cameras, and what is asked for.

Open this module to add an option of how scenes are laid out, or to see which views are held out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from geogen_hf.cameras.hull import SurfacePoints
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.silhouettes import Foreground
from geogen_hf.errors import ArchiveError, ImageError, ReleaseError, UsageError
from geogen_hf.images import LONGEST_PX, Format, decode_rgb, read_header
from geogen_hf.release.release import Identity
from geogen_hf.release.splits import Split
from geogen_hf.report import some_of

ViewSplit = Literal["train", "val", "test"]
VIEW_SPLITS: tuple[ViewSplit, ...] = ("train", "val", "test")

_SUFFIXES: dict[Format, str] = {"PNG": ".png", "WEBP": ".webp", "JPEG": ".jpg"}
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}(?<!\.)", re.ASCII)


@dataclass(frozen=True)
class LayoutOptions:
    """How scenes are laid out. The fields are the arguments of `convert` with these names."""

    masks: bool | None = None
    holdout: int | None = 2
    centre: bool = False
    radius: float | None = None
    image_size: int | None = None
    mirrored: bool = False

    def __post_init__(self) -> None:
        """Raise `UsageError` where a number is out of range or a radius comes without centring."""
        for name, least, most in (("holdout", 1, None), ("image_size", 8, LONGEST_PX)):
            value = getattr(self, name)
            if value is not None and not least <= value <= (most or value):
                expected = f"at least {least}" if most is None else f"{least} to {most}"
                raise UsageError(f"{name} is out of range", expected=expected, found=value)
        if self.radius is not None and not (self.centre and 0 < self.radius < float("inf")):
            raise UsageError(
                "a radius cannot be used",
                expected="a positive number, together with centring",
                found=f"radius {self.radius}, centre {self.centre}",
                remedy="add --centre, or leave --radius out",
            )


@dataclass(frozen=True, eq=False)
class Similarity:
    """The world of a conversion from that of the release.

    `point_new = scale * rotation @ point + translation`, columns.

    Attributes:
        scale: Positive.
        rotation: `(3, 3)` float64.
        translation: `(3,)` float64, in the new unit.
    """

    scale: float
    rotation: FloatArray
    translation: FloatArray

    def extrinsics(self, world_to_camera: FloatArray) -> FloatArray:
        """Extrinsics `(V, 4, 4)` in the new world that see the same pixels as before.

        Example:
            >>> from geogen_hf.cameras.poses import camera_centre, look_at
            >>> moved = Similarity(2.0, np.eye(3), np.array([1.0, 0, 0]))
            >>> camera_centre(moved.extrinsics(look_at([(0, 0, 5)], (0, 0, 0), (0, 1, 0)))) + 0.0
            array([[ 1.,  0., 10.]])
        """
        moved = world_to_camera.copy()
        moved[:, :3, :3] = world_to_camera[:, :3, :3] @ self.rotation.T
        moved[:, :3, 3] = self.scale * world_to_camera[:, :3, 3] - moved[:, :3, :3] @ (
            self.translation
        )
        return np.asarray(moved)

    def as_json(self) -> dict[str, Any]:
        """Plain values, and the formula in words."""
        return {
            "formula": "point = scale * rotation @ point_of_release + translation",
            "scale": self.scale,
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Scene:
    """One identity, read.

    Attributes:
        subject_id: Its name.
        split: Of the data set, not of its views.
        view_ids: V view numbers, ascending.
        images: V encoded files, as the source has them.
        names: V file names, `<view>.png` (`.webp`, `.jpg` where an export was transcoded).
        sizes: V pairs of width and height, pixels.
        extrinsics: `(V, 4, 4)` float64 world-to-camera, OpenCV axes (x right, y down, z forward),
            in the release's unit of length.
        intrinsics: `(V, 3, 3)` float64, pixels of the stored image, pixel (0, 0) covering
            [0, 1) x [0, 1).
        folder: Name of its folder in a conversion.
        options: How it is to be laid out.
        foregrounds: V foregrounds, where masks are wanted.
        points: Points on the visual hull, where the format holds points.
        similarity: From the release's world to this one, where it was moved.
    """

    subject_id: str
    split: Split
    view_ids: tuple[int, ...]
    images: tuple[bytes, ...]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    extrinsics: FloatArray
    intrinsics: FloatArray
    folder: str = ""
    options: LayoutOptions = field(default_factory=LayoutOptions)
    foregrounds: tuple[Foreground, ...] = ()
    points: SurfacePoints | None = None
    similarity: Similarity | None = None

    def view_lists(self) -> dict[ViewSplit, tuple[int, ...]]:
        """Rows of the views for each purpose, as `hold_out` divides them."""
        return hold_out(len(self.names), self.options.holdout)


def make_scene(identity: Identity, places: Sequence[str]) -> Scene:
    """Put a scene together, with names and sizes from the images, which are decoded once.

    Args:
        identity: Whose images and cameras they are.
        places: V descriptions of where each image is from, for messages.

    Raises:
        ArchiveError: An image is no PNG, WebP or JPEG, or does not decode.
    """
    headers = []
    for place, image in zip(places, identity.images, strict=True):
        try:
            headers.append(read_header(image, where=place))
            decode_rgb(image, where=place, header=headers[-1])
        except ImageError as error:
            raise ArchiveError(str(error)) from error
    return Scene(
        subject_id=identity.subject_id,
        split=identity.split,
        view_ids=identity.view_ids,
        images=identity.images,
        names=tuple(
            f"{view_id}{_SUFFIXES[header.format]}"
            for view_id, header in zip(identity.view_ids, headers, strict=True)
        ),
        sizes=tuple(header.size_wh for header in headers),
        extrinsics=identity.extrinsics,
        intrinsics=identity.intrinsics,
    )


def hold_out(count: int, holdout: int | None) -> dict[ViewSplit, tuple[int, ...]]:
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
        return dict.fromkeys(VIEW_SPLITS, views)
    train, held = views[: count - holdout], views[count - holdout :]
    return {"train": train, "val": held[: holdout // 2] or held, "test": held[holdout // 2 :]}


def check_folder_names(subject_ids: Iterable[str], reserved: Iterable[str] = ()) -> None:
    """Refuse names that cannot be folders everywhere: archives are input from a stranger.

    Raises:
        ReleaseError: A name is a path, is too long or has odd characters, is reserved, or two
            differ by case only.

    Example:
        >>> check_folder_names(["subj_1", "subj_10"])
        >>> check_folder_names([".."])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        geogen_hf.errors.ReleaseError: names of subjects that cannot be names of folders
        ...
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
