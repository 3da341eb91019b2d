"""LPIPS (Zhang et al., arXiv 1801.03924), version 0.1, from weights that are already on this machine.

The linear heads come with the package `lpips`, whose files are read and whose code is not run; the backbone is one that
torchvision has downloaded earlier. Nothing is downloaded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint.arrays import open_arrays
from ..errors import CheckpointError

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
ADVICE = "pip install lpips, and let torchvision download VGG once: torchvision.models.vgg16(weights='DEFAULT')"
SIDE = 256  # larger images are reduced to about this side, in pixels
LEAST = 32  # smaller images are enlarged to this side, since the backbones halve them up to five times


class Conv(NamedTuple):
    """Convolution with ReLU; `number` is its index in torchvision's `features`."""

    number: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


class Pool(NamedTuple):
    """Max pooling."""

    kernel: int
    stride: int


TAP = "tap"  # marks the layers whose features are compared
Backbone = tuple[Conv | Pool | str, ...]


def _vgg() -> Iterator[Conv | Pool | str]:
    number, inputs = 0, 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if number:
            yield Pool(2, 2)
            number += 1
        for _ in range(count):
            yield Conv(number, inputs, outputs)
            number, inputs = number + 2, outputs
        yield TAP


BACKBONES: dict[str, tuple[str, Backbone]] = {  # name of the heads: (torchvision's file, layers); the best first
    "vgg": ("vgg16-397923af.pth", tuple(_vgg())),
    "alex": (
        "alexnet-owt-7be5be79.pth",
        (
            *(Conv(0, 3, 64, 11, 4, 2), TAP, Pool(3, 2), Conv(3, 64, 192, 5, 1, 2), TAP, Pool(3, 2)),
            *(Conv(6, 192, 384), TAP, Conv(8, 384, 256), TAP, Conv(10, 256, 256), TAP),
        ),
    ),
}


class Lpips(nn.Module):
    """The LPIPS network. Frozen.

    Args:
        name: backbone, one of `BACKBONES`.
        features: {"features.0.weight": tensor, ...} of the backbone.
        heads: {"lin0.model.1.weight": [1, C, 1, 1], ...}, one for each tap.

    Raises:
        CheckpointError: a tensor is missing, or of another shape.
    """

    def __init__(self, name: str, features: dict[str, Tensor], heads: dict[str, Tensor]):
        super().__init__()
        self.name, self.backbone, width, taps = name, BACKBONES[name][1], 0, 0
        for layer in self.backbone:
            if isinstance(layer, Conv):
                shape, width = [layer.outputs, layer.inputs, layer.kernel, layer.kernel], layer.outputs
                self._keep(f"weight{layer.number}", features, f"features.{layer.number}.weight", shape)
                self._keep(f"bias{layer.number}", features, f"features.{layer.number}.bias", [layer.outputs])
            elif layer == TAP:
                self._keep(f"head{taps}", heads, f"lin{taps}.model.1.weight", [1, width, 1, 1])
                taps += 1
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])

    def _keep(self, name: str, tensors: dict[str, Tensor], source: str, shape: list[int]) -> None:
        found = tensors.get(source)
        if found is None or [*found.shape] != shape:
            is_now = "missing" if found is None else f"of shape {[*found.shape]}"
            raise CheckpointError(f"LPIPS cannot be used: {source} is {is_now}, expected {shape}; install it again")
        self.register_buffer(name, found.float())

    def layers(self, images: Tensor) -> list[Tensor]:
        """Return features [N, C, h, w] at each tap, of length 1 at each place, for images [N, 3, H, W] in [-1, 1]."""
        largest = max(images.shape[-2:])
        x = F.avg_pool2d(images, largest // SIDE) if largest >= 2 * SIDE else images
        if (smallest := min(x.shape[-2:])) < LEAST:
            x = F.interpolate(x, scale_factor=float(ceil(LEAST / smallest)), mode="bilinear", align_corners=False)
        x = (x - self.get_buffer("shift")) / self.get_buffer("scale")
        found = []
        for layer in self.backbone:
            if isinstance(layer, Conv):
                weight, bias = self.get_buffer(f"weight{layer.number}"), self.get_buffer(f"bias{layer.number}")
                x = F.conv2d(x, weight, bias, layer.stride, layer.padding).relu()
            elif isinstance(layer, Pool):
                x = F.max_pool2d(x, layer.kernel, layer.stride)
            else:
                found.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return found

    def distance(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """Return the LPIPS distance of N pairs of images from their `layers`, [N]."""
        terms = [
            F.conv2d((a - b).square(), self.get_buffer(f"head{i}")).mean((1, 2, 3))
            for i, (a, b) in enumerate(zip(first, second, strict=True))
        ]
        return torch.stack(terms).sum(0)


def find_lpips(names: Iterable[str] = BACKBONES) -> Lpips | None:
    """Return the first LPIPS network whose weights are on this machine; None if there is none.

    Args:
        names: backbones to look for, in this order; VGG before AlexNet by default.
    """
    package = find_spec("lpips")
    folders = [Path(place) for place in package.submodule_search_locations or ()] if package else []
    for name in names:
        features = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[name][0]
        for heads in (folder / "weights" / "v0.1" / f"{name}.pth" for folder in folders):
            if features.is_file() and heads.is_file():
                return Lpips(name, _read(features), _read(heads)).eval()
    return None


def _read(path: Path) -> dict[str, Tensor]:
    with open_arrays(path) as arrays:
        wanted = {name: view for name, view in arrays.items() if not name.startswith("classifier")}
        return {name: view.read() for name, view in wanted.items()}
