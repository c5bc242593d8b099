"""Write a small release of rendered heads: eight zips laid out as the publisher's.

Same arguments, same bytes: nothing in the zips depends on the clock, the machine's file system or
the number of workers.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from geogen_hf.cameras.conventions import Convention
from geogen_hf.durable import absolute_path, writing
from geogen_hf.errors import UsageError
from geogen_hf.images import LONGEST_PX
from geogen_hf.sample.heads import head_of, subject_cameras, subject_name
from geogen_hf.sample.render import render
from geogen_hf.sample.schemas import SCHEMAS, CamerasOf
from geogen_hf.threads import worker_processes

Layout = Literal["by-subject", "by-view"]
Progress = Callable[[int, int], None]

IMAGE_PARTS = tuple(f"images_batch_{number}.zip" for number in range(1, 8))
METADATA_PART = "metadata_files.zip"
_NAMES = (*IMAGE_PARTS, METADATA_PART)
SAMPLE_COMMENT = b"geogen-hf sample heads: rendered, not part of Microsoft's GeoGen release"
"""Comment of every zip. Exports of marked zips carry a card of their own; see `zip_directory`."""

# Below this many pixels a pool takes longer to start than it saves.
_POOL_FROM_PIXELS = 500_000


@dataclass(frozen=True)
class _Plan:
    """What to write: checked arguments, small enough to send to a worker."""

    subjects: int
    views: int
    size: int
    seed: int
    layout: Layout
    schema: str
    convention: Convention | None

    def check(self) -> None:
        for name, low in {"subjects": 1, "views": 1, "size": 8, "seed": 0}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                what = f"{name} must be a whole number of at least {low}"
                raise UsageError(what, found=repr(value))
        if self.size > LONGEST_PX:
            expected = f"<= {LONGEST_PX}"
            raise UsageError("size is too large", expected=expected, found=self.size)
        for name, choices in (("layout", get_args(Layout)), ("schema", tuple(SCHEMAS))):
            if (found := getattr(self, name)) not in choices:
                expected = " or ".join(choices)
                raise UsageError(f"unknown {name}", expected=expected, found=repr(found))
        if self.convention is not None:
            SCHEMAS[self.schema].demand(self.convention)

    def part_of(self, index: int, view: int) -> str:
        """The image zip that holds a view of a subject."""
        if self.layout == "by-view":
            return IMAGE_PARTS[view % len(IMAGE_PARTS)]
        return IMAGE_PARTS[index * len(IMAGE_PARTS) // self.subjects]

    def cameras(self, index: int) -> CamerasOf:
        name = subject_name(index)
        exact = subject_cameras(name, views=self.views, size=self.size, seed=self.seed)
        return CamerasOf(name, *exact, self.size)

    def pngs(self, index: int) -> list[bytes]:
        """Render a subject's views."""
        cameras = self.cameras(index)
        head = head_of(cameras.subject_id, self.seed)
        pngs = []
        for pixels in render(head, cameras.extrinsics, cameras.intrinsics, self.size):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG", compress_level=6, optimize=False)
            pngs.append(buffer.getvalue())
        return pngs


def write_release(
    out: Path,
    *,
    subjects: int = 12,
    views: int = 7,
    size: int = 128,
    seed: int = 0,
    layout: Layout = "by-subject",
    schema: str = "list",
    convention: Convention | str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Render heads with exact cameras and write them as a release of eight zips.

    Images are members `subj_<i>/<view>.png`, cameras `metadata_<i>.json` (other schemas have other
    files); ids have five digits.
    The zips get their names when all of them are complete; an interrupted run leaves `out` as it
    was. Other files there are left alone.

    With more than one worker, a script must call this under `if __name__ == "__main__":`, as
    `multiprocessing` demands of programs that start processes.

    Args:
        out: Folder; made where missing.
        subjects: How many identities, `subj_00000` onwards.
        views: Images an identity, round the whole circle.
        size: Width and height of the images in pixels.
        seed: Another seed, other people and other cameras.
        layout: Whether a zip holds whole identities, or one view of every identity (view v goes to
            zip v modulo 7). Upstream does not say which it has. Small releases may have empty zips.
        schema: How metadata is laid out: a key of `geogen_hf.sample.schemas.SCHEMAS`.
        convention: Of its matrices, by name or not; None for the one usual with the schema.
        overwrite: Replace sample zips that are there. Downloaded zips are never replaced.
        workers: Processes; the default is as many as there are cores where that saves time.
        progress: Called as `progress(done, total)` after each identity.

    Returns:
        `out`.

    Raises:
        UsageError: An argument has a value that cannot work, or `out` holds zips.
        OutputError: `out` cannot be written.
        GeoGenError: A worker process died.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     out = write_release(Path(folder), subjects=2, views=3, size=16)
        ...     zipfile.ZipFile(out / "images_batch_1.zip").namelist()
        ['subj_00000/0.png', 'subj_00000/1.png', 'subj_00000/2.png']
    """
    if isinstance(convention, str):
        convention = Convention.from_name(convention)
    plan = _Plan(subjects, views, size, seed, layout, schema, convention)
    plan.check()
    if workers is not None and workers < 1:
        raise UsageError("workers must be at least 1, or None", found=workers)
    if workers is None:
        small = subjects * views * size**2 < _POOL_FROM_PIXELS
        workers = 1 if small else min(os.cpu_count() or 1, subjects)
    out = Path(out)
    absolute_path(out)  # refuses what cannot be a folder, before anything is rendered
    with writing(out, resumes=False):
        if out.exists() and not out.is_dir():
            raise UsageError("cannot write there", expected="a folder", found=out)
        _refuse_zips(out, overwrite)
        out.mkdir(parents=True, exist_ok=True)
        # The pool first: workers of a script without a main guard run it too, and get no further.
        # The folder on the same file system as `out`, so that each zip can be renamed into place.
        with (
            nullcontext() if workers == 1 else worker_processes(workers) as pool,
            tempfile.TemporaryDirectory(dir=out, prefix=".sample-") as scratch,
        ):
            _write_zips(Path(scratch), plan, pool, progress)
            for name in _NAMES:
                with open(Path(scratch, name), "rb+") as file:
                    os.fsync(file.fileno())  # so that the new name never shows half
            for name in _NAMES:
                Path(scratch, name).replace(out / name)
    return out


def _refuse_zips(out: Path, overwrite: bool) -> None:
    """Never replace zips that somebody downloaded, which may have taken hours."""
    zips = [name for name in _NAMES if (out / name).exists()]
    others = [name for name in zips if not _is_sample(out / name)]
    if (out / "parts.lock.json").exists():
        others.append("parts.lock.json")
    # The metadata gets its name last: without it, a run was killed that this one repeats.
    if others or (METADATA_PART in zips and not overwrite):
        raise UsageError(
            "the folder holds downloaded files" if others else "the folder holds sample zips",
            where=out,
            found=", ".join(others or zips),
            remedy="choose another folder" + ("" if others else ", or pass --overwrite"),
        )


def _is_sample(path: Path) -> bool:
    """Look for the mark, which is the comment at the end of the zip."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 200))
        return SAMPLE_COMMENT in file.read()


def _write_zips(
    folder: Path, plan: _Plan, pool: ProcessPoolExecutor | None, progress: Progress | None
) -> None:
    with ExitStack() as stack:
        zips = {name: stack.enter_context(zipfile.ZipFile(folder / name, "w")) for name in _NAMES}
        for each in zips.values():
            each.comment = SAMPLE_COMMENT
        for index, pictures in enumerate(_rendered(plan, pool)):
            for view, png in enumerate(pictures):
                _add(zips[plan.part_of(index, view)], f"{subject_name(index)}/{view}.png", png)
            if progress is not None:
                progress(index + 1, plan.subjects)
        cameras = map(plan.cameras, range(plan.subjects))
        for name, text in SCHEMAS[plan.schema].members(cameras, plan.convention):
            _add(zips[METADATA_PART], name, text.encode())


def _add(zipped: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Append a member whose header says nothing of time, owner or platform."""
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # Unix, whatever writes it: else the bytes differ on Windows
    member.external_attr = 0o100644 << 16
    zipped.writestr(member, content, compresslevel=6)


def _rendered(plan: _Plan, pool: ProcessPoolExecutor | None) -> Iterator[list[bytes]]:
    """The PNGs of each subject, in order, whoever renders them."""
    every = range(plan.subjects)
    if pool is None:
        yield from map(plan.pngs, every)
        return
    most = 16 * (os.cpu_count() or 1)  # bounds how many finished pictures wait in memory
    for first in every[::most]:
        yield from pool.map(plan.pngs, every[first : first + most])
