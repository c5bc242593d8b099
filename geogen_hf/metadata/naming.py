"""Which image each camera belongs to: labels in the metadata mapped one-to-one onto the images.

The image archives say which identities and view numbers there are. Every camera found in the
metadata has labels: its file's name and folders, the keys and list positions on the way to it, and
the short values beside these. A **place** is where labels of one sort stand, in words that
`camera_schema` takes too: `file`, `key of frames`, `order of cameras`, `frames.*.file_path`,
`folder of file`, `number 2 of file`. A **reading** takes subjects from one place and views from
another. Open this module to change which readings are tried, or which of them counts.

A reading fits if at least half of the identities get exactly the cameras that their images need:
one each, none for an image that is not there. (Where only some image parts are at hand, cameras of
other images are expected and do not count against it.) So single missing or surplus cameras are
left to be reported as problems of their subjects, while a shift by one fits nobody. Names are tried
before positions in lists: only where no reading by names fits, order is taken, and the description
says so. Readings that fit equally well and give any camera another image are refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Label = str | int | None

VIEW_LIMIT = 10**9
"""View numbers are below this."""
_FIT = 0.5  # of the identities, exactly
_NEARLY = 0.8  # of the images, where no reading fits so many identities
_MOST_NUMBERS = 3
_EXTENSION = re.compile(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{0,4}$")
_IMAGE = re.compile(r"[0-9]+\.(png|jpe?g|webp|exr|tiff?|bmp)", re.ASCII | re.IGNORECASE)
"""An image of some identity, and no identity."""
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_SEPARATORS = re.compile(r"[\W_]+")

NAMED, MENTIONED, ORDERED = 0, 1, 2
"""How much a place says: names and keys; values under unknown keys; positions in lists."""


@dataclass(frozen=True, eq=False)
class Labels:
    """One label a camera, or None, from one place; the tier is `NAMED` and so on."""

    place: str
    labels: Sequence[Label]
    tier: int

    @cached_property
    def distinct(self) -> dict[Label, int]:
        """Each label once, numbered as they come."""
        return {label: row for row, label in enumerate(dict.fromkeys(self.labels))}

    @cached_property
    def rows(self) -> IntArray:
        """For each camera, the number of its label."""
        return np.fromiter(map(self.distinct.__getitem__, self.labels), np.int64, len(self.labels))


class Images:
    """View numbers by identity, and whether these are all images of the release."""

    def __init__(self, views: Mapping[str, Collection[int]], complete: bool = True) -> None:
        self.views, self.complete, self.ids = views, complete, list(views)
        self.index = {name: row for row, name in enumerate(views)}
        # By name in any case and with any separators, if that is unique.
        folded = {_fold(name): row for name, row in self.index.items()}
        self.folded = folded if len(folded) == len(self.index) else self.index
        # The lengths of names that can be found in longer texts: no letter, no number.
        names = (name for name in self.folded if not name.isdigit())
        self.lengths = sorted({len(name) for name in names} - {1}, reverse=True)
        # By the numbers in names, if these are unique and equally many.
        numbered = {_numbers(name): row for name, row in self.index.items()}
        widths = set(map(len, numbered))
        good = len(numbered) == len(self.index) and len(widths) == 1 and 0 not in widths
        self.numbered = numbered if good else {}
        # Every image as one number, ascending: the identity's index, then the view.
        every = [view for each in views.values() for view in sorted(each)]
        self.counts = np.array([len(each) for each in views.values()], dtype=np.int64)
        owners = np.repeat(np.arange(len(self.ids)), self.counts)
        self.codes = _codes(owners, np.array(every, np.int64))

    @property
    def sample(self) -> str:
        """A few names, for messages."""
        some = [f"{name}/{view}.png" for name in self.ids[:2] for view in sorted(self.views[name])]
        return ", ".join([*some[:2], *some[-1:]]) + f", … ({len(self.ids)} identities)"


@dataclass(frozen=True, eq=False)
class Hole:
    """Subjects or views as one place gives them."""

    place: str
    tier: int
    values: IntArray  # for each camera the identity's index or the view's number; -1 for none
    labels: Sequence[Label]
    named: bool = False  # labels hold whole names, rather than numbers in them
    ranked: bool = False  # values only put a subject's views in order


@dataclass(frozen=True, eq=False)
class Reading:
    """Which image each camera belongs to, by one place for subjects and one for views."""

    subject: Hole
    view: str
    views: IntArray  # view number, by camera; -1 for none
    exact: float  # share of the identities that have exactly the cameras they need
    covered: float  # share of the images that have one camera
    doubtful: NDArray[np.bool_]  # another reading, that agrees otherwise, gives another image

    @property
    def subjects(self) -> IntArray:
        """Index of the identity, by camera; -1 for none of those that have images."""
        return self.subject.values

    def name_of(self, row: int) -> str:
        """What a camera's subject is called in the metadata, where no image is called so."""
        return _spellings(self.subject.labels[row])[-1][:100] or "without a name"

    @cached_property
    def codes(self) -> IntArray:
        """For each camera, its image as in `Images.codes`; -1 for none."""
        return _codes(self.subjects, self.views)

    def __str__(self) -> str:
        return f"subject = {self.subject.place}, view = {self.view}"

    @property
    def stated(self) -> dict[str, str]:
        """What states exactly this reading, as a `camera_schema`."""
        return {"subject": self.subject.place, "view": self.view}


def _codes(subjects: IntArray, views: IntArray) -> IntArray:
    return np.where((subjects >= 0) & (views >= 0), subjects * VIEW_LIMIT + views, -1)


def find_readings(
    columns: Sequence[Labels],
    images: Images,
    subject: str | None = None,
    view: str | None = None,
    *,
    any_order: bool = False,
) -> list[Reading]:
    """Find the likeliest reading, and others that fit as well and disagree with it.

    `columns` are the labels of all cameras; `subject` and `view` are the only places to take these
    from, where stated. With `any_order`, identities may be told by order too, and by that of any
    names.
    """
    columns = [part for column in columns for part in _components(column)]
    if any_order or any(place is not None and "order of " in place for place in (subject, view)):
        columns += [_in_order(column) for column in columns if column.tier < ORDERED]
    subjects = _stated([h for c in columns for h in _subject_holes(c, images, subject)], subject)
    views = _stated([h for c in columns for h in _view_holes(c, images)], view)
    nearly: list[Reading] = []
    # Values under unknown keys and order count the same: where they disagree, nothing is taken. An
    # identity is never told by its position in a list, unless that is stated.
    for rank in range(2 + any_order):
        readings = [
            _evaluate(one, other, images)
            for one in subjects
            for other in views
            if (2 if one.tier == ORDERED else int(one.tier + other.tier > NAMED)) == rank
            and (_base(one.place) != _base(other.place) or subject == view is not None)
        ]
        fitting = [reading for reading in readings if reading.exact >= _FIT]
        if fitting:
            if view is None and rank == 1 and not any_order:
                ordered = [r for r in fitting if "order of " in r.view]
                fitting = [r for r in fitting if r not in ordered or not _names_views(columns, r)]
            return _disagreeing(fitting, columns, images, stated=subject is not None)
        nearly += [reading for reading in readings if reading.covered >= _NEARLY]
        if nearly and rank == 0:
            break
    return _disagreeing(nearly, columns, images, stated=subject is not None)


def _names_views(columns: Sequence[Labels], reading: Reading) -> bool:
    """Whether views have names of their own that were not understood: then order is no evidence."""
    known = reading.subjects >= 0
    subjects = reading.subjects[known]
    identities = len(np.unique(subjects))
    for column in columns:
        if column.tier == NAMED:
            pairs = np.unique(subjects * len(column.distinct) + column.rows[known])
            if len(pairs) == len(subjects) > identities:
                return True
    return False


def _base(place: str) -> str:
    return place.split(", counted")[0].split(", alone")[0]


def _stated(holes: list[Hole], place: str | None) -> list[Hole]:
    """Only those of a stated place, whatever they are worth otherwise."""
    if place is None:
        return holes
    wanted = " ".join(place.split()).casefold()
    said = [hole for hole in holes if hole.place.casefold() == wanted]
    said = said or [hole for hole in holes if _base(hole.place.casefold()) == wanted]
    return [replace(hole, tier=NAMED) for hole in said]


def _disagreeing(
    readings: list[Reading], columns: Sequence[Labels], images: Images, *, stated: bool
) -> list[Reading]:
    """The likeliest first, then those that fit and give most cameras another image."""
    if not readings:
        return []
    # The whole name of an identity is more than a number that happens to be one's.
    best = max(readings, key=lambda r: (r.subject.named, r.exact, r.covered))
    rivals: list[Reading] = []
    doubtful = np.zeros(len(best.subjects), dtype=bool)
    for other in readings:
        differ = (best.codes != other.codes) & (best.codes >= 0) & (other.codes >= 0)
        if (best.codes == other.codes).mean() > _FIT:
            doubtful |= differ
        elif differ.any() and other.subject.named == best.subject.named:
            rivals.append(other)
    if not (best.subject.named or stated or best.exact == 1) and images.complete:
        # Numbers that nearly match may be counted from another first identity.
        view = Hole(best.view, NAMED, best.views, ())
        rivals += [
            shifted
            for column in columns
            for hole in _subject_holes(column, images, "counted")
            if hole.place.startswith(f"{best.subject.place}, counted")
            and (shifted := _evaluate(hole, view, images)).exact > best.exact
        ]
    return [replace(best, doubtful=doubtful), *rivals]


def _evaluate(subject: Hole, view: Hole, images: Images) -> Reading:
    views = _by_rank(subject.values, view.values, images) if view.ranked else view.values
    codes = _codes(subject.values, views)
    found, counts = np.unique(codes[codes >= 0], return_counts=True)
    known = np.isin(found, images.codes, assume_unique=True)
    owners, size = found // VIEW_LIMIT, len(images.ids)
    hits = np.bincount(owners[known & (counts == 1)], minlength=size)
    wrong = np.bincount(owners[~known if images.complete else known & (counts > 1)], minlength=size)
    exact = ((hits == images.counts) & (wrong == 0)).mean()
    covered = hits.sum() / images.counts.sum()
    doubtful = np.zeros(len(views), dtype=bool)
    return Reading(subject, view.place, views, float(exact), float(covered), doubtful)


def _by_rank(subjects: IntArray, order: IntArray, images: Images) -> IntArray:
    """The first camera of a subject for its lowest view and so on, where there are as many."""
    views = np.full(len(order), -1, dtype=np.int64)
    rows = np.flatnonzero((subjects >= 0) & (order >= 0))
    rows = rows[np.lexsort((order[rows], subjects[rows]))]
    have = np.bincount(subjects[rows], minlength=len(images.ids))
    tied = (np.diff(subjects[rows]) == 0) & (np.diff(order[rows]) == 0)
    same = have == images.counts
    same[subjects[rows[1:]][tied]] = False
    views[rows[same[subjects[rows]]]] = (images.codes % VIEW_LIMIT)[np.repeat(same, images.counts)]
    return views


def _components(column: Labels) -> Iterator[Labels]:
    """A column of paths as several: the last name, the folder it is in, and the one above."""
    paths = {
        label: label.replace("\\", "/").split("/")
        for label in column.distinct
        if isinstance(label, str) and ("/" in label or "\\" in label)
    }
    if not paths:
        yield column
        return
    deepest = min(max(map(len, paths.values())), 4)
    for level, words in enumerate(("", "folder of ", "folder above ", "folder two above ")):
        if level < deepest:
            part: dict[Label, Label] = {
                label: steps[-1 - level] if level < len(steps) else None
                for label, steps in paths.items()
            }
            labels = [part.get(label, None if level else label) for label in column.labels]
            yield Labels(words + column.place, labels, column.tier)


def _subject_holes(column: Labels, images: Images, stated: str | None) -> Iterator[Hole]:
    if column.tier == ORDERED:
        yield from _subjects_by_order(column, images)
        return
    labels = column.distinct
    if stated is None and all(_IMAGE.fullmatch(str(label)) for label in labels):
        return
    names = {label: _name_in(label, images) for label in labels}
    if max(names.values(), default=-1) < 0:
        names = {label: _name_in(label, images, glued=True) for label in labels}
    if max(names.values(), default=-1) >= 0:
        yield _hole(column, column.place, names, named=True)
        if min(names.values()) >= 0 and stated is None:
            return
    if not images.numbered:
        return
    width = len(next(iter(images.numbered)))
    numbers = {label: _numbers(label) for label in labels}
    most = max(map(len, numbers.values()), default=0)
    for start in range(min(most - width + 1, _MOST_NUMBERS)):
        place = column.place if most == width else f"number {start + 1} of {column.place}"
        stop = start + width
        for shift, words in ((0, ""), (-1, ", counted from 1"), (1, ", counted from 0")):
            if shift and (stated is None or "counted" not in stated):
                continue  # an identity is never taken for its neighbour unasked
            found = {
                label: images.numbered.get((*each[start : stop - 1], each[stop - 1] + shift), -1)
                if len(each) >= stop
                else -1
                for label, each in numbers.items()
            }
            if max(found.values()) >= 0:
                yield _hole(column, place + words, found)


def _name_in(label: Label, images: Images, *, glued: bool = False) -> int:
    """Find the identity whose name a label is, or contains as words of its own or `glued`."""
    for spelt in _spellings(label):
        if spelt in images.index:
            return images.index[spelt]
    text = _fold(spelt[:200])
    if text in images.folded:
        return images.folded[text]
    for length in images.lengths:
        found = {
            images.folded[name]
            for at in range(len(text) - length + 1)
            if (name := text[at : at + length]) in images.folded
            and (glued or f"_{name}_" in f"_{text}_")
        }
        if found:
            return found.pop() if len(found) == 1 else -1
    return -1


def _subjects_by_order(column: Labels, images: Images) -> Iterator[Hole]:
    """The first of a list for the first name in order, where there are as many."""
    positions = sorted(
        {each for each in column.labels if isinstance(each, (int, str))}, key=_natural
    )
    if len(positions) != len(images.ids) or not images.complete:
        return
    by_number, by_text = sorted(images.ids, key=_natural), sorted(images.ids)
    for words, names in (("", by_number), ("text ", by_text)):
        if names is by_number or by_text != by_number:
            ranks: dict[Label, int] = dict(
                zip(positions, map(images.index.__getitem__, names), strict=True)
            )
            yield _hole(column, words + column.place, ranks)


def _view_holes(column: Labels, images: Images) -> Iterator[Hole]:
    labels = column.distinct
    numbers = {label: _numbers(label) for label in labels}
    most = max(map(len, numbers.values()), default=0)
    starts = {min(len(each) - 1, _MOST_NUMBERS) for each in numbers.values() if each}
    for start in range(max(starts, default=-1) + 1):
        place = column.place if most == 1 else f"number {start + 1} of {column.place}"
        found = {
            label: each[start] if start < len(each) and each[start] < VIEW_LIMIT else -1
            for label, each in numbers.items()
        }
        pure = {label: _spellings(label)[-1].isdecimal() for label in labels}
        if 0 < sum(pure.values()) < len(labels):  # `3.png` beside `3_mirror.png`
            exact = {label: number if pure[label] else -1 for label, number in found.items()}
            yield _hole(column, f"{place}, alone", exact)
        for label in labels:
            # Blender's first camera is `Camera`, the next `Camera.001`.
            if not numbers[label] and isinstance(label, str) and f"{label}.001" in labels:
                found[label] = 0
        yield _hole(column, place, found)
        lowest = min((number for number in found.values() if number >= 0), default=-1)
        first = int((images.codes % VIEW_LIMIT).min())
        if column.tier == ORDERED:
            if images.complete:
                yield _hole(column, place, found, ranked=True)
        elif lowest == 1:
            shifted = {label: number - 1 for label, number in found.items()}
            yield _hole(column, f"{place}, counted from 1", shifted)
        elif lowest == 0 and first == 1 and images.complete:
            shifted = {label: number + (number >= 0) for label, number in found.items()}
            yield _hole(column, f"{place}, counted from 0", shifted)


def _hole(column: Labels, place: str, found: Mapping[Label, int], **kind: bool) -> Hole:
    values = np.array([found.get(label, -1) for label in column.distinct], dtype=np.int64)
    return Hole(place, column.tier, values[column.rows], column.labels, **kind)


def _spellings(label: Label) -> tuple[str, ...]:
    text = "" if label is None else str(label)
    stem = _EXTENSION.sub("", text)
    return (text,) if stem == text else (text, stem)


def _fold(name: str) -> str:
    return _SEPARATORS.sub("_", name.casefold())


def _numbers(label: Label) -> tuple[int, ...]:
    if isinstance(label, int):
        return (label,) if label >= 0 else ()
    return tuple(map(int, _NUMBER.findall(_EXTENSION.sub("", label)))) if label else ()


def _natural(name: Label) -> tuple[tuple[int, str], ...]:
    """Sort `2` before `10`."""
    parts = re.split(r"([0-9]{1,18})", str(name))
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _in_order(column: Labels) -> Labels:
    """Names that say nothing as positions: files by name, keys as they follow one another."""
    if not column.place.startswith("key of "):
        return replace(column, place=f"order of {column.place}", tier=ORDERED)
    labels = column.rows.tolist()
    return Labels(f"order of {column.place.removeprefix('key of ')}", labels, ORDERED)
