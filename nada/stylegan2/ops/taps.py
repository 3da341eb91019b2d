"""Weight gradient of the convolution that doubles the resolution, as one matrix product for each tap of the kernel.

Without AVX-512, PyTorch's convolutions reach only a fifth of the rate of a matrix product in weight gradients of
channels-last features, so that nine products and the copies that they need take less time (docs/speed.md). They are
more accurate, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .processor import WITHOUT_AVX512
from .resample import UP

CHANNELS = 64  # fewest channels for which this pays


def pays(x: Tensor, weight: Tensor) -> bool:
    """Return whether to use this module for the transposed convolution of x [N, I, H, W] with weight [O, I, k, k]."""
    return WITHOUT_AVX512 and x.device.type == "cpu" and x.dtype == torch.float32 and min(weight.shape[:2]) >= CHANNELS


def weight_gradient(slope: Tensor, x: Tensor, size: int) -> Tensor:
    """Return the gradient of a transposed convolution with stride 2 for its weight.

    Args:
        slope: [N, O, 2H - 2 + k, 2W - 2 + k], the gradient for the result.
        x: [N, I, H, W], the input.
        size: k, side of the kernel.

    Returns:
        [O, I, k, k].
    """
    height, width = x.shape[2:]
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)  # [N * H * W, I]
    taps = [
        slope[:, :, a : a + UP * height : UP, b : b + UP * width : UP].permute(0, 2, 3, 1).flatten(0, 2).T @ pixels
        for a in range(size)
        for b in range(size)
    ]
    return torch.stack(taps, dim=2).unflatten(2, (size, size))
