"""The same images in every form that a training job reads them from, made once and kept.

All hold the training split of one release, image bytes untouched: our exported folder, tars of
`webdataset`, MDS shards, and a folder of PNG files a subject, which is also an `imagefolder`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.releases import big_release

SUBJECTS_A_TAR = 16
"""About 21 MB: tars enough for any number of workers, and a beginning soon read."""
Sample = tuple[str, list[bytes], dict[str, object]]
"""Name of a subject, its images in order, its cameras as JSON values."""


@dataclass(frozen=True)
class Forms:
    """Where the forms are.

    Attributes:
        parts: The release: eight zips.
        folder: Exported, PNG untouched.
        tars: For `webdataset`.
        mds: For MosaicML streaming.
        pngs: `subject/view.png`, below `train`.
    """

    parts: Path
    folder: Path
    tars: Path
    mds: Path
    pngs: Path


def make_forms(subjects: int, size: int, *, mds_python: str | None) -> Forms:
    """Write what is not there yet."""
    parts = big_release(subjects, size)
    kept = Path(tempfile.gettempdir()) / f"geogen-benchmark-forms-{subjects}-{size}"
    kept.mkdir(exist_ok=True)
    forms = Forms(parts, kept / "folder", kept / "tars", kept / "mds", kept / "pngs")
    _once(forms.folder, lambda out: export(parts, out))
    _once(forms.tars, lambda out: _write_tars(parts, out))
    _once(forms.pngs, lambda out: _write_pngs(parts, out))
    if mds_python is not None:
        writer = [mds_python, "-m", "benchmarks.training_mds", "write", str(forms.pngs)]
        _once(forms.mds, lambda out: subprocess.run([*writer, str(out)], check=True))
    return forms


def transcoded(subjects: int, size: int, **options: object) -> Path:
    """Export with other images: `image_format`, `image_size`."""
    named = "-".join(str(value) for value in options.values())
    out = Path(tempfile.gettempdir()) / f"geogen-benchmark-forms-{subjects}-{size}-{named}"
    _once(out, lambda folder: export(big_release(subjects, size), folder, **options))
    return out


def export(parts: Path, out: Path, **options: object) -> None:
    """Write the folder that `geogen export` writes."""
    from geogen_hf.export.folder import export_release
    from geogen_hf.export.options import ExportOptions
    from geogen_hf.release.release import read_release
    from geogen_hf.source.parts import locate_parts

    release = read_release(locate_parts(parts))
    export_release(release, out, ExportOptions(configs=("sequences",), **options))  # type: ignore[arg-type]


def _once(out: Path, write: Callable[[Path], object]) -> None:
    if out.exists():
        return
    print(f"writing {out}", file=sys.stderr, flush=True)
    new = out.with_name(out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    write(new)
    new.rename(out)


def _samples(parts: Path) -> Iterator[Sample]:
    """Read the training split, in the order of the shards."""
    import datasets

    import geogen

    rows = geogen.load("sequences", split="train", streaming=True, data_dir=str(parts))
    features = rows.features.copy()
    features["images"] = datasets.Sequence(datasets.Image(decode=False))
    for row in rows.cast(features):
        numbers = ("view_ids", "extrinsics", "intrinsics")
        cameras = {name: np.asarray(row[name]).tolist() for name in numbers}
        yield row["subject_id"], [image["bytes"] for image in row["images"]], cameras


def _write_tars(parts: Path, out: Path) -> None:
    import webdataset

    out.mkdir()
    pattern = str(out / "train-%05d.tar")
    with webdataset.ShardWriter(pattern, maxcount=SUBJECTS_A_TAR, verbose=0) as writer:
        for subject_id, images, cameras in _samples(parts):
            views = {f"{view}.png": image for view, image in enumerate(images)}
            writer.write({"__key__": subject_id, "json": cameras, **views})


def _write_pngs(parts: Path, out: Path) -> None:
    for subject_id, images, cameras in _samples(parts):
        subject = out / "train" / subject_id
        subject.mkdir(parents=True)
        for view, image in enumerate(images):
            (subject / f"{view}.png").write_bytes(image)
        cameras_file = out / "cameras" / f"{subject_id}.json"
        cameras_file.parent.mkdir(exist_ok=True)
        cameras_file.write_text(json.dumps(cameras))


def python_with_mds() -> str:
    """Make a virtual environment with MosaicML streaming: it pins numpy below 2.2.

    Returns:
        Its Python.

    Raises:
        subprocess.CalledProcessError: It cannot be installed.
    """
    folder = Path(tempfile.gettempdir()) / "geogen-benchmark-mds-venv"
    python = str(folder / "bin" / "python")
    if not (folder / "complete").exists():
        print(f"installing mosaicml-streaming into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        # The same PyTorch and Pillow: they are not what is compared.
        same = [f"{name}=={version(name)}" for name in ("torch", "pillow")]
        wanted = [*same, "torchvision", "mosaicml-streaming"]
        command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    return os.fspath(python)
