"""Export a release: plan the tasks, run them, and write the files beside the Parquet files.

`export_release` is the function behind `geogen export`. Open this to see in which order a folder is
written, how a rerun resumes, and what the manifest, the contact sheet and the checksums hold.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL
import pyarrow as pa
from PIL import Image

from geogen_hf._version import __version__
from geogen_hf.durable import OutputFolder, OutputKind, refuse_source_in
from geogen_hf.errors import GeoGenError, ReleaseError
from geogen_hf.export.card import write_card
from geogen_hf.export.croissant import write_croissant
from geogen_hf.export.exported import (
    CARD,
    MANIFEST,
    PROVENANCE,
    SUMS,
    ExportedFolder,
    Rows,
    count_rows,
)
from geogen_hf.export.options import ExportOptions
from geogen_hf.export.parquet import FileRecord
from geogen_hf.export.tasks import (
    ShardTask,
    TaskRecord,
    finished,
    join_files,
    plan_tasks,
    task_runner,
)
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.pictures import Views, contact_sheet, proof_picture, views_of
from geogen_hf.release.release import Release, read_release
from geogen_hf.release.shards import Shard, read_each
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy, some_of
from geogen_hf.source.parts import UPSTREAM_URL, Place, locate_parts, resolve_place, select_parts

logger = logging.getLogger(__name__)

EXPORT = OutputKind("export", ".export", PROVENANCE, "source", CARD)
PICTURE = "contact_sheet.png"
PICTURE_SUBJECTS = 4
PROOF = "camera_proof.png"
CROISSANT = "croissant.json"
_REBUILD = "geogen export PARTS OUT with these options and versions gives the same bytes"

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all."""


@dataclass(frozen=True)
class Exported:
    """What an export left in its folder.

    Attributes:
        folder: The folder.
        rows: Number of rows by config and split.
        size: Size of all Parquet files, bytes.
        written: Number of shards that this run wrote; the others were there already.
    """

    folder: Path
    rows: Rows
    size: int
    written: int


def export_release(
    place: Place | Release,
    out: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    parts: Iterable[int] | None = None,
    cameras: CameraOptions | None = None,
    on_bad_subject: Policy = "raise",
    split_seed: int = 0,
    storage_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a release as a folder that is a dataset repository: Parquet files, card, checksums.

    Every file appears whole or not at all, and `README.md` last. An interrupted call is resumed by
    the same call: finished shards are kept, and the folder ends up the same, byte for byte, for any
    number of workers.

    Args:
        place: Folder with the zips, or a base URL; None for the publisher's host. Or a release that
            was read already, however the parts, the cameras and the options of storage are given.
        out: Folder to write: new, empty, or left by an earlier run of the same export.
        options: How the files are written; None for the defaults.
        parts: Numbers (1 … 7) of the image parts to use; None for all.
        cameras: How to read the cameras; None finds it out from the metadata and the images.
        on_bad_subject: `"raise"` on any problem, or `"skip"` the identities concerned.
        split_seed: Seed of the split.
        storage_options: Credentials by protocol, as for `open_release`.
        overwrite: Start anew where the folder holds another export, or a finished one.
        workers: Number of threads; None for one more than cores, fewer where subjects are large.
        executor: Runs the tasks instead of threads of this process, for example the executor of a
            Dask client. Its workers must see the parts and the folder under the same paths.
        progress: Called with the number of images done and of all.

    Returns:
        What was written.

    Raises:
        PartsError: A folder lacks parts.
        ArchiveError: A part or an image is damaged.
        FetchError: Parts cannot be read from their host.
        CameraError: The convention of the cameras cannot be settled.
        ReleaseError: Images and cameras do not match, or the folder holds something else.
        UsageError: `out` is a file, or an image does not go with the format.
        OutputError: The folder cannot be written, or workers died.

    Example:
        >>> export_release("parts", "geogen", workers=1).rows["cameras"]
        {'train': 14, 'validation': 7}
    """
    if isinstance(place, Release):
        release = place
    else:
        source_place = resolve_place(place)
        if isinstance(source_place, Path):
            refuse_source_in(out, source_place)
        release = read_release(locate_parts(place, select_parts(parts), storage_options), cameras)
    options = options or ExportOptions()
    subjects = release.sound_subjects(on_bad_subject)
    source = _describe_source(release, subjects, options, split_seed)
    output = OutputFolder(out, EXPORT, source)
    if not overwrite and output.holds_finished():
        there = _found_intact(output.path)
        if there is not None:
            return there
    tasks = plan_tasks(output, subjects, options, split_seed, on_bad_subject)
    shown, undecodable = _decode_shown(tasks, on_bad_subject)
    tasks = [task.without(undecodable) for task in tasks]
    with output.claimed(overwrite=overwrite):
        already = sum(finished(task) is not None for task in tasks)
        with task_runner(executor, workers, tasks) as submit:
            futures = [submit(task) for task in tasks]
            try:
                # Here, while the workers write: drawing takes this thread a few tenths of a second.
                pictures = {PICTURE: _png(contact_sheet(shown)), **_draw_proof(shown, release)}
                records = _wait_for_all(tasks, futures, progress)
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        files = join_files(output, records)
        kept = {subject_id for record in records for subject_id in record.subject_ids}
        provenance = {
            "format": 1,
            "upstream": UPSTREAM_URL,
            "source": source,
            "rows": count_rows((file.config, file.split, file.rows) for file in files),
            "left_out": sorted({subject.subject_id for subject in subjects} - kept),
            "datasets": datasets.__version__,
            "rebuild": _REBUILD,
        }
        _write_rest(output, tasks, records, files, options, provenance, pictures)
    return Exported(
        folder=output.path,
        rows=provenance["rows"],
        size=sum(file.size for file in files),
        written=len(tasks) - already,
    )


def _describe_source(
    release: Release, subjects: Sequence[Subject], options: ExportOptions, split_seed: int
) -> dict[str, Any]:
    """Describe all that decides the exported bytes, as JSON values.

    It is the plan of the output folder while the export runs, and the `source` of
    `provenance.json` afterwards. `sample` is there where all parts are sample heads.
    """
    sample = all(directory.sample for directory in release.directories.values())
    return {
        **({"sample": True} if sample else {}),
        "parts": {
            directory.label: {
                "size": directory.size,
                "members": len(directory.members),
                "directory_sha256": directory.digest(),
            }
            for directory in release.directories.values()
        },
        "options": options.to_json(split_seed),
        "metadata_reading": release.metadata_reading,
        "cameras": release.camera_convention.to_json(),
        "subjects": {"count": len(subjects), "sha256": _subjects_digest(subjects)},
        "versions": {
            "geogen-hf": __version__,
            "pyarrow": pa.__version__,
            "pillow": PIL.__version__,
        },
    }


def _subjects_digest(subjects: Sequence[Subject]) -> str:
    digest = hashlib.sha256()
    for subject in sorted(subjects, key=lambda s: s.subject_id):
        digest.update(json.dumps([subject.subject_id, subject.view_ids]).encode())
        for array in (subject.extrinsics, subject.intrinsics):
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()


def _found_intact(folder: Path) -> Exported | None:
    """Describe a finished export, if all of its files have the content they had at its end."""
    try:
        export = ExportedFolder(folder)
        damaged, rows = export.damaged_files(), export.provenance.rows
    except GeoGenError as error:
        logger.warning("%s: export again: %s", folder, error)
        return None
    if damaged:
        logger.warning("%s: export again: files are damaged: %s", folder, some_of(damaged))
        return None
    logger.info("%s: complete already", folder)
    size = sum(path.stat().st_size for path in folder.glob("data/*/*.parquet"))
    return Exported(folder=folder, rows=rows, size=size, written=0)


def _wait_for_all(
    tasks: Sequence[ShardTask], futures: Sequence[Future[TaskRecord]], progress: Progress | None
) -> list[TaskRecord]:
    """Wait for every task, and return their records in the order of the tasks."""
    total = sum(len(subject.images) for task in tasks for subject in task.shard.subjects)
    done = 0
    waiting = set(futures)
    while waiting:
        # With a timeout, since on Windows Ctrl-C does not end a wait without one.
        ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        done += sum(future.result().images for future in ended)
        if progress is not None:
            progress(done, total)
    return [future.result() for future in futures]


def _write_rest(
    output: OutputFolder,
    tasks: Sequence[ShardTask],
    records: Sequence[TaskRecord],
    files: Sequence[FileRecord],
    options: ExportOptions,
    provenance: dict[str, Any],
    pictures: Mapping[str, bytes],
) -> None:
    """Write all files that are not Parquet, the card last."""
    source, images = provenance["source"], sum(record.images for record in records)
    ours = {output.path / file.path for file in files}
    for path in (output.path / "data").rglob("*"):
        if path.is_file() and path not in ours:  # the patterns of the card would match it
            path.unlink()
    contents = {
        MANIFEST: _manifest(tasks, records),
        PROVENANCE: (json.dumps(provenance, indent=2) + "\n").encode(),
        **pictures,
        CROISSANT: write_croissant(options.configs, source).encode(),
        CARD: write_card(files, images, options, source, list(pictures)).encode(),
    }
    sums = {file.path: file.sha256 for file in files}
    sums |= {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    lines = (f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items()))
    contents = {SUMS: "".join(lines).encode(), **contents}
    for name, content in contents.items():
        output.write(name, content)


def _manifest(tasks: Sequence[ShardTask], records: Sequence[TaskRecord]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subject_id", "split"])
    for task, record in zip(tasks, records, strict=True):
        writer.writerows((subject_id, task.split) for subject_id in record.subject_ids)
    return text.getvalue().encode()


def _decode_shown(
    tasks: Sequence[ShardTask], on_bad_subject: Policy
) -> tuple[list[Views], set[str]]:
    """Decode the first identities that can be decoded, for the contact sheet.

    The second result names those that cannot: they are left out of the Parquet files, too, which
    may hold the images undecoded.
    """
    subjects = tuple(subject for task in tasks for subject in task.shard.subjects)
    with closing(read_each(Shard(subjects, on_bad_subject), views_of)) as decoded:
        shown = list(islice(decoded, PICTURE_SUBJECTS))
    ids = [subject.subject_id for subject in subjects]
    if not shown:
        what = "no subject has images that can be decoded"
        raise ReleaseError(what, found=f"{len(ids)} subjects, all damaged")
    if len(shown) == PICTURE_SUBJECTS:
        ids = ids[: ids.index(shown[-1].subject_id)]
    return shown, set(ids).difference(views.subject_id for views in shown)


def _draw_proof(shown: Sequence[Views], release: Release) -> dict[str, bytes]:
    """Draw the proof of the camera convention; nothing where no silhouettes can be told."""
    try:
        return {PROOF: _png(proof_picture(shown, release.camera_convention, subjects=1))}
    except ReleaseError as error:
        logger.info("no picture of the camera proof: %s", error)
        return {}


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
