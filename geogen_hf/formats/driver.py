"""Converting: choose, claim the folder, write identity after identity, then what is over all."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from geogen_hf.errors import CameraError, UsageError, explain
from geogen_hf.formats.registry import FormatName, format_named
from geogen_hf.formats.scene import check_folder_names
from geogen_hf.formats.sources import Source, open_source
from geogen_hf.formats.workspace import MANIFEST, Plan, Workspace
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.splits import SPLITS, Split
from geogen_hf.report import Policy, some_of
from geogen_hf.source.parts import resolve_place

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of identities done and of all."""

_LAYOUT_VERSION = 1


@dataclass(frozen=True)
class Converted:
    """What a conversion left in its folder.

    Attributes:
        folder: The folder.
        to: The format.
        subjects: Identities in it.
        images: Images in it.
        written: Identities written by this run; the others were there already.
    """

    folder: Path
    to: FormatName
    subjects: int
    images: int
    written: int


def convert(
    source: str,
    out: Path,
    to: FormatName,
    *,
    splits: Iterable[Split] | None = None,
    subjects: Iterable[str] | None = None,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    cameras: CameraOptions | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Lay identities out as another tool reads them; images go through bit for bit.

    One identity is in memory at a time. Its folder appears whole or not at all, and `convert.json`
    last of all. Interrupted in any way, the same call continues, and the end is the same as
    undisturbed, byte for byte. World, unit and poses stay those of the release.

    Args:
        source: Folder with the eight zips, their base URL, or a folder made by `geogen export`.
        out: New, empty, or left by an earlier run of the same conversion.
        to: `"eg3d"`, `"nerfstudio"`, `"blender"`, `"colmap"` or `"co3d"`.
        splits: Only identities of these splits; None for all.
        subjects: Only these identities; None for all.
        split_seed: Seed of the split, for a release.
        on_bad_subject: `"raise"` on problems of a release, or `"skip"` the identities concerned.
        cameras: How to read a release's cameras; None lets keys and evidence speak.
        overwrite: Start anew where the folder holds another conversion.
        progress: Told how far it is.

    Returns:
        What the folder holds.

    Raises:
        UsageError: An argument cannot work: no such format, split or subject, or none is left.
        CameraError: The format cannot hold a camera; nothing of this identity is written.
        ReleaseError: The folder holds another conversion or something else, or images and cameras
            do not add up.
        GeoGenError: The source cannot be read.

    Example:
        >>> from geogen_hf.sample import write_release
        >>> parts = write_release(tmp_path / "parts", subjects=3, size=32)
        >>> convert(str(parts), tmp_path / "scenes", "nerfstudio").images
        21
        >>> sorted(p.name for p in (tmp_path / "scenes" / "subj_00001").iterdir())
        ['images', 'transforms.json']
    """
    form = format_named(to)
    _refuse_source_in(out, source)
    opened = open_source(
        source, split_seed=split_seed, on_bad_subject=on_bad_subject, cameras=cameras
    )
    chosen = choose(opened.splits, splits, subjects)
    check_folder_names(chosen, form.taken_names() | {MANIFEST})
    plan: Plan = {
        "layout": _LAYOUT_VERSION,
        "format": to,
        "source": opened.identity,
        "subjects": {"count": len(chosen), "sha256": _digest(chosen)},
    }
    with Workspace(out, form, plan, overwrite=overwrite) as workspace:
        manifest, written = workspace.manifest, 0
        if manifest is None:
            written = _write_unfinished(workspace, opened, chosen, progress)
            manifest = workspace.finish(chosen)
    logger.info("%s: %d subjects, %d of them now", out, manifest["subjects"], written)
    return Converted(out, to, manifest["subjects"], manifest["images"], written)


def _write_unfinished(
    workspace: Workspace, opened: Source, chosen: list[str], progress: Progress | None
) -> int:
    waiting = {s for s in chosen if not workspace.finished(s)}
    before, written = len(chosen) - len(waiting), 0
    with closing(opened.scenes(waiting)) as scenes:
        for scene in scenes:
            try:
                workspace.put(scene)
            except CameraError as error:
                raise CameraError(f"subject {scene.subject_id}: {error}") from error
            written += 1
            if progress is not None:
                progress(before + written, len(chosen))
    return written


def _digest(names: list[str]) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def choose(
    known: dict[str, Split], splits: Iterable[Split] | None, subjects: Iterable[str] | None
) -> list[str]:
    """Choose identities by split and name.

    Args:
        known: Split of each identity.
        splits: Wanted splits; None for all.
        subjects: Wanted identities; None for all.

    Returns:
        Their names, in the order of `known`.

    Raises:
        UsageError: A split or identity does not exist, or none is left.

    Example:
        >>> choose({"b": "train", "a": "test", "c": "train"}, ["train"], None)
        ['b', 'c']
    """
    wanted_splits = set(SPLITS if splits is None else splits)
    wanted = set(known if subjects is None else subjects)
    for kind, unknown, expected in (
        ("split", wanted_splits - set(SPLITS), ", ".join(SPLITS)),
        ("subject", wanted - known.keys(), f"some of {some_of(known)}"),
    ):
        if unknown:
            found = some_of(map(str, unknown))
            raise UsageError(explain(f"no such {kind}", expected=expected, found=found))
    chosen = [s for s, split in known.items() if split in wanted_splits and s in wanted]
    if not chosen:
        raise UsageError(
            explain(
                "no subject to convert",
                expected=f"some of {len(known):,} subjects",
                found=f"none of those named is in {', '.join(sorted(wanted_splits)) or 'no split'}",
                remedy="name other splits or subjects",
            )
        )
    return chosen


def _refuse_source_in(out: Path, source: str) -> None:
    """Starting anew empties the folder: the source must not be in it."""
    place = resolve_place(source)
    if isinstance(place, Path) and place.resolve().is_relative_to(out.resolve()):
        raise UsageError(
            explain(
                "the source is in the folder to write to",
                where=out,
                found=source,
                remedy="choose a folder beside it",
            )
        )
