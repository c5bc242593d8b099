"""From the zips to readers of the Hub: every step is a command or a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow.parquet as pq
import pytest
from hub_release import unmark
from hub_server import HubServer, hub_environment
from hub_server.hub import TOKENS
from pushing import exported
from typer.testing import CliRunner
from warm import geogen, run

from geogen_hf.cli import app
from geogen_hf.release.shards import SPLITS

pytestmark = [pytest.mark.datasets, pytest.mark.slow]

waits = pytest.mark.skipif(
    not hasattr(huggingface_hub, "close_session"),
    reason="before 1.0, the client itself gives up at the limit when it reads the card",
)

REPO = "lab/geogen"
RAW = "lab/geogen-raw"
READER = TOKENS.reader


@dataclass
class Lab:
    """A Hub with two versions of the data set, and the mirror of its originals."""

    hub: HubServer
    root: Path  # for caches; processes run here
    old: Path  # exported first, tagged v1.0.0
    new: Path  # on main
    parts: Path  # the original zips

    def env(self, token: str | None, home: str, **more: str) -> dict[str, str]:
        return hub_environment(self.hub, self.root / home, token) | more

    def geogen(self, *arguments: object, token: str | None = None) -> str:
        """Run a command of the package, and return what it says."""
        done = geogen(*arguments, env=self.env(token, "home-of-geogen"), cwd=self.root)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def read(self, function: str, env: dict[str, str], **arguments: Any) -> Any:
        """Read in a process; an `AssertionError` says what it raised."""
        done = run("-m", "hub_reading", function, json.dumps(arguments), env=env, cwd=self.root)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        if "error" in said:
            raise AssertionError(said["error"])
        return said["result"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("lab")
    with HubServer(root / "hub") as hub:
        lab = Lab(hub, root, root / "old", root / "new", root / "parts")
        owner = hub.tokens.owner
        lab.geogen("sample", lab.parts, "--subjects", 24, "--size", 32)
        unmark(lab.parts)
        lab.geogen("export", lab.parts, lab.old, "--workers", 1)
        first = lab.geogen("push", lab.old, REPO, "--public", "--tag", "v1.0.0", token=owner)
        assert f"{hub.url}/datasets/{REPO}" in first
        exported(lab.parts, lab.new, split_seed=7, image_size=128)
        lab.geogen("push", lab.new, REPO, token=owner)
        lab.geogen("push", "--raw", lab.parts, RAW, token=owner)
        yield lab


@pytest.fixture(scope="module")
def on_disk(lab: Lab) -> dict[str, Any]:
    """The rows of both exports as plain `datasets` reads them from disk, by export."""
    paths, configs = [str(lab.old), str(lab.new)], ["sequences", "cameras"]
    old, new = lab.read("rows", lab.env(None, "home-on-disk"), paths=paths, configs=configs)
    return {"old": old, "new": new}


def ids_in(folder: Path, config: str, split: str) -> set[str]:
    """Read the identities of a split without `datasets`."""
    files = sorted((folder / "data" / config).glob(f"{split}-*.parquet"))
    return {name for file in files for name in pq.read_table(file)["subject_id"].to_pylist()}


def test_from_an_empty_cache_and_then_offline(lab: Lab, on_disk: dict[str, Any]) -> None:
    home = "home-of-a-reader"
    (got,) = lab.read("rows", lab.env(READER, home), configs=[None, "cameras"])
    for split in SPLITS:
        assert got[f"None {split}"] == on_disk["new"][f"sequences {split}"]
        assert got[f"cameras {split}"] == on_disk["new"][f"cameras {split}"]
        names = {name.rstrip("/") for name in got[f"None {split}"]}
        assert names == ids_in(lab.new, "sequences", split) != set()

    before = len(lab.hub.counters.log)
    offline = lab.env(None, home, HF_HUB_OFFLINE="1")
    # By name: `datasets` does not know the default config without the Hub.
    assert lab.read("rows", offline, configs=["sequences", "cameras"]) == [on_disk["new"]]
    assert len(lab.hub.counters.log) == before


def test_the_tag_keeps_the_old_rows(lab: Lab, on_disk: dict[str, Any]) -> None:
    (got,) = lab.read("rows", lab.env(READER, "home-pinned"), revision="v1.0.0")
    for split in SPLITS:
        assert got[f"None {split}"] == on_disk["old"][f"sequences {split}"]
        assert got[f"None {split}"] != on_disk["new"][f"sequences {split}"]


def test_streamed_by_two_workers(lab: Lab, on_disk: dict[str, Any]) -> None:
    wanted = [
        {"config": "sequences", "workers": 2},
        {"config": "cameras", "workers": 2},
        {"config": "sequences", "workers": 2, "revision": "v1.0.0"},
    ]
    assert lab.read("all_streamed", lab.env(READER, "home-streaming"), wanted=wanted) == [
        on_disk["new"]["sequences train"],
        on_disk["new"]["cameras train"],
        on_disk["old"]["sequences train"],
    ]


@waits
def test_streaming_waits_where_the_hub_limits_requests(lab: Lab, on_disk: dict[str, Any]) -> None:
    log = lab.hub.counters.log
    before = len(log)
    lab.hub.resolve_limit = (2, 2)
    try:
        wanted = [{"config": "sequences", "workers": 2}]
        got = lab.read("all_streamed", lab.env(READER, "home-limited"), wanted=wanted)
    finally:
        lab.hub.resolve_limit = None
    assert got == [on_disk["new"]["sequences train"]]
    resolved = [status for _, path, status in log[before:] if "/resolve/" in path]
    assert 429 in resolved
    assert not lab.hub.storage_tokens  # no client ever sent its token to the storage host


@pytest.mark.parametrize("workers", [0, 2])
def test_training_resolves_each_file_once(lab: Lab, workers: int) -> None:
    files = len(list((lab.new / "data/sequences").glob("train-*")))
    most = files + 5 * max(1, workers)
    lab.hub.counters.reset()
    lab.hub.resolve_limit = (most, 600)
    try:
        env = lab.env(READER, f"home-training-{workers}")
        got = lab.read("trained", env, workers=workers)
    finally:
        lab.hub.resolve_limit = None
    assert sorted(got) == sorted(ids_in(lab.new, "sequences", "train"))
    assert lab.hub.counters.calls["resolve"] <= most
    of_data = [p for _, p, _ in lab.hub.counters.log if "/resolve/" in p and "parquet" in p]
    assert len(of_data) == len(set(of_data)) == files
    assert 429 not in {status for _, _, status in lab.hub.counters.log}


@waits
def test_training_waits_at_the_limit_and_every_row_comes_once(lab: Lab) -> None:
    lab.hub.counters.reset()
    lab.hub.resolve_limit = (1, 1)
    try:
        got = lab.read("trained", lab.env(READER, "home-training-limited"), workers=2)
    finally:
        lab.hub.resolve_limit = None
    assert sorted(got) == sorted(ids_in(lab.new, "sequences", "train"))
    assert 429 in {status for _, path, status in lab.hub.counters.log if "/resolve/" in path}
    assert not lab.hub.storage_tokens


def test_one_identity_costs_little_more_than_its_bytes(lab: Lab) -> None:
    subject_id = min(ids_in(lab.new, "sequences", "train"))
    lab.hub.counters.reset()
    own = lab.read("one", lab.env(READER, "home-one"), subject_id=subject_id)
    (of_file, *_) = (lab.new / "data/sequences").glob("train-*")
    counters = lab.hub.counters
    assert counters.sent.total() <= 1.3 * own + 300_000 < of_file.stat().st_size
    # Two to look around, two small files, the data file's address; its footer, ids, row group.
    assert counters.calls.total() <= 8


@pytest.mark.parametrize(
    ("token", "advice"),
    [(None, "You must be authenticated"), ("stranger", "ask for access")],
)
def test_the_gate_says_what_to_do(lab: Lab, token: str | None, advice: str) -> None:
    env = lab.env(token and getattr(lab.hub.tokens, token), "home-outside")
    said = lab.read("refusals", env)
    assert len(said) == 4
    assert all("is a gated dataset on the Hub" in text and advice in text for text in said), said


@pytest.mark.parametrize("streaming", [True, False])
def test_the_mirror_is_a_source(lab: Lab, streaming: bool, on_disk: dict[str, Any]) -> None:
    env = lab.env(None, f"home-mirror-{streaming}")
    options = {"base_url": f"hf://datasets/{RAW}", "token": lab.hub.tokens.owner}
    got = lab.read("straight", env, config="sequences", streaming=streaming, **options)
    assert got == on_disk["old"]["sequences train"]


def test_the_mirror_is_inspected_in_place(lab: Lab) -> None:
    said = lab.geogen("inspect", f"hf://datasets/{RAW}", token=lab.hub.tokens.owner)
    local = CliRunner().invoke(app, ["inspect", str(lab.parts)]).output
    # Behind a URL, only some images are looked at.
    same = [
        [line for line in text.splitlines() if not line.startswith("image sizes")]
        for text in (said, local)
    ]
    assert same[0] == same[1]
    assert len(same[0]) > 8


def test_the_published_folder_is_verified_in_place(lab: Lab) -> None:
    assert lab.geogen("verify", f"hf://datasets/{REPO}@v1.0.0", token=READER)
