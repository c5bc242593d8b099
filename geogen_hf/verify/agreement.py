"""What files must agree on with each other: identities, cameras, pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from geogen_hf.report import some_of
from geogen_hf.splits import SPLITS
from geogen_hf.verify.files import FileFindings, View
from geogen_hf.verify.fingerprints import Picture, near_pairs

MOST_NEAR = 1000
"""So many pairs of near-duplicates are named at most: even backgrounds may all look alike."""


def check_manifest(findings: Sequence[FileFindings], manifest: Mapping[str, str]) -> Iterator[str]:
    """Identities of every config: those of the manifest, each in its split and in no other."""
    for config in sorted({finding.config for finding in findings if finding.config}):
        placed: dict[str, str] = {}
        for finding in findings:
            for view in finding.views if finding.config == config else ():
                first = placed.setdefault(view.subject_id, finding.split)
                if first != finding.split:
                    yield f"{config}: {view.subject_id} is in {first} and in {finding.split}"
        odd = {subject for subject, _ in set(placed.items()) ^ set(manifest.items())}
        if odd:
            yield f"{config}: identities or splits are not those of splits.csv: {some_of(odd)}"


def check_agreement(findings: Sequence[FileFindings]) -> Iterator[str]:
    """Every config tells the same of every view, and once."""
    told: dict[tuple[str, int], list[tuple[str, View]]] = {}
    seen: dict[str, set[tuple[str, int]]] = {f.config: set() for f in findings if f.config}
    for finding in findings:
        for view in finding.views:
            key = (view.subject_id, view.view_id)
            place = f"{finding.path}: {view.subject_id} view {view.view_id}"
            if key in seen[finding.config]:
                yield f"{place} is there twice"
                continue
            seen[finding.config].add(key)
            for config, other in told.setdefault(key, []):
                yield from (
                    f"{place}: its {what} in {config}" for what in _differences(view, other)
                )
            told[key].append((finding.config, view))
    if len({frozenset(keys) for keys in seen.values()}) > 1:
        sizes = {config: len(keys) for config, keys in seen.items()}
        yield f"the configs do not hold the same views; they have {sizes}"


def _differences(view: View, other: View) -> Iterator[str]:
    if view.cameras != other.cameras:
        yield "camera is not the one"
    if view.size and other.size and view.size != other.size:
        found, said = (f"{width} x {height}" for width, height in (view.size, other.size))
        yield f"size, {found}, is not {said} as"
    if view.picture and other.picture and view.picture.pixels != other.picture.pixels:
        yield "picture is not the one"


def _placed_pictures(findings: Sequence[FileFindings]) -> list[tuple[str, View, Picture]]:
    """Split, view and fingerprints of every decoded image, of one config that has images."""
    configs = [f.config for f in findings if any(view.picture for view in f.views)]
    return [
        (f.split, view, view.picture)
        for f in findings
        if configs and f.config == configs[0]
        for view in f.views
        if view.picture is not None
    ]


def check_disjoint(findings: Sequence[FileFindings]) -> Iterator[str]:
    """No picture is in two splits."""
    places: dict[bytes, tuple[str, View]] = {}
    for split, view, picture in _placed_pictures(findings):
        other_split, other = places.setdefault(picture.pixels, (split, view))
        if other_split != split:
            yield (
                f"the same picture is in {other_split} ({other.subject_id} view {other.view_id}) "
                f"and in {split} ({view.subject_id} view {view.view_id})"
            )


def near_duplicates(findings: Sequence[FileFindings]) -> Iterator[str]:
    """Name pictures of different splits that look alike, at most `MOST_NEAR` pairs."""
    placed = _placed_pictures(findings)
    if not placed:
        return
    looks = np.frombuffer(b"".join(picture.look for *_, picture in placed), np.uint8)
    groups = np.array([SPLITS.index(split) for split, *_ in placed])
    pairs = near_pairs(looks.reshape(len(placed), -1), groups)
    alike = ((placed[one], placed[other]) for one, other in pairs)
    unequal = ((a, b) for a, b in alike if a[2].pixels != b[2].pixels)
    for (split, a, _), (other_split, b, _) in islice(unequal, MOST_NEAR):
        yield (
            f"{a.subject_id} view {a.view_id} ({split}) looks like {b.subject_id} view "
            f"{b.view_id} ({other_split})"
        )


def view_counts(findings: Sequence[FileFindings]) -> dict[int, int]:
    """Count the identities that have so many views, by one config."""
    config = next((f.config for f in findings if f.views), None)
    views = Counter(v.subject_id for f in findings if f.config == config for v in f.views)
    return dict(sorted(Counter(views.values()).items()))
