"""Single identities out of a release, on disk or behind a URL, without loading the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from geogen_hf.cameras import FloatArray
from geogen_hf.errors import GeoGenError, explain
from geogen_hf.judge import CameraOptions
from geogen_hf.members import Archives
from geogen_hf.origin.credentials import Credentials
from geogen_hf.parts import UPSTREAM_URL, parts_at_url, select_parts
from geogen_hf.records import png_size, unpack_png
from geogen_hf.release import read_release
from geogen_hf.report import Policy, some_of
from geogen_hf.subjects import Subject


class UnknownSubjectError(GeoGenError, KeyError):
    """The release has no identity of this name."""

    __str__ = Exception.__str__  # KeyError shows the repr of its message


@dataclass(frozen=True)
class Identity:
    """One identity, read.

    Attributes:
        subject_id: Its name.
        view_ids: V view numbers, ascending.
        images: V encoded PNG files, bit for bit as published.
        extrinsics: `(V, 4, 4)` float64 world-to-camera, OpenCV axes (x right, y down, z forward),
            in the release's unit of length.
        intrinsics: `(V, 3, 3)` float64, in pixels of the stored image.
        metadata: Its JSON, untouched.
    """

    subject_id: str
    view_ids: tuple[int, ...]
    images: tuple[bytes, ...]
    extrinsics: FloatArray
    intrinsics: FloatArray
    metadata: str


class OpenRelease(Mapping[str, Identity]):
    """Identities by name, read when asked for; a context manager, for one process.

    Attributes:
        subject_ids: All names, in archive order.
    """

    def __init__(self, subjects: Iterable[Subject]) -> None:
        self._subjects = {subject.subject_id: subject for subject in subjects}
        self.subject_ids = tuple(self._subjects)
        self._archives = Archives()

    def __getitem__(self, subject_id: str) -> Identity:
        """Read one identity: from a remote release in a request a run of its images.

        Raises:
            UnknownSubjectError: It is not there.
            ArchiveError: An image is damaged.
            FetchError: A part cannot be read, or was replaced since the release was opened.
        """
        subject = self._subjects.get(subject_id)
        if subject is None:
            raise UnknownSubjectError(
                explain(
                    f"no subject {subject_id!r} in this release",
                    expected=f"one of {some_of(self._subjects)}",
                )
            )
        (records,) = self._archives.records([subject.images])
        images = tuple(map(unpack_png, subject.images, records))
        subject = subject.at_sizes(list(map(png_size, subject.images, images)))
        return Identity(
            subject_id=subject.subject_id,
            view_ids=subject.view_ids,
            images=images,
            extrinsics=subject.extrinsics,
            intrinsics=subject.intrinsics,
            metadata=subject.metadata,
        )

    def __contains__(self, subject_id: object) -> bool:
        return subject_id in self._subjects

    def __iter__(self) -> Iterator[str]:
        return iter(self.subject_ids)

    def __len__(self) -> int:
        return len(self.subject_ids)

    def close(self) -> None:
        """Close the parts; nothing more can be read."""
        self._archives.close()

    def __enter__(self) -> OpenRelease:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def open_release(
    source: str | os.PathLike[str] | None = None,
    parts: Iterable[int] | None = None,
    *,
    on_bad_subject: Policy = "raise",
    cameras: CameraOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> OpenRelease:
    """Open a release to read single identities: a few requests list it, a few more read one.

    Args:
        source: Folder with the zips, or a base URL; None for the publisher's host.
        parts: Numbers (1 … 7) of the image parts to use; None for all.
        on_bad_subject: `"raise"` on any structural problem, or `"skip"` the identities concerned.
        cameras: How to read them; None lets keys and evidence speak.
        storage_options: What hosts want to be shown, by protocol: `{"hf": {"token": …}}`,
            `{"https": {"headers": {…}}}`, `{"s3": {"key": …}}`. Without, the Hub is shown the token
            that is stored or in `HF_TOKEN`.

    Returns:
        The identities by name.

    Raises:
        PartsError: A folder lacks parts.
        ArchiveError: Parts are not zip archives.
        FetchError: Parts cannot be read from their host.
        ReleaseError: Images and cameras do not add up.

    Example:
        >>> from geogen_hf.sample import write_release
        >>> with open_release(write_release(tmp_path, subjects=3, size=16)) as release:
        ...     identity = release["subj_00001"]
        >>> release.subject_ids, len(identity.images), identity.extrinsics.shape
        (('subj_00000', 'subj_00001', 'subj_00002'), 7, (7, 4, 4))
    """
    locations = parts_at_url(os.fspath(source or UPSTREAM_URL), select_parts(parts))
    release = read_release(locations, cameras, Credentials(storage_options or {}))
    return OpenRelease(release.sound_subjects(on_bad_subject))
