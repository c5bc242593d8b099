"""One task, one shard of subjects: every config's file of it in one pass over the images."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path

from geogen_hf.durable import write_durably
from geogen_hf.errors import ArchiveError
from geogen_hf.export.faults import disk_errors_explained
from geogen_hf.export.options import ExportOptions, shard_name
from geogen_hf.export.parquet import FileRecord, ShardWriter
from geogen_hf.export.transcode import Size, transcode_subject
from geogen_hf.release.rows import subject_rows
from geogen_hf.release.shards import Shard, make_shards, read_images
from geogen_hf.release.splits import Split, split_position
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)

STATE_FOLDER = ".export"


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs, picklable.

    Attributes:
        folder: Of the export.
        split: Split of all its subjects.
        index: Number of the shard within the split.
        count: Of shards in the split.
        shard: The subjects.
        options: Of the export.
    """

    folder: str
    split: Split
    index: int
    count: int
    shard: Shard
    options: ExportOptions

    @property
    def record_path(self) -> Path:
        """Where a finished task says so."""
        name = f"{self.split}-{self.index:05d}-of-{self.count:05d}.json"
        return Path(self.folder) / STATE_FOLDER / name


@dataclass(frozen=True)
class TaskRecord:
    """What a finished task wrote.

    Attributes:
        files: One a config.
        subject_ids: The identities, in the order of their rows.
        images: How many images those have.
    """

    files: tuple[FileRecord, ...]
    subject_ids: tuple[str, ...]
    images: int


def plan_tasks(
    folder: Path, subjects: Sequence[Subject], options: ExportOptions, on_bad_subject: Policy
) -> list[ShardTask]:
    """Divide the subjects over splits and shards, in the order of their hash.

    So whoever reads from the front sees identities in random order, and always the same.
    """
    ordered = sorted(
        subjects, key=lambda s: (split_position(s.subject_id, options.split_seed), s.subject_id)
    )
    shards = make_shards(ordered, split_seed=options.split_seed, on_bad_subject=on_bad_subject)
    return [
        ShardTask(str(folder), split, index, len(of_split), shard, options)
        for split, of_split in shards.items()
        for index, shard in enumerate(of_split)
    ]


def run_task(task: ShardTask, control: Control | None = None) -> TaskRecord:
    """Write the files of one shard, unless an earlier run has.

    Args:
        task: The shard.
        control: Tells when to stop, where this is a thread of the process that waits for it.

    Returns:
        What it wrote.

    Raises:
        GeoGenError: The parts cannot be read.
    """
    return finished(task) or _write(task, control)


def finished(task: ShardTask) -> TaskRecord | None:
    """Read what an earlier run wrote for this task; None if it did not finish.

    What it wrote without a damaged identity counts only where that one may still be left out.
    """
    try:
        values = json.loads(task.record_path.read_text())
        files = tuple(FileRecord(**value) for value in values["files"])
        whole = all((Path(task.folder) / f.path).stat().st_size == f.size for f in files)
        record = TaskRecord(files, tuple(values["subject_ids"]), values["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    complete = len(record.subject_ids) == len(task.shard.subjects)
    return record if whole and (complete or task.shard.on_bad_subject == "skip") else None


def _write(task: ShardTask, control: Control | None) -> TaskRecord:
    subject_ids: list[str] = []
    images_written = 0
    with disk_errors_explained(task.folder), ExitStack() as stack:
        writers = {
            config: stack.enter_context(_writer(task, config)) for config in task.options.configs
        }
        # Closed at once on an error, which would otherwise keep the parts open with its frames.
        for subject, images, sizes in stack.enter_context(closing(_transcoded(task, control))):
            subject_ids.append(subject.subject_id)
            images_written += len(images)
            for config, writer in writers.items():
                for _, row in subject_rows(config, subject, images, sizes):
                    writer.add(row)
    files = tuple(writer.record() for writer in writers.values())
    record = TaskRecord(files, tuple(subject_ids), images_written)
    with disk_errors_explained(task.record_path):
        write_durably(task.record_path, json.dumps(asdict(record)).encode())
    return record


def _transcoded(
    task: ShardTask, control: Control | None
) -> Generator[tuple[Subject, list[bytes], list[Size]], None, None]:
    """Read and transcode; an image may be whole as a file and still not decode."""
    with closing(read_images(task.shard, control)) as subjects:
        for subject, encoded in subjects:
            try:
                transcoded = transcode_subject(subject, encoded, task.options)
            except ArchiveError as error:
                if task.shard.on_bad_subject == "raise":
                    raise
                logger.warning("left out subject %s: %s", subject.subject_id, error)
                continue
            yield transcoded


def _writer(task: ShardTask, config: str) -> ShardWriter:
    path = shard_name(config, task.split, task.index, task.count)
    return ShardWriter(Path(task.folder), path, config, task.split)
