"""Work that runs in lock-step share: the frozen generator's images, and their embeddings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .cuda_graphs import Tensors


class FrozenSide:
    """The frozen generator's side of the latest step, computed once for all runs that make the same draws.

    Runs share it if they differ in their texts alone: with equal generator, CLIP models, seed and settings their random
    draws are equal. A run that is ahead or behind makes other draws, and computes its own side.
    """

    def __init__(self) -> None:
        self._draws: Tensor | None = None
        self._images = torch.empty(0)
        self._embeddings: dict[int, Tensors] = {}

    def of(self, draws: Tensor, render: Callable[[], Tensor]) -> tuple[Tensor, dict[int, Tensors]]:
        """The images of a step, and the dict for their embeddings that `Objective.losses` fills.

        Args:
            draws: random state before the step's draws, on the CPU; it determines them.
            render: computes the images [N, 3, H, W].
        """
        if self._draws is None or not torch.equal(self._draws, draws):
            self._images, self._embeddings = torch.empty(0), {}  # free the memory of the step before first
            self._images = render()
            self._draws = draws
        return self._images, self._embeddings
