"""Random differences between drawings of the same parameters: grain, paper, strands of fur, the tremor of a hand."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

STRAND_TEXTURE = 256  # side of the texture of strands, in texels


class Noise:
    """Seeded noise fields for `count` drawings of `size` pixels.

    Attributes:
        amount: scale of fine texture (grain and fur): 0 for none beyond the parameters, 1 is natural.
    """

    def __init__(self, count: int, size: int, generator: torch.Generator | None, amount: float = 1.0):
        self.count, self.size, self.generator, self.amount = count, size, generator, amount

    def white(self) -> Tensor:
        """White noise of unit variance, [N, H, W]."""
        return torch.randn(self.count, self.size, self.size, generator=self.generator)

    def cloud(self, cells: int) -> Tensor:
        """Smooth noise of about unit variance with `cells` blobs a side, [N, H, W]."""
        coarse = torch.randn(self.count, 1, cells + 2, cells + 2, generator=self.generator)
        return F.interpolate(coarse, size=self.size, mode="bicubic", align_corners=True)[:, 0] * 1.25

    def number(self) -> Tensor:
        """One uniform number in 0..1 for each drawing, [N, 1, 1]."""
        return torch.rand(self.count, 1, 1, generator=self.generator)

    def strands(self, angle: Tensor, radius: Tensor, density: float = 1.0) -> Tensor:
        """Streaks of about unit variance along `radius`, from another place of the texture for each drawing."""
        u = angle * (density / math.pi) * 2.0 + 8 * self.number()
        v = radius * (density * 0.8) + 8 * self.number()
        grid = torch.stack([1 - (u % 4.0 - 2).abs(), 1 - (v % 4.0 - 2).abs()], -1)  # mirrored at the edges
        return F.grid_sample(_strand_texture().expand(self.count, -1, -1, -1), grid, align_corners=False)[:, 0]


_TEXTURES: list[Tensor] = []


def _strand_texture() -> Tensor:
    """Noise stretched along y, [1, 1, S, S], the same in every process."""
    if not _TEXTURES:
        noise = torch.randn(1, 1, 3 * STRAND_TEXTURE, STRAND_TEXTURE, generator=torch.Generator().manual_seed(7))
        fine, coarse = F.avg_pool2d(noise, (25, 1), 1), F.avg_pool2d(noise, (61, 5), 1, (18, 2))
        both = fine / fine.std() + 0.8 * coarse / coarse.std()
        start = (both.shape[2] - STRAND_TEXTURE) // 2
        texture = both[:, :, start : start + STRAND_TEXTURE]
        _TEXTURES.append((texture - texture.mean()) / texture.std())
    return _TEXTURES[0]
