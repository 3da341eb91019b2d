"""Render images of latent codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..errors import NadaError, UsageError, is_out_of_memory
from ..generators import NOISE_MODES, Generator, Noise
from ..generators.half_precision import require_half
from ..generators.threads import suited_threads
from ..seeding import seeded
from .sampling import sample_latents


@torch.no_grad()
def generate(
    generator: Generator,
    ws: Tensor,
    noise: Noise = "const",
    seed: int = 0,
    batch: int = 8,
    progress: Callable[[int], None] = lambda made: None,
    bfloat16: bool = False,
    *,
    half: bool = False,
) -> Tensor:
    """Render images of latent codes in batches; if memory runs out, halve the batch and continue.

    Args:
        generator: the generator, on any device.
        ws: [N, num_ws, w_dim], on any device.
        noise: "const" (the generator's stored maps), "random" (image i draws its own from seed + i), "none", or
            maps {layer name: [N, 1, H, W], or [1, 1, H, W] for all images}.
        seed: seed for "random".
        batch: largest number of images in a batch; fewer take less memory.
        progress: called with the number of images just made; an exception from it ends the rendering.
        bfloat16: compute in bfloat16 from 64 px on (on a CPU: 32 px).
        half: former name of `bfloat16`, kept for one release.

    Returns:
        [N, C, H, W] float32 on the CPU, about in [-1, 1] (not clamped).

    Raises:
        UsageError: `noise` or `batch` is out of range, or the device has no bfloat16.
        NadaError: the codes or the images are not finite numbers.
    """
    if isinstance(noise, str) and noise not in NOISE_MODES:
        raise UsageError(f"noise is {noise!r}; it must be one of {', '.join(NOISE_MODES)}")
    if batch < 1:
        raise UsageError(f"batch is {batch}; it must be at least 1")
    bfloat16 = bfloat16 or half
    if bfloat16:
        require_half(generator.device)
    if not torch.isfinite(ws).all():
        raise NadaError("the latent codes are not finite numbers; change them less, or take others")
    images: list[Tensor] = []
    made = 0
    while made < len(ws):
        codes = ws[made : made + batch]
        try:
            images.append(_render(generator, codes, noise_part(noise, made, batch), seed + made, bfloat16))
        except Exception as error:
            if len(codes) == 1 or not is_out_of_memory(error):
                raise
            batch = len(codes) // 2
        else:
            made += len(codes)
            progress(len(codes))
            continue
        release_memory()
    return torch.cat(images) if images else torch.empty(0)


def generate_samples(
    generator: Generator, count: int, seed: int = 0, truncation_psi: float = 0.7, batch: int = 8
) -> Tensor:
    """Generate images of random latents; image i depends on seed + i only.

    A generator and its adaptation show the same latents. Each maps them to codes itself, because an adaptation may have
    trained its mapping network.

    Args:
        generator: the generator, on any device.
        count, seed, truncation_psi: as for `sample_latents`.
        batch: as for `generate`.

    Returns:
        [count, C, H, W] float32 on the CPU, about in [-1, 1].

    Raises:
        UsageError, NadaError: as `sample_latents` and `generate`.
    """
    return generate(generator, sample_latents(generator, count, seed, truncation_psi), batch=batch)


def noise_part(noise: Noise, first: int, count: int) -> Noise:
    """Return the noise of `count` images from number `first` on."""
    if isinstance(noise, Mapping):
        return {name: maps if len(maps) == 1 else maps[first : first + count] for name, maps in noise.items()}
    return noise


def _render(generator: Generator, ws: Tensor, noise: Noise, seed: int, bfloat16: bool) -> Tensor:
    """Render images of codes in one batch, and return them on the CPU."""
    maps = _random_noise(generator, len(ws), seed) if noise == "random" else noise
    if isinstance(maps, Mapping):
        maps = {name: part.to(generator.device) for name, part in maps.items()}
    with suited_threads(generator):
        images = generator.synthesis(ws.to(generator.device), maps, bfloat16=bfloat16).float().cpu()
    if not torch.isfinite(images).all():
        raise NadaError(
            "the images are not finite numbers: the latent codes are too far from those that the generator knows, or "
            "its training has diverged"
        )
    return images


def _random_noise(generator: Generator, count: int, seed: int) -> dict[str, Tensor]:
    draws = [generator.synthesis.sample_noise(1, seeded(seed + i)) for i in range(count)]
    return {name: torch.cat([draw[name] for draw in draws]) for name in draws[0]}


def release_memory() -> None:
    """Give memory in PyTorch's cache back to the devices. Call it where no exception keeps the tensors alive."""
    torch.cuda.empty_cache()  # does nothing without CUDA
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
