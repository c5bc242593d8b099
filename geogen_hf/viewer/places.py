"""Open a place for the viewer: the zips of a release, or an exported folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.identities import Identity, open_release
from geogen_hf.viewer.panel import ConventionText


@dataclass(frozen=True)
class OpenedPlace:
    """Identities by name, and how their cameras were read.

    Attributes:
        identities: Each is read when it is asked for.
        convention: How the cameras were read, and what supports that.
    """

    identities: Mapping[str, Identity]
    convention: ConventionText
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
    place: str | os.PathLike[str] | None,
    cameras: CameraOptions | None,
    storage_options: Mapping[str, Any] | None,
) -> OpenedPlace:
    """Open a release, or an exported folder, to read single identities."""
    with ExitStack() as stack:
        release = stack.enter_context(
            open_release(
                place, on_bad_subject="skip", cameras=cameras, storage_options=storage_options
            )
        )
        found = release.camera_convention
        scores = [] if found.proof is None else found.proof.table()
        return OpenedPlace(release, ConventionText(found.describe(), scores), stack.pop_all())
