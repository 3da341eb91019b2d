"""Edits of latent codes: steps along directions of W that change one thing about a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import NadaError, UsageError
from ..generators import Generator
from ..seeding import seeded

SAMPLES = 10_000
MAX_BYTES = 16 << 20  # of a file with directions; one of 18 x 512 numbers has 72 kB


@dataclass(frozen=True)
class Directions:
    """Principal directions of W, the strongest first."""

    vectors: Tensor
    """[K, w_dim], each of the length of one standard deviation along it."""
    explained: Tensor
    """[K], which share of the variance of w lies along each."""


@torch.no_grad()
def principal_directions(generator: Generator, count: int = 10, samples: int = SAMPLES, seed: int = 0) -> Directions:
    """The directions in which w varies most: principal component analysis (GANSpace, arXiv 2004.02546, section 3.2).

    Args:
        generator: whose mapping network to analyze. Its adaptations share it, and the directions.
        count: how many.
        samples: random w to look at.
        seed: of them.

    Raises:
        UsageError: w has not so many dimensions.
    """
    w_dim, classes = generator.config.w_dim, generator.config.c_dim
    if not 1 <= count <= w_dim:
        raise UsageError(f"count is {count}; this generator's w has 1 to {w_dim} directions")
    random = seeded(seed)
    z = torch.randn(samples, generator.config.z_dim, generator=random)
    labels = torch.randint(classes, (samples,), generator=random) if classes else 0
    w = generator.mapping.w(z.to(generator.device), labels).double()
    values, vectors = torch.linalg.eigh(torch.cov(w.T))  # ascending
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1).T
    # An eigenvector's sign is arbitrary: let its largest component be positive, whatever the machine.
    signs = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)).sign()
    vectors = vectors * signs * values.sqrt()[:, None]
    return Directions(vectors[:count].float(), (values / values.sum())[:count].float())


def load_direction(path: str | Path) -> Tensor:
    """A direction from a file: a boundary of InterFaceGAN (.npy), or the only tensor of a .safetensors.

    Returns:
        [w_dim] for all codes, or [num_ws, w_dim], float32.

    Raises:
        NadaError: the file is not such a direction.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise NadaError(f"{path.name} has {path.stat().st_size >> 20} MB; a direction has a few kilobytes")
        if path.suffix == ".npy":
            arrays = [np.load(path, allow_pickle=False)]
        else:
            arrays = [tensor.numpy() for tensor in load_file(path).values()]
        (array,) = arrays
        direction = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise NadaError(
            f"{path.name} is no direction: a .npy or .safetensors file with one array of numbers"
        ) from error
    while direction.ndim > 1 and direction.shape[0] == 1:
        direction = direction[0]
    if direction.ndim not in (1, 2) or not direction.isfinite().all():
        raise NadaError(
            f"{path.name} holds numbers of shape {list(direction.shape)}; a direction is [w_dim] or [n, w_dim]"
        )
    return direction


def edit_latents(ws: Tensor, direction: Tensor, amount: float, first: int = 0, last: int | None = None) -> Tensor:
    """w + amount * direction, on some of the codes.

    Args:
        ws: [N, num_ws, w_dim].
        direction: [w_dim], or [num_ws, w_dim] with a step of its own for each code.
        amount: in units of the direction's length; negative for the opposite.
        first, last: codes to change, both included; None for the last one. The first four move pose and shape, the next
            four features, the rest colors and texture (StyleGAN section 3.1).

    Raises:
        UsageError: the direction is for another generator, or the range is empty.
    """
    num_ws, w_dim = ws.shape[1:]
    last = num_ws - 1 if last is None else min(last, num_ws - 1)
    if tuple(direction.shape) not in ((w_dim,), (num_ws, w_dim)):
        raise UsageError(
            f"the direction has shape {list(direction.shape)}; these codes take [{w_dim}] or [{num_ws}, {w_dim}]"
        )
    if not 0 <= first <= last:
        raise UsageError(f"codes {first} to {last} are none; there are the codes 0 to {num_ws - 1}")
    moved = ws.clone()
    steps = direction.to(ws).expand(num_ws, w_dim)
    moved[:, first : last + 1] += amount * steps[first : last + 1]
    return moved
