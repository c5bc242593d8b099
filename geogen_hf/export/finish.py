"""What stands beside the Parquet files: manifest, provenance, picture, checksums, card."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from geogen_hf.durable import write_durably
from geogen_hf.export.card import write_card
from geogen_hf.export.options import ExportOptions
from geogen_hf.export.parquet import FileRecord
from geogen_hf.export.provenance import provenance
from geogen_hf.export.tasks import ShardTask, TaskRecord
from geogen_hf.release.preview import contact_sheet, decode_views
from geogen_hf.release.shards import Shard, read_images
from geogen_hf.release.subjects import Subject
from geogen_hf.threads import Control, stoppable_threads

PICTURE = "contact_sheet.png"
PICTURE_SUBJECTS = 4

Sheet = Callable[[tuple[Subject, ...]], bytes]
"""Gives the encoded contact sheet of some identities."""


def finish_folder(
    folder: Path,
    tasks: Sequence[ShardTask],
    records: Sequence[TaskRecord],
    options: ExportOptions,
    source: dict[str, Any],
    picture: Sheet,
) -> None:
    """Write everything else, the card last.

    Args:
        folder: Holds the Parquet files.
        tasks: All of them.
        records: What they wrote, in the same order.
        options: Of the export.
        source: As `describe_source` gave it.
        picture: From `sheet_drawn_meanwhile`.
    """
    files = [file for record in records for file in record.files]
    images = sum(record.images for record in records)
    _remove_strangers(folder, files)
    contents = {
        "splits.csv": _manifest(tasks, records),
        "provenance.json": _json(provenance(source, count_rows(files), _left_out(tasks, records))),
        PICTURE: picture(_shown(tasks, records)),
        "README.md": write_card(files, images, options, source, PICTURE).encode(),
    }
    sums = {file.path: file.sha256 for file in files}
    sums |= {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    card = contents.pop("README.md")
    for name, content in (*contents.items(), ("SHA256SUMS", listing.encode())):
        write_durably(folder / name, content)
    write_durably(folder / "README.md", card)


def _remove_strangers(folder: Path, files: Sequence[FileRecord]) -> None:
    """Remove Parquet files that are none of this export's: the card's patterns would match them."""
    ours = {folder / file.path for file in files}
    for path in (folder / "data").rglob("*"):
        if path.is_file() and path not in ours:
            path.unlink()


def _manifest(tasks: Sequence[ShardTask], records: Sequence[TaskRecord]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subject_id", "split"])
    for task, record in zip(tasks, records, strict=True):
        writer.writerows((subject_id, task.split) for subject_id in record.subject_ids)
    return text.getvalue().encode()


def _left_out(tasks: Sequence[ShardTask], records: Sequence[TaskRecord]) -> list[str]:
    """Name the identities whose images turned out damaged, where that is allowed."""
    planned = {subject.subject_id for task in tasks for subject in task.shard.subjects}
    return sorted(planned.difference(*(record.subject_ids for record in records)))


def count_rows(files: Sequence[FileRecord]) -> dict[str, dict[str, int]]:
    """Add up the rows of every config and split."""
    counts: dict[str, dict[str, int]] = {}
    for file in files:
        of_config = counts.setdefault(file.config, {})
        of_config[file.split] = of_config.get(file.split, 0) + file.rows
    return counts


def _shown(
    tasks: Sequence[ShardTask], records: Sequence[TaskRecord] | None = None
) -> tuple[Subject, ...]:
    """The first identities: of those planned, or of those written."""
    subjects = (
        subject
        for index, task in enumerate(tasks)
        for subject in task.shard.subjects
        if records is None or subject.subject_id in records[index].subject_ids
    )
    return tuple(islice(subjects, PICTURE_SUBJECTS))


@contextmanager
def sheet_drawn_meanwhile(tasks: Sequence[ShardTask]) -> Iterator[Sheet]:
    """Draw the contact sheet in a thread while the tasks are run.

    Yields:
        What gives the encoded sheet of the identities written at last; should one of those planned
        have been left out, it is drawn anew.
    """
    planned = _shown(tasks)
    with stoppable_threads(1) as (thread, control):
        ahead = thread.submit(_sheet, planned, control)
        yield lambda shown: ahead.result() if _ids(shown) == _ids(planned) else _sheet(shown)


def _ids(subjects: tuple[Subject, ...]) -> list[str]:
    return [subject.subject_id for subject in subjects]


def _sheet(shown: tuple[Subject, ...], control: Control | None = None) -> bytes:
    with closing(read_images(Shard(shown), control)) as subjects:
        views = [
            decode_views(subject.subject_id, images, subject.extrinsics, subject.intrinsics)
            for subject, images in subjects
        ]
    buffer = io.BytesIO()
    contact_sheet(views).save(buffer, "PNG")
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
