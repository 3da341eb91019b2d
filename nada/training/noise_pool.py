"""Noise maps for training."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from ..generators import Generator

LARGEST_MAPS = 4  # that the pool has numbers for


class NoisePool:
    """Noise maps cut out of one long row of standard normal numbers, anywhere, so that none need be drawn in a step.

    At 1024 px a step on two images takes 5.6 million of them. Drawing these on the CPU, so that a seed means the same
    on every device, and bringing them to a GPU would take longer than the rest of the step.

    Args:
        generator: the generator that they are for. One without noise maps gets none.
        random: a CPU generator.
    """

    def __init__(self, generator: Generator, random: torch.Generator):
        self.shapes = dict(generator.synthesis.noise_shapes)
        largest = max((prod(shape) for shape in self.shapes.values()), default=0)
        self.numbers = torch.randn(LARGEST_MAPS * largest, generator=random).to(generator.device)

    def draw(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Maps {conv layer name: [batch, 1, r, r]}, of which `random` chooses the places."""
        maps = {}
        for name, shape in self.shapes.items():
            starts = torch.randint(len(self.numbers) - prod(shape) + 1, (batch,), generator=random)
            cuts = [self.numbers[start : start + prod(shape)] for start in starts.tolist()]
            maps[name] = torch.stack(cuts).view(batch, 1, *shape)
        return maps
