"""Subjects' cameras laid out over files: one file a subject, one an image, one for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from geogen_hf.sample.camera_forms import Fields


@dataclass(frozen=True, eq=False)
class Written:
    """One subject on its way to JSON: a camera an entry, views 0, 1, …, and what they share."""

    subject_id: str
    cameras: list[Fields]
    shared: Fields

    def by(self, name: Callable[[int], str]) -> dict[str, Fields]:
        """The cameras under names made from view numbers."""
        return {name(view): camera for view, camera in enumerate(self.cameras)}

    def listed(self, key: str, name: Callable[[int], object]) -> list[Fields]:
        """The cameras with a key more."""
        return [{key: name(view), **camera} for view, camera in enumerate(self.cameras)]

    def file(self, view: int) -> str:
        """The name of an image in the release."""
        return f"{self.subject_id}/{view}.png"


Arrange = Callable[[list[Written]], Iterable[tuple[str, Any]]]
"""Files of some subjects: name and JSON value."""


def each(value: Callable[[Written], Any], name: str = "metadata_{}.json") -> Arrange:
    """One file a subject, named after its number."""

    def arrange(subjects: list[Written]) -> Iterator[tuple[str, Any]]:
        for subject in subjects:
            number = subject.subject_id.removeprefix("subj_")
            yield name.format(number), value(subject)

    return arrange


def named(subject: Written) -> Fields:
    """Write the subject's name, what its cameras share, and a list of them."""
    return {"name": subject.subject_id, **subject.shared, "cameras": subject.cameras}


def each_image(name: str, inside_key: str | None = None) -> Arrange:
    """One file an image, its camera inside a key or not."""
    return lambda subjects: (
        (name.format(subject.subject_id, view), {inside_key: camera} if inside_key else camera)
        for subject in subjects
        for view, camera in enumerate(subject.cameras)
    )


def all_in_one(value: Callable[[list[Written]], Any]) -> Arrange:
    """One file for all subjects."""
    return lambda subjects: [("dataset.json", value(subjects))]


def frames(name: Callable[[Written, int], str]) -> Callable[[Written], Any]:
    """Write a `transforms.json`, whose images are called as `name` says."""
    return lambda subject: {
        **subject.shared,
        "frames": subject.listed("file_path", lambda view: name(subject, view)),
    }


def stacked(subject: Written) -> Fields:
    """Write one array a quantity instead of one object a camera."""
    keys = subject.cameras[0]
    return {
        "name": subject.subject_id,
        **{key: [camera[key] for camera in subject.cameras] for key in keys},
    }


def joined(transforms: list[Fields]) -> Fields:
    """One `transforms.json` of those of several subjects."""
    return {**transforms[0], "frames": [frame for each in transforms for frame in each["frames"]]}
