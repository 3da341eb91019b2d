"""What follows every convolution: noise, bias, leaky ReLU, clamp."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SLOPE = 0.2
GAIN = 2**0.5  # keeps the variance through the leaky ReLU


def noise_bias_lrelu(x: Tensor, noise: Tensor | None, bias: Tensor, clamp: float | None = None) -> Tensor:
    """leaky_relu(x + noise + bias) clamped to +-clamp.

    The leaky ReLU is positively homogeneous, so callers fold GAIN into x, noise and bias instead of paying a pass over
    the activations for it. `x` must be a fresh tensor: it is overwritten.

    Args:
        x: [N, C, H, W].
        noise: [N or 1, 1, H, W], already scaled by the layer's noise strength; None for none.
        bias: [C].
        clamp: largest magnitude that leaves the layer; None for no limit.
    """
    if noise is not None:
        x = x.add_(noise)
    x = F.leaky_relu(x.add_(bias[:, None, None]), SLOPE, inplace=True)
    return x if clamp is None else x.clamp(-clamp, clamp)
