"""Draw noise maps for training from a precomputed pool."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from ..generators import Generator

LARGEST_MAPS = 4  # size of the pool, in largest maps


class NoisePool:
    """Pool of standard normal numbers from which noise maps are cut at random offsets, instead of drawing new ones.

    At 1024 px an iteration with two images needs 5.6 million numbers. Drawing them on the CPU, so that a seed means
    the same on every device, and copying them to a GPU would take longer than the rest of the iteration.

    Args:
        generator: generator that uses the maps; one without noise maps gets none.
        random: CPU generator of random numbers.
    """

    def __init__(self, generator: Generator, random: torch.Generator):
        self.shapes = dict(generator.synthesis.noise_shapes)
        largest = max((prod(shape) for shape in self.shapes.values()), default=0)
        self.numbers = torch.randn(LARGEST_MAPS * largest, generator=random).to(generator.device)

    def draw(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Cut out noise maps {conv layer name: [batch, 1, r, r]} at offsets drawn from `random`."""
        maps = {}
        for name, shape in self.shapes.items():
            starts = torch.randint(len(self.numbers) - prod(shape) + 1, (batch,), generator=random)
            cuts = [self.numbers[start : start + prod(shape)] for start in starts.tolist()]
            maps[name] = torch.stack(cuts).view(batch, 1, *shape)
        return maps
