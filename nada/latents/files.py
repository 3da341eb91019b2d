"""Load latent codes from files of projectors, encoders and this project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import TensorView, open_arrays
from ..errors import CheckpointError
from ..generators import Generator

# Names of codes in files that also hold pictures, noise or losses.
NAMES = {"ws", "w", "wp", "w_plus", "w_pivot", "dlatents", "dlatent", "latents", "latent", "latent_code", "codes"}
MAX_NUMBERS = 1 << 27  # numbers in one file: half a gigabyte


def load_latents(path: str | Path, generator: Generator) -> Tensor:
    """Load latent codes from a file, without executing anything in it.

    Supported are .npz of NVIDIA's projectors ("w", "dlatents"), .npy, .pt of e4e, pSp, PTI and rosinality's projector,
    and .safetensors of this project ("ws"). A w for all layers is repeated.

    Args:
        path: the file. If it holds many codes, alone or by name, all are loaded, in the order of their names.
        generator: the generator that the codes are for. A base and its adaptations take the same codes.

    Returns:
        ws [N, num_ws, w_dim], float32, on the CPU.

    Raises:
        CheckpointError: the file cannot be read, or its codes are for another generator; the message gives the shapes.
    """
    num_ws, w_dim = generator.num_ws, generator.config.w_dim
    with open_arrays(path) as arrays:
        named = {name: view for name, view in arrays.items() if name.rpartition(".")[2].lower() in NAMES}
        fitting = {name: view for name, view in (named or arrays).items() if _fits(view.shape, num_ws, w_dim)}
        if not fitting:
            raise CheckpointError(_misfit(named or arrays, num_ws, w_dim))
        if sum(view.numel for view in fitting.values()) > MAX_NUMBERS:
            raise CheckpointError(f"the codes in the file have more than {MAX_NUMBERS} numbers; split the file")
        ws = torch.cat([_codes(fitting[name].read(), num_ws, w_dim) for name in sorted(fitting, key=_natural)])
        if not ws.isfinite().all():
            raise CheckpointError(
                "the codes in the file are not finite: the search for them diverged; use another file"
            )
        return ws


def _fits(shape: tuple[int, ...], num_ws: int, w_dim: int) -> bool:
    """Whether an array holds at least one code for such a generator."""
    if not shape or shape[-1] != w_dim or 0 in shape:
        return False
    return len(shape) <= 2 or shape[-2] in (1, num_ws)


def _codes(array: Tensor, num_ws: int, w_dim: int) -> Tensor:
    """Reshape an array to [N, num_ws, w_dim]. A matrix of num_ws rows is one code of W+, any other is many of W."""
    if array.ndim < 2 or array.shape[-2] != num_ws:
        array = array.reshape(-1, 1, w_dim)
    return array.reshape(-1, array.shape[-2], w_dim).expand(-1, num_ws, -1)


def _misfit(arrays: Mapping[str, TensorView], num_ws: int, w_dim: int) -> str:
    shapes = ", ".join(f"{name or 'array'} {list(view.shape)}" for name, view in sorted(arrays.items())[:5])
    more = f" and {len(arrays) - 5} more" if len(arrays) > 5 else ""
    return f"the file holds {shapes}{more}; codes for this generator are [N, {num_ws}, {w_dim}] or [N, {w_dim}]"


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts 2 before 10."""
    parts = re.split(r"(\d{1,18})", name)  # every second one is a number
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
