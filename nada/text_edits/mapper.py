"""The latent mapper: a small network that changes latent codes so that a generator's images show a text."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..latents.sampling import BANDS
from ..stylegan2.layers import FullyConnected
from ..stylegan2.ops import GAIN, SLOPE

LAYERS, LR_MULTIPLIER = 4, 0.01
SCALE = 0.1  # default factor of a band's change to a code
MAX_STRENGTH = 10


class LatentMapper(nn.Module):
    """Network w -> w + scale * M(w), one M for each band of codes (StyleGAN-NADA section 4.3; StyleCLIP section 5).

    A band's network takes the codes of its band one by one: each is normalized to unit mean square over its features,
    then passes four fully connected layers. (The authors' code normalizes over the codes of the band instead. Those
    codes are equal unless styles are mixed, so only the sign of each feature remains.)

    Args:
        num_ws, w_dim: number of codes per image, and size of a code, of the generator.
        bands: names from `BANDS`; codes of other bands are not changed.
        scale: factor of the change.

    Attributes:
        metadata: recipe of the training, JSON-serializable; saved with the mapper.

    Raises:
        UsageError: a band does not exist or is named twice, or the generator has no codes in any named band.
    """

    def __init__(self, num_ws: int, w_dim: int, bands: tuple[str, ...] = tuple(BANDS), scale: float = SCALE):
        super().__init__()
        if not bands or not set(bands) <= set(BANDS) or len(set(bands)) < len(bands):
            raise UsageError(f"bands are {', '.join(bands) or 'none'}; name some of {', '.join(BANDS)}, each once")
        empty = [name for name in bands if not range(num_ws)[BANDS[name]]]
        if len(empty) == len(bands):
            raise UsageError(f"a generator with {num_ws} codes has none in the band {empty[0]!r}; choose another band")
        self.num_ws, self.w_dim, self.scale = num_ws, w_dim, scale
        self.bands = tuple(name for name in BANDS if name in bands and name not in empty)
        self.networks = nn.ModuleDict({name: _Band(w_dim) for name in self.bands})
        self.metadata: dict[str, Any] = {}

    @torch.no_grad()
    def draw(self, random: torch.Generator) -> LatentMapper:
        """Initialize the weights from a CPU random generator, and keep the biases; returns the mapper itself."""
        for layer in self.modules():
            if isinstance(layer, FullyConnected):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=random) / LR_MULTIPLIER)
        return self

    def forward(self, ws: Tensor, strength: float = 1.0) -> Tensor:
        """Change codes towards the text.

        Args:
            ws: codes [N, num_ws, w_dim], on the mapper's device.
            strength: factor of the change, in -10..10; 0 changes nothing, negative values lead away from the text.

        Returns:
            Changed codes [N, num_ws, w_dim].

        Raises:
            UsageError: the codes are for another generator, or the strength is out of range.
        """
        if not abs(strength) <= MAX_STRENGTH:
            raise UsageError(f"strength is {strength}; it must be in {-MAX_STRENGTH}..{MAX_STRENGTH}")
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise UsageError(f"ws has shape {list(ws.shape)}; this mapper takes [N, {self.num_ws}, {self.w_dim}]")
        change = torch.zeros_like(ws)
        for name, network in self.networks.items():
            change[:, BANDS[name]] = network(ws[:, BANDS[name]])
        return ws + strength * self.scale * change


class _Band(nn.Sequential):
    """Network of one band: [..., w_dim] -> [..., w_dim], each code separately."""

    def __init__(self, width: int):
        super().__init__(*(FullyConnected(width, width, lr_multiplier=LR_MULTIPLIER) for _ in range(LAYERS)))

    def forward(self, codes: Tensor) -> Tensor:
        x = codes * (codes.square().mean(dim=-1, keepdim=True) + 1e-8).rsqrt()
        for layer in self:
            x = F.leaky_relu(layer(x), SLOPE) * GAIN
        return x
