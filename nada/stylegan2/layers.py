"""The layers of StyleGAN2, named and shaped as in NVIDIA's PyTorch checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..generators import Label
from . import ops
from .config import GeneratorConfig
from .ops import GAIN, SLOPE

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
    """Mapping network f: Z -> W, with the truncation trick (StyleGAN section 2 and appendix B, arXiv 1812.04948)."""

    w_avg: Tensor

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.num_ws, self.num_layers, self.c_dim = config.num_ws, config.mapping_layers, config.c_dim
        width, inputs = config.w_dim, config.z_dim
        if config.c_dim:
            self.embed = FullyConnected(config.c_dim, width)
            inputs += width
        for i in range(self.num_layers):
            layer = FullyConnected(width if i else inputs, width, lr_multiplier=config.mapping_lr_multiplier)
            setattr(self, f"fc{i}", layer)
        self.register_buffer("w_avg", torch.zeros(width))

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None, label: Label = 0
    ) -> Tensor:
        """Map latents to one code per layer.

        Args:
            z: [N, z_dim], drawn from a standard normal distribution.
            truncation_psi: 1 keeps all variety, 0 gives the average image; values between move w towards `w_avg`.
            truncation_cutoff: number of layers, from the first, whose code is truncated; None for all.
            label: class, for class-conditional generators: its number for all images, numbers [N], or weights of the
                classes [N, c_dim]. Generators without classes ignore it.

        Returns:
            ws [N, num_ws, w_dim], the same w for every layer, truncated up to the cutoff.

        Raises:
            UsageError: there is no such class.
        """
        ws = self.w(z, label)[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi == 1:
            return ws
        cut = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cut], truncation_psi), ws[:, cut:]], dim=1)

    def w(self, z: Tensor, label: Label = 0) -> Tensor:
        """Map z [N, z_dim] to w [N, w_dim], neither truncated nor repeated."""
        w = _normalize(z)
        if self.c_dim:
            w = torch.cat([w, _normalize(self.embed(self._classes(label, z)))], dim=1)
        for i in range(self.num_layers):
            w = F.leaky_relu(getattr(self, f"fc{i}")(w), SLOPE) * GAIN
        return w

    def _classes(self, label: Label, z: Tensor) -> Tensor:
        """Return the label as weights of the classes, [N, c_dim]."""
        if isinstance(label, Tensor) and label.is_floating_point():
            if label.shape != (len(z), self.c_dim):
                raise UsageError(f"label has shape {list(label.shape)}; class weights have [{len(z)}, {self.c_dim}]")
            return label.to(z)
        numbers = torch.as_tensor(label, device=z.device)
        if numbers.ndim == 1 and len(numbers) not in (1, len(z)):
            raise UsageError(f"there are {len(numbers)} labels for {len(z)} latents; give one, or one for each")
        if numbers.ndim > 1 or not ((numbers >= 0) & (numbers < self.c_dim)).all():
            raise UsageError(f"label is {label}; this generator has the classes 0 to {self.c_dim - 1}")
        return F.one_hot(numbers.long(), self.c_dim).to(z).expand(len(z), -1)


def _normalize(x: Tensor) -> Tensor:
    """Scale each row of [N, C] to unit mean square."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, optionally with upsampling by 2, then noise, bias and leaky ReLU."""

    noise_const: Tensor
    up_filter: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: tuple[int, int],
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
        self.register_buffer("noise_const", torch.randn(size))
        self.register_buffer("up_filter", ops.resample_filter() if up else None, persistent=False)

    def forward(self, x: Tensor, styles: Tensor, noise: Tensor | None) -> Tensor:
        """Map x [N, C_in, H, W], styles [N, C_in] and noise [N or 1, 1, H', W'] or None to [N, C_out, H', W']."""
        styles = styles * self.weight_gain
        demod = ops.demodulation(self.weight, styles, self.eps) * GAIN
        noise = None if noise is None else noise * (self.noise_strength * GAIN)
        return ops.styled_conv2d(x, self.weight, styles, demod, noise, self.bias * GAIN, self.up_filter, self.clamp)


class Residual(nn.Module):
    """Shortcut around a block of the "resnet" architecture: a 1x1 convolution, then upsampling by 2."""

    up_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight_gain = in_channels**-0.5
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.register_buffer("up_filter", ops.resample_filter(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, 2H, 2W]."""
        return ops.upsample(F.conv2d(x, (self.weight * self.weight_gain).to(x.dtype)), self.up_filter)


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
        """Map x [N, C_in, H, W] and styles [N, C_in] to [N, img_channels, H, W]."""
        x = ops.modulated_conv1x1(x, self.weight, styles * self.weight_gain) + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
