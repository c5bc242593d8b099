"""Seconds to score camera conventions: `python -m benchmarks.evidence [SUBJECTS]`.

Geometry of all subjects and all candidates, then pixels for each candidate and subject. To measure
one core, start it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from geogen_hf.cameras.conventions import CANDIDATES, Convention, express
from geogen_hf.cameras.hull import Silhouettes
from geogen_hf.cameras.rigs import fit_orbit
from geogen_hf.cameras.scoring import score_conventions
from geogen_hf.cameras.silhouettes import silhouette
from geogen_hf.sample import render_view, subject_cameras

VIEWS = 7
SIZE = 512
DISTINCT = 500  # subjects generated; the rest repeats them in other worlds


def time_geometry(subjects: int) -> float:
    some = np.stack(
        [subject_cameras(f"subj_{index:05d}")[0] for index in range(min(DISTINCT, subjects))]
    )
    extrinsics = np.resize(some, (subjects, VIEWS, 4, 4))
    moved = np.tile(np.eye(4), (subjects, 1, 1, 1))
    moved[..., 0, :3, 3] = np.random.default_rng(0).normal(size=(subjects, 3))
    stored = list(express(extrinsics @ moved, Convention("camera_to_world", "opengl")))
    start = time.perf_counter()
    score_conventions(stored)
    return time.perf_counter() - start


def time_pixels() -> tuple[float, float]:
    extrinsics, intrinsics = subject_cameras("subj_00003", size=SIZE)
    pictures = [render_view("subj_00003", view, size=SIZE) for view in range(VIEWS)]
    start = time.perf_counter()
    silhouettes = Silhouettes([silhouette(picture) for picture in pictures], intrinsics)
    segmented = time.perf_counter()
    rounds = 10
    for _ in range(rounds):
        silhouettes.coherence(extrinsics, fit_orbit(extrinsics).centre)
    return segmented - start, (time.perf_counter() - segmented) / rounds


def main() -> None:
    subjects = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seconds = time_geometry(subjects)
    print(f"geometry: {seconds:.2f} s for {subjects:,} subjects x {VIEWS} x {len(CANDIDATES)}")
    segmenting, trying = time_pixels()
    print(f"pixels: {segmenting:.3f} s a subject to segment {VIEWS} pictures of {SIZE} px,")
    print(f"        {trying:.3f} s a candidate and subject")


if __name__ == "__main__":
    main()
