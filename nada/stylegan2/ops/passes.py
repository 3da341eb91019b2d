"""What a synthesis layer does beside its convolution, in plain PyTorch: filter, scale, noise, bias, leaky ReLU, clamp.

`fused` does the same in fewer passes over the activations; `kernels` says which of the two is in use.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .resample import blur, blur_backward

SLOPE = 0.2


def finish(
    y: Tensor, up_filter: Tensor | None, demod: Tensor, noise: Tensor | None, bias: Tensor, clamp: float | None
) -> Tensor:
    """What follows the convolution, maybe in its result's memory; see `styled_conv2d`.

    Args:
        y: [N, O, H, W], or with a filter [N, O, H + 1, W + 1].
        up_filter: [1, 1, 4, 4] or None.
        demod, noise, bias, clamp: [N, O], [N or 1, 1, H, W] or None, [O], a number or None.

    Returns:
        [N, O, H, W].
    """
    if up_filter is not None:
        y = blur(y, up_filter)
    y = y.mul_(per_channel(demod, y))
    if noise is not None:
        y = y.add_(noise)
    y = F.leaky_relu(y.add_(bias[:, None, None]), SLOPE, inplace=True)
    return y if clamp is None else y.clamp_(-clamp, clamp)


def finish_backward(
    slope: Tensor,
    y: Tensor,
    up_filter: Tensor | None,
    demod: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    clamp: float | None,
    wants_noise: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The gradient of `finish`, from its result y: with regard to the convolution's result, demod, noise and bias.

    With z the input of the leaky ReLU, sum(dz * z) is sum(dy * y). So the sum that demod wants, of dz times the
    filtered result of the convolution, (z - noise - bias) / demod, needs neither z nor that.
    """
    full = demod.dtype  # of sums, where y is of half the precision
    if clamp is not None:
        slope = slope.masked_fill(y.abs() >= clamp, 0)
    whole = (slope * y).sum((2, 3), dtype=full)
    dz = torch.ops.aten.leaky_relu_backward(slope, y, SLOPE, True)
    total = dz.sum((2, 3), dtype=full)
    rest = total * bias
    d_noise = None
    if noise is not None:
        maps = noise.to(dz.dtype).expand(len(dz), -1, -1, -1).flatten(2)
        rest = rest + (dz.flatten(2) @ maps.mT)[:, :, 0]
        if wants_noise:
            d_noise = dz.sum(1, keepdim=True, dtype=full).sum_to_size(noise.shape)
    dz = dz.mul_(per_channel(demod, dz))
    if up_filter is not None:
        dz = blur_backward(dz, up_filter)
    return dz, (whole - rest) / demod, d_noise, total.sum(0)


def scale_backward(slope: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of x * styles with regard to both, the first in the slope's memory."""
    d_styles = (slope * x).sum((2, 3), dtype=styles.dtype)
    return slope.mul_(per_channel(styles, slope)), d_styles


def per_channel(factors: Tensor, x: Tensor) -> Tensor:
    """[N, C] as factors of x [N, C, H, W], in its precision."""
    return factors.to(x.dtype)[:, :, None, None]
