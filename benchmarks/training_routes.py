"""The ways into training that `benchmarks.training` compares, and running one."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.link import Link, open_link
from benchmarks.measure import Cost, folder_bytes, run_job
from benchmarks.origin import BYTES_PER_S, ROUND_TRIP_S
from benchmarks.releases import VIEWS
from benchmarks.training_forms import Forms, transcoded

BATCH = 4
"""Subjects."""
NAMED = 5 * BATCH * VIEWS
"""Files of `imagefolder` over HTTP: `datasets` asks for each for 65 ms before it begins."""
FEWER = 120
"""Subjects in other formats: lossless WebP takes long to write."""
OURS = "benchmarks.training_ours"
PEERS = "benchmarks.training_peers"
MDS = "benchmarks.training_mds"


@dataclass(frozen=True)
class Route:
    """One way into training.

    Attributes:
        name: For people, and for `--routes`.
        module: Has the job.
        job: Its name there.
        source: A path, or what follows the link's URL.
        stored: What is on disk: a folder, or the beginning of the names of files.
        images: How many are in it.
        ours: Whether this package reads it.
        remote: Whether it goes over the link.
        files: Names of the remote files, where they are to be listed.
        python: Runs the job.
        compared: Whether its images are the same bytes as the others'.
    """

    name: str
    module: str
    job: str
    source: str
    stored: Path
    images: int
    ours: bool = False
    remote: bool = False
    files: tuple[str, ...] = ()
    python: str = sys.executable
    compared: bool = True

    def disk_bytes(self) -> int:
        """Size of what is stored."""
        if self.stored.is_dir():
            return folder_bytes(self.stored)
        return sum(path.stat().st_size for path in self.stored.parent.glob(f"{self.stored.name}*"))


def routes(forms: Forms, *, subjects: int, mds_python: str | None) -> Iterator[Route]:
    """Those that read the same images."""
    data = forms.folder / "data" / "sequences"
    shards = _names(data, "train*")
    tars = _names(forms.tars, "*")
    pngs = _names(forms.pngs, "train/*/*")
    count, everyone = len(pngs), subjects * VIEWS
    train = data / "train"  # the beginning of its files' names
    yield Route("folder", OURS, "folder", str(forms.folder), train, count, ours=True)
    yield Route("folder-http", OURS, "folder", "/data", train, count, True, True, shards)
    yield Route("zips", OURS, "zips", str(forms.parts), forms.parts, everyone, ours=True)
    yield Route("zips-http", OURS, "zips", "/parts", forms.parts, everyone, True, True)
    yield Route("webdataset", PEERS, "tars", str(forms.tars), forms.tars, count)
    yield Route("webdataset-http", PEERS, "tars", "/tars", forms.tars, count, False, True, tars)
    if mds_python is not None:
        mds = (forms.mds, count)
        yield Route("mds", MDS, "mds", str(forms.mds), *mds, python=mds_python)
        yield Route("mds-s3", MDS, "mds", "s3://mds", *mds, remote=True, python=mds_python)
    below = forms.pngs / "train"
    yield Route("files", PEERS, "files", str(forms.pngs), below, count)
    yield Route("imagefolder", PEERS, "imagefolder", str(forms.pngs), below, count)
    named = pngs[:NAMED]
    yield Route("imagefolder-http", PEERS, "imagefolder", "/pngs", below, count, False, True, named)


def transcoded_routes(subjects: int, size: int, wanted: Collection[str]) -> Iterator[Route]:
    """The exported folder with other images, of fewer subjects; written only if wanted."""
    subjects = min(subjects, FEWER)
    for options in ({"image_format": "webp"}, {"image_format": "jpeg"}, {"image_size": 256}):
        name = f"folder-{next(iter(options.values()))}"
        if wanted and name not in wanted:
            continue
        out = transcoded(subjects, size, **options)
        stored, count = out / "data" / "sequences", subjects * VIEWS
        yield Route(name, OURS, "folder", str(out), stored, count, ours=True, compared=False)


def _names(folder: Path, pattern: str) -> tuple[str, ...]:
    return tuple(sorted(str(path.relative_to(folder)) for path in folder.glob(pattern)))


def run_route(
    route: Route, port: int, batches: int, limit_s: float, *, watch_memory: bool = False
) -> tuple[Cost, int]:
    """Run a route's job; gives its cost and the bytes that came over the link."""
    with (
        # A download that a killed worker leaves may still grow while it is removed.
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        slow_link(port) if route.remote else nullcontext() as link,
    ):
        source = source_of(route, link)
        arguments = (route.job, source, BATCH, batches, limit_s)
        variables = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TMPDIR": scratch}
        if link is not None and source.startswith("s3:"):
            variables |= {"S3_ENDPOINT_URL": link.url, "AWS_DEFAULT_REGION": "none"}
            variables |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
        cost = run_job(
            route.module,
            *arguments,
            watch_memory=watch_memory,
            python=route.python,
            environment=variables,
        )
        return cost, link.traffic().down_bytes if link is not None else 0


def slow_link(port: int) -> Any:
    """Open the link of all remote routes."""
    return open_link(port, round_trip_s=ROUND_TRIP_S, bytes_per_s=BYTES_PER_S)


def source_of(route: Route, link: Link | None) -> str:
    """Where a route's job reads: a path, a URL, or a JSON list of URLs."""
    if link is None or "://" in route.source:
        return route.source
    base = f"{link.url}{route.source}"
    return json.dumps([f"{base}/{name}" for name in route.files]) if route.files else base
