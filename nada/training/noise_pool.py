"""Noise maps for training."""

from __future__ import annotations

import torch
from torch import Tensor

from ..stylegan2.synthesis import Synthesis

LARGEST_MAPS = 4  # that the pool has numbers for


class NoisePool:
    """Noise maps cut out of one long row of standard normal numbers, anywhere, so that none need be drawn in a step.

    At 1024 px a step on two images takes 5.6 million of them. Drawing these on the CPU, so that a seed means the same
    on every device, and bringing them to a GPU would take longer than the rest of the step.

    Args:
        synthesis: the network that they are for.
        random: a CPU generator.
    """

    def __init__(self, synthesis: Synthesis, random: torch.Generator):
        self.shapes = {name: synthesis.layer(name).noise_const.shape for name in synthesis.conv_layers}
        largest = max(shape.numel() for shape in self.shapes.values())
        like = synthesis.layer(synthesis.conv_layers[0]).noise_const
        self.numbers = torch.randn(LARGEST_MAPS * largest, generator=random).to(like)

    def draw(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Maps {conv layer name: [batch, 1, r, r]}, of which `random` chooses the places."""
        maps = {}
        for name, shape in self.shapes.items():
            starts = torch.randint(len(self.numbers) - shape.numel() + 1, (batch,), generator=random)
            cuts = [self.numbers[start : start + shape.numel()] for start in starts.tolist()]
            maps[name] = torch.stack(cuts).view(batch, 1, *shape)
        return maps
