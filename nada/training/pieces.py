"""A batch in pieces: the same numbers and gradients in less memory, for more time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_pieces(function: Callable[[slice], Tensor], count: int, pieces: int) -> Tensor:
    """What a function makes of a batch, computed piece by piece.

    Nothing of a piece is kept but its result: for its gradient, it is computed once more (Chen et al., arXiv
    1604.06174). So the whole batch can meet in a loss while only one piece at a time takes the memory of training.

    Args:
        function: maps a part of the batch to its results, [len(part), ...]; equal parts give equal results.
        count: images in the batch.
        pieces: at most so many; 1 computes the batch at once, and nothing twice.

    Returns:
        [count, ...], as `function(slice(0, count))`.
    """
    parts = slices(count, pieces)
    if len(parts) == 1:
        return function(parts[0])
    if not torch.is_grad_enabled():
        return torch.cat([function(part) for part in parts])
    again = lambda part: checkpoint(function, part, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(part) for part in parts])


def slices(count: int, pieces: int) -> list[slice]:
    """The parts of a batch of `count` images, in order: as even as can be, `pieces` of them, or one for each image."""
    pieces = min(pieces, count)
    ends = [count * i // pieces for i in range(pieces + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]
