"""Exporting a release: plan, run the tasks anywhere, finish the folder; a rerun continues."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geogen_hf.durable import write_durably
from geogen_hf.errors import ReleaseError, UsageError, explain
from geogen_hf.export.finish import finish_folder
from geogen_hf.export.options import ExportOptions
from geogen_hf.export.provenance import describe_source
from geogen_hf.export.tasks import STATE_FOLDER, ShardTask, TaskRecord, plan_tasks, run_task
from geogen_hf.processes import process_pool
from geogen_hf.release import Release
from geogen_hf.report import Policy

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all."""

PLAN_FILE = "plan.json"


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
        overwrite: Start anew where the folder holds another export.
        workers: Processes on this machine; None for one a core.
        executor: Runs the tasks instead of processes of this machine, for example the executor of a
            Dask client; it must see the parts and the folder under the same paths.
        progress: Told how far it is.

    Returns:
        What was written.

    Raises:
        ReleaseError: The folder holds another export, or something else.
        GeoGenError: The parts cannot be read.
    """
    options = options or ExportOptions()
    subjects = release.sound_subjects(on_bad_subject)
    source = describe_source(release, subjects, options)
    _claim(folder, source, overwrite)
    tasks = plan_tasks(folder, subjects, options, on_bad_subject)
    already = sum(task.record_path.exists() for task in tasks)
    with _chosen_executor(executor, workers, len(tasks)) as chosen:
        records = _run_all(tasks, chosen, progress)
    exported = Exported(
        folder=folder,
        rows=_rows(records),
        size=sum(file.size for record in records for file in record.files),
        written=len(tasks) - already,
    )
    finish_folder(folder, release, tasks, records, options, source)
    shutil.rmtree(folder / STATE_FOLDER)
    return exported


def _claim(folder: Path, source: dict[str, Any], overwrite: bool) -> None:
    """Make the folder this export's own, or say why it cannot be."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(explain("not a folder", where=folder, remedy="choose another name"))
    plan_path = folder / STATE_FOLDER / PLAN_FILE
    found = _read_json(plan_path) or (_read_json(folder / "provenance.json") or {}).get("source")
    if found is None and folder.is_dir() and any(folder.iterdir()):
        raise ReleaseError(
            explain(
                "the folder is not empty and holds no export",
                where=folder,
                remedy="choose a new or an empty folder",
            )
        )
    if found is not None and found != source:
        if not overwrite:
            raise ReleaseError(
                explain(
                    "the folder holds another export",
                    where=folder,
                    expected="the same parts and options",
                    found=f"a difference in {', '.join(_differences(found, source))}",
                    remedy="export to another folder, or start anew with --overwrite",
                )
            )
        _empty(folder)
    plan_path.parent.mkdir(parents=True, exist_ok=True)
    _remove_litter(folder)
    write_durably(plan_path, json.dumps(source).encode())


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Name the entries that differ, a level deep.

    Example:
        >>> _differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
        ['a.c', 'd']
    """
    names: list[str] = []
    for key in [*found, *(key for key in wanted if key not in found)]:
        one, other = found.get(key), wanted.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            names.extend(
                f"{key}.{inner}" for inner in one | other if one.get(inner) != other.get(inner)
            )
        elif one != other:
            names.append(key)
    return names


def _empty(folder: Path) -> None:
    # The card first: without it the folder does not pass for complete.
    (folder / "README.md").unlink(missing_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _remove_litter(folder: Path) -> None:
    """Remove temporary files of processes that were killed."""
    for path in (folder / "data").rglob(".*.parquet.*"):
        path.unlink()


@contextmanager
def _chosen_executor(
    executor: Executor | None, workers: int | None, tasks: int
) -> Iterator[Executor | None]:
    count = min(workers or os.cpu_count() or 1, tasks)
    if executor is not None:
        yield executor
    elif count == 1:
        yield None
    else:
        with process_pool(count) as pool:
            yield pool


def _run_all(
    tasks: list[ShardTask], executor: Executor | None, progress: Progress | None
) -> list[TaskRecord]:
    """Run every task, and give their records in the order of the tasks."""
    total = sum(len(subject.images) for task in tasks for subject in task.shard.subjects)
    done = 0
    if executor is None:
        records = []
        for task in tasks:
            records.append(run_task(task))
            done += records[-1].images
            _tell(progress, done, total)
        return records
    futures: list[Future[TaskRecord]] = [executor.submit(run_task, task) for task in tasks]
    waiting = set(futures)
    try:
        while waiting:
            finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_EXCEPTION)
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


def _rows(records: list[TaskRecord]) -> dict[str, dict[str, int]]:
    rows: dict[str, dict[str, int]] = {}
    for record in records:
        for file in record.files:
            of_config = rows.setdefault(file.config, {})
            of_config[file.split] = of_config.get(file.split, 0) + file.rows
    return rows
