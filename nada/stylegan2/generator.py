"""The generator: mapping and synthesis network, and what is known of where it came from."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from .config import GeneratorConfig, standard_channels
from .layers import Label, Mapping
from .synthesis import Noise, Synthesis

__all__ = ["Generator", "GeneratorConfig", "standard_channels"]

CHUNK = 1000  # latents mapped at a time where there are many, to spare memory


class Generator(nn.Module):
    """A StyleGAN2 generator, randomly initialized.

    Attributes:
        config: its sizes and constants.
        mapping: z [N, z_dim] -> ws [N, num_ws, w_dim].
        synthesis: ws -> images [N, C, H, W]; H = W = R unless the constant it starts from is not square.
        metadata: JSON-able provenance: the file it came from, notes, the recipe of each adaptation. Saved with it.
    """

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.metadata: dict[str, Any] = {}
        self.mapping = Mapping(config)
        self.synthesis = Synthesis(config)

    @property
    def num_ws(self) -> int:
        """Latent codes per image."""
        return self.config.num_ws

    @property
    def device(self) -> torch.device:
        """Device of the generator's tensors."""
        return self.mapping.w_avg.device

    def forward(
        self,
        z: Tensor,
        truncation_psi: float = 1.0,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        label: Label = 0,
    ) -> Tensor:
        """z [N, z_dim] -> images [N, C, H, W], about in [-1, 1]; the arguments are those of the two networks."""
        return self.synthesis(self.mapping(z, truncation_psi, label=label), noise, generator)

    @torch.no_grad()
    def estimate_w_avg(self, samples: int = 10_000, seed: int = 0) -> Tensor:
        """The mean of w over seeded random z, [w_dim]: the centre of truncation for files that do not store it.

        With classes, over all of them.
        """
        rng = torch.Generator().manual_seed(seed)
        z = torch.randn(samples, self.config.z_dim, generator=rng).to(self.mapping.w_avg)
        labels = torch.arange(samples) % max(self.config.c_dim, 1)
        chunks = range(0, samples, CHUNK)
        return sum(self.mapping.w(z[i : i + CHUNK], labels[i : i + CHUNK]).sum(dim=0) for i in chunks) / samples

    def fingerprint(self) -> str:
        """SHA-256 of all tensors, whatever file they came from: generators with the same one make the same images."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
