"""Write files and folders so that they appear whole or not at all, and runs can be resumed.

`write_durably` replaces one file. `OutputFolder` manages a folder that a command writes: only one
process at a time, and only the same task resumes an interrupted run. It knows no file format.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from geogen_hf.errors import GeoGenError, OutputError, ReleaseError, UsageError

Plan = dict[str, Any]
"""JSON values that decide the bytes of an output: options, and what identifies the source."""

RESUMES = "the same command resumes"
_PLAN_FILE, _LOCK_FILE, _WORK_FOLDER = "plan.json", "lock", "work"
_EMPTIED: Plan = {"emptied": True}
"""Plan of a folder that is being emptied. It equals no other, so a rerun empties the folder too."""
_DISK_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "choose a folder on a file system that takes large files",
    errno.EROFS: "choose a folder on a file system that can be written",
    errno.EACCES: "choose another folder, or fix its permissions",
    errno.EPERM: "choose another folder, or fix its permissions",
    errno.ENAMETOOLONG: "choose a folder with a shorter path",
    errno.ENOTDIR: "choose a folder whose parents are all folders",
    errno.EEXIST: "choose another folder",
}


def write_durably(path: Path, content: bytes) -> None:
    """Replace the content of a file in one step: write beside it, sync, rename.

    Where that fails, or there is no file but a folder or a device, what was there is kept.

    Example:
        >>> write_durably(tmp_path / "a", b"new")
        >>> [(file.name, file.read_bytes()) for file in tmp_path.iterdir()]
        [('a', b'new')]
    """
    if path.exists() and not path.is_file():  # renaming would replace even /dev/null
        raise FileExistsError(errno.EEXIST, "This is not a file", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # also KeyboardInterrupt
        temporary.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def move_durably(source: Path, target: Path) -> None:
    """Rename a synced file or folder so that the rename survives a power cut.

    Both paths are on one file system. An existing file is replaced.
    """
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Sync the list of names of a folder to disk. Windows does that by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """Make a path absolute, as workers may have another current folder; `~` is expanded.

    A name that no file can have is a `UsageError`, and one that is not UTF-8, which pyarrow and
    `datasets` cannot open.
    """
    try:
        found = Path(path).expanduser().absolute()
        str(found).encode()
        if "\0" in str(found):
            raise ValueError("it contains a NUL")
    except (RuntimeError, ValueError) as error:
        raise UsageError("not the name of a file or folder", found=error) from error
    return found


@contextmanager
def writing(where: object, *, resumes: bool = True) -> Iterator[None]:
    """Turn the operating system's errors on writing `where` into `OutputError`.

    With `resumes`, the message says that the same command resumes what it was writing.

    Example:
        >>> with writing("data"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        geogen_hf.errors.OutputError: cannot write
          where: data
          found: [Errno 28] No space left on device
          remedy: free some space; the same command resumes
    """
    try:
        yield
    except GeoGenError:
        raise
    except OSError as error:
        remedy = _DISK_REMEDIES.get(error.errno or 0, "fix the cause")
        remedy += f"; {RESUMES}" if resumes else ""
        raise OutputError("cannot write", where=where, found=error, remedy=remedy) from error


@dataclass(frozen=True)
class OutputKind:
    """How the outputs of one command are recognised."""

    noun: str  # what the folder holds, for messages
    state: str  # name of the hidden folder that exists while a run is unfinished
    manifest: str  # JSON file of a finished output that holds the plan
    plan_key: str  # key of the plan in the manifest
    last: str  # file written last and removed first: without it an output is incomplete


class OutputFolder:
    """A folder that one process at a time writes, and that only the same plan resumes.

    While a run is unfinished, a hidden state folder holds the plan, the lock, the files that are
    not in place yet (`work`), and whatever the command records there. So every file in place is
    whole, and a killed run leaves nothing outside the state folder that a resumed run does not use.
    `work` is emptied when a run begins.
    """

    def __init__(self, path: str | os.PathLike[str], kind: OutputKind, plan: Plan) -> None:
        self.path = absolute_path(path)
        self.state = self.path / kind.state
        self.work = self.state / _WORK_FOLDER
        self._kind, self._plan = kind, plan

    def holds_finished(self) -> bool:
        """Whether the folder holds the finished output of this plan."""
        with writing(self.path):
            return (
                not (self.state / _PLAN_FILE).exists()
                and (self.path / self._kind.last).is_file()
                and self._finished_plan() == self._plan
            )

    @contextmanager
    def claimed(self, *, overwrite: bool = False) -> Iterator[None]:
        """Lock the folder while the block writes the output.

        When the block ends normally, the output is finished and the state folder is removed. When
        it ends with an exception, the state folder is kept for a resumed run. With `overwrite`, a
        folder that holds another output of this kind, or a finished one of this plan, is emptied;
        an unfinished run of this plan is resumed in any case. A folder with other files or links,
        or that another process writes, is refused and not changed.
        """
        with writing(self.path):
            self._refuse_other_content(overwrite)  # before anything is touched
            self.state.mkdir(parents=True, exist_ok=True)
            with self._locked():
                found = self._refuse_other_content(overwrite)
                # A finished output gets here when it is damaged or to be overwritten.
                unfinished = (self.state / _PLAN_FILE).exists() and found == self._plan
                if found is not None and not unfinished:
                    self._empty()
                shutil.rmtree(self.work, ignore_errors=True)
                self.work.mkdir()
                write_durably(self.state / _PLAN_FILE, json.dumps(self._plan).encode())
                try:
                    yield
                except BaseException:
                    # Worker processes may have been ended in the middle of a file.
                    shutil.rmtree(self.work, ignore_errors=True)
                    raise
                # All but the lock, the plan last: until then the run is resumable.
                _remove_all_but(self.state, _PLAN_FILE, _LOCK_FILE)
                (self.state / _PLAN_FILE).unlink()

    def write(self, name: str, content: bytes) -> None:
        """Write one file of the output in one step."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.work / target.name
        write_durably(temporary, content)
        move_durably(temporary, target)

    def _finished_plan(self) -> Plan | None:
        found = (read_json(self.path / self._kind.manifest) or {}).get(self._kind.plan_key)
        return found if isinstance(found, dict) else None

    def _refuse_other_content(self, overwrite: bool) -> Plan | None:
        """Check that the folder can be written; return the plan found in it."""
        kind = self._kind
        if self.path.exists() and not self.path.is_dir():
            raise UsageError("not a folder", where=self.path, remedy="choose another name")
        if not self.path.is_dir():
            return None
        _refuse_links(self.path)
        found = read_json(self.state / _PLAN_FILE) or self._finished_plan()
        # Of a run that ended before its plan was written, there is only the state folder.
        if found is None and any(entry.name != kind.state for entry in self.path.iterdir()):
            raise ReleaseError(
                f"the folder is not empty and holds no {kind.noun}",
                where=self.path,
                remedy="choose a new or an empty folder",
            )
        if found not in (None, self._plan) and not overwrite:
            raise ReleaseError(
                f"the folder holds another {kind.noun}",
                where=self.path,
                expected="the same source and options",
                found=f"a difference in {', '.join(differences(found or {}, self._plan))}",
                remedy="choose another folder, or start anew with --overwrite",
            )
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            held = FileLock(str(self.state / _LOCK_FILE)).acquire(timeout=0)
        except Timeout:
            raise ReleaseError(
                "another process is writing into this folder",
                where=self.path,
                remedy="wait for it, or choose another folder",
            ) from None
        with held:
            yield
        # Windows removes no open file, so the lock goes after it is released.
        with suppress(OSError):  # another process has locked it meanwhile
            (self.state / _LOCK_FILE).unlink(missing_ok=True)
            self.state.rmdir()

    def _empty(self) -> None:
        """Remove the output so that an interrupted removal is continued by a rerun."""
        write_durably(self.state / _PLAN_FILE, json.dumps(_EMPTIED).encode())
        (self.path / self._kind.last).unlink(missing_ok=True)
        _remove_all_but(self.path, self.state.name)
        _remove_all_but(self.state, _PLAN_FILE, _LOCK_FILE)


def _remove_all_but(folder: Path, *kept: str) -> None:
    for entry in list(folder.iterdir()):
        if entry.name in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def refuse_source_in(out: str | os.PathLike[str], source: Path) -> None:
    """Refuse an output folder that contains the source, since starting anew would remove it."""
    # os.path.realpath does not fail on links that lead in circles.
    if Path(os.path.realpath(source)).is_relative_to(os.path.realpath(absolute_path(out))):
        raise UsageError(
            "the source is in the folder to write to",
            where=out,
            found=source,
            remedy="choose a folder beside it",
        )


def _refuse_links(folder: Path) -> None:
    """Refuse symbolic links, which would lead writing and deleting out of the folder."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)  # noqa: PTH118 (a Path for each takes three times as long)
            if os.path.islink(path):  # noqa: PTH114
                raise ReleaseError(
                    "the folder to write contains a symbolic link",
                    where=path,
                    expected="files and folders only",
                    remedy="remove the link, or choose another folder",
                )


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is none. A file that cannot be read raises `OSError`."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None  # no file, no JSON, or JSON nested deeper than Python's stack
    return value if isinstance(value, dict) else None


def differences(found: Plan, wanted: Plan) -> list[str]:
    """Name the entries that differ, one level deep.

    Example:
        >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
        ['a.c', 'd']
    """
    names: list[str] = []
    for key in found | wanted:
        one, other = found.get(key), wanted.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            names.extend(f"{key}.{k}" for k in one | other if one.get(k) != other.get(k))
        elif one != other:
            names.append(key)
    return names
