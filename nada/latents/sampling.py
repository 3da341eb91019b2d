"""Random latent codes, and mixtures of codes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UsageError
from ..generators import Generator, Label
from ..seeding import sample_z

MAX_COUNT = 1_000_000  # codes at once
MAX_PSI = 10


@torch.no_grad()
def sample_latents(
    generator: Generator,
    count: int,
    seed: int = 0,
    truncation_psi: float = 0.7,
    truncation_cutoff: int | None = None,
    label: Label = 0,
    seed_from: str = "torch",
) -> Tensor:
    """Return random latent codes; code i depends on seed + i only, whatever the count.

    Args:
        generator: the generator with the mapping network to use. An adapted generator shares it with its base.
        count: number of codes.
        seed: seed of the first code.
        truncation_psi: 1 for full variety, less for more typical images, 0 for the average image.
        truncation_cutoff: number of layers, from the first, whose code is truncated; None for all.
        label: class, for class-conditional generators; see `Mapping.forward`.
        seed_from: random generator that turns a seed into z, "torch" or "numpy", see `sample_z`: "numpy" gives the same
            pictures as NVIDIA's scripts.

    Returns:
        ws [count, num_ws, w_dim], on the generator's device.

    Raises:
        UsageError: `count` or `truncation_psi` is out of range, or `label` or `seed_from` does not exist.
    """
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(f"count is {count}; it must be in 1..{MAX_COUNT}")
    if not abs(truncation_psi) <= MAX_PSI:
        raise UsageError(f"truncation_psi is {truncation_psi}; it must be in {-MAX_PSI}..{MAX_PSI}")
    z = torch.cat([sample_z(seed + i, generator.config.z_dim, seed_from) for i in range(count)])
    return generator.mapping(z.to(generator.device), truncation_psi, truncation_cutoff, label)


def draw_latents(generator: Generator, count: int, random: torch.Generator) -> tuple[Tensor, Label]:
    """Draw latents z [count, z_dim] and, for a generator with classes, a class for each, [count], on its device.

    Args:
        generator: the generator, for sizes and device.
        count: number of latents.
        random: CPU generator of random numbers.
    """
    config = generator.config
    z = torch.randn(count, config.z_dim, generator=random).to(generator.device)
    if not config.c_dim:
        return z, 0
    return z, torch.randint(config.c_dim, (count,), generator=random).to(generator.device)


def mix_latents(coarse: Tensor, fine: Tensor, crossover: int | Tensor) -> Tensor:
    """Mix styles (StyleGAN section 3.1): take the codes below `crossover` from `coarse`, the rest from `fine`.

    Args:
        coarse, fine: [N, num_ws, w_dim].
        crossover: 0 (all from `fine`) .. num_ws (all from `coarse`); one number, [1], or one for each image, [N].

    Returns:
        [N, num_ws, w_dim].
    """
    crossover = torch.as_tensor(crossover, device=coarse.device).view(-1, 1, 1)
    place = torch.arange(coarse.shape[1], device=coarse.device)[:, None]
    return torch.where(place < crossover, coarse, fine)


BANDS = {"coarse": slice(0, 4), "middle": slice(4, 8), "fine": slice(8, None)}
"""Bands of codes, after StyleGAN 3.1: pose and shape, features, and finer detail (color).

In StyleGAN2, whose first block has one convolution, they end with b16.conv0, b64.conv0 and the last layer.
"""


def blend_latents(first: Tensor, second: Tensor, coarse: float, middle: float, fine: float) -> Tensor:
    """Mix styles in three bands of codes, each with a share of its own.

    Args:
        first, second: [N, num_ws, w_dim].
        coarse, middle, fine: share of `second` in the codes of the band, 0..1.

    Returns:
        [N, num_ws, w_dim].

    Raises:
        UsageError: a share is out of range.
    """
    mixed, shares = first.clone(), (coarse, middle, fine)
    for (name, band), share in zip(BANDS.items(), shares, strict=True):
        if not 0 <= share <= 1:
            raise UsageError(f"{name} is {share}; it must be in 0..1")
        mixed[:, band] = first[:, band].lerp(second[:, band], share)
    return mixed
