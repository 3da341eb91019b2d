"""The operation of a StyleGAN2 synthesis layer: modulated convolution, noise, bias, leaky ReLU, clamp.

Weights are modulated and demodulated as in StyleGAN2, section 2.2 (Karras et al., arXiv 1912.04958, equations 1 and 3).
The paper scales the weights for every image. Scaling the activations before and after one ordinary convolution gives
the same numbers, needs no grouped convolution, and no weight gradient for frozen layers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import taps, winograd
from .kernels import passes_for
from .passes import per_channel
from .resample import UP

GAIN = 2**0.5  # keeps the variance through the leaky ReLU


def demodulation(weight: Tensor, styles: Tensor, eps: float) -> Tensor:
    """Return the factors that scale each output channel to unit variance (equation 3), without modulated weights.

    Args:
        weight: [O, I, k, k].
        styles: [N, I], the modulation.
        eps: number added to the variance.

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
    """Return leaky_relu(conv(x * styles, weight) * demod + noise + bias), clamped to +-clamp; "same" padding.

    The leaky ReLU is positively homogeneous, so that callers can fold GAIN into demod, noise and bias, and save a pass
    over the activations.

    For the backward pass only `x` and the result, which the next layer keeps anyway, are kept; intermediate values are
    recomputed from them. The operation is differentiable once.

    Args:
        x: [N, I, H, W]; convolution and result have its precision.
        weight: [O, I, k, k], shared by the batch.
        styles: [N, I], scales of the input channels.
        demod: [N, O], scales of the output channels.
        noise: [N or 1, 1, H', W'], already scaled by the layer's noise strength; None for none.
        bias: [O].
        up_filter: [1, 1, 4, 4], filter after a transposed convolution that doubles the resolution; None keeps it.
        clamp: largest magnitude of the output; None for no limit.

    Returns:
        [N, O, H', W']: H' = H, or 2H with `up_filter`, likewise W'. Do not write into the result.
    """
    return StyledConv.apply(x, weight, styles, demod, noise, bias, up_filter, clamp)


class StyledConv(torch.autograd.Function):
    """The autograd function of `styled_conv2d`."""

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
            del slope, found  # frees memory before the next pass needs some
            d_x, d_styles = passes.scale_backward(d_x, x, styles)
        return d_x, d_weight, d_styles, d_demod, d_noise, d_bias, None, None


def _convolve(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    """Convolve [N, I, H, W] to [N, O, H, W], or with `up`, not yet filtered, to [N, O, 2H + 1, 2W + 1]."""
    if up:
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=UP)
    if winograd.pays(x, weight):
        return winograd.convolve(x, weight)
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def _convolve_backward(slope: Tensor, x: Tensor, weight: Tensor, up: bool, wanted: int) -> Tensor:
    """Return the gradient of the convolution for x (wanted: 0; the values of x do not matter) or for weight (1)."""
    if up:
        if wanted and taps.pays(x, weight):
            return taps.weight_gradient(slope, x, weight.shape[-1])
        weight, geometry = weight.transpose(0, 1), ((UP, UP), (0, 0), (1, 1), True, (0, 0), 1)
    elif winograd.pays(x, weight):
        return winograd.weight_gradient(slope, x) if wanted else winograd.input_gradient(slope, weight)
    else:
        padding = weight.shape[-1] // 2
        geometry = (1, 1), (padding, padding), (1, 1), False, (0, 0), 1
    mask = [i == wanted for i in range(3)]
    found = torch.ops.aten.convolution_backward(slope, x, weight, None, *geometry, mask)[wanted]
    return found.transpose(0, 1) if up and wanted == 1 else found


def modulated_conv1x1(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """Apply a modulated 1x1 convolution without demodulation, to few channels (to-RGB layers).

    It is one matrix product for each image, so that no tensor as large as `x` is created or kept for the gradient.

    Args:
        x: [N, I, H, W]; the product has its precision.
        weight: [O, I, 1, 1].
        styles: [N, I].

    Returns:
        [N, O, H, W].
    """
    kernels = (weight[:, :, 0, 0] * styles[:, None]).to(x.dtype)  # [N, O, I]
    if x.is_contiguous(memory_format=torch.channels_last):  # gives the gradient the same layout
        pixels = x.movedim(1, 3).flatten(1, 2)  # [N, H * W, I]
        return (pixels @ kernels.mT).mT.unflatten(2, x.shape[2:])
    return (kernels @ x.flatten(2)).unflatten(2, x.shape[2:])
