"""The convolutional trunks of published encoders: IR-SE-50 of ArcFace, and ResNet-34 without its pooling.

Attributes have the names of tensors in the published files, so that these load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

UNITS = {"ir_se": (3, 4, 14, 3), "resnet": (3, 4, 6, 3)}  # number of residual units in each of the four stages
SQUEEZE = 16  # factor by which a gate reduces the channels between its layers


class Gate(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018): weights for the channels, computed from the whole picture."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(width // SQUEEZE, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))).sigmoid()


class GatedUnit(nn.Module):
    """A residual unit of IR-SE: normalization first, and a gate at the end."""

    def __init__(self, narrow: int, wide: int, stride: int):
        super().__init__()
        self.shortcut_layer = (
            nn.MaxPool2d(1, stride)
            if narrow == wide
            else nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(narrow),
            nn.Conv2d(narrow, wide, 3, 1, 1, bias=False),
            nn.PReLU(wide),
            nn.Conv2d(wide, wide, 3, stride, 1, bias=False),
            nn.BatchNorm2d(wide),
            Gate(wide),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


class BasicBlock(nn.Module):
    """A residual unit of ResNet-18 and ResNet-34 (He et al. 2015)."""

    def __init__(self, narrow: int, wide: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide)
        self.conv2, self.bn2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide)
        self.downsample = (
            nn.Identity()
            if narrow == wide and stride == 1
            else nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class IrSe(nn.Module):
    """IR-SE-50: images [N, C, H, W] -> features of the stages with 1/4, 1/8 and 1/16 of the resolution.

    Args:
        channels: number of channels of the images.
        widths: channels of the first layer and of the four stages, each of which halves the resolution.
    """

    def __init__(self, channels: int, widths: Sequence[int]):
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])
        )
        self.body, self.ends = _stages(GatedUnit, widths, UNITS["ir_se"], first_stride=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        return _features(self.body, self.input_layer(x), self.ends)


class ResNet(nn.Module):
    """ResNet-34 with PReLU after its first layer and no pooling; see `IrSe`, which has the same resolutions."""

    def __init__(self, channels: int, widths: Sequence[int]):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])
        self.body, self.ends = _stages(BasicBlock, widths, UNITS["resnet"], first_stride=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return _features(self.body, self.relu(self.bn1(self.conv1(x))), self.ends)


def _stages(
    unit: type[nn.Module], widths: Sequence[int], counts: Sequence[int], first_stride: int
) -> tuple[nn.Sequential, list[int]]:
    """Return all units in sequence, and the index of the last unit of each stage after the first."""
    units: list[nn.Module] = []
    ends = []
    for stage, (count, wide) in enumerate(zip(counts, widths[1:], strict=True)):
        stride = 2 if stage else first_stride
        units += [unit(widths[stage] if i == 0 else wide, wide, stride if i == 0 else 1) for i in range(count)]
        ends.append(len(units) - 1)
    return nn.Sequential(*units), ends[1:]


def _features(body: nn.Sequential, x: Tensor, ends: Sequence[int]) -> list[Tensor]:
    found = []
    for i, unit in enumerate(body):
        x = unit(x)
        if i in ends:
            found.append(x)
    return found
