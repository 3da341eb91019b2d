"""Seeded random numbers: the same on every device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError

SEEDS = 1 << 64  # as many as ComfyUI has
SPREAD = 0x9E3779B1  # 2^32 times the golden ratio, odd
SOURCES = ("torch", "numpy")


def seeded(seed: int) -> torch.Generator:
    """A CPU random generator: the same numbers on every device."""
    return torch.Generator().manual_seed(_folded(seed))


def sample_z(seed: int, z_dim: int, source: str = "torch") -> Tensor:
    """The latent z that a seed stands for.

    Args:
        seed: any whole number.
        z_dim: numbers to draw, standard normal.
        source: "torch", or "numpy" for the z of this seed in the scripts of NVIDIA's StyleGAN repositories.

    Returns:
        [1, z_dim], float32, on the CPU.

    Raises:
        UsageError: the source is neither.
    """
    if source == "torch":
        return torch.randn(1, z_dim, generator=seeded(seed))
    if source == "numpy":
        return torch.from_numpy(np.random.RandomState(_folded(seed)).randn(1, z_dim)).float()
    raise UsageError(f"seeds are drawn from {source!r}; it must be one of {', '.join(SOURCES)}")


def _folded(seed: int) -> int:
    """The seed as 32 bits, of which all 64 count: both libraries take no more. Small seeds stay as they are."""
    seed %= SEEDS
    seed += (seed >> 32) * SPREAD
    return seed % (1 << 32)
