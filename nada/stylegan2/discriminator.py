"""StyleGAN2's discriminator (Karras et al., arXiv 1912.04958, figure 7c), named as in NVIDIA's PyTorch checkpoints.

Adaptations by text need no discriminator; methods that learn from images do, such as `benchmarks/rivals`. Its
operations are plain PyTorch and differentiable twice, as the R1 penalty requires.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from .config import MAX_CLAMP, MAX_RESOLUTION
from .layers import FullyConnected
from .ops import GAIN, SLOPE, resample_filter

MIN_RESOLUTION = 8  # at lower resolutions there is no block before the last
UP_GAIN = 4  # sum of `resample_filter`, which is made for upsampling
EPS = 1e-8  # added to the variance over a batch
SUM_GAIN = 0.5**0.5  # keeps the variance of a sum of two


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The sizes of a discriminator, and constants that its tensors do not tell.

    Raises:
        UsageError: a value is impossible.
    """

    resolution: int
    """Side of the images in pixels, a power of two in 8..1024."""
    channels: tuple[int, ...]
    """Number of feature maps at 4x4, 8x8, ..., resolution, in the order of a generator's config."""
    img_channels: int = 3
    """Number of channels of the images."""
    conv_clamp: float | None = None
    """Largest magnitude of the output of a convolution; None for no limit. Mixed-precision NVIDIA models have 256."""
    group: int = 4
    """Number of images over which a standard deviation is taken."""

    def __post_init__(self) -> None:
        r = self.resolution
        if not MIN_RESOLUTION <= r <= MAX_RESOLUTION or r & (r - 1):
            raise UsageError(f"resolution is {r}; it must be a power of two in {MIN_RESOLUTION}..{MAX_RESOLUTION}")
        object.__setattr__(self, "channels", tuple(self.channels))
        if len(self.channels) != len(self.resolutions):
            raise UsageError(f"channels has {len(self.channels)} entries; {r} px has {len(self.resolutions)} blocks")
        if min(*self.channels, self.img_channels, self.group) < 1:
            raise UsageError("every size of a discriminator must be at least 1")
        if self.conv_clamp is not None and not 0 < self.conv_clamp <= MAX_CLAMP:
            raise UsageError(f"conv_clamp is {self.conv_clamp}; it must be in 0..{MAX_CLAMP:g}, or None")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks: 4, 8, ..., resolution."""
        return tuple(4 << i for i in range(int(log2(self.resolution)) - 1))


def low_pass_filter() -> Tensor:
    """Return the low-pass filter for downsampling, [1, 1, 4, 4]; it sums to 1."""
    return resample_filter() / UP_GAIN


class Convolution(nn.Module):
    """Convolution with equalized learning rate, optional downsampling by 2, bias, leaky ReLU and clamp."""

    low_pass: Tensor | None

    def __init__(self, inputs: int, outputs: int, side: int, down: bool = False, active: bool = True):
        super().__init__()
        self.weight_gain = 1 / sqrt(inputs * side * side)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None
        self.register_buffer("low_pass", low_pass_filter() if down else None, persistent=False)

    def forward(self, x: Tensor, clamp: float | None = None) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H, W], or to half of H and W."""
        side, stride, padding = self.weight.shape[-1], 1, self.weight.shape[-1] // 2
        if self.low_pass is not None:
            # Before a 1x1 convolution the filter keeps every other pixel; a 3x3 convolution does so by its stride.
            kernel = self.low_pass.expand(x.shape[1], 1, -1, -1)
            x = F.conv2d(x, kernel, stride=1 if side > 1 else 2, padding=1 + padding, groups=x.shape[1])
            stride, padding = 2 if side > 1 else 1, 0
        x = F.conv2d(x, self.weight * self.weight_gain, stride=stride, padding=padding)
        if self.bias is None:
            return x
        x = F.leaky_relu(x + self.bias[:, None, None], SLOPE) * GAIN
        return x if clamp is None else x.clamp(-clamp, clamp)


class DiscriminatorBlock(nn.Module):
    """Block of the "resnet" architecture: two convolutions with a shortcut, downsampling by 2."""

    def __init__(self, config: DiscriminatorConfig, index: int):
        super().__init__()
        outputs, inputs = config.channels[index - 1 : index + 1]
        self.clamp = config.conv_clamp
        first = index == len(config.channels) - 1
        self.fromrgb = Convolution(config.img_channels, inputs, 1) if first else None
        self.conv0 = Convolution(inputs, inputs, 3)
        self.conv1 = Convolution(inputs, outputs, 3, down=True)
        self.skip = Convolution(inputs, outputs, 1, down=True, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images, or features of the previous block, [N, C, H, W] to features [N, C', H / 2, W / 2]."""
        if self.fromrgb is not None:
            x = self.fromrgb(x, self.clamp)
        return (self.conv1(self.conv0(x, self.clamp), self.clamp) + self.skip(x)) * SUM_GAIN


class DiscriminatorEnd(nn.Module):
    """The last block: standard deviation over the batch, a convolution, and two fully connected layers."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        width = config.channels[0]
        self.group, self.clamp = config.group, config.conv_clamp
        self.conv = Convolution(width + 1, width, 3)
        self.fc = FullyConnected(width * 16, width)
        self.out = FullyConnected(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N, C, 4, 4] to logits [N]."""
        x = self.conv(torch.cat([x, self._deviation(x)], dim=1), self.clamp)
        x = F.leaky_relu(self.fc(x.flatten(1)), SLOPE) * GAIN
        return self.out(x)[:, 0]

    def _deviation(self, x: Tensor) -> Tensor:
        """Return the mean standard deviation over each group of the batch as one feature map per image, [N, 1, 4, 4].

        A group has the largest size up to `group` that the batch divides by; image i is in group i mod (N / size).
        """
        size = max(n for n in range(1, self.group + 1) if len(x) % n == 0)
        spread = (x.unflatten(0, (size, -1)).var(dim=0, unbiased=False) + EPS).sqrt().mean(dim=(1, 2, 3))
        return spread.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])


class Discriminator(nn.Module):
    """StyleGAN2's discriminator, which tells true images from generated ones. Randomly initialized.

    Attributes:
        config: sizes and constants.
    """

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config
        for index in reversed(range(1, len(config.channels))):
            setattr(self, f"b{config.resolutions[index]}", DiscriminatorBlock(config, index))
        self.b4 = DiscriminatorEnd(config)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, R, R], about in [-1, 1], to logits [N], high for true images."""
        return self.b4(self.features(images)[-1])

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the output of each block before the last: [N, C, R / 2, R / 2], ..., [N, C, 4, 4].

        Raises:
            UsageError: the images have another size.
        """
        expected = (self.config.img_channels, self.config.resolution, self.config.resolution)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise UsageError(f"images has shape {list(images.shape)}; this discriminator takes {['N', *expected]}")
        found = []
        for block in list(self.children())[:-1]:
            images = block(images)
            found.append(images)
        return found
