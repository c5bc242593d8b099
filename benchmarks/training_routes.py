"""The ways into training that `benchmarks.training` compares, and running one."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hub import REPO, LocalHub, hub_variables
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
class Servers:
    """What remote routes read from, beyond their links.

    Attributes:
        port: Of nginx.
        hub: Has the exported folder.
    """

    port: int
    hub: LocalHub


@dataclass(frozen=True)
class Reached:
    """A source, as a job sees it.

    Attributes:
        source: A path, a URL, a repository of the Hub, or a JSON list of URLs.
        variables: Environment variables of the job.
        links: What it reads over.
    """

    source: str
    variables: dict[str, str]
    links: tuple[Link, ...]

    def down_bytes(self) -> int:
        """Bytes that have come over the links."""
        return sum(link.traffic().down_bytes for link in self.links)


@dataclass(frozen=True)
class Route:
    """One way into training.

    Attributes:
        name: For people, and for `--routes`.
        module: Has the job.
        job: Its name there.
        source: A path, what follows the link's URL, or a repository of the Hub.
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
    tars = _names(forms.tars, "*")
    pngs = _names(forms.pngs, "train/*/*")
    count, everyone = len(pngs), subjects * VIEWS
    train = data / "train"  # the beginning of its files' names
    yield Route("folder", OURS, "folder", str(forms.folder), train, count, ours=True)
    yield Route("folder-hub", OURS, "folder", REPO, train, count, ours=True, remote=True)
    yield Route("folder-to-256", OURS, "folder_256", str(forms.folder), train, count, ours=True,
                compared=False)  # fmt: skip
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
    route: Route, servers: Servers, batches: int, limit_s: float, *, watch_memory: bool = False
) -> tuple[Cost, int]:
    """Run a route's job; gives its cost and the bytes that came over the link."""
    with reached(route, servers) as at:
        cost = run_job(
            route.module,
            *(route.job, at.source, BATCH, batches, limit_s),
            watch_memory=watch_memory,
            python=route.python,
            environment=at.variables,
        )
        return cost, at.down_bytes()


@contextmanager
def reached(route: Route, servers: Servers) -> Iterator[Reached]:
    """Open the links of a route, and an empty folder for what its job keeps."""
    with ExitStack() as stack:
        # A download that a killed worker leaves may still grow while it is removed.
        scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        kept = stack.enter_context(scratch)
        # An empty cache: a first batch is one that proves its convention.
        variables = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TMPDIR": kept}
        variables["HF_HOME"] = kept
        if not route.remote:
            yield Reached(route.source, variables, ())
            return
        if route.source == REPO:
            hub = stack.enter_context(_slow_link(_port(servers.hub.url)))
            storage = stack.enter_context(_slow_link(_port(servers.hub.storage_url)))
            servers.hub.control("settings", {"storage_url": storage.url})
            yield Reached(REPO, variables | hub_variables(hub.url, Path(kept)), (hub, storage))
            return
        link = stack.enter_context(_slow_link(servers.port))
        if route.source.startswith("s3:"):
            variables |= {"S3_ENDPOINT_URL": link.url, "AWS_DEFAULT_REGION": "none"}
            variables |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
            yield Reached(route.source, variables, (link,))
            return
        base = f"{link.url}{route.source}"
        named = json.dumps([f"{base}/{name}" for name in route.files]) if route.files else base
        yield Reached(named, variables, (link,))


def _slow_link(port: int) -> Any:
    return open_link(port, round_trip_s=ROUND_TRIP_S, bytes_per_s=BYTES_PER_S)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
