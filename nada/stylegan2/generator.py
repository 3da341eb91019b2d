"""The generator: mapping and synthesis network, and what is known of where it came from."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from .config import GeneratorConfig, standard_channels
from .layers import Mapping
from .synthesis import Noise, Synthesis

__all__ = ["Generator", "GeneratorConfig", "standard_channels"]


class Generator(nn.Module):
    """A StyleGAN2 generator with "skip" architecture, randomly initialized.

    Attributes:
        config: its sizes and constants.
        mapping: z [N, z_dim] -> ws [N, num_ws, w_dim].
        synthesis: ws -> images [N, C, R, R].
        metadata: JSON-able provenance: the file it came from, notes, the recipe of each adaptation. Saved with it.
    """

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.metadata: dict[str, Any] = {}
        self.mapping = Mapping(
            config.z_dim, config.w_dim, config.num_ws, config.mapping_layers, config.mapping_lr_multiplier
        )
        self.synthesis = Synthesis(config)

    @property
    def num_ws(self) -> int:
        """Latent codes per image."""
        return self.config.num_ws

    def forward(
        self,
        z: Tensor,
        truncation_psi: float = 1.0,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """z [N, z_dim] -> images [N, C, R, R], about in [-1, 1]; the arguments are those of the two networks."""
        return self.synthesis(self.mapping(z, truncation_psi), noise, generator)

    @torch.no_grad()
    def estimate_w_avg(self, samples: int = 10_000, seed: int = 0) -> Tensor:
        """The mean of w over seeded random z, [w_dim]: the centre of truncation for files that do not store it."""
        rng = torch.Generator().manual_seed(seed)
        z = torch.randn(samples, self.config.z_dim, generator=rng).to(self.mapping.w_avg)
        return self.mapping.w(z).mean(dim=0)

    def fingerprint(self) -> str:
        """SHA-256 of all tensors, whatever file they came from: generators with the same one make the same images."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
