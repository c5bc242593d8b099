"""Where `convert` reads identities from: the parts of a release, or an exported folder.

`open_source` decides which of both a place is. Open this to convert from another kind of source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from geogen_hf._version import __version__
from geogen_hf.errors import UsageError
from geogen_hf.export.exported import SUMS, ExportedFolder
from geogen_hf.export.lookup import ExportIdentities
from geogen_hf.export.provenance import directory_digest
from geogen_hf.export.transcode import place_of
from geogen_hf.formats.scene import Scene, make_scene
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import Identity, read_release
from geogen_hf.release.shards import Shard, read_each
from geogen_hf.release.splits import Split, split_of
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy
from geogen_hf.source.parts import ALL_PARTS, Place, locate_parts


@dataclass(frozen=True)
class Source:
    """Identities by name, read one after the other.

    Attributes:
        identity: JSON values that are equal only for equal images and cameras.
        splits: The split of each identity, in the order of the source.
        scenes: Reads the identities of these names, in the order of the source. Raises
            `GeoGenError` where an image is damaged, or was replaced since it was listed.
    """

    identity: dict[str, Any]
    splits: dict[str, Split]
    scenes: Callable[[AbstractSet[str]], Generator[Scene, None, None]]


def open_source(
    place: Place,
    *,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    cameras: CameraOptions | None = None,
) -> Source:
    """Decide what a place holds, and list it. No image is read.

    Args:
        place: Folder with the eight zips, their base URL, or path or URL of an exported folder;
            None for the publisher's host.
        split_seed: Seed of the split of a release. An export has its splits: leave it at 0.
        on_bad_subject: `"raise"` on any problem of a release, or `"skip"` the identities concerned.
        cameras: How to read the cameras of a release; None finds it out from the metadata and the
            images.

    Raises:
        PartsError: The place holds neither, or files are missing.
        UsageError: `split_seed` is given for an export.
        GeoGenError: As `open_release` and `open_export`.

    Example:
        >>> open_source("parts").splits
        {'subj_00000': 'train', 'subj_00001': 'validation', 'subj_00002': 'train'}
    """
    folder = None if place is None else ExportedFolder(place)
    if folder is None or not folder.is_export():
        return _open_parts(place, split_seed, on_bad_subject, cameras)
    if split_seed != 0:
        raise UsageError(
            "an exported folder has its splits already",
            where=folder.place,
            expected="no split seed",
            found=split_seed,
            remedy="leave it out, or convert the parts themselves",
        )
    return _open_export(folder)


def _open_parts(
    place: Place, split_seed: int, on_bad_subject: Policy, cameras: CameraOptions | None
) -> Source:
    release = read_release(locate_parts(place, ALL_PARTS), cameras)
    subjects = tuple(replace(s, metadata="") for s in release.sound_subjects(on_bad_subject))
    splits = {s.subject_id: split_of(s.subject_id, split_seed) for s in subjects}
    identity = {
        "geogen-hf": __version__,
        "parts": {d.label: directory_digest(d) for d in release.directories.values()},
        "split_seed": split_seed,
        "cameras": str(release.camera_convention.require()),
    }

    def scene_of(subject: Subject, images: list[bytes]) -> Scene:
        identity = Identity(
            subject.subject_id,
            splits[subject.subject_id],
            subject.view_ids,
            tuple(images),
            subject.extrinsics,
            subject.intrinsics,
            metadata="",
        )
        return make_scene(identity, [place_of(subject, view) for view in range(len(images))])

    def scenes(wanted: AbstractSet[str]) -> Generator[Scene, None, None]:
        chosen = tuple(s for s in subjects if s.subject_id in wanted)
        return read_each(Shard(chosen, on_bad_subject), scene_of)

    return Source(identity, splits, scenes)


def _open_export(folder: ExportedFolder) -> Source:
    folder.require_complete()
    export = ExportIdentities(folder)
    sha256 = hashlib.sha256(folder.read(SUMS)).hexdigest()
    identity = {"geogen-hf": __version__, "export_sha256": sha256}

    def scenes(wanted: AbstractSet[str]) -> Generator[Scene, None, None]:
        with export:
            for one in (export[subject_id] for subject_id in export if subject_id in wanted):
                place = f"{folder.place}, subject {one.subject_id}"
                yield make_scene(one, [f"{place}, view {v}" for v in one.view_ids])

    return Source(identity, folder.splits, scenes)
