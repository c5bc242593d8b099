"""The eight parts of the release: what they are called and where to find them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geogen_hf.errors import PartsError, UsageError, explain

UPSTREAM_URL = "https://facesyntheticspubwedata.z6.web.core.windows.net/cvpr-2024"
"""Where the publisher serves the parts (https://github.com/microsoft/GeoGen, README)."""


@dataclass(frozen=True)
class Part:
    """One published zip.

    Attributes:
        number: 1 to 8, as on the publisher's page (P1 … P8).
        name: File name.
        kind: Whether it holds images or camera metadata.
    """

    number: int
    name: str
    kind: Literal["images", "metadata"]


IMAGE_PARTS = tuple(Part(n, f"images_batch_{n}.zip", "images") for n in range(1, 8))
METADATA_PART = Part(8, "metadata_files.zip", "metadata")
ALL_PARTS = (*IMAGE_PARTS, METADATA_PART)


def select_parts(numbers: Iterable[int] | None = None) -> tuple[Part, ...]:
    """Choose parts by number; the camera metadata always comes along.

    Args:
        numbers: Any of 1 … 8, or None for all eight.

    Returns:
        The parts in ascending order, the metadata part last.

    Raises:
        UsageError: A number is none of 1 … 8, or no image part is named.

    Example:
        >>> [part.number for part in select_parts([3, 1])]
        [1, 3, 8]
    """
    if numbers is None:
        return ALL_PARTS
    wanted = set(numbers)
    known = {part.number for part in ALL_PARTS}
    images = tuple(part for part in IMAGE_PARTS if part.number in wanted)
    if not wanted <= known or not images:
        raise UsageError(
            explain(
                "parts does not name image parts of the release",
                expected="numbers from 1 to 7 (8, the cameras, always comes along)",
                found=sorted(wanted, key=str),
            )
        )
    return (*images, METADATA_PART)


def named_parts(numbers: Iterable[int] | None = None) -> tuple[Part, ...]:
    """Choose exactly the parts of these numbers, to download them.

    Args:
        numbers: Any of 1 … 8, or None for all eight.

    Returns:
        The parts in ascending order.

    Raises:
        UsageError: A number is none of 1 … 8.

    Example:
        >>> [part.name for part in named_parts([8])]
        ['metadata_files.zip']
    """
    wanted = set(numbers or range(1, 9))
    unknown = wanted - {part.number for part in ALL_PARTS}
    if unknown:
        raise UsageError(explain("no such part", expected="1 to 8", found=sorted(unknown)))
    return tuple(part for part in ALL_PARTS if part.number in wanted)


def is_url(location: str) -> bool:
    """Tell a URL (`https://`, `hf://`, `s3://` …) from a path.

    Example:
        >>> is_url("hf://datasets/me/parts"), is_url("parts"), is_url("file:///data/parts")
        (True, False, True)
    """
    return "://" in location


def archive_label(archive: str) -> str:
    """Shorten a path or URL to the file's name.

    Example:
        >>> archive_label("https://host/v1/images_batch_1.zip?sig=x")
        'images_batch_1.zip'
    """
    return archive.replace(os.sep, "/").rsplit("/", 1)[-1].split("?", 1)[0]


def parts_in_folder(folder: str | os.PathLike[str], parts: Sequence[Part]) -> dict[Part, str]:
    """Find parts in a folder.

    Args:
        folder: Holds the zips under their upstream names; `~` is expanded.
        parts: Which ones are needed.

    Returns:
        The absolute path of each part.

    Raises:
        PartsError: The folder does not exist or lacks some of the parts; all of them are named.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise PartsError(
            explain(
                "the folder with the parts does not exist",
                where=root,
                expected=f"a folder holding {parts[0].name} … {parts[-1].name}",
                found="a file" if root.exists() else "nothing",
                remedy="correct the path, or leave it out to download from the publisher",
            )
        )
    paths = {part: root / part.name for part in parts}
    missing = [part.name for part, path in paths.items() if not path.is_file()]
    if missing:
        present = sorted(entry.name for entry in root.iterdir())
        raise PartsError(
            explain(
                f"{len(missing)} of {len(parts)} parts missing: {', '.join(missing)}",
                where=root,
                found=", ".join(present[:12]) + (" …" if len(present) > 12 else "")
                if present
                else "an empty folder",
                remedy=f"download them from {UPSTREAM_URL}, or name the image parts you have, "
                "for example parts=(1, 2)",
            )
        )
    return {part: str(path) for part, path in paths.items()}


def parts_at_url(base_url: str, parts: Sequence[Part]) -> dict[Part, str]:
    """Name the URL of each part below a base URL.

    Args:
        base_url: Any URL fsspec can open, or a local folder.
        parts: Which ones are needed.

    Returns:
        The URL of each part (its path, where `base_url` is a folder).

    Raises:
        PartsError: `base_url` is a local folder and lacks parts.

    Example:
        >>> parts_at_url("hf://datasets/me/raw/", select_parts([1]))[METADATA_PART]
        'hf://datasets/me/raw/metadata_files.zip'
    """
    if not is_url(base_url):
        return parts_in_folder(base_url, parts)
    return {part: f"{base_url.rstrip('/')}/{part.name}" for part in parts}


def locate_parts(
    parts: Sequence[Part],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
) -> dict[Part, str]:
    """Say where each part is: in `data_dir` if given, else under `base_url`, else upstream.

    Raises:
        PartsError: A folder does not hold what is needed.
        UsageError: `data_dir` is a URL.
    """
    if data_dir is None:
        return parts_at_url(base_url or UPSTREAM_URL, parts)
    if is_url(str(data_dir)):
        raise UsageError(
            explain(
                "data_dir must be a folder", found=data_dir, remedy=f"pass base_url={data_dir!r}"
            )
        )
    return parts_in_folder(data_dir, parts)


def folder_stamp(
    data_dir: str | os.PathLike[str], parts: Sequence[Part]
) -> list[tuple[str, int, int]] | None:
    """Describe the parts in a folder well enough to notice that one was replaced.

    Args:
        data_dir: The folder.
        parts: Which ones to look at.

    Returns:
        Name, size in bytes and modification time in ns of each; None where any is missing.
    """
    try:
        paths = parts_in_folder(data_dir, parts)
    except PartsError:
        return None
    stats = {part: Path(path).stat() for part, path in paths.items()}
    return [(part.name, stat.st_size, stat.st_mtime_ns) for part, stat in stats.items()]
