"""Images of latent codes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import UsageError
from ..generators import NOISE_MODES, Generator
from ..seeding import seeded


@torch.no_grad()
def generate(
    generator: Generator,
    ws: Tensor,
    noise: str = "const",
    seed: int = 0,
    batch: int = 8,
    progress: Callable[[int], None] = lambda made: None,
    half: bool = False,
) -> Tensor:
    """Images of latent codes, in pieces.

    Args:
        generator: on any device.
        ws: [N, num_ws, w_dim], on any device.
        noise: "const" (the generator's stored maps), "random" (image i draws its own from seed + i) or "none".
        seed: for "random".
        batch: images at a time; less takes less memory.
        progress: called with the number of images just made; what it raises ends this.
        half: compute in bfloat16 from 64 px on, in less memory. Meant for GPUs; slower on a CPU.

    Returns:
        [N, 3, R, R] float32 on the CPU, about in [-1, 1] (not clamped).
    """
    if noise not in NOISE_MODES:
        raise UsageError(f"noise is {noise!r}; it must be one of {', '.join(NOISE_MODES)}")
    if batch < 1:
        raise UsageError(f"batch is {batch}; it must be at least 1")
    images = []
    for start in range(0, len(ws), batch):
        codes = ws[start : start + batch].to(generator.device)
        maps = _random_noise(generator, range(start, start + len(codes)), seed) if noise == "random" else noise
        images.append(generator.synthesis(codes, maps, half=half).float().cpu())
        progress(len(codes))
    return torch.cat(images) if images else torch.empty(0)


def _random_noise(generator: Generator, indices: range, seed: int) -> dict[str, Tensor]:
    draws = [generator.synthesis.sample_noise(1, seeded(seed + i)) for i in indices]
    return {name: torch.cat([draw[name] for draw in draws]) for name in draws[0]}
