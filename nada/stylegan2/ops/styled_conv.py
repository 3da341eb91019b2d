"""What one layer of StyleGAN2's synthesis does: modulated convolution, noise, bias, leaky ReLU, clamp.

Weight (de)modulation is that of StyleGAN2, section 2.2 (Karras et al., arXiv 1912.04958, equations 1 and 3). The paper
scales the weights for every image. Scaling the activations before and after one ordinary convolution gives the same
numbers, needs no grouped convolution, and spares the weight gradient of layers that are frozen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .resample import UP, blur, blur_backward

SLOPE = 0.2
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
    def forward(ctx, x, weight, styles, demod, noise, bias, up_filter, clamp):
        y = _convolve(x * _per_channel(styles, x), weight.to(x.dtype), up_filter)
        y = finish(y, demod, noise, bias, clamp)
        ctx.save_for_backward(x, y, weight, styles, demod, noise, bias, up_filter)
        ctx.clamp = clamp
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        x, y, weight, styles, demod, noise, bias, up_filter = ctx.saved_tensors
        wants_x, wants_weight, wants_styles, _, wants_noise, *_ = ctx.needs_input_grad
        slope, d_demod, d_noise, d_bias = finish_backward(slope, y, demod, noise, bias, ctx.clamp, wants_noise)
        up = up_filter is not None
        if up:
            slope = blur_backward(slope, up_filter)
        d_x = d_weight = d_styles = None
        if wants_weight:
            d_weight = _convolve_backward(slope, x * _per_channel(styles, x), weight.to(x.dtype), up, 1)
        if wants_x or wants_styles:
            d_x = _convolve_backward(slope, x, weight.to(x.dtype), up, 0)
            del slope  # before more memory is needed
            d_x, d_styles = scale_backward(d_x, x, styles)
        return d_x, d_weight, d_styles, d_demod, d_noise, d_bias, None, None


def finish(y: Tensor, demod: Tensor, noise: Tensor | None, bias: Tensor, clamp: float | None) -> Tensor:
    """What follows the convolution, in its result's memory."""
    y = y.mul_(_per_channel(demod, y))
    if noise is not None:
        y = y.add_(noise)
    y = F.leaky_relu(y.add_(bias[:, None, None]), SLOPE, inplace=True)
    return y if clamp is None else y.clamp_(-clamp, clamp)


def finish_backward(
    slope: Tensor,
    y: Tensor,
    demod: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    clamp: float | None,
    wants_noise: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The gradient of `finish`, from its result y: with regard to the convolution's result, demod, noise and bias.

    With z the input of the leaky ReLU, sum(dz * z) is sum(dy * y). So the sum that demod wants, of dz times the
    convolution's result (z - noise - bias) / demod, needs neither z nor that.
    """
    full = demod.dtype  # of sums, where y is of half the precision
    if clamp is not None:
        slope = slope.masked_fill(y.abs() >= clamp, 0)
    whole = (slope * y).sum((2, 3), dtype=full)
    dz = torch.ops.aten.leaky_relu_backward(slope, y, SLOPE, True)
    per_channel = dz.sum((2, 3), dtype=full)
    rest = per_channel * bias
    d_noise = None
    if noise is not None:
        maps = noise.to(dz.dtype).expand(len(dz), -1, -1, -1).flatten(2)
        rest = rest + (dz.flatten(2) @ maps.mT)[:, :, 0]
        if wants_noise:
            d_noise = dz.sum(1, keepdim=True, dtype=full).sum_to_size(noise.shape)
    return dz.mul_(_per_channel(demod, dz)), (whole - rest) / demod, d_noise, per_channel.sum(0)


def scale_backward(slope: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of x * styles, the first in the slope's memory."""
    d_styles = (slope * x).sum((2, 3), dtype=styles.dtype)
    return slope.mul_(_per_channel(styles, slope)), d_styles


def _per_channel(factors: Tensor, x: Tensor) -> Tensor:
    return factors.to(x.dtype)[:, :, None, None]


def _convolve(x: Tensor, weight: Tensor, up_filter: Tensor | None) -> Tensor:
    if up_filter is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=UP), up_filter)


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
