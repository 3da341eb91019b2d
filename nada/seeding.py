"""Seeded random numbers: the same on every device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError

SEEDS = 1 << 64  # number of different seeds, as in ComfyUI
SPREAD = 0x9E3779B1  # 2^32 times the golden ratio, odd
SOURCES = ("torch", "numpy")


def seeded(seed: int) -> torch.Generator:
    """Return a CPU random generator, which gives the same numbers for every device."""
    return torch.Generator().manual_seed(_folded(seed))


def sample_z(seed: int, z_dim: int, source: str = "torch") -> Tensor:
    """Return the latent z of a seed.

    Args:
        seed: any whole number.
        z_dim: number of values to draw from a standard normal distribution.
        source: "torch", or "numpy" for the z of this seed in the scripts of NVIDIA's StyleGAN repositories.

    Returns:
        [1, z_dim], float32, on the CPU.

    Raises:
        UsageError: `source` is neither.
    """
    if source == "torch":
        return torch.randn(1, z_dim, generator=seeded(seed))
    if source == "numpy":
        return torch.from_numpy(np.random.RandomState(_folded(seed)).randn(1, z_dim)).float()
    raise UsageError(f"the source of seeds is {source!r}; it must be one of {', '.join(SOURCES)}")


def _folded(seed: int) -> int:
    """Hash all 64 bits of a seed to 32, the most that both libraries take; smaller seeds are unchanged."""
    seed %= SEEDS
    seed += (seed >> 32) * SPREAD
    return seed % (1 << 32)
