"""The eight parts of the release: their names, and where they are.

Functions of this package take a *place*: a folder or a base URL, as `str` or `Path`, or None for
the publisher's host. `resolve_place` tells folders from URLs, and `locate_parts` says where each
part lies. Nothing below these two asks again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geogen_hf.durable import absolute_path
from geogen_hf.errors import PartsError, UsageError
from geogen_hf.source.location import Location

Place = str | os.PathLike[str] | None
"""A folder, a base URL, or None for the publisher's host."""

UPSTREAM_URL = "https://facesyntheticspubwedata.z6.web.core.windows.net/cvpr-2024"
"""Where the publisher serves the parts (https://github.com/microsoft/GeoGen, README)."""


@dataclass(frozen=True)
class Part:
    """One published zip: its file name, and its number on the publisher's page (P1 … P8)."""

    number: int
    name: str


IMAGE_PARTS = tuple(Part(n, f"images_batch_{n}.zip") for n in range(1, 8))
METADATA_PART = Part(8, "metadata_files.zip")
ALL_PARTS = (*IMAGE_PARTS, METADATA_PART)


def select_parts(numbers: Iterable[int] | None = None) -> tuple[Part, ...]:
    """Choose parts by number; the camera metadata always comes along.

    Args:
        numbers: Any of 1 … 8, or None for all eight.

    Returns:
        The parts in ascending order, the metadata part last.

    Raises:
        UsageError: A number is none of 1 … 8, no image part is named, or it is a bare number.

    Example:
        >>> [part.number for part in select_parts([3, 1])]
        [1, 3, 8]
    """
    chosen = named_parts(numbers)
    images = tuple(part for part in chosen if part in IMAGE_PARTS)
    if not images:
        expected = "numbers from 1 to 7; 8, the cameras, always comes along"
        raise UsageError("parts names no image part", expected=expected, found=numbers)
    return (*images, METADATA_PART)


def named_parts(numbers: Iterable[int] | None = None) -> tuple[Part, ...]:
    """Choose exactly the parts of these numbers, 1 … 8, to download them; None for all eight.

    Raises:
        UsageError: A number is none of 1 … 8, or it is a bare number.
    """
    if numbers is None:
        return ALL_PARTS
    if not isinstance(numbers, Iterable):
        remedy = f"pass parts=({numbers},)"
        raise UsageError(
            "bad parts", expected="a tuple or list", found=repr(numbers), remedy=remedy
        )
    wanted = set(numbers)
    if unknown := wanted - {part.number for part in ALL_PARTS}:
        expected = "numbers from 1 to 7 for images, and 8 for the cameras"
        found = sorted(unknown, key=str)
        raise UsageError("no such part", expected=expected, found=found)
    return tuple(part for part in ALL_PARTS if part.number in wanted)


def resolve_place(place: Place = None) -> Path | str:
    """Decide whether a place is a folder or a URL.

    Args:
        place: Path of a folder (`~` is expanded), any URL fsspec opens, or None for the publisher's
            host.

    Returns:
        An absolute `Path` for a folder, which need not exist, or the URL as a `str`.

    Raises:
        UsageError: It looks like a URL but is none, or no folder can have this name.
        PartsError: The file system does not let it be looked up.

    Example:
        >>> resolve_place("hf://datasets/me/parts/"), resolve_place("file:///data/parts")
        ('hf://datasets/me/parts', 'file:///data/parts')
        >>> resolve_place("/data/parts").name
        'parts'
    """
    text = os.fspath(UPSTREAM_URL if place is None else place)
    scheme, separator, rest = text.partition("://")
    if not separator:
        path = absolute_path(text)
        with _reading(path):
            path.exists()  # raises for names that are too long, and below folders it may not enter
        return path
    try:
        urlsplit(text).port  # noqa: B018 (refuses what is no address, such as http://[::1)
        if not scheme or not rest:
            raise ValueError("a scheme or an address is missing")
    except ValueError as error:
        raise UsageError(
            "not a URL",
            where=text,
            expected="a folder, or a URL such as https://host/folder",
            found=error,
        ) from error
    return text.rstrip("/")


def locate_parts(
    place: Place = None,
    parts: Sequence[Part] = ALL_PARTS,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[Part, Location]:
    """Say where each part is.

    Args:
        place: The folder that holds the parts under their upstream names, or the base URL below
            which they are served; None for the publisher's host.
        parts: Which parts are needed.
        storage_options: Credentials by protocol, for places that are URLs (see `options_for`).

    Returns:
        The location of each part. Files in a folder exist; URLs were not asked for.

    Raises:
        PartsError: The folder does not exist or lacks some of the parts; all of them are named.
        UsageError: The place is no valid URL.

    Example:
        >>> locate_parts("https://host/raw?sig=x", select_parts([1]))[METADATA_PART].address
        'https://host/raw/metadata_files.zip?sig=x'
    """
    root = resolve_place(place)
    if isinstance(root, Path):
        return {part: Location(str(path)) for part, path in _find_parts(root, parts).items()}
    base, query = root, ""
    if root.startswith(("http://", "https://")):
        # A signature, as Azure and S3 append to URLs, belongs behind the file's name.
        base, mark, query = root.partition("?")
        query = mark + query
    base = base.rstrip("/")
    given = storage_options or {}
    return {part: Location(f"{base}/{part.name}{query}", storage_options=given) for part in parts}


def _find_parts(folder: Path, parts: Sequence[Part]) -> dict[Part, Path]:
    if not folder.is_dir():
        remedy = "correct the path, or fetch the zips into it: geogen download FOLDER"
        raise PartsError(
            "the folder with the parts does not exist",
            where=folder,
            expected=f"a folder holding {parts[0].name} … {parts[-1].name}",
            found="a file" if folder.exists() else "nothing",
            remedy=f"name the folder: {folder.parent}" if folder.exists() else remedy,
        )
    paths = {part: folder / part.name for part in parts}
    with _reading(folder):
        present = sorted(entry.name for entry in folder.iterdir())
        missing = [part.name for part, path in paths.items() if not path.is_file()]
    if missing:
        listing = ", ".join(present[:12]) + (" …" if len(present) > 12 else "")
        raise PartsError(
            f"{len(missing)} of {len(parts)} parts missing: {', '.join(missing)}",
            where=folder,
            found=listing or "an empty folder",
            remedy=_remedy(present),
        )
    return paths


def _remedy(present: list[str]) -> str:
    """Say what to do with a folder that lacks parts, by what it holds."""
    if {"SHA256SUMS", "data"} <= set(present):
        return (
            "geogen export wrote this folder: load_dataset loads it, geogen_hf.open_export opens "
            "it; geogen verify, view, preview, convert and push take it"
        )
    numbers = [part.number for part in IMAGE_PARTS if part.name in present]
    if numbers and METADATA_PART.name not in present:
        return "fetch the cameras: geogen download FOLDER --part 8"
    remedy = "fetch what is missing: geogen download FOLDER"
    if not numbers:
        return f"correct the path, or {remedy}"
    options = " ".join(f"--part {number}" for number in numbers)
    return f"{remedy}; or use those that are here: parts={tuple(numbers)} ({options})"


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = error.strerror or error
        remedy = "name another folder, or fix its permissions"
        what = "the folder cannot be read"
        raise PartsError(what, where=folder, found=found, remedy=remedy) from error


def folder_stamp(
    data_dir: str | os.PathLike[str], parts: Sequence[Part]
) -> list[tuple[str, int, int]] | None:
    """Describe the parts in a folder well enough to notice that one was replaced.

    That is name, size in bytes and modification time in ns of each; None where any is missing.
    """
    try:
        stats = {part: (Path(data_dir) / part.name).stat() for part in parts}
    except OSError:
        return None
    return [(part.name, stat.st_size, stat.st_mtime_ns) for part, stat in stats.items()]
