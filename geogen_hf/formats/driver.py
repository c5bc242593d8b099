"""Convert images and cameras to the layout of another tool.

`convert` is the function behind `geogen convert`. It writes the folder of each identity, then the
indexes over all of them, then `convert.json`. What a layout holds is in the module of its format.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from geogen_hf._version import __version__
from geogen_hf.durable import (
    OutputFolder,
    OutputKind,
    Plan,
    move_durably,
    read_json,
    refuse_source_in,
    sync_folder,
    write_durably,
)
from geogen_hf.errors import (
    ArchiveError,
    CameraError,
    ImageError,
    ReleaseError,
    UsageError,
    did_you_mean,
)
from geogen_hf.export.exported import SUMS, ExportedFolder
from geogen_hf.export.lookup import ExportIdentities
from geogen_hf.formats import FormatName, blender, co3d, colmap, eg3d, nerfstudio
from geogen_hf.formats.layout import MANIFEST, Format, Scene, write_index
from geogen_hf.formats.prepare import LayoutOptions, prepare, settle_options
from geogen_hf.images import decode_rgb, read_header
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import Identity, read_release, unknown_subject
from geogen_hf.release.shards import SPLITS, Shard, Split, read_each, split_of
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy
from geogen_hf.source.parts import ALL_PARTS, Place, locate_parts, resolve_place

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of identities done and of all."""

CONVERSION = OutputKind("conversion", ".convert", MANIFEST, "plan", MANIFEST)
_LAYOUT_VERSION = 3
_SUFFIXES = {"PNG": ".png", "WEBP": ".webp", "JPEG": ".jpg"}

FORMATS: dict[FormatName, Format] = {
    "eg3d": eg3d.FORMAT,
    "nerfstudio": nerfstudio.FORMAT,
    "blender": blender.FORMAT,
    "colmap": colmap.FORMAT,
    "co3d": co3d.FORMAT,
}


@dataclass(frozen=True)
class Converted:
    """What a conversion left in its folder."""

    folder: Path
    to: FormatName
    subjects: int  # in the folder, as are the images
    images: int
    written: int  # identities that this run wrote; the others were there already
    train: str  # a command of the tool that trains on the folder, or on its first identity


def convert(
    place: Place,
    out: str | os.PathLike[str],
    to: FormatName,
    *,
    splits: Iterable[Split] | None = None,
    subjects: Iterable[str] | None = None,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    cameras: CameraOptions | None = None,
    masks: bool | None = None,
    holdout: int | None = 2,
    centre: bool = False,
    radius: float | None = None,
    image_size: int | None = None,
    mirrored: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Write identities in the layout of another tool.

    Without options, the image files are copied bit for bit, and world, unit of length and poses
    are those of the release.

    One identity is in memory at a time. Its folder appears whole or not at all, and `convert.json`
    last. An interrupted call is resumed by the same call, and the folder ends up the same, byte for
    byte.

    Args:
        place: Folder with the eight zips, their base URL, or an exported folder or its URL; None
            for the publisher's host.
        out: Folder to write: new, empty, or left by an earlier run of the same conversion.
        to: `"eg3d"`, `"nerfstudio"`, `"blender"`, `"colmap"` or `"co3d"`.
        splits: Only identities of these splits; None for all.
        subjects: Only these identities; None for all.
        split_seed: Seed of the split, for a release.
        on_bad_subject: `"raise"` on problems of a release, or `"skip"` the identities concerned.
        cameras: How to read the cameras of a release; None finds it out from the metadata and the
            images.
        masks: Derive foreground masks from the even background and write them; None where the
            format needs them, which is co3d.
        holdout: How many views of each identity, its last, are held out of training; None for no
            views. eg3d holds none out.
        centre: Move, turn and scale the world so that the cameras look at its origin.
        radius: How far the cameras then stand from it; None for the format's default.
        image_size: Scale images so that their longer side has so many pixels.
        mirrored: Add a flipped copy of each image with its camera; eg3d only.
        overwrite: Start anew where the folder holds another conversion, or a finished one.
        progress: Called with the number of identities done and of all.

    Returns:
        What the folder holds.

    Raises:
        UsageError: An argument is impossible: no such format, split or subject, or none is left,
            or the format has no use for it.
        CameraError: The format cannot hold a camera, or cameras cannot be centred. Nothing of this
            identity is written.
        ReleaseError: The folder holds another conversion or something else, images and cameras do
            not match, or every identity is damaged.
        OutputError: The folder cannot be written.
        GeoGenError: The source cannot be read.

    Example:
        >>> convert("parts", "scenes", "nerfstudio").images
        21
        >>> sorted(p.name for p in Path("scenes/subj_00001").iterdir())
        ['images', 'transforms.json']
    """
    if to not in FORMATS:
        raise UsageError(
            f"unknown format {to!r}", expected=", ".join(FORMATS), remedy=did_you_mean(to, FORMATS)
        )
    form = FORMATS[to]
    options = settle_options(
        form, LayoutOptions(masks, holdout, centre, radius, image_size, mirrored)
    )
    path = resolve_place(place)
    if isinstance(path, Path):
        refuse_source_in(out, path)
    source = open_source(place, split_seed, on_bad_subject, cameras)
    chosen = choose(source.splits, splits, subjects)
    folders = form.folders(chosen)
    digest = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()
    plan: Plan = {
        "layout": _LAYOUT_VERSION,
        "format": to,
        "source": source.identity,
        "subjects": {"count": len(chosen), "sha256": digest},
        "options": asdict(options),
    }
    output = OutputFolder(out, CONVERSION, plan)
    written = 0
    if overwrite or not output.holds_finished():
        with output.claimed(overwrite=overwrite):
            conversion = _Conversion(output, form, options, folders)
            written = conversion.write_missing(source, progress)
            conversion.finish(plan)
    manifest = read_json(output.path / MANIFEST) or {}
    count, images = manifest.get("subjects", 0), manifest.get("images", 0)
    logger.info("%s: %d subjects, %d of them now", output.path, count, written)
    scenes = (output.path / form.home / folder for folder in folders.values())
    train = form.train.format(folder=output.path, scene=next(filter(Path.is_dir, scenes)))
    return Converted(output.path, to, count, images, written, train)


class _Conversion:
    """Writes the folders of the identities and the indexes into a claimed output folder.

    The record of each finished identity, in the state folder, holds its share of the indexes.
    """

    def __init__(
        self, output: OutputFolder, form: Format, options: LayoutOptions, folders: dict[str, str]
    ) -> None:
        self._output, self._form, self._options, self._folders = output, form, options, folders
        self._home, self._records = output.path / form.home, output.state / "records"
        self._told: set[str] = set()
        for folder in (self._home, self._records):
            folder.mkdir(parents=True, exist_ok=True)

    def _record(self, subject_id: str) -> Path:
        return self._records / f"{self._folders[subject_id]}.json"

    def _finished(self, subject_id: str) -> bool:
        folder = self._home / self._folders[subject_id]
        return self._record(subject_id).is_file() and folder.is_dir()

    def write_missing(self, source: Source, progress: Progress | None) -> int:
        """Write the identities that are not finished yet; return how many those are."""
        waiting = {s for s in self._folders if not self._finished(s)}
        total, written = len(self._folders), 0
        with closing(source.scenes(waiting)) as scenes:
            for written, scene in enumerate(scenes, start=1):
                try:
                    self._put(scene)
                except CameraError as error:
                    raise CameraError(f"subject {scene.subject_id}: {error}") from error
                if progress is not None:
                    progress(total - len(waiting) + written, total)
        return written

    def _put(self, scene: Scene) -> None:
        """Write the files of an identity, and put them in place in one step."""
        scene = replace(scene, folder=self._folders[scene.subject_id])
        scene = prepare(scene, self._form, self._options, self._told)
        files, entries = self._form.files_of(scene), self._form.entries(scene)
        work, target = self._output.work / scene.folder, self._home / scene.folder
        if target.exists():  # of a run that ended before it wrote the record
            shutil.rmtree(target)
        for name, content in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, content)
        for folder in {(work / name).parent for name in files} | {work}:
            sync_folder(folder)
        record = {"images": len(scene.images), **entries}
        write_durably(self._record(scene.subject_id), json.dumps(record).encode())
        move_durably(work, target)

    def finish(self, plan: Plan) -> None:
        """Write the indexes of the identities that are finished, then the manifest."""
        records = [self._record(s) for s in self._folders if self._finished(s)]
        if not records:
            raise ReleaseError("no subject could be converted: all are damaged")
        for name, index in self._form.all_indexes().items():
            temporary, target = self._output.work / "index", self._output.path / name
            write_index(index, records, temporary, packed=name.endswith(".jgz"))
            target.parent.mkdir(parents=True, exist_ok=True)
            move_durably(temporary, target)
        images = sum(json.loads(record.read_bytes())["images"] for record in records)
        manifest = {"plan": plan, "subjects": len(records), "images": images}
        self._output.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def choose(
    known: dict[str, Split], splits: Iterable[Split] | None, subjects: Iterable[str] | None
) -> list[str]:
    """Choose identities by split and name, in the order of `known`.

    Example:
        >>> choose({"b": "train", "a": "test", "c": "train"}, ["train"], None)
        ['b', 'c']
    """
    wanted_splits = set(SPLITS if splits is None else splits)
    wanted = set(known if subjects is None else subjects)
    for split in sorted(wanted_splits - set(SPLITS), key=str):
        remedy = did_you_mean(split, SPLITS)
        raise UsageError(f"no split {split!r}", expected=", ".join(SPLITS), remedy=remedy)
    for subject_id in sorted(wanted - known.keys(), key=str):
        raise unknown_subject(subject_id, known)
    chosen = [s for s, split in known.items() if split in wanted_splits and s in wanted]
    if not chosen:
        raise UsageError(
            "no subject to convert",
            expected=f"some of {len(known):,} subjects",
            found=f"none of those named is in {', '.join(sorted(wanted_splits)) or 'no split'}",
            remedy="name other splits or subjects",
        )
    return chosen


@dataclass(frozen=True)
class Source:
    """Identities to convert, of a release or of an exported folder."""

    identity: dict[str, Any]  # JSON values that are equal only for equal images and cameras
    splits: dict[str, Split]  # of each identity, in the order of the source
    scenes: Callable[[AbstractSet[str]], Generator[Scene, None, None]]
    """Reads the identities of these names, in the order of the source."""


def open_source(
    place: Place, split_seed: int, on_bad_subject: Policy, cameras: CameraOptions | None
) -> Source:
    """Decide what a place holds, and list it. No image is read."""
    folder = None if place is None else ExportedFolder(place)
    if folder is not None and folder.is_export():
        return _open_export(folder, split_seed)
    release = read_release(locate_parts(place, ALL_PARTS), cameras)
    subjects = tuple(replace(s, metadata="") for s in release.sound_subjects(on_bad_subject))
    splits = {s.subject_id: split_of(s.subject_id, split_seed) for s in subjects}
    identity = {
        "geogen-hf": __version__,
        "parts": {d.label: d.digest() for d in release.directories.values()},
        "split_seed": split_seed,
        "cameras": str(release.camera_convention.require()),
    }

    def scene_of(subject: Subject, images: list[bytes]) -> Scene:
        return _scene(subject, splits[subject.subject_id], images, subject.places)

    def scenes(wanted: AbstractSet[str]) -> Generator[Scene, None, None]:
        chosen = tuple(s for s in subjects if s.subject_id in wanted)
        return read_each(Shard(chosen, on_bad_subject), scene_of)

    return Source(identity, splits, scenes)


def _open_export(folder: ExportedFolder, split_seed: int) -> Source:
    if split_seed != 0:
        raise UsageError(
            "an exported folder has its splits already",
            where=folder.place,
            expected="no split seed",
            found=split_seed,
            remedy="leave it out, or convert the parts themselves",
        )
    folder.require_complete()
    export = ExportIdentities(folder)
    sha256 = hashlib.sha256(folder.read(SUMS)).hexdigest()

    def scenes(wanted: AbstractSet[str]) -> Generator[Scene, None, None]:
        with export:
            for one in (export[subject_id] for subject_id in export if subject_id in wanted):
                place = f"{folder.place}, subject {one.subject_id}"
                places = [f"{place}, view {view}" for view in one.view_ids]
                yield _scene(one, one.split, one.images, places)

    return Source({"geogen-hf": __version__, "export_sha256": sha256}, folder.splits, scenes)


def _scene(
    of: Subject | Identity, split: Split, images: Sequence[bytes], places: Sequence[str]
) -> Scene:
    """Put a scene together; names and sizes are those of the images, which are decoded once.

    `places` says where each image is from, for the message where one is damaged.
    """
    headers = []
    for place, image in zip(places, images, strict=True):
        try:
            headers.append(read_header(image, where=place))
            decode_rgb(image, where=place, header=headers[-1])
        except ImageError as error:
            raise ArchiveError(str(error)) from error
    return Scene(
        of.subject_id,
        split,
        of.view_ids,
        tuple(images),
        tuple(f"{v}{_SUFFIXES[h.format]}" for v, h in zip(of.view_ids, headers, strict=True)),
        tuple(header.size_wh for header in headers),
        of.extrinsics,
        of.intrinsics,
    )
