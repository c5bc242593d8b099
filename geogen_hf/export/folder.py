"""Exporting a release: plan, run the tasks anywhere, finish the folder; a rerun continues."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import dataclass
from pathlib import Path

from geogen_hf.export.claim import PROVENANCE_FILE, claimed, is_finished, release_folder
from geogen_hf.export.executors import Submit, task_runner
from geogen_hf.export.faults import disk_errors_explained
from geogen_hf.export.finish import count_rows, finish_folder, sheet_drawn_meanwhile
from geogen_hf.export.options import ExportOptions
from geogen_hf.export.provenance import describe_source
from geogen_hf.export.tasks import ShardTask, TaskRecord, finished, plan_tasks
from geogen_hf.release.release import Release
from geogen_hf.report import Policy

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all."""


@dataclass(frozen=True)
class Exported:
    """What an export left in its folder.

    Attributes:
        folder: The folder.
        rows: Rows by config and split.
        size: Of all Parquet files, bytes.
        written: Shards written by this run; the others were there already.
    """

    folder: Path
    rows: dict[str, dict[str, int]]
    size: int
    written: int


def export_release(
    release: Release,
    folder: Path,
    options: ExportOptions | None = None,
    *,
    on_bad_subject: Policy = "raise",
    overwrite: bool = False,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the folder that is the Hub repository.

    Every file appears whole or not at all, and `README.md` last. Interrupted in any way, the same
    call continues: finished shards stay, and the end is the same as undisturbed, byte for byte,
    whoever runs the tasks.

    Args:
        release: As `read_release` gives it.
        folder: New, empty, or left by an earlier run of the same export.
        options: What to write.
        on_bad_subject: `"raise"` or `"skip"`.
        overwrite: Start anew, whatever export the folder holds.
        workers: Threads; None for one more than cores.
        executor: Runs the tasks instead of threads of this process, for example the executor of a
            Dask client; it must see the parts and the folder under the same paths.
        progress: Told how far it is.

    Returns:
        What was written.

    Raises:
        ReleaseError: The folder holds another export, or something else.
        ExportError: It cannot be written, or workers died.
        GeoGenError: The parts cannot be read.

    Example:
        >>> from geogen_hf.source.parts import locate_parts
        >>> from geogen_hf.release.release import read_release
        >>> from geogen_hf.sample import write_release
        >>> parts = write_release(tmp_path / "parts", subjects=3, size=16)
        >>> release = read_release(locate_parts(parts))
        >>> export_release(release, tmp_path / "geogen", workers=1).rows["cameras"]
        {'train': 14, 'validation': 7}
    """
    options = options or ExportOptions()
    folder = folder.absolute()  # workers elsewhere may have another current folder
    subjects = release.sound_subjects(on_bad_subject)
    source = describe_source(release, subjects, options)
    if not overwrite and is_finished(folder, source):
        logger.info("%s: complete already", folder)
        return _as_found(folder)
    with disk_errors_explained(folder), claimed(folder, source, overwrite):
        tasks = plan_tasks(folder, subjects, options, on_bad_subject)
        already = sum(finished(task) is not None for task in tasks)
        with sheet_drawn_meanwhile(tasks) as picture:
            with task_runner(executor, workers, len(tasks)) as submit:
                records = _run_all(tasks, submit, progress)
            finish_folder(folder, tasks, records, options, source, picture)
        release_folder(folder)
    files = [file for record in records for file in record.files]
    return Exported(
        folder=folder,
        rows=count_rows(files),
        size=sum(file.size for file in files),
        written=len(tasks) - already,
    )


def _as_found(folder: Path) -> Exported:
    rows = json.loads((folder / PROVENANCE_FILE).read_text())["rows"]
    size = sum(path.stat().st_size for path in folder.glob("data/*/*.parquet"))
    return Exported(folder=folder, rows=rows, size=size, written=0)


def _run_all(tasks: list[ShardTask], submit: Submit, progress: Progress | None) -> list[TaskRecord]:
    """Run every task, and give their records in the order of the tasks."""
    total = sum(len(subject.images) for task in tasks for subject in task.shard.subjects)
    done = 0
    futures = [submit(task) for task in tasks]
    waiting = set(futures)
    try:
        while waiting:
            finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                done += future.result().images
            _tell(progress, done, total)
    except BaseException:
        for future in waiting:
            future.cancel()
        raise
    return [future.result() for future in futures]


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
