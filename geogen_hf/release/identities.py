"""Read single identities by name, on disk or behind a URL, without loading the rest.

`open_release` opens the eight zips; `geogen_hf.export.lookup.open_export` opens an exported
folder. Both give `Identity` objects.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.errors import GeoGenError, explain
from geogen_hf.images import decode_rgb
from geogen_hf.release.convention import CameraOptions, ResolvedConvention
from geogen_hf.release.release import read_release
from geogen_hf.release.splits import Split, split_of
from geogen_hf.release.subjects import Subject
from geogen_hf.report import Policy, some_of
from geogen_hf.source.parts import Place, locate_parts, select_parts
from geogen_hf.source.zip_reader import Archives, png_size, unpack_png


class UnknownSubjectError(GeoGenError, KeyError):
    """No identity has this name."""

    __str__ = Exception.__str__  # KeyError shows the repr of its message


@dataclass(frozen=True)
class Identity:
    """One identity with its V views, read.

    Attributes:
        subject_id: Its name, as published.
        split: `"train"`, `"validation"` or `"test"`.
        view_ids: V view numbers, ascending.
        images: V encoded image files. From a release these are the published PNG files, bit for
            bit.
        extrinsics: `(V, 4, 4)` float64 world-to-camera matrices, OpenCV axes (x right, y down, z
            into the scene), in the release's unit of length.
        intrinsics: `(V, 3, 3)` float64, in pixels of the stored image.
        metadata: The publisher's JSON of this identity, untouched; empty where it was not stored.
    """

    subject_id: str
    split: Split
    view_ids: tuple[int, ...]
    images: tuple[bytes, ...]
    extrinsics: FloatArray
    intrinsics: FloatArray
    metadata: str

    def arrays(self) -> list[NDArray[np.uint8]]:
        """Decode the images.

        Returns:
            V arrays `(H, W, 3)` uint8 RGB.

        Raises:
            ImageError: An image is damaged; the message names subject and view.

        Example:
            >>> from geogen_hf.sample import write_release
            >>> with open_release(write_release(tmp_path, subjects=3, size=32)) as release:
            ...     release["subj_00001"].arrays()[0].shape
            (32, 32, 3)
        """
        return [
            decode_rgb(data, where=f"subject {self.subject_id}, view {view}")
            for view, data in zip(self.view_ids, self.images, strict=True)
        ]

    def pil_images(self) -> list[Image.Image]:
        """Open the images with Pillow; each is decoded when it is first used.

        Returns:
            V images in their stored mode.
        """
        return [Image.open(io.BytesIO(data)) for data in self.images]


class ReleaseIdentities(Mapping[str, Identity]):
    """The identities of an opened release by name; each is read when it is asked for.

    A context manager. Use it in one process only: it holds open files and connections.

    Attributes:
        subject_ids: All names, in archive order.
        camera_convention: What the stored matrices mean, and how that is known.
    """

    def __init__(
        self,
        subjects: Iterable[Subject],
        camera_convention: ResolvedConvention,
        split_seed: int = 0,
    ) -> None:
        self._subjects = {subject.subject_id: subject for subject in subjects}
        self._split_seed = split_seed
        self.camera_convention = camera_convention
        self.subject_ids = tuple(self._subjects)
        self._archives = Archives()

    def __getitem__(self, subject_id: str) -> Identity:
        """Read one identity; from a remote release, one request reads a run of its images.

        Raises:
            UnknownSubjectError: No identity has this name.
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
            split=split_of(subject.subject_id, self._split_seed),
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

    def __enter__(self) -> ReleaseIdentities:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def open_release(
    place: Place = None,
    *,
    parts: Iterable[int] | None = None,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    cameras: CameraOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ReleaseIdentities:
    """Open a release to read single identities: a few requests list it, a few more read one.

    Args:
        place: Folder with the zips, or a base URL; None for the publisher's host.
        parts: Numbers (1 … 7) of the image parts to use; None for all.
        split_seed: Seed of the split.
        on_bad_subject: `"raise"` on any structural problem, or `"skip"` the identities concerned.
        cameras: How to read the cameras; None finds it out from the metadata and the images.
        storage_options: Credentials by protocol: `{"hf": {"token": …}}`,
            `{"https": {"headers": {…}}}`, `{"s3": {"key": …}}`. Without them, the Hub gets the
            token that is stored or in `HF_TOKEN`.

    Returns:
        The identities by name.

    Raises:
        PartsError: A folder lacks parts.
        ArchiveError: Parts are not zip archives.
        FetchError: Parts cannot be read from their host.
        ReleaseError: Images and cameras do not add up.
        CameraError: The convention of the cameras cannot be settled.

    Example:
        >>> from geogen_hf.sample import write_release
        >>> with open_release(write_release(tmp_path, subjects=3, size=32)) as release:
        ...     identity = release["subj_00001"]
        >>> release.subject_ids, len(identity.images), identity.extrinsics.shape
        (('subj_00000', 'subj_00001', 'subj_00002'), 7, (7, 4, 4))
    """
    locations = locate_parts(place, select_parts(parts), storage_options)
    release = read_release(locations, cameras)
    return ReleaseIdentities(
        release.sound_subjects(on_bad_subject), release.camera_convention, split_seed
    )
