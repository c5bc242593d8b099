"""The training example: killed in the midst of an epoch, and continued."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import TRAIN
from warm import Child, run

pytestmark = [pytest.mark.datasets, pytest.mark.slow]

SCRIPT = Path(__file__).parents[1] / "examples" / "train_pose.py"
EPOCHS, SAVE_EVERY = 3, 3


@pytest.fixture
def command(exported: Path, tmp_path: Path) -> list[str]:
    options = {
        "data": exported,
        "out": tmp_path / "pose",
        "size": 32,
        "epochs": EPOCHS,
        "batch": 2,
        "save-every": SAVE_EVERY,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return [str(SCRIPT), *arguments]


def log_lines(path: Path) -> list[dict[str, object]]:
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def kill_in_second_epoch(command: list[str], environment: dict[str, str], log: Path) -> None:
    process = Child(*command, env=environment)
    give_up = time.monotonic() + 60
    while sum(line["epoch"] == 1 for line in log_lines(log)) < SAVE_EVERY + 1:
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.005)
    process.kill()
    assert process.finish().returncode == -signal.SIGKILL


def test_killed_it_continues_and_learns(command: list[str], tmp_path: Path) -> None:
    import torch

    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    log = tmp_path / "pose" / "rows-0.jsonl"
    kill_in_second_epoch(command, environment, log)
    before = len(log_lines(log))
    kept = torch.load(tmp_path / "pose" / "checkpoint.pt", weights_only=True)["progress"]
    assert kept["epoch"] == 1
    assert kept["data"]  # in the midst of the epoch
    finished = run(*command, env=environment)
    assert finished.returncode == 0, finished.stderr

    lines = log_lines(log)
    assert lines[before]["step"] == kept["step"] + 1
    last = {line["step"]: line for line in lines}  # a step done again replaces itself
    assert sorted(last) == list(range(1, len(last) + 1))
    for epoch in range(EPOCHS):
        steps = [line["subjects"] for line in last.values() if line["epoch"] == epoch]
        assert Counter(name for names in steps for name in names) == Counter(TRAIN)
    orders = {
        tuple(map(tuple, (line["subjects"] for line in last.values() if line["epoch"] == epoch)))
        for epoch in range(EPOCHS)
    }
    assert len(orders) == EPOCHS

    learnt, constant = map(float, re.findall(r"([\d.]+)°$", finished.stdout, re.MULTILINE)[-2:])
    assert 60 < constant < 120
    assert learnt < 0.6 * constant
    assert (tmp_path / "pose" / "curve.png").read_bytes().startswith(b"\x89PNG")
