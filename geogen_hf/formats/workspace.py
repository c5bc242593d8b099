"""The folder a conversion writes to: whose it is, what is finished, what comes last.

While it goes on, a hidden folder holds the plan, each finished identity's share of the indexes and
the files not in place yet. So whatever is in place is whole, and a killed run leaves no litter.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from geogen_hf.durable import move_durably, sync_folder, write_durably
from geogen_hf.errors import ReleaseError, UsageError, explain
from geogen_hf.formats.layout import Format, write_index
from geogen_hf.formats.scene import Scene

STATE_FOLDER = ".convert"
MANIFEST = "convert.json"
_PLAN = "plan.json"
_LOCK = "lock"

Plan = dict[str, Any]
"""Plain values that decide the bytes of a conversion."""


class Workspace:
    """An output folder, claimed for one plan; a context manager that keeps other processes out.

    Attributes:
        manifest: Of the finished conversion; None while it is not.
    """

    def __init__(self, out: Path, form: Format, plan: Plan, *, overwrite: bool = False) -> None:
        """Make the folder this conversion's own.

        Args:
            out: New, empty, or left by an earlier run of the same conversion.
            form: Of the conversion.
            plan: What is to be done.
            overwrite: Start anew where the folder holds another conversion.

        Raises:
            ReleaseError: The folder holds another conversion, or something else, or another
                process converts to it.
            UsageError: It is a file.
        """
        self.out, self._form, self._plan = out, form, plan
        self._state, self._home = out / STATE_FOLDER, out / form.home
        self._records, self._work = self._state / "records", self._state / "work"
        _holds_another(out, plan, overwrite)  # before anything is touched
        self._state.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._state / _LOCK)
        if _holds_another(out, plan, overwrite):
            _empty(out)
        manifest = _read_json(out / MANIFEST)
        self.manifest = manifest if manifest and manifest.get("plan") == plan else None
        if self.manifest is not None:
            self._remove_state()  # of a run killed while it did so, or made just now
            return
        for folder in (self._records, self._home):
            folder.mkdir(parents=True, exist_ok=True)
        write_durably(self._state / _PLAN, json.dumps(plan).encode())

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def finished(self, subject_id: str) -> bool:
        """Whether all files of an identity are in place."""
        return self._record(subject_id).is_file() and (self._home / subject_id).is_dir()

    def put(self, scene: Scene) -> None:
        """Write an identity's files and put them in place at once.

        Raises:
            CameraError: The format cannot hold it.
        """
        files, entries = self._form.files_of(scene), self._form.entries(scene)
        work, target = self._work / scene.subject_id, self._home / scene.subject_id
        for stale in (self._work, target):
            if stale.exists():
                shutil.rmtree(stale)
        for name, content in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, content)
        for folder in {(work / name).parent for name in files} | {work}:
            sync_folder(folder)
        record = {"images": len(scene.images), **entries}
        write_durably(self._record(scene.subject_id), json.dumps(record).encode())
        move_durably(work, target)

    def finish(self, subject_ids: Iterable[str]) -> dict[str, Any]:
        """Write the indexes, then the manifest, and remove the rest.

        Args:
            subject_ids: In order; those that are not finished were left out.

        Returns:
            The manifest.
        """
        records = [self._record(s) for s in subject_ids if self.finished(s)]
        for index in self._form.indexes:
            temporary, target = self._state / "index", self.out / index.path
            write_index(index, records, temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
            sync_folder(target.parent)
        images = sum(json.loads(record.read_bytes())["images"] for record in records)
        manifest = {"plan": self._plan, "subjects": len(records), "images": images}
        write_durably(self._state / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        (self._state / MANIFEST).replace(self.out / MANIFEST)
        sync_folder(self.out)
        self._remove_state()
        return manifest

    def _remove_state(self) -> None:
        self._lock.release()  # Windows removes no open file
        with suppress(FileNotFoundError):  # another process found this one finished
            shutil.rmtree(self._state)

    def _record(self, subject_id: str) -> Path:
        return self._records / f"{subject_id}.json"


def _locked(path: Path) -> FileLock:
    lock = FileLock(str(path), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ReleaseError(
            explain(
                "another process is converting to this folder",
                where=path.parent.parent,
                remedy="wait for it, or choose another folder",
            )
        ) from error
    return lock


def _holds_another(out: Path, plan: Plan, overwrite: bool) -> bool:
    """Whether there is another conversion to be overwritten; raise if there is anything else."""
    if out.exists() and not out.is_dir():
        raise UsageError(explain("not a folder", where=out, remedy="choose another name"))
    state = out / STATE_FOLDER
    found = _read_json(state / _PLAN) or (_read_json(out / MANIFEST) or {}).get("plan")
    if found is None and out.is_dir() and any(e.name != STATE_FOLDER for e in out.iterdir()):
        raise ReleaseError(
            explain(
                "the folder is not empty and holds no conversion",
                where=out,
                remedy="choose a new or an empty folder",
            )
        )
    if found in (None, plan):
        return False
    if not overwrite:
        names = [key for key in plan if found.get(key) != plan[key]]
        raise ReleaseError(
            explain(
                "the folder holds another conversion",
                where=out,
                expected="the same format, source and subjects",
                found=f"a difference in {', '.join(names)}",
                remedy="convert to another folder, or start anew with --overwrite",
            )
        )
    return True


def _empty(out: Path) -> None:
    state = out / STATE_FOLDER
    # From here on the folder is nobody's, should this be interrupted: a rerun has to empty it too.
    write_durably(state / _PLAN, json.dumps({"emptied": True}).encode())
    _remove([entry for entry in out.iterdir() if entry != state])
    _remove([entry for entry in state.iterdir() if entry.name not in (_PLAN, _LOCK)])


def _remove(entries: Sequence[Path]) -> None:
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None
