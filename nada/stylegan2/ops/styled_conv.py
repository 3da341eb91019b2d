"""What one layer of StyleGAN2's synthesis does: modulated convolution, noise, bias, leaky ReLU, clamp.

Weight (de)modulation is that of StyleGAN2, section 2.2 (Karras et al., arXiv 1912.04958, equations 1 and 3). The paper
scales the weights for every image. Scaling the activations before and after one ordinary convolution gives the same
numbers, needs no grouped convolution, and spares the weight gradient of layers that are frozen.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernels import passes_for
from .passes import per_channel
from .resample import UP

GAIN = 2**0.5  # keeps the variance through the leaky ReLU


def demodulation(weight: Tensor, styles: Tensor, eps: float) -> Tensor:
    """The factors that bring each output channel back to unit variance (equation 3), without building the weights.

    Args:
        weight: [O, I, k, k].
        styles: [N, I], the modulation.
        eps: added to the variance.

    Returns:
        [N, O], 1 / sqrt(sum_ik (styles_i * weight_oik)^2 + eps).
    """
    energy = weight.square().sum(dim=(2, 3))  # [O, I]
    return (styles.square() @ energy.T + eps).rsqrt()


def styled_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demod: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    up_filter: Tensor | None = None,
    clamp: float | None = None,
) -> Tensor:
    """leaky_relu(conv(x * styles, weight) * demod + noise + bias), clamped to +-clamp; "same" padding.

    The leaky ReLU is positively homogeneous, so callers fold GAIN into demod, noise and bias instead of paying a pass
    over the activations for it.

    Between forward and backward nothing is kept but `x` and the result, which the next layer keeps anyway: what lies
    between them is scaled or found again from these two. It is differentiable once.

    Args:
        x: [N, I, H, W]; its precision is that of the convolution and of the result.
        weight: [O, I, k, k], shared by the batch.
        styles: [N, I], scales of the input channels.
        demod: [N, O], scales of the output channels.
        noise: [N or 1, 1, H', W'], already scaled by the layer's noise strength; None for none.
        bias: [O].
        up_filter: [1, 1, 4, 4] doubles the resolution first (transposed convolution, then this filter); None keeps it.
        clamp: largest magnitude that leaves the layer; None for no limit.

    Returns:
        [N, O, H', W']: H' = H, or 2H with `up_filter`, likewise W'. Do not write into it.
    """
    return StyledConv.apply(x, weight, styles, demod, noise, bias, up_filter, clamp)


class StyledConv(torch.autograd.Function):
    """See `styled_conv2d`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        styles: Tensor,
        demod: Tensor,
        noise: Tensor | None,
        bias: Tensor,
        up_filter: Tensor | None,
        clamp: float | None,
    ) -> Tensor:
        y = _convolve(x * per_channel(styles, x), weight.to(x.dtype), up_filter is not None)
        y = passes_for(y).finish(y, up_filter, demod, noise, bias, clamp)
        ctx.save_for_backward(x, y, weight, styles, demod, noise, bias, up_filter)
        ctx.clamp = clamp
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, styles, demod, noise, bias, up_filter = ctx.saved_tensors
        wants_x, wants_weight, wants_styles, _, wants_noise, *_ = ctx.needs_input_grad
        passes, up = passes_for(y), up_filter is not None
        found = passes.finish_backward(slope, y, up_filter, demod, noise, bias, ctx.clamp, wants_noise)
        slope, d_demod, d_noise, d_bias = found
        d_x = d_weight = d_styles = None
        if wants_weight:
            d_weight = _convolve_backward(slope, x * per_channel(styles, x), weight.to(x.dtype), up, 1)
        if wants_x or wants_styles:
            d_x = _convolve_backward(slope, x, weight.to(x.dtype), up, 0)
            del slope, found  # before more memory is needed
            d_x, d_styles = passes.scale_backward(d_x, x, styles)
        return d_x, d_weight, d_styles, d_demod, d_noise, d_bias, None, None


def _convolve(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    """[N, I, H, W] -> [N, O, H, W], or with `up`, not yet filtered, [N, O, 2H + 1, 2W + 1]."""
    if up:
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=UP)
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def _convolve_backward(slope: Tensor, x: Tensor, weight: Tensor, up: bool, wanted: int) -> Tensor:
    """The gradient of the convolution with regard to x (wanted: 0; its values do not count) or weight (1)."""
    if up:
        weight, geometry = weight.transpose(0, 1), ((UP, UP), (0, 0), (1, 1), True, (0, 0), 1)
    else:
        padding = weight.shape[-1] // 2
        geometry = (1, 1), (padding, padding), (1, 1), False, (0, 0), 1
    mask = [i == wanted for i in range(3)]
    found = torch.ops.aten.convolution_backward(slope, x, weight, None, *geometry, mask)[wanted]
    return found.transpose(0, 1) if up and wanted == 1 else found


def modulated_conv1x1(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """The same for 1x1 weights without demodulation, to few channels (to-RGB layers).

    One matrix product for each image: nothing as large as `x` is made, or kept for the gradient.

    Args:
        x: [N, I, H, W]; its precision is that of the product.
        weight: [O, I, 1, 1].
        styles: [N, I].

    Returns:
        [N, O, H, W].
    """
    kernels = (weight[:, :, 0, 0] * styles[:, None]).to(x.dtype)  # [N, O, I]
    if x.is_contiguous(memory_format=torch.channels_last):  # so that the gradient has that layout too
        pixels = x.movedim(1, 3).flatten(1, 2)  # [N, H * W, I]
        return (pixels @ kernels.mT).mT.unflatten(2, x.shape[2:])
    return (kernels @ x.flatten(2)).unflatten(2, x.shape[2:])
