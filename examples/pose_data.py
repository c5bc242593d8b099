"""The stream of `train_pose.py`: rows of GeoGen to batches of images and camera angles."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from datasets.distributed import split_dataset_by_node
from pose_net import camera_angles, directions
from torch import Tensor, nn
from torchdata.stateful_dataloader import StatefulDataLoader

import geogen
from geogen_hf.training import ToTensors, as_tensors, collate

Batch = dict[str, Any]
BLOCK = 32
"""Identities that are shuffled together."""


def stream(args: argparse.Namespace, config: str, split: str) -> Any:
    """Rows of a split, from whichever source."""
    if args.parts:
        return geogen.load(config, split=split, data_dir=args.parts, streaming=True)
    return load_dataset(args.data, config, split=split, streaming=True)


def training_rows(args: argparse.Namespace, transform: ToTensors, rank: int, world: int) -> Any:
    """This process's share of the training rows, in another order in each epoch.

    `shuffle_block` rather than `IterableDataset.shuffle`, which loses what is in its buffer when a
    run is resumed.
    """
    rows = split_dataset_by_node(stream(args, "sequences", "train"), rank=rank, world_size=world)
    return as_tensors(rows, transform, shuffle_block=BLOCK, batch_size=args.batch)


def test_rows(args: argparse.Namespace, rank: int, world: int) -> Any:
    """This process's share of the test rows: identities that are in no other split."""
    rows = split_dataset_by_node(stream(args, "sequences", "test"), rank=rank, world_size=world)
    return as_tensors(rows, ToTensors(size_wh=(args.size, args.size)), batch_size=args.batch)


def loader_of(rows: Any, args: argparse.Namespace) -> StatefulDataLoader[Any]:
    """A data loader whose `state_dict` tells how far its workers are."""
    return StatefulDataLoader(
        rows,
        batch_size=args.batch,
        num_workers=min(args.workers, rows.num_shards),
        collate_fn=with_angles,
    )


def with_angles(rows: list[dict[str, Any]]) -> Batch:
    """Collate, and add `angles` `(B, V, 2)`: azimuth and elevation, radians."""
    return collate([{**row, "angles": camera_angles(row["extrinsics"].numpy())} for row in rows])


def real_views(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images `(N, 3, H, W)` and angles `(N, 2)` of a batch, without what is padding."""
    real = batch["view_mask"]
    return batch["images"][real].to(device), batch["angles"][real].to(device)


def mean_direction(args: argparse.Namespace) -> Tensor:
    """The best answer without looking: the mean of all training directions, `(3,)`."""
    total = torch.zeros(3)
    rows = stream(args, "cameras", "train")
    for _, views in itertools.groupby(rows, key=lambda row: row["subject_id"]):
        extrinsics = np.stack([np.asarray(view["extrinsics"]) for view in views])
        total += directions(camera_angles(extrinsics)).sum(dim=0)
    return nn.functional.normalize(total, dim=0)
