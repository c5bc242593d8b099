"""Every row once, whatever the nodes, workers, kills and epochs: in real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import TRAIN, Once
from warm import run

pytestmark = [
    pytest.mark.slow,
    # Python 3.12 on: torch's workers are forked, by its default.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    # torchdata 0.11 calls it, torch 2.13 deprecates it.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),
]


@pytest.fixture(scope="module")
def runs(by_subject: Path, exported: Path, once: Once) -> Path:
    """Folder with what `training_runs` found."""
    shards = list((exported / "data/sequences").glob("train-*"))
    assert 1 < len(shards) < 12  # fewer than nodes times workers

    def train(folder: Path) -> None:
        (folder / "parts").symlink_to(by_subject)
        (folder / "geogen").symlink_to(exported)
        done = run("-m", "training_runs", folder)
        assert done.returncode == 0, done.stderr[-4000:]

    return once("training", train)


@pytest.fixture(scope="module")
def matrix(runs: Path) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = json.loads((runs / "matrix.json").read_text())
    return found


def scenario(runs: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs / "scenarios.json").read_text())[name]
    assert "failed" not in found, found["failed"]
    return found


def subjects(rows: list[str]) -> list[str]:
    return [row.split()[0] for row in rows]


def test_every_row_once_on_any_nodes_and_workers(matrix: dict[str, list[list[str]]]) -> None:
    for combination, shares in matrix.items():
        kind, nodes, *_ = combination.split()
        seen = sorted(subjects([row for share in shares for row in share]))
        assert len(shares) == int(nodes)
        if kind == "prepared":  # DistributedSampler repeats rows, so that all nodes have as many
            assert len(seen) == -(-len(TRAIN) // int(nodes)) * int(nodes)
            seen = sorted(set(seen))
        assert seen == sorted(TRAIN), combination
        assert all(shares), combination


def test_views_do_not_depend_on_who_chooses(matrix: dict[str, list[list[str]]]) -> None:
    rows = {row for shares in matrix.values() for share in shares for row in share}
    assert len(rows) == len(TRAIN)
    assert len({row.split()[1] for row in rows}) > 5


def test_order_follows_shuffling(matrix: dict[str, list[list[str]]]) -> None:
    (stored,), (shuffled,) = matrix["folder 1 0 False"], matrix["folder 1 0 True"]
    assert stored != shuffled
    assert matrix["folder 1 1 True"] == [shuffled]  # one worker reads as none does


@pytest.mark.parametrize("run", ["folder 0", "folder 2", "builder 2"])
def test_killed_twice_and_resumed_is_one_epoch(runs: Path, run: str) -> None:
    found = scenario(runs, f"killed {run}")
    assert found["exits"] == [-9, -9, 0]
    first, second, last = found["stops"]
    assert 3 <= first < second < last == len(TRAIN)
    assert sorted(subjects(found["seen"])) == sorted(TRAIN)
    assert found["seen"] == found["whole"]


@pytest.mark.parametrize("run", ["folder None", "folder fork", "folder forkserver", "builder fork"])
def test_workers_that_stay_see_the_epoch(runs: Path, run: str) -> None:
    found = scenario(runs, f"persistent {run}")
    assert found["0"] == found["0 again"] == found["new 0"]
    assert found["1"] == found["new 1"]
    assert subjects(found["0"]) != subjects(found["1"])
    assert not set(found["0"]) >= set(found["1"])  # other views, too
    assert sorted(subjects(found["1"])) == sorted(TRAIN)
