"""Edits of latent codes: steps along directions of W that change one thing about a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import TensorView, open_arrays
from ..errors import CheckpointError, UsageError
from ..generators import Generator
from ..seeding import seeded

SAMPLES = 10_000
MAX_NUMBERS = 1 << 22  # numbers in one file; a factorization has 512 x 512
COMPONENTS = (("comp", "std"), ("lat_comp", "lat_stdev"))  # directions of length 1, and their standard deviations


@dataclass(frozen=True)
class Directions:
    """Principal directions of W, the strongest first."""

    vectors: Tensor
    """[K, w_dim], each as long as one standard deviation of w along it."""
    explained: Tensor
    """[K], the share of the variance of w along each, 0..1."""


@torch.no_grad()
def principal_directions(generator: Generator, count: int = 10, samples: int = SAMPLES, seed: int = 0) -> Directions:
    """Find the directions in which w varies most by principal component analysis (GANSpace, arXiv 2004.02546, 3.2).

    Args:
        generator: the generator with the mapping network to analyze. Its adaptations have the same directions.
        count: number of directions, 1..w_dim.
        samples: number of random w.
        seed: seed of the random w.

    Returns:
        The directions, the strongest first, on the CPU.

    Raises:
        UsageError: `count` is out of range.
    """
    w_dim, classes = generator.config.w_dim, generator.config.c_dim
    if not 1 <= count <= w_dim:
        raise UsageError(f"count is {count}; this generator's w has 1 to {w_dim} directions")
    random = seeded(seed)
    z = torch.randn(samples, generator.config.z_dim, generator=random)
    labels = torch.randint(classes, (samples,), generator=random) if classes else 0
    w = generator.mapping.w(z.to(generator.device), labels).cpu().double()  # some devices have no float64
    values, vectors = torch.linalg.eigh(torch.cov(w.T))  # ascending
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1).T
    # The sign of an eigenvector is arbitrary: making its largest component positive gives the same on every machine.
    signs = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)).sign()
    vectors = vectors * signs * values.sqrt()[:, None]
    return Directions(vectors[:count].float(), (values / values.sum())[:count].float())


def load_direction(path: str | Path, number: int = 0) -> Tensor:
    """Load a direction from a .npy, .npz, .pt or .safetensors file, without executing anything in it.

    Args:
        path: a file with one array (boundaries of InterFaceGAN, e4e and StyleGAN-NADA's authors) or with many
            directions: principal components of GANSpace and e4e ("comp" and "std", or "lat_comp" and "lat_stdev"), or
            the factorization of rosinality/stylegan2-pytorch ("eigvec", one in each column).
        number: index of the direction in a file with many, from 0; ignored for a file with one.

    Returns:
        [w_dim] for all codes, or [num_ws, w_dim], float32. Components have the length of one standard deviation.

    Raises:
        NadaError: the file is not such a direction, or does not have that many.
    """
    with open_arrays(path) as arrays:
        direction = _one_of(arrays, number)
        while direction.ndim > 1 and direction.shape[0] == 1:
            direction = direction[0]
        if direction.ndim not in (1, 2) or not direction.numel():
            raise CheckpointError(_misshapen(direction.shape))
        if not direction.isfinite().all():
            raise CheckpointError("the direction is not finite: it has NaN or infinite numbers")
        return direction


def _one_of(arrays: Mapping[str, TensorView], number: int) -> Tensor:
    named = {name.rpartition(".")[2]: view for name, view in arrays.items()}
    if "eigvec" in named:
        many = _read(named["eigvec"], 2).T
    elif (pair := next((pair for pair in COMPONENTS if {*pair} <= {*named}), None)) is not None:
        many, lengths = (_read(named[name], rank) for name, rank in zip(pair, (None, 1), strict=True))
        if many.ndim < 2 or len(many) != len(lengths):
            raise CheckpointError(
                f"the file has directions {list(many.shape)} and lengths {list(lengths.shape)}, which do not match"
            )
        many = many.flatten(1) * lengths[:, None]
    elif len(arrays) == 1:
        return _read(next(iter(arrays.values())))
    else:
        listed = ", ".join(sorted(arrays)[:5])
        raise CheckpointError(f"the file holds {len(arrays)} arrays ({listed}); give a file with one, the direction")
    if not 0 <= number < len(many):
        raise CheckpointError(f"there is no direction {number} in the file; it has the directions 0 to {len(many) - 1}")
    return many[number].clone()


def _read(view: TensorView, rank: int | None = None) -> Tensor:
    if view.numel > MAX_NUMBERS or rank not in (None, len(view.shape)):
        raise CheckpointError(_misshapen(view.shape))
    return view.read()


def _misshapen(shape: tuple[int, ...]) -> str:
    return f"the direction has shape {list(shape)}; it must be [w_dim] or [num_ws, w_dim]"


def edit_latents(ws: Tensor, direction: Tensor, amount: float, first: int = 0, last: int | None = None) -> Tensor:
    """Return w + amount * direction for a range of the codes, and the other codes unchanged.

    Args:
        ws: [N, num_ws, w_dim].
        direction: [w_dim], or [num_ws, w_dim] with a step of its own for each code.
        amount: step in units of the direction's length; negative for the opposite direction.
        first, last: range of codes to change, both included; None for the last code. The first four codes move pose and
            shape, the next four features, the rest colors and texture (StyleGAN section 3.1).

    Raises:
        UsageError: the direction is for another generator, the range is empty, or the amount is not finite.
    """
    if not isfinite(amount):
        raise UsageError(f"amount is {amount}; it must be a finite number")
    num_ws, w_dim = ws.shape[1:]
    last = num_ws - 1 if last is None else min(last, num_ws - 1)
    if tuple(direction.shape) not in ((w_dim,), (num_ws, w_dim)):
        raise UsageError(
            f"the direction has shape {list(direction.shape)}; these codes take [{w_dim}] or [{num_ws}, {w_dim}]"
        )
    if not 0 <= first <= last:
        raise UsageError(f"the codes {first} to {last} do not exist; this generator has the codes 0 to {num_ws - 1}")
    moved = ws.clone()
    steps = direction.to(ws).expand(num_ws, w_dim)
    moved[:, first : last + 1] += amount * steps[first : last + 1]
    return moved
