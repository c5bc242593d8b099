"""The eight parts of the release: their names, and where they are.

Functions of this package take a *place*: a folder or a base URL, as `str` or `Path`, or None for
the publisher's host. `resolve_place` tells folders from URLs, and `locate_parts` says where each
part lies. Nothing below these two asks again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fsspec import available_protocols

from geogen_hf.durable import absolute_path
from geogen_hf.errors import PartsError, UsageError, redact

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
    """Choose parts by number, None for all eight; the camera metadata always comes along, last.

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
    """Choose exactly the parts of these numbers, 1 … 8, to download them; None for all eight."""
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

    Returns an absolute `Path` for a folder (`~` is expanded), which need not exist, or the URL as a
    `str`: that of the publisher's host for None.

    Example:
        >>> resolve_place("hf://datasets/me/parts/"), resolve_place("file:///data/parts")
        ('hf://datasets/me/parts', 'file:///data/parts')
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
        expected = "a folder, or a URL such as https://host/folder"
        raise UsageError("not a URL", where=text, expected=expected, found=error) from error
    return text.rstrip("/")


def locate_parts(
    place: Place = None,
    parts: Sequence[Part] = ALL_PARTS,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[Part, Location]:
    """Say where each part is, under its upstream name; URLs are not asked for.

    Storage options are credentials by protocol, for places that are URLs (see `options_for`).

    Raises:
        PartsError: The folder does not exist or lacks some of the parts; all of them are named.

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


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """One version of a remote file, as far as its server tells."""

    size: int | None = None  # of the whole file, bytes
    etag: str | None = None  # as sent, with its quotes and perhaps a leading `W/`
    last_modified: str | None = None  # as sent

    def if_range(self) -> str | None:
        """Give the value for `If-Range` (RFC 9110, 13.1.5): a strong ETag, else the date.

        None where nothing proves that two responses hold the same bytes.
        """
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def same_version(self, other: RemoteInfo) -> bool:
        """Tell whether nothing known of both says that they are different versions.

        Sizes are compared where both are known; then ETags or, where one of the two has none, the
        dates. A tag that a proxy turned into a weak one still matches.
        """
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        if self.last_modified and other.last_modified:
            return self.last_modified == other.last_modified
        return True

    def __str__(self) -> str:
        known = ["size unknown" if self.size is None else f"{self.size:,} bytes"]
        known += [f"ETag {self.etag}"] if self.etag else []
        known += [f"of {self.last_modified}"] if self.last_modified else []
        return ", ".join(known)


def options_for(url: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the storage options that concern a URL, as `datasets` does.

    They are given by protocol (`{"hf": {"token": …}}`), or for all that are not named so
    (`{"headers": {…}}`).

    Example:
        >>> given = {"hf": {"token": "hf_x"}, "headers": {"X-Key": "k"}}
        >>> options_for("hf://datasets/me/raw/a.zip", given), options_for("https://h/a.zip", given)
        ({'token': 'hf_x'}, {'headers': {'X-Key': 'k'}})
    """
    scheme = url.split("://")[0]
    if scheme in storage_options:
        return dict(storage_options[scheme])
    protocols = available_protocols()
    return {key: value for key, value in storage_options.items() if key not in protocols}


@dataclass(frozen=True, repr=False)
class Location:
    """One file on disk or behind a URL: all that opening it needs, picklable, nothing open."""

    address: str
    """Absolute path, or URL."""
    version: RemoteInfo | None = None
    """The version to insist on; None for the one that is met first, and for files on disk."""
    storage_options: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Credentials and the like, as `options_for` takes them; never shown."""

    @property
    def remote(self) -> bool:
        """Whether the address is a URL; no absolute path contains `://`."""
        return "://" in self.address

    @property
    def label(self) -> str:
        """The file's name, for messages.

        Example:
            >>> Location("https://host/v1/images_batch_1.zip?sig=x").label
            'images_batch_1.zip'
        """
        if not self.remote:
            return Path(self.address).name
        return self.address.split("?", 1)[0].rsplit("/", 1)[-1]

    def __str__(self) -> str:
        """The address without passwords and signatures."""
        return redact(self.address)

    __repr__ = __str__

    def options(self) -> dict[str, Any]:
        """The options that opening the address takes, such as headers or keys."""
        return options_for(self.address, self.storage_options)
