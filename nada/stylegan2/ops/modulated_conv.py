"""Weight (de)modulation, StyleGAN2 section 2.2 (Karras et al., arXiv 1912.04958, equations 1 and 3).

The paper scales the weights for every image. Scaling the activations before and after one ordinary convolution gives
the same numbers, needs no grouped convolution, and spares the weight gradient of layers that are frozen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .resample import UP, blur


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


def modulated_conv2d(
    x: Tensor, weight: Tensor, styles: Tensor, demod: Tensor, up_filter: Tensor | None = None
) -> Tensor:
    """Convolve each image with its own modulated weights (equation 1), "same" padding.

    Args:
        x: [N, I, H, W]; its precision is that of the convolution.
        weight: [O, I, k, k], shared by the batch.
        styles: [N, I], scales of the input channels.
        demod: [N, O], scales of the output channels.
        up_filter: [1, 1, 4, 4] doubles the resolution first (transposed convolution, then this filter); None keeps it.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] with `up_filter`.
    """
    styles, weight, demod = styles.to(x.dtype), weight.to(x.dtype), demod.to(x.dtype)
    x = x * styles[:, :, None, None]
    if up_filter is None:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    else:
        x = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=UP), up_filter)
    return x * demod[:, :, None, None]


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
