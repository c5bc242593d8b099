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
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

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
from geogen_hf.errors import CameraError, ReleaseError, UsageError, did_you_mean
from geogen_hf.formats import FormatName, blender, co3d, colmap, eg3d, nerfstudio
from geogen_hf.formats.layout import MANIFEST, Format, write_index
from geogen_hf.formats.prepare import Preparer, settle_options
from geogen_hf.formats.scene import LayoutOptions, Scene
from geogen_hf.formats.sources import Source, open_source
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import unknown_subject
from geogen_hf.release.splits import SPLITS, Split
from geogen_hf.report import Policy
from geogen_hf.source.parts import Place, resolve_place

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of identities done and of all."""

CONVERSION = OutputKind("conversion", ".convert", MANIFEST, "plan", MANIFEST)
_LAYOUT_VERSION = 3

FORMATS: dict[FormatName, Format] = {
    "eg3d": eg3d.FORMAT,
    "nerfstudio": nerfstudio.FORMAT,
    "blender": blender.FORMAT,
    "colmap": colmap.FORMAT,
    "co3d": co3d.FORMAT,
}


@dataclass(frozen=True)
class Converted:
    """What a conversion left in its folder.

    Attributes:
        folder: The folder.
        to: The format.
        subjects: Number of identities in it.
        images: Number of images in it.
        written: Number of identities that this run wrote; the others were there already.
        train: A command of the tool that trains on the folder, or on its first identity.
    """

    folder: Path
    to: FormatName
    subjects: int
    images: int
    written: int
    train: str


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
    source = resolve_place(place)
    if isinstance(source, Path):
        refuse_source_in(out, source)
    opened = open_source(
        place, split_seed=split_seed, on_bad_subject=on_bad_subject, cameras=cameras
    )
    chosen = choose(opened.splits, splits, subjects)
    folders = form.folders(chosen)
    plan: Plan = {
        "layout": _LAYOUT_VERSION,
        "format": to,
        "source": opened.identity,
        "subjects": {"count": len(chosen), "sha256": _digest(chosen)},
        "options": asdict(options),
    }
    output = OutputFolder(out, CONVERSION, plan)
    written = 0
    if overwrite or not output.holds_finished():
        with output.claimed(overwrite=overwrite):
            conversion = _Conversion(output, form, folders, Preparer(form, options))
            written = _write_unfinished(conversion, opened, chosen, progress)
            conversion.finish(plan)
    manifest = read_json(output.path / MANIFEST) or {}
    count, images = manifest.get("subjects", 0), manifest.get("images", 0)
    logger.info("%s: %d subjects, %d of them now", output.path, count, written)
    paths = (output.path / form.home / folders[subject_id] for subject_id in chosen)
    train = form.train.format(folder=output.path, scene=next(filter(Path.is_dir, paths)))
    return Converted(output.path, to, count, images, written, train)


def _write_unfinished(
    conversion: _Conversion, opened: Source, chosen: list[str], progress: Progress | None
) -> int:
    waiting = {s for s in chosen if not conversion.finished(s)}
    before, written = len(chosen) - len(waiting), 0
    with closing(opened.scenes(waiting)) as scenes:
        for scene in scenes:
            try:
                conversion.put(scene)
            except CameraError as error:
                raise CameraError(f"subject {scene.subject_id}: {error}") from error
            written += 1
            if progress is not None:
                progress(before + written, len(chosen))
    return written


class _Conversion:
    """Writes the folders of the identities and the indexes into a claimed output folder.

    The record of each finished identity, in the state folder, holds its share of the indexes.
    """

    def __init__(
        self, output: OutputFolder, form: Format, folders: dict[str, str], prepare: Preparer
    ) -> None:
        self._output, self._form, self._folders, self._prepare = output, form, folders, prepare
        self._home, self._records = output.path / form.home, output.state / "records"
        for folder in (self._home, self._records):
            folder.mkdir(parents=True, exist_ok=True)

    def finished(self, subject_id: str) -> bool:
        """Whether all files of an identity are in place."""
        return (
            self._record(subject_id).is_file() and (self._home / self._folders[subject_id]).is_dir()
        )

    def put(self, scene: Scene) -> None:
        """Write the files of an identity, and put them in place in one step.

        Raises:
            CameraError: The format cannot hold it, or it cannot be centred.
        """
        scene = self._prepare(replace(scene, folder=self._folders[scene.subject_id]))
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
        """Write the indexes of the identities that are finished, then the manifest.

        Raises:
            ReleaseError: There are none.
        """
        records = [self._record(s) for s in self._folders if self.finished(s)]
        if not records:
            raise ReleaseError("no subject could be converted: all are damaged")
        for index in self._form.indexes:
            temporary, target = self._output.work / "index", self._output.path / index.path
            write_index(index, records, temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            move_durably(temporary, target)
        images = sum(json.loads(record.read_bytes())["images"] for record in records)
        manifest = {"plan": plan, "subjects": len(records), "images": images}
        self._output.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def _record(self, subject_id: str) -> Path:
        return self._records / f"{self._folders[subject_id]}.json"


def _digest(names: list[str]) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def choose(
    known: dict[str, Split], splits: Iterable[Split] | None, subjects: Iterable[str] | None
) -> list[str]:
    """Choose identities by split and name, in the order of `known`.

    Raises:
        UsageError: A split does not exist, or no identity is left.
        UnknownSubjectError: An identity does not exist.

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
