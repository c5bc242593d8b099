"""Indexing a whole release: `python -m benchmarks.index --subjects 10000`.

Against the same with `zipfile` and `json` alone: list 70,000 members of seven zips, read 10,000
metadata files, join. Images are tiny: only their number matters here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.releases import big_release
from geogen_hf.release.release import read_release
from geogen_hf.source.parts import IMAGE_PARTS, METADATA_PART, locate_parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    parts = big_release(options.subjects, 16)
    seconds: dict[Callable[[Path], int], list[float]] = {_plain: [], _geogen: []}
    for _ in range(options.repeats):
        for index, times in seconds.items():
            started = time.process_time()
            assert index(parts) == options.subjects
            times.append(time.process_time() - started)
    plain, ours = (statistics.median(times) for times in seconds.values())
    print(
        f"{7 * options.subjects} members, {options.subjects} metadata files; seconds of processor"
    )
    print(f"zipfile and json alone:  {plain:.2f} s")
    print(f"read_release, validated: {ours:.2f} s ({ours / plain:.2f} of it)")


def _plain(parts: Path) -> int:
    images: dict[str, list[str]] = {}
    for part in IMAGE_PARTS:
        with zipfile.ZipFile(parts / part.name) as zipped:
            for info in zipped.infolist():
                images.setdefault(info.filename.split("/")[0], []).append(info.filename)
    joined = 0
    with zipfile.ZipFile(parts / METADATA_PART.name) as zipped:
        for info in zipped.infolist():
            value = json.loads(zipped.read(info))
            extrinsics = np.array([camera["extrinsics"] for camera in value["cameras"]])
            joined += len(extrinsics) == len(images[value["name"]])
    return joined


def _geogen(parts: Path) -> int:
    release = read_release(locate_parts(parts))
    assert release.report.problems == ()
    return len(release.subjects)


if __name__ == "__main__":
    main()
