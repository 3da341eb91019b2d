"""The passes of a synthesis layer around its convolution in plain PyTorch: filter, scale, noise, bias, ReLU, clamp.

`fused` does the same in fewer passes over the activations; `kernels` chooses between the two.
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
    """Apply filter, scale, noise, bias, leaky ReLU and clamp after the convolution; see `styled_conv2d`.

    Args:
        y: result of the convolution, which may be overwritten: [N, O, H, W], or with a filter [N, O, H + 1, W + 1].
        up_filter: [1, 1, 4, 4] or None.
        demod, noise, bias, clamp: [N, O], [N or 1, 1, H, W] or None, [O], a number or None.

    Returns:
        [N, O, H, W].
    """
    if up_filter is not None:
        y = blur(y, up_filter)
    y = y.mul_(per_channel(demod, y))
    if noise is not None:
        y = y.add_(noise.to(y.dtype))  # adding another dtype takes 30 times as long on a CPU
    y = F.leaky_relu(y.add_(bias.to(y.dtype)[:, None, None]), SLOPE, inplace=True)
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
    """Return the gradients of `finish` for the convolution's result, demod, noise and bias, from its result y.

    With z the input of the leaky ReLU, sum(dz * z) equals sum(dy * y). The gradient of demod is the sum of dz times the
    filtered result of the convolution, (z - noise - bias) / demod, and so can be computed without z.

    Args:
        slope: [N, O, H, W], the gradient at y; it may be overwritten.
        y: [N, O, H, W], the result of `finish`.
        up_filter, demod, noise, bias, clamp: arguments of `finish`.
        wants_noise: whether the gradient of the noise is wanted; it is None otherwise.
    """
    full = demod.dtype  # dtype of sums, also where y has half precision
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
    """Return the gradients of x * styles for x, written into `slope`, and for styles; [N, C, H, W] and [N, C]."""
    d_styles = (slope * x).sum((2, 3), dtype=styles.dtype)
    return slope.mul_(per_channel(styles, slope)), d_styles


def per_channel(factors: Tensor, x: Tensor) -> Tensor:
    """Reshape factors [N, C] to multiply x [N, C, H, W], in the precision of x."""
    return factors.to(x.dtype)[:, :, None, None]
