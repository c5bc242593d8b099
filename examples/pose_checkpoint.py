"""Checkpoints of `train_pose.py`: weights and the place in the data, in one file, whole or not."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geogen_hf.durable import write_durably

ENDED = "ended"
"""The place of a process that has no rows left in this epoch."""


@dataclass
class Progress:
    """How far training is.

    Attributes:
        setting: What must stay the same when a run continues.
        epoch: The current one, from 0.
        step: Steps so far, over all epochs.
        data: For every process, the state of its data loader; empty at the start of an epoch.
        errors_deg: Sum of the errors in this epoch's training, and of how many views.
        curve: For every finished epoch, mean errors in training and on the test set, degrees.
    """

    setting: dict[str, Any]
    epoch: int = 0
    step: int = 0
    data: list[Any] = field(default_factory=list)
    errors_deg: tuple[float, float] = (0.0, 0.0)
    curve: list[tuple[float, float]] = field(default_factory=list)

    def count(self, errors_deg: float, views: float) -> None:
        """Count one step."""
        self.step += 1
        self.errors_deg = (self.errors_deg[0] + errors_deg, self.errors_deg[1] + views)

    def finish_epoch(self, *, test_error: float) -> None:
        """Go to the start of the next epoch."""
        self.curve.append((self.errors_deg[0] / self.errors_deg[1], test_error))
        self.epoch, self.data, self.errors_deg = self.epoch + 1, [], (0.0, 0.0)


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Replace the checkpoint; whenever the process is killed, there is the old or the new one.

    There is no random state to keep: what is drawn depends on seed, epoch and identity.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        return
    buffer = io.BytesIO()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**state, "progress": asdict(progress)}, buffer)
    write_durably(folder / "checkpoint.pt", buffer.getvalue())


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, setting: dict[str, Any]
) -> Progress:
    """Continue from the checkpoint in `folder`, or start where there is none."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return Progress(setting)
    state = torch.load(path, map_location="cpu", weights_only=True)
    progress = Progress(**state["progress"])
    if progress.setting != setting:
        sys.exit(f"{path} was made with {progress.setting}, not {setting}: choose another --out")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return progress
