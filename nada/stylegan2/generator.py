"""The generator: mapping network, synthesis network, and metadata on its provenance."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..generators import Label, Layer, LayerKind, Noise
from .config import GeneratorConfig, standard_channels
from .layers import Mapping
from .synthesis import Synthesis

__all__ = ["Generator", "GeneratorConfig", "standard_channels"]

FAMILY = "stylegan2"
MAPPING, CONST = "mapping", "b4.const"  # names of the layers outside the style-modulated ones
CHUNK = 1000  # latents mapped at a time where there are many, to spare memory


class Generator(nn.Module):
    """A StyleGAN2 generator, randomly initialized.

    Attributes:
        config: sizes and constants.
        mapping: z [N, z_dim] -> ws [N, num_ws, w_dim].
        synthesis: ws -> images [N, C, H, W]; H = W = R unless the constant that it starts from is not square.
        metadata: JSON-able provenance: source file, notes, and the recipe of each adaptation. Saved with the generator.
    """

    family = FAMILY

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.metadata: dict[str, Any] = {}
        self.mapping = Mapping(config)
        self.synthesis = Synthesis(config)

    @property
    def num_ws(self) -> int:
        """Number of latent codes for each image."""
        return self.config.num_ws

    @property
    def device(self) -> torch.device:
        """Device of the generator's tensors."""
        return self.mapping.w_avg.device

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Layers by name: "mapping", "b4.const", and those of the synthesis network, such as "b8.conv0", "b8.torgb"."""
        layers = {
            MAPPING: Layer(LayerKind.MAPPING, None, 0),
            CONST: Layer(LayerKind.CONSTANT, None, self.config.resolutions[0]),
        }
        for name, code in self.synthesis.latent_of.items():
            kind = LayerKind.COLOR if name.endswith("torgb") else LayerKind.CONVOLUTION
            layers[name] = Layer(kind, code, int(name[1 : name.index(".")]))
        return layers

    @property
    def largest_map(self) -> int:
        """Number of values in the largest feature map of one image."""
        sizes = (
            c * prod(self.config.size(r)) for c, r in zip(self.config.channels, self.config.resolutions, strict=True)
        )
        return max(sizes)

    def parameters_of(self, layer: str) -> dict[str, nn.Parameter]:
        """Return the parameters of a layer by their names in it, such as "weight" and "affine.bias".

        Args:
            layer: name of the layer, such as "b8.conv0"; a key of `layers`.

        Raises:
            UsageError: there is no such layer.
        """
        if layer not in self.layers:
            raise UsageError(f"there is no layer {layer!r}; the layers are {', '.join(self.layers)}")
        if layer == MAPPING:
            return dict(self.mapping.named_parameters())
        if layer == CONST:
            return {"const": self.synthesis.get_parameter(CONST)}
        return dict(self.synthesis.layer(layer).named_parameters())

    def resolution_of(self, tensor: str) -> int:
        """Return the resolution, in pixels, of the block that a tensor belongs to; 0 for the mapping network.

        Args:
            tensor: name of the tensor in `state_dict`, such as "synthesis.b8.conv0.weight".
        """
        block = re.match(r"synthesis\.b(\d+)\.", tensor)
        return int(block[1]) if block else 0

    def forward(
        self,
        z: Tensor,
        truncation_psi: float = 1.0,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        label: Label = 0,
    ) -> Tensor:
        """Map random latents to images with both networks.

        Args:
            z: [N, z_dim], drawn from a standard normal distribution.
            truncation_psi: see `Mapping.forward`.
            noise, generator: see `Synthesis.forward`.
            label: see `Mapping.forward`.

        Returns:
            Images [N, C, H, W], about in [-1, 1] (not clamped).
        """
        return self.synthesis(self.mapping(z, truncation_psi, label=label), noise, generator)

    @torch.no_grad()
    def estimate_w_avg(self, samples: int = 10_000, seed: int = 0) -> Tensor:
        """Return the mean of w over seeded random z, [w_dim]: the centre of truncation for files that do not store it.

        For a class-conditional generator, the mean is over all classes.

        Args:
            samples: number of random z.
            seed: seed of the random z.
        """
        rng = torch.Generator().manual_seed(seed)
        z = torch.randn(samples, self.config.z_dim, generator=rng).to(self.mapping.w_avg)
        labels = torch.arange(samples) % max(self.config.c_dim, 1)
        sums = (self.mapping.w(z[i : i + CHUNK], labels[i : i + CHUNK]).sum(dim=0) for i in range(0, samples, CHUNK))
        return sum(sums, torch.zeros_like(self.mapping.w_avg)) / samples

    def fingerprint(self) -> str:
        """Return the SHA-256 of config and tensors: generators with the same fingerprint make the same images."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
