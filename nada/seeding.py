"""Seeded random numbers: the same on every device."""

from __future__ import annotations

import torch

SEEDS = 1 << 64  # as many as ComfyUI has
SPREAD = 0x9E3779B1  # 2^32 times the golden ratio, odd


def seeded(seed: int) -> torch.Generator:
    """A CPU random generator: the same numbers on every device."""
    seed %= SEEDS
    seed += (seed >> 32) * SPREAD  # PyTorch ignores the upper half of the 64 bits
    return torch.Generator().manual_seed(seed % (1 << 32))
