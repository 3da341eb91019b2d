"""Share the frozen generator's images and embeddings between runs in lock-step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .cuda_graphs import Tensors


class FrozenSide:
    """Cache of the frozen generator's images and embeddings in the latest iteration, for runs with equal random draws.

    Runs that differ only in their texts share them: with equal generator, CLIP models, seed and settings, their random
    draws are equal. A run that is ahead or behind has other draws, so it computes its own. So does a run with another
    number of chunks: a trained generator that is still equal to the frozen one must give equal images to the last bit,
    and the size of a chunk decides how they are rounded.
    """

    def __init__(self) -> None:
        self._draws: Tensor | None = None
        self._pieces = 0
        self._images = torch.empty(0)
        self._embeddings: dict[int, Tensors] = {}

    def of(self, draws: Tensor, pieces: int, render: Callable[[], Tensor]) -> tuple[Tensor, dict[int, Tensors]]:
        """Return the images of an iteration, cached, and the dict of their embeddings, which `Objective.losses` fills.

        Args:
            draws: random state on the CPU before the iteration's draws, which it determines.
            pieces: number of chunks in which images and embeddings are computed.
            render: computes the images [N, 3, H, W].
        """
        if self._draws is None or pieces != self._pieces or not torch.equal(self._draws, draws):
            # Free the last iteration's memory first. Without draws, nothing counts as cached if `render` fails.
            self._draws, self._images, self._embeddings = None, torch.empty(0), {}
            self._images = render()
            self._draws, self._pieces = draws, pieces
        return self._images, self._embeddings
