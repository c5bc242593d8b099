"""Decide what a release's cameras are: proven by the data, or stated and checked by it.

`resolve_convention` reads the pictures of a few subjects and hands them, with all cameras, to
`geogen_hf.cameras.proof`. Where the metadata can be read in several ways, `read_cameras` does that
with each. Open this module to see what the option `camera_convention` does, when the images decide
between readings, and where what was proven is remembered.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from geogen_hf._version import __version__
from geogen_hf.cameras.conventions import CANDIDATES, Convention, canonicalise
from geogen_hf.cameras.poses import FloatArray
from geogen_hf.cameras.proof import MOST_RATIO, MOST_SUBJECTS, score_conventions
from geogen_hf.cameras.scores import CameraWarning, ConventionResult, percent
from geogen_hf.cameras.silhouettes import evenly_spread
from geogen_hf.cameras.trials import FARTHEST
from geogen_hf.durable import write_durably
from geogen_hf.errors import CameraError, FetchError, ImageError, MetadataError, one_line
from geogen_hf.images import Pixels
from geogen_hf.metadata.assembly import SubjectCameras
from geogen_hf.metadata.keys import Choice, DoubtError, stated
from geogen_hf.metadata.reader import Document, Metadata, read_metadata
from geogen_hf.metadata.schema import load_camera_schema
from geogen_hf.metadata.stored_intrinsics import DefaultIntrinsics
from geogen_hf.release.subjects import ImageIndex, decode_for_eye, join_subject, read_subject
from geogen_hf.source.zip_reader import Archives

logger = logging.getLogger(__name__)

AUTO = "auto"
UNCHECKED = " unchecked"
"""Appended to the name of a convention, it is taken without a look at the pictures."""

_ALGORITHM = "hull-3"  # part of the names of remembered files: other rules, other files
_MOST_READINGS = 12  # of the metadata that are tried on the images
_FLOOR = 0.05  # pixels of the masks: a misfit that is there whatever the cameras are
# How far principal points may be off the middle of a size that images were resized from, as a part
# of it; and where it may have been a crop as well.
_MOST_OFF, _MOST_OFF_IF_CROPPED = 0.15, 0.005
_NEVER = {"exchanged_views", "odd_subject", "mirrored"}  # no right reading has such a warning
_MOST_LOOKED, _FEW = 30, 3  # identities whose pictures have to prove it, and so many at a time


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
            release in which nothing is wrong, and up to 30 one whose metadata can be read in
            several ways. Each takes 0.1 to 0.5 s.
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


def read_cameras(
    documents: Callable[[], Iterable[Document]],
    images: ImageIndex,
    options: CameraOptions,
    *,
    complete: bool,
) -> tuple[Metadata, ResolvedConvention]:
    """Read the metadata of a release and decide what its matrices mean.

    Where that leaves a doubt between a few readings, the one that the images prove is taken, and a
    warning says so: it has to fit each identity that is looked at, and far better than any other.
    `documents` are asked for again then; `complete` is as `read_metadata` takes it.

    Raises:
        DoubtError: Several readings are left, which `camera_schema` settles.
        MetadataError: No cameras are found, or they do not map onto the images.
        CameraError: As `resolve_convention` raises it.
    """

    def read(found: Iterable[Document], options: CameraOptions) -> _Read:
        schema = None if options.schema is None else load_camera_schema(options.schema)
        metadata = read_metadata(found, images, complete=complete, schema=schema)
        return metadata, resolve_convention(metadata.cameras, images, options)

    try:
        metadata, resolved = read(documents(), options)
    except DoubtError as doubt:
        if not doubt.choices or options.convention.endswith(UNCHECKED):
            raise
        kept = list(documents())
        given = {} if options.schema is None else load_camera_schema(options.schema).given

        def choose(choice: Choice, options: CameraOptions) -> _Read:
            return read(kept, replace(options, schema={**given, **choice}))

        memory = _memory_of((document.text for document in kept), images, options)
        if memory is not None and memory.is_file():
            choice = json.loads(memory.read_text())
        else:
            few = min(options.pixel_subjects, _FEW)
            once = replace(options, memory=None, pixel_subjects=few)
            choice = _settled_by_images(
                doubt,
                partial(choose, options=once),
                partial(resolve_convention, images=images, options=once),
            )
            _remember(memory, choice)
        metadata, resolved = choose(choice, options)
        text = f"The metadata can be read in several ways; the images prove {stated([choice])}."
        warnings = (CameraWarning("settled_by_images", text, dict(choice)), *resolved.warnings)
        resolved = replace(resolved, warnings=warnings)
    for warning in resolved.warnings if resolved.proof else ():
        logger.warning("cameras: %s", warning.text)
    return metadata, resolved


_Read = tuple[Metadata, ResolvedConvention]
_Resolve = Callable[[Mapping[str, SubjectCameras]], ResolvedConvention]


def _settled_by_images(
    doubt: DoubtError, read: Callable[[Choice], _Read], resolve: _Resolve
) -> Choice:
    """The one of several readings that the images prove; else the doubt is raised again."""
    waiting, tried = list(doubt.choices[:_MOST_READINGS]), list[tuple[float, Choice, _Read]]()
    said: set[object] = set()  # of what was done to the images
    while waiting and len(tried) < _MOST_READINGS:
        choice = waiting.pop(0)
        said.add(choice.get("intrinsics_units"))
        try:
            found = read(choice)
        except DoubtError as further:
            new = (each for each in further.choices if not each.keys() <= choice.keys())
            waiting += [{**choice, **each} for each in new][:_MOST_READINGS]
        except (MetadataError, CameraError) as error:
            logger.info("not read with %s: %s", stated([choice]), one_line(error))
        else:
            tried.append((_misfit(found[1]), choice, found))
    tried.sort(key=lambda each: each[0])
    if tried:
        misfit, choice, best = tried[0]
        others = [other for other, _, found in tried[1:] if not _is_same(best, found)]
        second = min(others, default=np.inf)
        # Of two sets of poses the better one may be imprecise, too, unless the other is no rig.
        sets = not choice.keys().isdisjoint(("cameras", "extrinsics"))
        if (
            _is_clear(misfit, second)
            and not (sets and second < FARTHEST)
            and _can_be_seen(choice, best[0].cameras, strict="cropped" in said)
            and _each_is_proven(choice, best, resolve, strict="cropped" in said)
        ):
            return choice
        shown = [
            f"{stated([each])} misfits by {percent(misfit):.2f} %" for misfit, each, _ in tried[:4]
        ]
        doubt.args = (f"{doubt}\n  images: they do not settle it: {'; '.join(shown)}",)
    raise doubt


def _is_clear(misfit: float, other: float) -> bool:
    """Whether one reading fits far better than another."""
    return misfit + _FLOOR <= MOST_RATIO * (other + _FLOOR)


def _can_be_seen(choice: Choice, cameras: Mapping[str, SubjectCameras], *, strict: bool) -> bool:
    """Whether outlines show that this choice is wrong, even if none of the choices is right.

    They hardly show focal lengths, nor where a crop was. So none of several lenses is taken, no
    crop without a box, and a resize only if principal points are near the middle of that size.
    """
    most_off = _MOST_OFF_IF_CROPPED if strict else _MOST_OFF
    if "intrinsics" in choice:
        return False
    for lens in (each.intrinsics for each in cameras.values()):
        if lens.change == "cropped" and lens.crop is None:
            return False
        if lens.change == "resized" and lens.kind == "pixels" and lens.size_wh is not None:
            off = np.abs(lens.values[:, :2, 2] / lens.size_wh - 0.5)
            if lens.centre_kind != "pixels" or (off > most_off).any():
                return False
    return True


def _each_is_proven(choice: Choice, read: _Read, resolve: _Resolve, *, strict: bool) -> bool:
    """Whether three identities at a time prove one convention.

    So none hides behind others. A crop is told from a resize by little: where that is open, nothing
    may be a little wrong (`strict`). Told by order, each identity is looked at, and has to fit its
    own cameras far better than the next one's.
    """
    cameras, ordered = read[0].cameras, "order of " in choice.get("subject", "")
    if not cameras or (ordered and len(cameras) > _MOST_LOOKED):
        return False
    conventions, names = set(), np.array(list(cameras))[evenly_spread(len(cameras), _MOST_LOOKED)]
    for few in np.array_split(names, -(-len(names) // _FEW)):
        some = {name: cameras[name] for name in few}
        found = read[1] if len(some) == len(cameras) else resolve(some)
        conventions.add(found.convention)
        kinds = {warning.kind for warning in found.warnings}
        if choice.get("intrinsics_units") == "resized" and "principal_point" in kinds:
            return False  # it would be in place if that were the size
        if found.proof is None or not found.proof.settled or (kinds if strict else kinds & _NEVER):
            return False
        if ordered:
            if len(found.proof.pixel_subjects) < len(few):
                return False
            moved = zip(few, np.roll(few, 1), strict=True)
            other = resolve({to: replace(cameras[name], subject_id=to) for name, to in moved})
            if not _is_clear(_misfit(found), _misfit(other)):
                return False
    return len(conventions) == 1 and None not in conventions


def _misfit(resolved: ResolvedConvention) -> float:
    """How well the outlines fit as the convention that is proven, or else the best one."""
    if resolved.proof is None:
        return np.inf
    scores = {score.convention: score.misfit for score in resolved.proof.scores}
    return scores.get(resolved.proof.convention or resolved.proof.scores[0].convention, np.inf)


def _is_same(one: _Read, other: _Read) -> bool:
    """Whether two readings come to the same cameras."""
    arrays: list[list[Any]] = []
    for metadata, resolved in (one, other):
        if resolved.convention is None:
            return False
        arrays.append([])
        for name, found in sorted(metadata.cameras.items()):
            lens = found.intrinsics
            arrays[-1] += [(name, found.view_ids, lens.kind, lens.change, lens.centre_kind)]
            arrays[-1] += [
                canonicalise(found.matrices, resolved.convention),
                lens.values,
                lens.size_wh,
                lens.crop,
            ]
    return len(arrays[0]) == len(arrays[1]) and all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-6, atol=1e-6)
        if isinstance(a, np.ndarray)
        else a == b
        for a, b in zip(*arrays, strict=True)
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
    memory = _memory_of(_pieces(cameras), images, options)
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
    if proof.settled:
        _remember(memory, {**resolved.to_json(), "evidence": None})
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


def _pieces(cameras: Mapping[str, SubjectCameras]) -> Iterator[bytes]:
    """Everything that a proof depends on, but the images."""
    for subject_id, found in cameras.items():
        lens = found.intrinsics
        units = f"{lens.kind} {lens.change} {lens.centre_kind}"
        yield f"{subject_id} {found.view_ids} {found.claims} {units}".encode()
        for numbers in (found.matrices, lens.values, lens.size_wh, lens.crop):
            yield b"" if numbers is None else np.ascontiguousarray(numbers).tobytes()


def _memory_of(pieces: Iterable[bytes], images: ImageIndex, options: CameraOptions) -> Path | None:
    """Name the file for what is proven of exactly this and these images."""
    if options.memory is None:
        return None
    digest = hashlib.sha256(f"{_ALGORITHM} {__version__} {options}".encode())
    for piece in pieces:
        digest.update(piece)
    for name, views in images.items():
        crcs = sorted((view, member.crc) for view, member in views.items())
        digest.update(f"{name} {crcs}".encode())
    return options.memory / f"{digest.hexdigest()[:32]}.json"


def _remember(memory: Path | None, value: object) -> None:
    if memory is not None:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_durably(memory, json.dumps(value).encode())
