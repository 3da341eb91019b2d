"""Compute a batch in chunks: the same values and gradients in less memory, but more time (gradient checkpointing)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result", Tensor, tuple[Tensor, Tensor])


def in_pieces(function: Callable[[slice], Result], count: int, pieces: int) -> Result:
    """Apply a function to a batch in chunks, and concatenate the results.

    Only the results of a chunk are kept; for the gradient, the chunk is computed again (Chen et al., arXiv 1604.06174).
    So a loss can use the whole batch while only one chunk at a time needs the memory of a backward pass.

    Args:
        function: maps a slice of the batch to its results, a tensor [len(slice), ...] or two such tensors; it must be
            deterministic.
        count: number of images in the batch.
        pieces: largest number of chunks; 1 computes the batch at once, and nothing twice.

    Returns:
        Results [count, ...], equal to `function(slice(0, count))`.
    """
    parts = slices(count, pieces)
    if len(parts) == 1:
        return function(parts[0])
    if not torch.is_grad_enabled():
        return _joined([function(part) for part in parts])
    again = lambda part: checkpoint(function, part, use_reentrant=False, preserve_rng_state=False)
    return _joined([again(part) for part in parts])


def _joined(parts: list[Result]) -> Result:
    """Concatenate tensors, or both tensors of pairs."""
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    first, second = zip(*parts, strict=True)
    return torch.cat(first), torch.cat(second)


def slices(count: int, pieces: int) -> list[slice]:
    """Split a batch of `count` images into `pieces` chunks of nearly equal size, at most one per image."""
    pieces = min(pieces, count)
    ends = [count * i // pieces for i in range(pieces + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]
