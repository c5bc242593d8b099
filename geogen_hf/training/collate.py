"""Stack rows of tensors into a batch, also where the numbers of views differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import default_collate

from geogen_hf.training.shared_memory import as_batch


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack rows into a batch, for `DataLoader(collate_fn=collate)`.

    Rows with fewer views than the longest are filled up with zeros, and `view_mask` tells which
    views are real. Images keep PyTorch's `channels_last` order in memory. They are not copied where
    `ToTensors` put them side by side into shared memory.

    Args:
        rows: B rows as `ToTensors` makes them.

    Returns:
        `subject_id`, a list of B strings; `view_mask` `(B, V)` bool, false where a view is padding;
        and everything else as `(B, V, ...)`, V being the largest number of views.

    Raises:
        RuntimeError: Images differ in size: PyTorch cannot stack them.

    Example:
        >>> row = {"subject_id": "a", "images": torch.ones(3, 3, 2, 2), "view_ids": torch.arange(3)}
        >>> fewer = {"subject_id": "b", "images": torch.ones(1, 3, 2, 2), "view_ids": torch.ones(1)}
        >>> batch = collate([row, fewer])
        >>> batch["images"].shape, batch["view_mask"].tolist()
        (torch.Size([2, 3, 3, 2, 2]), [[True, True, True], [True, False, False]])
    """
    counts = torch.tensor([len(row["view_ids"]) for row in rows])
    most = int(counts.max())
    batch: dict[str, Any] = {}
    for name in rows[0]:
        column = [row[name] for row in rows]
        batch[name] = _stacked(column, most) if isinstance(column[0], Tensor) else column
    batch["view_mask"] = torch.arange(most) < counts[:, None]
    return batch


def _stacked(tensors: Sequence[Tensor], views: int) -> Tensor:
    # default_collate stacks into shared memory, in the order of the shapes: so images are given to
    # it as they lie in memory, and nothing is rearranged.
    channels_last = tensors[0].ndim == 4 and tensors[0].stride(1) == 1
    rows = [_padded(_in_memory(tensor, channels_last), views) for tensor in tensors]
    stack = as_batch(rows)
    if stack is None:
        stack = default_collate(rows)
    return stack.permute(0, 1, 4, 2, 3) if channels_last else stack


def _in_memory(tensor: Tensor, channels_last: bool) -> Tensor:
    return tensor.permute(0, 2, 3, 1) if channels_last else tensor


def _padded(tensor: Tensor, views: int) -> Tensor:
    missing = views - len(tensor)
    return pad(tensor, (0, 0) * (tensor.ndim - 1) + (0, missing)) if missing else tensor
