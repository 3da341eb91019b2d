"""The demo world: faces drawn from a handful of numbers, each in any of seven styles.

`draw(parameters, species, style)` gives pictures; the same parameters in another style or species give the same
face over again, which is what makes it possible to say how good an adaptation is.
"""

from __future__ import annotations

import torch
from anatomy import SPECIES, Chimera
from shapes import Noise, gaussian_cdf
from styles import DRAW
from torch import Tensor

STYLES = tuple(DRAW)
PARAMETERS = (
    "x", "y", "size", "tilt",  # where the head is
    "coat", "shade", "patch", "blaze",  # what it wears: color, brightness, a dark eye patch, a pale stripe
    "ear", "ear_tilt", "muzzle", "eye", "mouth", "gaze",  # its features
    "hue", "tone", "light_x", "light_y",  # background and light
)  # fmt: skip
SIZE = 64


def parameters_from_latents(z: Tensor) -> dict[str, Tensor]:
    """Uniform parameters {name: [N, 1, 1] in 0..1} from latents [N, >= 18].

    The latents are first normalized to unit second moment, as StyleGAN2's mapping network does; whatever their
    length was, the same picture comes out.
    """
    u = gaussian_cdf(z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt())
    return {name: u[:, i].reshape(-1, 1, 1) for i, name in enumerate(PARAMETERS)}


def random_parameters(count: int, generator: torch.Generator, device="cpu") -> dict[str, Tensor]:
    """Independent uniform parameters, drawn on the CPU."""
    u = torch.rand(count, len(PARAMETERS), generator=generator).to(device)
    return {name: u[:, i].reshape(-1, 1, 1) for i, name in enumerate(PARAMETERS)}


def draw(
    p: dict[str, Tensor],
    species: str | Chimera,
    style: str,
    generator: torch.Generator | None = None,
    grain: float = 1.0,
) -> Tensor:
    """Pictures [N, 3, 64, 64] in 0..1 of `species` (or a mixture of several) in `style`.

    `generator` seeds what the parameters leave open: paper grain, pencil wobble, the grain of a photo. `grain` scales
    the fine texture of photos (fur included): 0 leaves what can be told from the parameters at a glance.
    """
    if not set([species] if isinstance(species, str) else species) <= set(SPECIES) or style not in STYLES:
        raise ValueError(f"draw got {species!r} in {style!r}; species are {SPECIES}, styles are {STYLES}.")
    noise = Noise(len(p["x"]), SIZE, p["x"].device, generator, grain)
    return DRAW[style](p, species, noise).clamp(0, 1)
