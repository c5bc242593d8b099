"""Where does the camera stand? A small network learns it from one picture, out of a stream.

    geogen sample parts --subjects 60 --size 64 && geogen export parts geogen
    python examples/train_pose.py --data geogen
    torchrun --nproc-per-node 2 examples/train_pose.py --data geogen  # on two processes or GPUs
    python examples/train_pose.py --parts parts                       # straight out of the zips

`--data` is an exported folder or a Hub id. Whatever stops a run, the same command continues it,
within the epoch: every identity is still seen exactly once in each. `torchrun` comes with PyTorch;
torchdata and matplotlib are all that is installed for this.

Angles are those of `geogen_hf.cameras.rigs`: around the point that the cameras of an identity look
at; up is their mean up direction, azimuth 0 the world's z axis. A flipped picture comes with the
camera of the mirrored world, so its angles are right again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
from pose_checkpoint import ENDED, Progress, load_checkpoint, save_checkpoint
from pose_data import Batch, loader_of, mean_direction, real_views, test_rows, training_rows
from pose_net import PoseNet, answered_angles, directions, errors_deg, targets
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from geogen_hf.errors import GeoGenError
from geogen_hf.training import ToTensors

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
GPU = torch.cuda.is_available()
DEVICE = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if GPU else "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="exported folder, or Hub id")
    source.add_argument("--parts", help="folder with the eight zips")
    parser.add_argument("--out", type=Path, default=Path("pose"), help="checkpoint, log and curve")
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch", type=int, default=4, help="identities a batch and process")
    parser.add_argument("--workers", type=int, default=2, help="loading, for each process")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--save-every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if WORLD > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if GPU else "gloo")
    try:
        train(args)
    except (GeoGenError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")
    finally:
        if WORLD > 1:
            dist.destroy_process_group()


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    model = PoseNet().to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), args.lr)
    # With other rows, workers or batches, a data loader's place in the epoch would mean nothing.
    kept = {name: getattr(args, name) for name in ("batch", "workers", "size", "seed")}
    kept |= {"source": args.data or args.parts, "processes": WORLD}
    progress = load_checkpoint(args.out, model, optimizer, kept)

    augment = ToTensors(size_wh=(args.size, args.size), flip_chance=0.5, seed=args.seed)
    rows = training_rows(args, augment, RANK, WORLD)
    parallel = DistributedDataParallel(model) if WORLD > 1 else model
    while progress.epoch < args.epochs:
        rows.set_epoch(progress.epoch)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * (1 + math.cos(math.pi * progress.epoch / args.epochs)) / 2
        train_epoch(parallel, optimizer, rows, progress, args)
        progress.finish_epoch(test_error=test_error(args, model))
        save_checkpoint(args.out, model, optimizer, progress)
        say("epoch {}: training {:.1f}°, test {:.1f}°".format(progress.epoch, *progress.curve[-1]))

    constant = test_error(args, mean_direction(args).to(DEVICE))
    say(f"mean error on the test set: {progress.curve[-1][1]:.1f}°")
    say(f"… of the best constant answer: {constant:.1f}°")
    if RANK == 0:
        draw_curve(args.out / "curve.png", progress.curve, constant)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Any,
    progress: Progress,
    args: argparse.Namespace,
) -> None:
    """Train on what is left of the epoch."""
    loader = loader_of(rows, args)
    place = progress.data[RANK] if progress.data else None
    if place not in (None, ENDED):
        loader.load_state_dict(place)
    model.train()
    for batch in in_step(iter(() if place == ENDED else loader)):
        images, angles = real_views(batch, DEVICE) if batch else no_views(args.size)
        answers = model(images)
        answered = directions(answered_angles(answers.detach()))
        error = float(errors_deg(answered, directions(angles)).sum())
        error, views = summed(error, len(images))
        # DistributedDataParallel takes the mean over processes: so this is one over all views.
        loss = (answers - targets(angles)).square().sum() * WORLD / views
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.count(error, views)
        log_rows(args.out, progress, batch["subject_id"] if batch else [])
        if progress.step % args.save_every == 0:
            progress.data = gathered(loader.state_dict() if batch else ENDED)
            save_checkpoint(args.out, getattr(model, "module", model), optimizer, progress)


def test_error(args: argparse.Namespace, answer: nn.Module | Tensor) -> float:
    """Mean error in degrees on the test set, of a model or of one constant direction."""
    total, views = 0.0, 0
    for batch in loader_of(test_rows(args, RANK, WORLD), args):
        images, angles = real_views(batch, DEVICE)
        if isinstance(answer, nn.Module):
            answered = answered_directions(answer, images)
        else:
            answered = answer.expand(len(images), 3)
        total += float(errors_deg(answered, directions(angles)).sum())
        views += len(images)
    total, views = summed(total, views)
    return total / views


@torch.inference_mode()
def answered_directions(model: nn.Module, images: Tensor) -> Tensor:
    model.eval()
    return directions(answered_angles(model(images)))


# Several processes


def in_step(batches: Iterator[Batch]) -> Iterator[Batch | None]:
    """Go on until no process has a batch left; those that have none meanwhile get None."""
    while True:
        batch = next(batches, None)
        (remaining,) = summed(batch is not None)
        if not remaining:
            return
        yield batch


def no_views(size: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(0, 3, size, size, device=DEVICE), torch.zeros(0, 2, device=DEVICE)


def summed(*values: float) -> list[float]:
    """Sums over all processes."""
    sums = torch.tensor(values, dtype=torch.float64)
    if WORLD > 1:
        dist.all_reduce(sums)
    return sums.tolist()


def gathered(value: Any) -> list[Any]:
    """What every process has, in all of them."""
    values = [value] * WORLD
    if WORLD > 1:
        dist.all_gather_object(values, value)
    return values


# What is left for people to look at


def say(line: str) -> None:
    if RANK == 0:
        print(line, flush=True)


def log_rows(folder: Path, progress: Progress, subject_ids: list[str]) -> None:
    """Note what a step has learnt from; a step that is done again after a crash replaces itself."""
    line = {"epoch": progress.epoch, "step": progress.step, "subjects": subject_ids}
    with open(folder / f"rows-{RANK}.jsonl", "a") as log:
        log.write(json.dumps(line) + "\n")


def draw_curve(path: Path, curve: list[tuple[float, float]], constant: float) -> None:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    epochs = range(1, len(curve) + 1)
    for name, errors in zip(("training", "test"), zip(*curve, strict=True), strict=True):
        axes.plot(epochs, errors, label=name)
    axes.axhline(constant, color="grey", linestyle="--", label="constant answer, test")
    axes.set(xlabel="epoch", ylabel="mean angular error, degrees", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
