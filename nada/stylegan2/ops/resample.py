"""Low-pass filtering and 2x upsampling with StyleGAN2's binomial filter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FILTER_TAPS = (1.0, 3.0, 3.0, 1.0)
UP = 2  # StyleGAN2 only ever doubles the resolution


def resample_filter() -> Tensor:
    """Return the separable filter as a [1, 1, 4, 4] kernel that sums to 4, to make up for the inserted zeros."""
    taps = torch.tensor(FILTER_TAPS)
    kernel = torch.outer(taps, taps)
    return (kernel / kernel.sum() * UP**2)[None, None]


def _depthwise(kernel: Tensor, x: Tensor) -> Tensor:
    return kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter the result of a stride-2 transposed 3x3 convolution: [N, C, H + 1, W + 1] -> [N, C, H, W]."""
    return F.conv2d(x, _depthwise(kernel, x), padding=1, groups=x.shape[1])


def blur_backward(slope: Tensor, kernel: Tensor) -> Tensor:
    """Return the gradient of `blur` for its input: [N, C, H, W] -> [N, C, H + 1, W + 1]."""
    return F.conv_transpose2d(slope, _depthwise(kernel, slope), padding=1, groups=slope.shape[1])


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Double the resolution: [N, C, H, W] -> [N, C, 2H, 2W].

    One depthwise transposed convolution equals zero insertion followed by the filter, and is twice as fast.
    """
    return F.conv_transpose2d(x, _depthwise(kernel, x), stride=UP, padding=1, groups=x.shape[1])
