"""Stack rows of tensors into a batch, also where the numbers of views differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import default_collate, get_worker_info

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
    return batch if get_worker_info() is None else _small_together(batch)


def _stacked(tensors: Sequence[Tensor], views: int) -> Tensor:
    if tensors[0].ndim != 4:
        return torch.stack([_padded(tensor, views) for tensor in tensors])
    # default_collate stacks into shared memory, in the order of the shapes: so images are given to
    # it as they lie in memory, and nothing is rearranged.
    channels_last = tensors[0].stride(1) == 1
    order = (0, 2, 3, 1) if channels_last else (0, 1, 2, 3)
    rows = [_padded(tensor.permute(order), views) for tensor in tensors]
    stack = as_batch(rows)
    if stack is None:
        stack = default_collate(rows)
    return stack.permute(0, 1, 4, 2, 3) if channels_last else stack


def _small_together(batch: dict[str, Any]) -> dict[str, Any]:
    """Copy all but images and maps into one piece of shared memory.

    A worker makes a connection to hand over a piece; tensors in one piece share it.
    """
    small = {
        name: each for name, each in batch.items() if isinstance(each, Tensor) and each.ndim < 5
    }
    sizes = [-(-each.nbytes // 8) * 8 for each in small.values()]
    memory = torch.empty(sum(sizes), dtype=torch.uint8)
    memory.share_memory_()  # type: ignore[no-untyped-call]
    for (name, each), piece in zip(small.items(), torch.split(memory, sizes), strict=True):
        batch[name] = piece[: each.nbytes].view(each.dtype).view(each.shape).copy_(each)
    return batch


def _padded(tensor: Tensor, views: int) -> Tensor:
    missing = views - len(tensor)
    return pad(tensor, (0, 0) * (tensor.ndim - 1) + (0, missing)) if missing else tensor
