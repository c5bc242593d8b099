"""Describe what an export was made from, so that it can be made again and compared.

The description is the plan of the output folder while the export runs, and the `source` of
`provenance.json` afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL
import pyarrow as pa

from geogen_hf._version import __version__
from geogen_hf.export.options import ExportOptions
from geogen_hf.release.release import Release
from geogen_hf.release.subjects import Subject
from geogen_hf.source.zip_directory import Directory


def describe_source(
    release: Release, subjects: Sequence[Subject], options: ExportOptions, split_seed: int
) -> dict[str, Any]:
    """Describe all that decides the exported bytes, as JSON values.

    These are the parts (name, size, digest of the directory), the options, the number of subjects
    with a digest of their ids and cameras, and the versions that decide the encoding; `sample`
    where all parts are sample heads.
    """
    sample = all(directory.sample for directory in release.directories.values())
    return {
        **({"sample": True} if sample else {}),
        "parts": {
            directory.label: {
                "size": directory.size,
                "members": len(directory.members),
                "directory_sha256": directory_digest(directory),
            }
            for directory in release.directories.values()
        },
        "options": options.to_json(split_seed),
        "metadata_reading": release.metadata_reading,
        "cameras": release.camera_convention.to_json(),
        "subjects": {"count": len(subjects), "sha256": _subjects_digest(subjects)},
        "versions": {
            "geogen-hf": __version__,
            "pyarrow": pa.__version__,
            "pillow": PIL.__version__,
        },
    }


def directory_digest(directory: Directory) -> str:
    """Hash what a part holds: name, size and CRC-32 of every member, in the archive's order.

    The export checks each member against its CRC-32 when it reads it. So this identifies the
    contents without reading the 17 GB once more.
    """
    digest = hashlib.sha256()
    for member in directory.members:
        digest.update(f"{member.name}\0{member.size}\0{member.crc:08x}\n".encode())
    return digest.hexdigest()


def _subjects_digest(subjects: Sequence[Subject]) -> str:
    digest = hashlib.sha256()
    for subject in sorted(subjects, key=lambda s: s.subject_id):
        digest.update(json.dumps([subject.subject_id, subject.view_ids]).encode())
        for array in (subject.extrinsics, subject.intrinsics):
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()
