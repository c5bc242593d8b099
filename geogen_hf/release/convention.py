"""Settling what a release's camera matrices mean, by name or by evidence."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geogen_hf._version import __version__
from geogen_hf.cameras.conventions import CANDIDATES, Convention
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.scoring import score_conventions
from geogen_hf.cameras.verdict import Verdict
from geogen_hf.durable import write_durably
from geogen_hf.errors import CameraError, FetchError, ImageError, explain
from geogen_hf.images import Pixels, decode_rgb
from geogen_hf.metadata.lenses import DefaultIntrinsics, pixel_intrinsics
from geogen_hf.metadata.reader import SubjectCameras
from geogen_hf.source.zip_directory import Member
from geogen_hf.source.zip_reader import Archives, png_size, unpack_png

logger = logging.getLogger(__name__)

AUTO = "auto"

ImageIndex = Mapping[str, Mapping[int, Member]]
"""Members by identity and view."""


@dataclass(frozen=True)
class CameraOptions:
    """How to read a release's cameras.

    Attributes:
        convention: `"auto"` takes what the evidence proves, or stops; or a name such as
            `"camera_to_world opengl"` (see `geogen_hf.cameras.conventions`).
        schema: What `geogen_hf.metadata.load_camera_schema` reads, where the keys of the
            metadata do not speak for themselves; None lets them.
        default_intrinsics: `"upstream"` puts the publisher's average lens, 50 mm on a 36 mm sensor,
            where the metadata has none; None refuses that.
        pixel_subjects: How many subjects' silhouettes are looked at; each takes about 0.2 s.
        memory: Folder where a proven convention is kept for the next time the same release is read;
            None keeps nothing.
    """

    convention: str = AUTO
    schema: Any = None
    default_intrinsics: DefaultIntrinsics | None = None
    pixel_subjects: int = 3
    memory: Path | None = None


@dataclass(frozen=True)
class Judgement:
    """What the matrices mean, as far as that can be told.

    Attributes:
        convention: None where the evidence proves nothing.
        verdict: The evidence; None where the convention was named, or is remembered.
    """

    convention: Convention | None
    verdict: Verdict | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "convention": None if self.convention is None else self.convention.name,
            "evidence": None if self.verdict is None else self.verdict.to_json(),
        }

    def __str__(self) -> str:
        if self.verdict is not None:
            return str(self.verdict)
        name = "not decided" if self.convention is None else f"{self.convention.name}, as stated"
        return f"camera convention: {name}"

    def settle(self) -> Convention:
        """The convention.

        Raises:
            CameraError: None is proven; the message has the scoreboard and the remedy.
        """
        if self.convention is not None:
            return self.convention
        if self.verdict is None:
            raise CameraError(explain("no camera in the metadata to tell the convention by"))
        return self.verdict.settle()


def judge_cameras(
    cameras: Mapping[str, SubjectCameras], images: ImageIndex, options: CameraOptions
) -> Judgement:
    """Decide what the matrices of a release mean.

    Where the keys say something, that is believed and checked; geometry of all subjects and
    silhouettes of a few decide the rest.

    Args:
        cameras: As stored, by identity.
        images: Members by identity and view.
        options: Whether to ask the evidence, and how to read intrinsics.

    Returns:
        The convention if it is named or proven, and the evidence.

    Raises:
        UsageError: A convention of this name is not known.
        ArchiveError: An archive cannot be read.
    """
    if options.convention != AUTO:
        return Judgement(Convention.from_name(options.convention), None)
    if not cameras:
        return Judgement(None, None)
    subjects = list(cameras.values())
    claims = subjects[0].claims
    if options.schema is not None:
        allowed = [candidate for candidate in CANDIDATES if claims.allow(candidate)]
        if len(allowed) == 1:
            return Judgement(allowed[0], None)
    remembered = _memory_of(cameras, images, options)
    if remembered is not None and remembered.is_file():
        return Judgement(Convention.from_name(remembered.read_text().strip()), None)
    unstated_direction = replace(claims, direction=None)
    with Archives() as archives:
        pictures = _Pictures(archives, subjects, images)
        verdict = score_conventions(
            [subject.matrices for subject in subjects],
            _Lenses(pictures, options.default_intrinsics),
            pictures,
            candidates=[c for c in CANDIDATES if unstated_direction.allow(c)],
            stated_direction=claims.direction,
            pixel_subjects=options.pixel_subjects,
        )
    if remembered is not None and verdict.winner is not None:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_durably(remembered, f"{verdict.winner.name}\n".encode())
    return Judgement(verdict.winner, verdict)


def _memory_of(
    cameras: Mapping[str, SubjectCameras], images: ImageIndex, options: CameraOptions
) -> Path | None:
    """Name the file for the verdict on exactly these cameras and images."""
    if options.memory is None:
        return None
    digest = hashlib.sha256(f"{__version__} {options}".encode())
    for subject_id, found in cameras.items():
        digest.update(f"{subject_id} {found.view_ids} {found.claims}".encode())
        digest.update(np.ascontiguousarray(found.matrices).tobytes())
        digest.update(np.ascontiguousarray(found.intrinsics.values).tobytes())
        views = images.get(subject_id, {})
        digest.update(str(sorted((view, member.crc) for view, member in views.items())).encode())
    return options.memory / f"{digest.hexdigest()[:32]}.txt"


class _Pictures(Mapping[int, Sequence[NDArray[np.uint8]] | None]):
    """Decoded pictures of the subjects that have one for every camera, by index."""

    def __init__(
        self, archives: Archives, subjects: Sequence[SubjectCameras], images: ImageIndex
    ) -> None:
        self._archives = archives
        self._latest: tuple[int, list[bytes]] | None = None
        self.subjects = subjects
        self.members = {
            index: [images[subject.subject_id][view_id] for view_id in subject.view_ids]
            for index, subject in enumerate(subjects)
            if images.get(subject.subject_id, {}).keys() >= set(subject.view_ids)
        }

    def encoded(self, index: int) -> list[bytes]:
        """PNG files of a subject.

        Raises:
            ArchiveError: One of them is damaged.
        """
        if self._latest is None or self._latest[0] != index:
            members = self.members[index]
            (records,) = self._archives.records([members])
            self._latest = index, list(map(unpack_png, members, records))
        return self._latest[1]

    def __getitem__(self, index: int) -> list[NDArray[np.uint8]] | None:
        try:
            with ThreadPoolExecutor(os.cpu_count()) as threads:
                return list(threads.map(_decode, self.members[index], self.encoded(index)))
        except FetchError:
            raise
        except (OSError, ImageError) as error:
            logger.info("not asked for the cameras: %s", error)  # told when it is read
            return None

    def __iter__(self) -> Iterator[int]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


class _Lenses(Sequence[FloatArray]):
    """Intrinsics in pixels by index, from the sizes of the subject's pictures."""

    def __init__(self, pictures: _Pictures, default: DefaultIntrinsics | None) -> None:
        self._pictures = pictures
        self._default = default

    def __getitem__(self, index: Any) -> Any:
        members = self._pictures.members[index]
        encoded = self._pictures.encoded(index)
        sizes = [png_size(m, data) for m, data in zip(members, encoded, strict=True)]
        width, height = np.array(sizes, dtype=np.float64).T
        stored = self._pictures.subjects[index].intrinsics
        return pixel_intrinsics(stored, width, height, self._default)

    def __len__(self) -> int:
        return len(self._pictures.subjects)


def _decode(member: Member, data: bytes) -> Pixels:
    return decode_rgb(data, where=member)
