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
        y = y.mul_(_per_channel(demod, x))
        if noise is not None:
            y = y.add_(noise)
        y = F.leaky_relu(y.add_(bias[:, None, None]), SLOPE, inplace=True)
        y = y if clamp is None else y.clamp_(-clamp, clamp)
        ctx.save_for_backward(x, y, weight, styles, demod, noise, bias, up_filter)
        ctx.clamp = clamp
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        """With z the leaky ReLU's input, sum(dz * z) is sum(dy * y): so the sum that `demod` wants, over dz times the
        convolution's result (z - noise - bias) / demod, needs neither."""
        x, y, weight, styles, demod, noise, bias, up_filter = ctx.saved_tensors
        full = demod.dtype  # of sums, where x is of half the precision
        wants_x, wants_weight, wants_styles, wants_demod, wants_noise, wants_bias, *_ = ctx.needs_input_grad
        if ctx.clamp is not None:
            slope = slope.masked_fill(y.abs() >= ctx.clamp, 0)
        dz = slope * y
        whole = dz.sum((2, 3), dtype=full)
        dz = torch.ops.aten.leaky_relu_backward.grad_input(slope, y, SLOPE, True, grad_input=dz)  # in the same memory
        d_noise = d_bias = d_demod = d_x = d_weight = d_styles = None
        if wants_noise:
            d_noise = dz.sum(1, keepdim=True, dtype=full)
            d_noise = d_noise.sum(0, keepdim=True) if len(noise) < len(dz) else d_noise
        if wants_bias or wants_demod:
            per_channel = dz.sum((2, 3), dtype=full)
            d_bias = per_channel.sum(0)
        if wants_demod:
            others = per_channel * bias
            if noise is not None:
                maps = noise.to(dz.dtype).expand(len(dz), -1, -1, -1).flatten(2)
                others = others + (dz.flatten(2) @ maps.mT)[:, :, 0]
            d_demod = (whole - others) / demod
        dz = dz.mul_(_per_channel(demod, dz))
        if up_filter is not None:
            dz = blur_backward(dz, up_filter)
        if wants_weight:
            d_weight = _convolve_backward(dz, x * _per_channel(styles, x), weight.to(x.dtype), up_filter is not None, 1)
        if wants_x or wants_styles:
            d_x = _convolve_backward(dz, x, weight.to(x.dtype), up_filter is not None, 0)
            del dz
            d_styles = (d_x * x).sum((2, 3), dtype=full) if wants_styles else None
            d_x = d_x.mul_(_per_channel(styles, x))
        return d_x, d_weight, d_styles, d_demod, d_noise, d_bias, None, None


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
