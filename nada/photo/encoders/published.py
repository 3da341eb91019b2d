"""The encoders pSp (Richardson et al. 2020), e4e (Tov et al. 2021) and ReStyle (Alaluf et al. 2021).

All of them compute W+ codes from feature maps, with one small convolutional head for each code. pSp and e4e make one
pass, and use a pyramid of three maps. ReStyle makes several passes over the picture and the image of its last codes,
and uses the last map only. In e4e and variants of it, all codes except the first are offsets from the first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...clip.resizing import resized
from ...errors import UsageError
from ...generators import Generator
from ...pictures.convert import middle, to_rgb
from .trunks import UNITS, IrSe, ResNet

log = logging.getLogger(__name__)
SIDE = 256  # side of the networks' input in pixels
COARSE, MIDDLE = 3, 7  # codes below COARSE use the last map of a pyramid, those below MIDDLE the second last
BATCH = 8  # images in a batch
TRUNKS = {"ir_se": IrSe, "resnet": ResNet}
SAME = 1e-3  # largest difference of equal generators' tensors, relative to the largest number


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and kind of an encoder.

    Raises:
        UsageError: a value is impossible.
    """

    offsets: bool
    """Whether all codes except the first are offsets from the first, as in e4e."""
    trunk: str
    """Name of the trunk, one of `TRUNKS`."""
    widths: tuple[int, ...]
    """Channels of the trunk's first layer and of its four stages."""
    num_ws: int
    w_dim: int
    pyramid: bool
    """Whether codes are computed from three maps (pSp, e4e) or from the last one (ReStyle)."""
    channels: int = 3
    """Channels of the input: 3 for a picture, 6 for a picture and the image of the last codes, as in ReStyle."""
    wide: bool = False
    """Whether pictures have a ratio of 4:3, between the black bars of a square (cars)."""
    iterations: int = 5
    """Number of passes of an encoder with 6 channels."""

    def __post_init__(self) -> None:
        sizes = (*self.widths, self.num_ws, self.w_dim, self.iterations)
        if self.trunk not in TRUNKS or self.channels not in (3, 6) or len(self.widths) != len(UNITS["ir_se"]) + 1:
            raise UsageError(f"there is no such encoder: {self}")
        if not all(type(size) is int and 0 < size <= 1 << 12 for size in sizes) or self.iterations > 100:
            raise UsageError(f"an encoder cannot have these sizes: {self}")

    @property
    def name(self) -> str:
        """The name of the method."""
        method = "e4e" if self.offsets else "pSp"
        return f"ReStyle-{method}" if self.channels == 6 else method


class Head(nn.Module):
    """Head that computes a code from a feature map: convolutions that halve it down to 1x1, and a linear layer."""

    def __init__(self, narrow: int, w_dim: int, side: int):
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(int(log2(side))):
            layers += [nn.Conv2d(narrow if i == 0 else w_dim, w_dim, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = nn.Linear(w_dim, w_dim)  # `forward` divides its stored weights by sqrt(w_dim)

    def forward(self, x: Tensor) -> Tensor:
        features = self.convs(x).flatten(1)
        return F.linear(features, self.linear.weight / self.linear.in_features**0.5, self.linear.bias)


class CodeNetwork(nn.Module):
    """Network: pictures [N, channels, 256, 256] (192 x 256 if wide) -> codes less the average, [N, num_ws, w_dim]."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.offsets = config.offsets
        self.trunk = TRUNKS[config.trunk](config.channels, config.widths)
        last = config.widths[-1]
        self.pyramid = config.pyramid
        if config.pyramid:
            self.latlayer1 = nn.Conv2d(config.widths[-2], last, 1)
            self.latlayer2 = nn.Conv2d(config.widths[-3], last, 1)
        self.levels = [(i >= COARSE) + (i >= MIDDLE) if config.pyramid else 0 for i in range(config.num_ws)]
        self.styles = nn.ModuleList(Head(last, config.w_dim, 16 << level) for level in self.levels)

    def forward(self, x: Tensor) -> Tensor:
        fine, middle, coarse = self.trunk(x)
        maps = [coarse]
        if self.pyramid:
            maps.append(_added(coarse, self.latlayer1(middle)))
            maps.append(_added(maps[1], self.latlayer2(fine)))
        codes = torch.stack([head(maps[level]) for head, level in zip(self.styles, self.levels, strict=True)], dim=1)
        return torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], dim=1) if self.offsets else codes


def _added(small: Tensor, large: Tensor) -> Tensor:
    return F.interpolate(small, large.shape[-2:], mode="bilinear", align_corners=True) + large


class PublishedEncoder(nn.Module):
    """An encoder from a file of its authors.

    Args:
        config: kind and sizes.
        network: network of that configuration.
        average: code that the network's results are relative to, [num_ws or 1, w_dim].
        marks: the first numbers of tensors of the generator that the encoder was trained for, by their names in
            `Generator.state_dict()`; empty if the generator is not known.
    """

    average: Tensor

    def __init__(
        self, config: EncoderConfig, network: CodeNetwork, average: Tensor, marks: Mapping[str, Tensor] | None = None
    ):
        super().__init__()
        self.config, self.network, self.marks = config, network, dict(marks or {})
        self.register_buffer("average", average)

    @torch.no_grad()
    def encode(self, images: Tensor, generator: Generator) -> Tensor:
        """Return the codes of images, found in one pass or several; see `nada.photo.contract.Encoder`."""
        self._check(generator)
        if not self.knows(generator):
            log.warning(
                "the encoder was trained for another generator than this one; its codes may show something else here"
            )
        self.to(generator.device)
        return torch.cat([self._codes(part.to(generator.device), generator) for part in images.split(BATCH)])

    def knows(self, generator: Generator) -> bool:
        """Whether the generator is the one in the encoder's file; True if the file has no generator."""
        tensors = generator.state_dict()
        return all(name in tensors and _same(mark, tensors[name]) for name, mark in self.marks.items())

    def _check(self, generator: Generator) -> None:
        found, expected = (self.config.num_ws, self.config.w_dim), (generator.num_ws, generator.config.w_dim)
        more_rows = self.config.wide and found[0] >= expected[0]  # encoders of cars were trained with unused rows
        if found[1] != expected[1] or (found[0] != expected[0] and not more_rows):
            raise UsageError(
                f"the encoder finds codes {list(found)}, and this generator takes {list(expected)}; load the generator "
                "that the encoder was trained for"
            )

    def _codes(self, images: Tensor, generator: Generator) -> Tensor:
        prepared = self._prepared(to_rgb(images.float()).clamp(-1, 1))
        codes = self.average.expand(len(images), self.config.num_ws, -1)
        if self.config.channels == 3:
            return (codes + self.network(prepared))[:, : generator.num_ws]
        for _ in range(self.config.iterations):
            reached = to_rgb(generator.synthesis(codes[:, : generator.num_ws], "const").float())
            reached = F.adaptive_avg_pool2d(reached, SIDE)
            if self.config.wide:
                reached = _without_bars(reached)
            codes = codes + self.network(torch.cat([prepared, reached], dim=1))
        return codes[:, : generator.num_ws]

    def _prepared(self, images: Tensor) -> Tensor:
        if not self.config.wide:
            return resized(images, (SIDE, SIDE), "bilinear")
        return resized(_without_bars(images), (SIDE * 3 // 4, SIDE), "bilinear")


def _without_bars(images: Tensor) -> Tensor:
    """Cut the middle with a ratio of 4:3 out of square images; return other images as they are."""
    height, width = images.shape[-2:]
    if height != width:
        return images
    rows, columns = middle((height, width), width, max(height * 3 // 4, 1))
    return images[..., rows, columns]


def _same(mark: Tensor, tensor: Tensor) -> bool:
    """Whether a tensor begins with the numbers of `mark`, up to rounding."""
    mark, found = mark.to(tensor), tensor.flatten()[: len(mark)]
    return len(found) == len(mark) and bool((mark - found).abs().max() <= SAME * mark.abs().max().clamp(min=1e-6))


def describe(config: EncoderConfig) -> dict[str, Any]:
    """Describe an encoder's configuration as JSON-able data, for people."""
    trunk = {"ir_se": "IR-SE-50", "resnet": "ResNet-34"}[config.trunk]
    return {"encoder": config.name, "trunk": trunk, "codes": [config.num_ws, config.w_dim]}
