"""Open a place to look at single identities: the zips of a release, or an exported folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from geogen_hf.errors import PartsError
from geogen_hf.export.exported import PROVENANCE, ExportedFolder
from geogen_hf.export.lookup import open_export
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import Identity, open_release
from geogen_hf.source.parts import Place


@dataclass(frozen=True)
class OpenedPlace:
    """Identities by name, and how their cameras were read.

    Attributes:
        identities: Each is read when it is asked for.
        convention: Sentences: how the cameras were read, then what supports that.
    """

    identities: Mapping[str, Identity]
    convention: Sequence[str]
    _open: ExitStack

    def choose(self, subjects: Sequence[str] | None) -> Sequence[str]:
        """The identities to step through.

        Raises:
            UnknownSubjectError: The place has none of one of these names.
        """
        if not subjects:
            return tuple(self.identities)
        for name in subjects:
            if name not in self.identities:
                self.identities[name]  # raises the error that lists what there is
        return tuple(subjects)

    def close(self) -> None:
        """Close files and connections."""
        self._open.close()


def open_place(
    place: Place,
    cameras: CameraOptions | None,
    storage_options: Mapping[str, Any] | None = None,
) -> OpenedPlace:
    """Open a release or an exported folder; `cameras` says how to read those of a release."""
    with ExitStack() as stack:
        if place is not None and ExportedFolder(place, storage_options).is_export():
            export = stack.enter_context(open_export(place, storage_options=storage_options))
            sentences = _as_exported(ExportedFolder(place, storage_options))
            return OpenedPlace(export, sentences, stack.pop_all())
        release = stack.enter_context(
            open_release(
                place, on_bad_subject="skip", cameras=cameras, storage_options=storage_options
            )
        )
        return OpenedPlace(release, release.camera_convention.describe(), stack.pop_all())


def _as_exported(folder: ExportedFolder) -> list[str]:
    """Say how the cameras of an export were read when it was written, as far as it tells."""
    sentences = ["camera convention: world_to_camera opencv, as exported"]
    try:
        said = json.loads(folder.read(PROVENANCE))["source"]["cameras"]
        sentences.append(f"In the release: {said['convention']}, {said['how']}.")
        if said["evidence"] is not None:
            sentences.append(f"{said['evidence']['reason']}.")
        sentences += [str(warning["text"]) for warning in said["warnings"]]
    except (PartsError, KeyError, TypeError, ValueError, RecursionError):
        sentences.append(f"{PROVENANCE} does not say how the release's cameras were read.")
    return sentences
