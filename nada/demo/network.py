"""Building block of the small networks trained on the demo world: the judge and the encoders."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8  # number of groups of each group normalization


class Stage(nn.Module):
    """Network stage that halves the resolution, changes the channels, and adds one residual convolution."""

    def __init__(self, narrow: int, wide: int):
        super().__init__()
        self.norms = nn.ModuleList((nn.GroupNorm(GROUPS, narrow), nn.GroupNorm(GROUPS, wide)))
        self.down = nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
        self.conv = nn.Conv2d(wide, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, narrow, H, W] -> [N, wide, H / 2, W / 2]."""
        x = self.down(F.silu(self.norms[0](x)))
        return x + self.conv(F.silu(self.norms[1](x)))
