"""Names in metadata: which view a key or file name means, and which subject a path belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass

_VIEW = re.compile(
    r"(?:(?P<folders>.*)[/\\])?(?:view|camera|cam|image|img|frame|render|r)?[-_ ]?0*"
    r"(?P<number>[0-9]{1,9})(?:\.[a-z0-9]{1,5})?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_STEM = re.compile(r"(?P<subject>.+)[-_.](?P<number>[0-9]{1,9})", re.ASCII | re.DOTALL)
_DECORATION = re.compile(
    r"^(?:metadata|cameras?|meta|transforms)[-_](?=.)|(?<=.)[-_](?:metadata|cameras?|meta|transforms)$",
    re.IGNORECASE,
)
#: Folders and files that are called so whatever the subject.
_PLAIN = frozenset(
    [
        ".",
        "..",
        "images",
        "image",
        "imgs",
        "img",
        "rgb",
        "renders",
        "frames",
        "views",
        "train",
        "val",
        "validation",
        "test",
        "data",
        "metadata",
        "metadata_files",
        "cameras",
        "camera",
        "transforms",
        "transforms_train",
        "transforms_val",
        "transforms_test",
        "dataset",
        "meta",
        "info",
        "params",
    ]
)


@dataclass(frozen=True)
class Place:
    """A view, and its subject where the name says that too."""

    subject_id: str | None
    view_id: int


def read_place(name: object) -> Place | None:
    """Read a view number, a view's name or a file name; None where it is none of these.

    Example:
        >>> read_place("subj_x/3.png"), read_place("./train/cam_03")
        (Place(subject_id='subj_x', view_id=3), Place(subject_id=None, view_id=3))
        >>> read_place(7).view_id, read_place("left"), read_place(True), read_place(1.5)
        (7, None, None, None)
    """
    if type(name) is int:
        return Place(None, name) if 0 <= name < 10**9 else None
    if not isinstance(name, str) or not (found := _VIEW.fullmatch(name[:1000])):
        return None
    return Place(_last_name(found["folders"] or ""), int(found["number"]))


def subject_of_file(path: str) -> str | None:
    """The subject that a metadata file's own name or folder gives.

    Example:
        >>> subject_of_file("m/subj_x.json"), subject_of_file("metadata_subj_x.json")
        ('subj_x', 'subj_x')
        >>> subject_of_file("m/subj_x/transforms.json"), subject_of_file("dataset.json")
        ('subj_x', None)
    """
    folders, stem = _split(path)
    return _plain_name(stem) or _last_name(folders)


def place_of_file(path: str) -> Place | None:
    """Subject and view that the name of one image's metadata file gives.

    Example:
        >>> place_of_file("m/subj_x/3.json")
        Place(subject_id='subj_x', view_id=3)
        >>> place_of_file("metadata_subj_1_004.json")
        Place(subject_id='subj_1', view_id=4)
        >>> place_of_file("m/notes.json") is None
        True
    """
    folders, stem = _split(path)
    alone = read_place(stem)
    if alone is not None:
        return Place(_last_name(folders), alone.view_id)
    found = _STEM.fullmatch(stem)
    return Place(_plain_name(found["subject"]), int(found["number"])) if found else None


def _split(path: str) -> tuple[str, str]:
    folders, _, name = path.replace("\\", "/").rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return folders, stem if dot else name


def _last_name(folders: str) -> str | None:
    """The innermost folder that is not called `images` or so."""
    names = folders.replace("\\", "/").split("/")
    return next((name for name in reversed(names) if name and name.lower() not in _PLAIN), None)


def _plain_name(stem: str) -> str | None:
    bare = _DECORATION.sub("", stem)
    return bare if bare and bare.lower() not in _PLAIN else None
