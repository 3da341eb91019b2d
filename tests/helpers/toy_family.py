"""A second family of generators with a few layers, which fulfils the contract and has nothing else of StyleGAN2."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.generators import Label, Layer, LayerKind, Noise


@dataclass(frozen=True)
class ToyConfig:
    resolution: int = 16
    z_dim: int = 8
    w_dim: int = 6
    c_dim: int = 0
    img_channels: int = 3
    num_ws: int = 3
    width: int = 10

    @property
    def image_size(self) -> tuple[int, int]:
        return self.resolution, self.resolution


class ToyMapping(nn.Module):
    def __init__(self, config: ToyConfig):
        super().__init__()
        self.linear, self.num_ws = nn.Linear(config.z_dim, config.w_dim), config.num_ws
        self.register_buffer("w_avg", torch.full((config.w_dim,), 0.1))

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None, label: Label = 0
    ) -> Tensor:
        ws = self.w(z)[:, None].repeat(1, self.num_ws, 1)
        cut = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cut], truncation_psi), ws[:, cut:]], dim=1)

    def w(self, z: Tensor, label: Label = 0) -> Tensor:
        return torch.tanh(self.linear(z))


class ToyLayer(nn.Module):
    """A convolution whose inputs are scaled by a code."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, side: int):
        super().__init__()
        self.affine = nn.Linear(w_dim, inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side) / (inputs * side * side) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        x = x * (1 + self.affine(code))[:, :, None, None]
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class ToySynthesis(nn.Module):
    noise_shapes: dict[str, tuple[int, int]] = {}  # noqa: RUF012 - this family has no noise

    def __init__(self, config: ToyConfig):
        super().__init__()
        self.recompute, width = False, config.width
        self.start = nn.Parameter(torch.randn(width, 4, 4))
        self.L0, self.L1 = (ToyLayer(width, width, config.w_dim, 3) for _ in range(2))
        self.Color = ToyLayer(width, config.img_channels, config.w_dim, 1)

    def forward(
        self, ws: Tensor, noise: Noise = "const", generator: torch.Generator | None = None, bfloat16: bool = False
    ) -> Tensor:
        x = self.start.expand(len(ws), -1, -1, -1)
        for i, layer in enumerate((self.L0, self.L1)):
            x = F.leaky_relu(layer(F.interpolate(x, scale_factor=2.0), ws[:, i]))
        return torch.tanh(self.Color(x, ws[:, 2]))

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        layers = {"L0": self.L0, "L1": self.L1, "Color": self.Color}
        return {name: layer.affine(ws[:, i]) for i, (name, layer) in enumerate(layers.items())}

    def sample_noise(self, batch: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {}


class ToyGenerator(nn.Module):
    """A generator of 16 px with three codes: two for convolutions and one for the colors."""

    family = "toy"

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.default_generator.manual_seed(seed)
        self.config, self.metadata = ToyConfig(), dict[str, Any]()
        self.mapping, self.synthesis = ToyMapping(self.config), ToySynthesis(self.config)
        self.eval().requires_grad_(False)

    @property
    def num_ws(self) -> int:
        return self.config.num_ws

    @property
    def device(self) -> torch.device:
        return self.mapping.w_avg.device

    @property
    def layers(self) -> dict[str, Layer]:
        return {
            "mapping": Layer(LayerKind.MAPPING, None, 0),
            "Start": Layer(LayerKind.CONSTANT, None, 4),
            "L0": Layer(LayerKind.CONVOLUTION, 0, 8),
            "L1": Layer(LayerKind.CONVOLUTION, 1, 16),
            "Color": Layer(LayerKind.COLOR, 2, 16),
        }

    @property
    def largest_map(self) -> int:
        return self.config.width * self.config.resolution**2

    def parameters_of(self, layer: str) -> dict[str, nn.Parameter]:
        if layer == "mapping":
            return dict(self.mapping.named_parameters())
        if layer == "Start":
            return {"start": self.synthesis.start}
        return dict(getattr(self.synthesis, layer).named_parameters())

    def resolution_of(self, tensor: str) -> int:
        name = tensor.split(".")
        layer = self.layers.get(name[1] if name[1] != "start" else "Start") if name[0] == "synthesis" else None
        return layer.resolution if layer else 0

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()
