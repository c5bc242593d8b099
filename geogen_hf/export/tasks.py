"""Write the Parquet files: one task a shard of subjects, run by threads, processes or Dask.

A task writes the file of every config in one pass over the images of its subjects, and records
what it wrote, so that a resumed export skips it. Look here for how the work of an export is divided
and who does it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from geogen_hf.durable import RESUMES, OutputFolder, write_durably, writing
from geogen_hf.errors import OutputError, UsageError, install, one_line
from geogen_hf.export.exported import shard_name
from geogen_hf.export.options import ExportOptions, transcode_subject
from geogen_hf.export.parquet import FileRecord, ShardWriter
from geogen_hf.release.features import IMAGE_CONFIGS, subject_rows
from geogen_hf.release.shards import (
    MAX_SHARDS,
    WORKER_MULTIPLE,
    Shard,
    Split,
    make_shards,
    read_each,
    shard_count,
    split_position,
)
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy
from geogen_hf.source.zip_directory import MAX_SUBJECT_BYTES
from geogen_hf.threads import Control, stoppable_threads

SUBJECTS_PER_FILE = 125
"""Of a large split; so 8,000 subjects still make 64 files, and 1,000 make 8. A commit to the Hub
should have fewer than 100 files."""
_DASK_TIMEOUT_S = 30


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to write shard `index` of `count` of a split; picklable."""

    output: OutputFolder
    split: Split
    index: int
    count: int
    shard: Shard
    options: ExportOptions

    @property
    def record_path(self) -> Path:
        """File that exists when the task is finished."""
        return self.output.state / f"{self.split}-{self.index:05d}-of-{self.count:05d}.json"

    def without(self, subject_ids: Collection[str]) -> ShardTask:
        """The same task without some subjects."""
        kept = tuple(s for s in self.shard.subjects if s.subject_id not in subject_ids)
        return replace(self, shard=replace(self.shard, subjects=kept))


@dataclass(frozen=True)
class TaskRecord:
    """What a finished task wrote: files, identities in the order of their rows, their images."""

    files: tuple[FileRecord, ...]
    """One a config. Those without images lie in the state folder, until `join_files`."""
    subject_ids: tuple[str, ...]
    images: int


def plan_tasks(
    output: OutputFolder,
    subjects: Sequence[Subject],
    options: ExportOptions,
    split_seed: int,
    on_bad_subject: Policy,
) -> list[ShardTask]:
    """Divide the subjects into splits and shards, in the order of their hash.

    So a reader that begins at the front gets identities in random order, and always in the same.
    """
    ordered = sorted(
        subjects, key=lambda s: (split_position(s.subject_id, split_seed), s.subject_id)
    )
    shards = make_shards(
        ordered, split_seed=split_seed, on_bad_subject=on_bad_subject, count_of=file_count
    )
    return [
        ShardTask(output, split, i, len(of_split), shard, options)
        for split, of_split in shards.items()
        for i, shard in enumerate(of_split)
    ]


def file_count(subjects: int) -> int:
    """Decide how many files with images a split has.

    Example:
        >>> [file_count(n) for n in (0, 7, 100, 1000, 8000, 100_000)]
        [0, 1, 8, 8, 64, 64]
    """
    wanted = subjects // SUBJECTS_PER_FILE // WORKER_MULTIPLE * WORKER_MULTIPLE
    return min(shard_count(subjects), max(WORKER_MULTIPLE, min(wanted, MAX_SHARDS)))


def finished(task: ShardTask) -> TaskRecord | None:
    """Read the record of a task from an earlier run; None if the task is not finished.

    A record that lacks a damaged identity counts only if that identity may still be left out.
    """
    try:
        values = json.loads(task.record_path.read_bytes())
        files = tuple(FileRecord(**value) for value in values["files"])
        whole = all((task.output.path / f.path).stat().st_size == f.size for f in files)
        record = TaskRecord(files, tuple(values["subject_ids"]), values["images"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    complete = len(record.subject_ids) == len(task.shard.subjects)
    return record if whole and (complete or task.shard.on_bad_subject == "skip") else None


def run_task(task: ShardTask, control: Control | None = None) -> TaskRecord:
    """Write the files of one shard, unless an earlier run has written them.

    `control` says when to stop; it is None where the task runs in another process.
    """
    if (done := finished(task)) is not None:
        return done
    subject_ids: list[str] = []
    images_written = 0
    with writing(task.output.path), ExitStack() as stack:
        writers = {
            config: stack.enter_context(_writer(task, config)) for config in task.options.configs
        }
        # Closed at once after an error, whose frames would otherwise keep the parts open.
        encode = partial(transcode_subject, options=task.options)
        subjects = stack.enter_context(closing(read_each(task.shard, encode, control)))
        for subject, images, sizes in subjects:
            subject_ids.append(subject.subject_id)
            images_written += len(images)
            for config, writer in writers.items():
                writer.add(row for _, row in subject_rows(config, subject, images, sizes))
    files = tuple(writer.record() for writer in writers.values())
    record = TaskRecord(files, tuple(subject_ids), images_written)
    with writing(task.record_path):
        write_durably(task.record_path, json.dumps(asdict(record)).encode())
    return record


def _writer(task: ShardTask, config: str) -> ShardWriter:
    path = shard_name(config, task.split, task.index, task.count)
    if config not in IMAGE_CONFIGS:
        path = f"{task.output.state.name}/{path}"
    return ShardWriter(task.output, path, config, task.split)


def join_files(output: OutputFolder, records: Sequence[TaskRecord]) -> list[FileRecord]:
    """Make one file a split of the files of each config without images; return all files."""
    joined: list[FileRecord] = []
    small: dict[tuple[str, str], list[Path]] = {}
    for file in (file for record in records for file in record.files):
        if file.config in IMAGE_CONFIGS:
            joined.append(file)
        else:
            small.setdefault((file.config, file.split), []).append(output.path / file.path)
    for (config, split), parts in small.items():
        path = shard_name(config, split, index=0, count=1)
        tables = list(map(pq.read_table, parts))
        writer = ShardWriter(output, path, config, split)
        with writing(output.path), writer:
            writer.add_table(pa.concat_tables(tables))
        joined.append(writer.record())
    return joined


_Submit = Callable[[ShardTask], Future[TaskRecord]]


@contextmanager
def task_runner(
    executor: Executor | None, workers: int | None, tasks: Sequence[ShardTask]
) -> Iterator[_Submit]:
    """Start the workers that run some tasks, and yield a function that submits a task.

    Without an executor these are threads: reading, inflating, hashing, encoding and writing all
    release the interpreter lock, and threads start at once, whereas processes first import what
    they need. If a process of the executor dies, `OutputError` is raised.
    """
    try:
        if executor is not None:
            yield lambda task: executor.submit(run_task, task)
            return
        # One more than cores, because one of them usually waits for the disk; but each holds the
        # images of a subject several times.
        subjects = (subject for task in tasks for subject in task.shard.subjects)
        largest = max((sum(image.size for image in s.images) for s in subjects), default=0)
        usual = min((os.cpu_count() or 1) + 1, MAX_SUBJECT_BYTES // max(1, largest))
        count = max(1, min(workers or usual, len(tasks)))
        with stoppable_threads(count) as (threads, control):
            yield lambda task: threads.submit(run_task, task, control)
    except BrokenExecutor as error:
        remedy = f'{RESUMES}; a script that starts processes needs `if __name__ == "__main__":`'
        what = "an exporting process died"
        raise OutputError(what, found=one_line(error), remedy=remedy) from error


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """Connect to a Dask cluster by its scheduler's address, to export on its workers.

    These must see the parts and the output folder under the same paths (or the parts under the same
    URL), and must have the same version of this package installed. `OutputError` is raised where
    the scheduler does not answer, has no workers, or loses them.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise UsageError("Dask is not installed", remedy=install("dask")) from error
    try:
        client = Client(address, timeout=_DASK_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        what = "the Dask scheduler does not answer"
        raise OutputError(what, where=address, found=str(error) or repr(error)) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_DASK_TIMEOUT_S)
        except TimeoutError as error:
            what, remedy = (
                "the Dask cluster has no workers",
                f"start some with: dask worker {address}",
            )
            raise OutputError(what, where=address, remedy=remedy) from error
        try:
            yield client.get_executor()
        except KilledWorker as error:
            raise OutputError("Dask workers died", found=error, remedy=RESUMES) from error
