"""Weight (de)modulation, StyleGAN2 section 2.2 (Karras et al., arXiv 1912.04958, equations 1 and 3).

The paper scales the weights for every image. Scaling the activations before and after one ordinary convolution gives
the same numbers, needs no grouped convolution, and spares the weight gradient of layers that are frozen.
"""

from __future__ import annotations

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
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demod: Tensor | None = None,
    up_filter: Tensor | None = None,
) -> Tensor:
    """Convolve each image with its own modulated weights (equation 1), "same" padding.

    Args:
        x: [N, I, H, W]; its precision is that of the convolution.
        weight: [O, I, k, k], shared by the batch.
        styles: [N, I], scales of the input channels.
        demod: [N, O], scales of the output channels; None for none (to-RGB layers).
        up_filter: [1, 1, 4, 4] doubles the resolution first (transposed convolution, then this filter); None keeps it.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] with `up_filter`.
    """
    styles, weight = styles.to(x.dtype), weight.to(x.dtype)
    x = x * styles[:, :, None, None]
    if up_filter is None:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    else:
        x = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=UP), up_filter)
    return x if demod is None else x * demod.to(x.dtype)[:, :, None, None]
