"""The layers of StyleGAN2, named and shaped as in NVIDIA's PyTorch checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import ops
from .ops.activation import GAIN, SLOPE

DEMOD_EPS = 1e-8


class FullyConnected(nn.Module):
    """Linear layer with an equalized learning rate: the stored weight has unit variance over lr_multiplier."""

    def __init__(self, in_features: int, out_features: int, bias_init: float = 0.0, lr_multiplier: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))
        self.weight_gain = lr_multiplier / in_features**0.5
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)


class Mapping(nn.Module):
    """f: Z -> W, and the truncation trick (StyleGAN section 2 and appendix B, arXiv 1812.04948)."""

    def __init__(self, z_dim: int, w_dim: int, num_ws: int, num_layers: int, lr_multiplier: float):
        super().__init__()
        self.num_ws, self.num_layers = num_ws, num_layers
        for i in range(num_layers):
            layer = FullyConnected(z_dim if i == 0 else w_dim, w_dim, lr_multiplier=lr_multiplier)
            setattr(self, f"fc{i}", layer)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None) -> Tensor:
        """Map latents to one code per layer.

        Args:
            z: [N, z_dim], drawn from a standard normal distribution.
            truncation_psi: 1 keeps all variety, 0 gives the average image; between, w moves towards `w_avg`.
            truncation_cutoff: only the first so many codes are truncated; None for all of them.

        Returns:
            ws: [N, num_ws, w_dim], the same w for every layer but for the cutoff.
        """
        ws = self.w(z)[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi == 1:
            return ws
        cut = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cut], truncation_psi), ws[:, cut:]], dim=1)

    def w(self, z: Tensor) -> Tensor:
        """z [N, z_dim] -> w [N, w_dim], neither truncated nor repeated."""
        w = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for i in range(self.num_layers):
            w = F.leaky_relu(getattr(self, f"fc{i}")(w), SLOPE) * GAIN
        return w


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, optionally from half the resolution, then noise, bias and leaky ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        up: bool,
        clamp: float | None,
        demod_eps: str,
    ):
        super().__init__()
        self.clamp = clamp
        fan_in = in_channels * 9
        self.weight_gain = fan_in**-0.5
        self.eps = DEMOD_EPS / fan_in if demod_eps == "raw" else DEMOD_EPS
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("up_filter", ops.resample_filter() if up else None, persistent=False)

    def forward(self, x: Tensor, styles: Tensor, noise: Tensor | None) -> Tensor:
        """[N, C_in, H, W], styles [N, C_in], noise [N or 1, 1, H', W'] or None -> [N, C_out, H', W']."""
        styles = styles * self.weight_gain
        demod = ops.demodulation(self.weight, styles, self.eps) * GAIN
        x = ops.modulated_conv2d(x, self.weight, styles, demod, self.up_filter)
        noise = None if noise is None else noise * (self.noise_strength * GAIN)
        return ops.noise_bias_lrelu(x, noise, self.bias * GAIN, self.clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to image channels, without demodulation or activation."""

    def __init__(self, in_channels: int, img_channels: int, w_dim: int, clamp: float | None):
        super().__init__()
        self.clamp = clamp
        self.weight_gain = in_channels**-0.5
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """[N, C_in, H, W], styles [N, C_in] -> [N, img_channels, H, W]."""
        x = ops.modulated_conv2d(x, self.weight, styles * self.weight_gain) + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
