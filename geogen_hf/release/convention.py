"""Decide what a release's camera matrices mean: proven by the data, or stated and checked by it.

`resolve_convention` reads the pictures of a few subjects and hands them, with all cameras, to
`geogen_hf.cameras.proof`. Open this module to see what the option `camera_convention` does, and
where a proven convention is remembered.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from geogen_hf._version import __version__
from geogen_hf.cameras.conventions import CANDIDATES, Convention
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.proof import MOST_SUBJECTS, score_conventions
from geogen_hf.cameras.scores import CameraWarning, ConventionResult
from geogen_hf.durable import write_durably
from geogen_hf.errors import CameraError, FetchError, ImageError, one_line
from geogen_hf.images import Pixels
from geogen_hf.metadata.assembly import SubjectCameras
from geogen_hf.metadata.schema import load_camera_schema
from geogen_hf.metadata.stored_intrinsics import DefaultIntrinsics
from geogen_hf.release.subjects import ImageIndex, decode_for_eye, join_subject, read_subject
from geogen_hf.source.zip_reader import Archives

logger = logging.getLogger(__name__)

AUTO = "auto"
UNCHECKED = " unchecked"
"""Appended to the name of a convention, it is taken without a look at the pictures."""

_ALGORITHM = "hull-2"  # part of the names of remembered files: other rules, other files


@dataclass(frozen=True)
class CameraOptions:
    """How to read a release's cameras.

    Attributes:
        convention: `"auto"` takes what the data proves, or stops; a name such as
            `"camera_to_world opengl"` (see `geogen_hf.cameras.conventions`) is taken unless the
            data clearly contradicts it; with `" unchecked"` appended it is taken in any case.
        schema: What `geogen_hf.metadata.schema.load_camera_schema` reads, where the keys of the
            metadata do not speak for themselves; None lets them.
        default_intrinsics: `"upstream"` puts the publisher's average lens, 50 mm on a 36 mm sensor,
            where the metadata has none; None refuses that.
        pixel_subjects: How many subjects' silhouettes are looked at, at most; three settle a
            release in which nothing is wrong. Each takes 0.1 to 0.5 s.
        memory: Folder where a proven convention is kept for the next time the same release is read;
            None keeps nothing.
    """

    convention: str = AUTO
    schema: Any = None
    default_intrinsics: DefaultIntrinsics | None = None
    pixel_subjects: int = MOST_SUBJECTS
    memory: Path | None = None


@dataclass(frozen=True)
class ResolvedConvention:
    """What the matrices mean, as far as that is known, and how it is known.

    It is proven by the data, stated and not contradicted by it, stated and taken unchecked,
    remembered as proven before, or unsettled.
    """

    convention: Convention | None  # None where nothing is proven, or the stated one contradicted
    how: Literal["proven", "stated", "unchecked", "remembered", "unsettled"]
    stated: Convention | None = None  # what the option or the schema said
    proof: ConventionResult | None = None  # None where no pictures were looked at
    warnings: tuple[CameraWarning, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "convention": None if self.convention is None else self.convention.name,
            "how": self.how,
            "warnings": [asdict(warning) for warning in self.warnings],
            "evidence": None if self.proof is None else self.proof.to_json(),
        }

    def describe(self) -> list[str]:
        """Plain sentences: the convention, how it is known, and each warning."""
        if self.convention is None:
            said = (
                f"{self.stated.name}, as stated, is contradicted" if self.stated else "not settled"
            )
        else:
            said = f"{self.convention.name}, {self.how}"
        found = [] if self.proof is None else self.proof.found()
        return [f"camera convention: {said}", *found, *(w.text for w in self.warnings)]

    def __str__(self) -> str:
        table = [] if self.proof is None else ["", *self.proof.table()]
        return "\n  ".join([*self.describe(), *table])

    def require(self) -> Convention:
        """The convention; `CameraError`, with the scores and the remedy, if it is not known."""
        if self.convention is not None:
            return self.convention
        if self.proof is None:
            raise CameraError("there is no camera in the metadata to tell a convention by")
        if self.stated is None:
            return self.proof.require()
        proven = self.proof.convention
        use = f"camera_convention={proven.name!r}, or " if proven else ""
        raise CameraError(
            f"the data contradicts the stated camera convention\n{self}",
            expected=proven or "a convention in which optical axes meet in front of cameras",
            found=f"{self.stated}, as stated by camera_convention or camera_schema",
            remedy=f"leave it to the data (camera_convention='auto'), or use {use}"
            f"camera_convention='{self.stated}{UNCHECKED}' to insist",
        )


def resolve_convention(
    cameras: Mapping[str, SubjectCameras], images: ImageIndex, options: CameraOptions
) -> ResolvedConvention:
    """Decide what the matrices of a release, as stored, mean.

    Where the keys say something, that is believed and checked; geometry of all subjects and
    silhouettes of a few decide the rest. A convention that the options state is checked likewise.

    Raises:
        UsageError: A convention of this name is not known.
        ArchiveError: An archive cannot be read.
        CameraError: The intrinsics of no subject go with the size of its images.
    """
    subjects = list(cameras.values())
    stated = _stated(subjects, options)
    if stated is not None and (options.convention.endswith(UNCHECKED) or not subjects):
        text = f"The camera convention {stated} was stated and not checked against the pictures."
        warnings = (CameraWarning("not_checked", text), *_denied_by_keys(stated, subjects))
        return ResolvedConvention(stated, "unchecked", stated, None, warnings)
    if not subjects:
        return ResolvedConvention(None, "unsettled")
    memory = _memory_of(cameras, images, options)
    if memory is not None and memory.is_file():
        kept = json.loads(memory.read_text())
        warnings = tuple(CameraWarning(**warning) for warning in kept["warnings"])
        convention = Convention.from_name(kept["convention"])
        return ResolvedConvention(convention, "remembered", stated, None, warnings)
    proof = _prove(subjects, images, options, stated)
    if stated is None:
        how: Literal["proven", "unsettled"] = "proven" if proof.settled else "unsettled"
        resolved = ResolvedConvention(proof.convention, how, None, proof, proof.warnings)
    elif proof.contradicts(stated):
        return ResolvedConvention(None, "unsettled", stated, proof, proof.warnings)
    else:
        warnings = (*proof.warnings, *_denied_by_keys(stated, subjects))
        if not proof.settled:
            text = (
                f"The stated camera convention {stated} is taken, but the data does not prove it: "
                f"{proof.reason}."
            )
            warnings = (CameraWarning("not_proven", text), *warnings)
        resolved = ResolvedConvention(stated, "stated", stated, proof, warnings)
    for warning in resolved.warnings:
        logger.warning("cameras: %s", warning.text)
    if memory is not None and proof.settled:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_durably(memory, json.dumps({**resolved.to_json(), "evidence": None}).encode())
    return resolved


def _stated(subjects: Sequence[SubjectCameras], options: CameraOptions) -> Convention | None:
    if options.convention != AUTO:
        return Convention.from_name(options.convention.removesuffix(UNCHECKED))
    said = {} if options.schema is None else load_camera_schema(options.schema).claims
    if not subjects or not {"direction", "axes"} <= said.keys():
        return None  # what keys say narrows the choice, and is checked like anything else
    allowed = [c for c in CANDIDATES if subjects[0].claims.allow(c)]
    return allowed[0] if len(allowed) == 1 else None


def _prove(
    subjects: Sequence[SubjectCameras],
    images: ImageIndex,
    options: CameraOptions,
    stated: Convention | None,
) -> ConventionResult:
    sound: set[int] = set()
    faults: dict[int, CameraError] = {}

    def read(index: int) -> tuple[list[Pixels], FloatArray] | None:
        """Read pictures and intrinsics; None where one is damaged or does not go with the other."""
        found, default = subjects[index], options.default_intrinsics
        try:
            subject = join_subject(found, images[found.subject_id], None, default)
            with Archives() as archives:  # not shared: several threads ask at a time
                subject, encoded = read_subject(archives, subject)
            shown = decode_for_eye(encoded, subject.images, subject.intrinsics)
        except CameraError as error:
            logger.info("%s: not asked for the cameras: %s", found.subject_id, one_line(error))
            faults[index] = error
            return None
        except FetchError:
            raise
        except (OSError, ImageError) as error:
            logger.info("not asked for the cameras: %s", error)  # told when it is read
            return None
        sound.add(index)
        return shown

    claims = subjects[0].claims
    open_direction = replace(claims, direction=None)
    proof = score_conventions(
        [subject.matrices for subject in subjects],
        read,
        pictured=[
            index
            for index, subject in enumerate(subjects)
            if images.get(subject.subject_id, {}).keys() >= set(subject.view_ids)
        ],
        candidates=[c for c in CANDIDATES if stated or open_direction.allow(c)],
        stated_direction=None if stated else claims.direction,
        pixel_subjects=options.pixel_subjects,
        subject_ids=[subject.subject_id for subject in subjects],
        view_ids=[subject.view_ids for subject in subjects],
    )
    # A few bad subjects are left to `on_bad_subject`; where all are, the release is not readable.
    if faults and not sound:
        raise faults[min(faults)]
    return proof


def _denied_by_keys(
    stated: Convention, subjects: Sequence[SubjectCameras]
) -> tuple[CameraWarning, ...]:
    """Say which keys of the metadata contradict what was stated: that is taken nevertheless."""
    denied = [subject for subject in subjects if not subject.claims.allow(stated)]
    if not denied:
        return ()
    claims = denied[0].claims
    said = [claims.direction, claims.axes, "transposed" if claims.transposed else None]
    text = (
        f"The stated camera convention {stated} is taken, although the keys of the metadata say "
        f"{' '.join(filter(None, said)) or 'not transposed'} for {len(denied):,} of "
        f"{len(subjects):,} subjects."
    )
    return (CameraWarning("denied_by_keys", text),)


def _memory_of(
    cameras: Mapping[str, SubjectCameras], images: ImageIndex, options: CameraOptions
) -> Path | None:
    """Name the file for what is proven of exactly these cameras and images."""
    if options.memory is None:
        return None
    digest = hashlib.sha256(f"{_ALGORITHM} {__version__} {options}".encode())
    for subject_id, found in cameras.items():
        lens = found.intrinsics
        units = f"{lens.kind} {lens.resized} {lens.centre_kind}"
        digest.update(f"{subject_id} {found.view_ids} {found.claims} {units}".encode())
        for numbers in (found.matrices, lens.values, lens.size_wh, lens.centre):
            digest.update(b"" if numbers is None else np.ascontiguousarray(numbers).tobytes())
        views = images.get(subject_id, {})
        digest.update(str(sorted((view, member.crc) for view, member in views.items())).encode())
    return options.memory / f"{digest.hexdigest()[:32]}.json"
