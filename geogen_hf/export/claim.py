"""Whose folder it is: one export at a time, continued only by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from geogen_hf.durable import write_durably
from geogen_hf.errors import ReleaseError, UsageError, explain
from geogen_hf.export.tasks import STATE_FOLDER

PLAN_FILE = "plan.json"
CARD_FILE = "README.md"
PROVENANCE_FILE = "provenance.json"
_LOCK_FILE = "lock"


@contextmanager
def claimed(folder: Path, source: dict[str, Any], overwrite: bool) -> Iterator[None]:
    """Make a folder this export's own while the block runs.

    Args:
        folder: New, empty, or left by an earlier run of the same export.
        source: As `describe_source` gives it.
        overwrite: Start anew, whatever export the folder holds.

    Raises:
        ReleaseError: The folder holds another export, or something else, or is being written.
        UsageError: It is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(explain("not a folder", where=folder, remedy="choose another name"))
    found = found_source(folder)
    if found is None and _holds_anything(folder):
        raise ReleaseError(
            explain(
                "the folder is not empty and holds no export",
                where=folder,
                remedy="choose a new or an empty folder",
            )
        )
    if found is not None and not overwrite:
        _refuse_another(folder, found, source)
    with _locked(folder):
        if overwrite:
            _empty(folder)
        remove_litter(folder)
        write_durably(folder / STATE_FOLDER / PLAN_FILE, json.dumps(source).encode())
        try:
            yield
        except BaseException:
            remove_litter(folder)  # workers may have been ended in the midst of a file
            raise


def _holds_anything(folder: Path) -> bool:
    # Of a run that ended before its plan was written, there is the state folder.
    return folder.is_dir() and any(entry.name != STATE_FOLDER for entry in folder.iterdir())


def found_source(folder: Path) -> dict[str, Any] | None:
    """Read what the export in a folder was or is being made from; None if there is none."""
    plan = _read_json(folder / STATE_FOLDER / PLAN_FILE)
    if plan is not None:
        return plan
    source = (_read_json(folder / PROVENANCE_FILE) or {}).get("source")
    return source if isinstance(source, dict) else None


def is_finished(folder: Path, source: dict[str, Any]) -> bool:
    """Whether a folder holds just this export, and every file of it."""
    sums = folder / "SHA256SUMS"
    if (folder / STATE_FOLDER).exists() or not (folder / CARD_FILE).is_file():
        return False
    if found_source(folder) != source or not sums.is_file():
        return False
    names = [line.partition("  ")[2] for line in sums.read_text(errors="replace").splitlines()]
    return all((folder / name).is_file() for name in names)


def release_folder(folder: Path) -> None:
    """Remove the state of a finished export, the plan last: till then it can be continued."""
    state = folder / STATE_FOLDER
    for path in sorted(state.iterdir(), key=lambda path: path.name == PLAN_FILE):
        if path.name != _LOCK_FILE:
            path.unlink()


def _refuse_another(folder: Path, found: dict[str, Any], source: dict[str, Any]) -> None:
    if found != source:
        raise ReleaseError(
            explain(
                "the folder holds another export",
                where=folder,
                expected="the same parts and options",
                found=f"a difference in {', '.join(differences(found, source))}",
                remedy="export to another folder, or start anew with --overwrite",
            )
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    state = folder / STATE_FOLDER
    state.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(state / _LOCK_FILE))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        what = "another export is writing into this folder"
        message = explain(what, where=folder, remedy="wait for it, or choose another folder")
        raise ReleaseError(message) from None
    try:
        yield
    finally:
        lock.release()
    (state / _LOCK_FILE).unlink(missing_ok=True)
    state.rmdir()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Name the entries that differ, a level deep.

    Example:
        >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
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
    """Remove an export, so that an interrupted removal can go on.

    First the card, without which it does not pass for complete. Plan and provenance stay: they say
    that this is an export, and new ones replace them.
    """
    (folder / CARD_FILE).unlink(missing_ok=True)
    for entry in folder.iterdir():
        if entry.name in (STATE_FOLDER, PROVENANCE_FILE):
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for path in (folder / STATE_FOLDER).iterdir():
        if path.name not in (PLAN_FILE, _LOCK_FILE):
            path.unlink()


def remove_litter(folder: Path) -> None:
    """Remove temporary files of processes that were killed."""
    for path in (folder / "data").rglob(".*.parquet.*"):
        path.unlink()
    for pattern in (".*.md.*", ".*.csv.*", ".*.json.*", ".*.png.*", ".SHA256SUMS.*"):
        for place in (folder, folder / STATE_FOLDER):
            for path in place.glob(pattern):
                path.unlink()
