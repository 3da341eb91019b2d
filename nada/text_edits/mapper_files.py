"""Latent mappers to files and back: safetensors, and a JSON text that says the rest."""

from __future__ import annotations

import json
import os
from math import isfinite
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..checkpoint.saving import write_safetensors
from ..errors import CheckpointError, NadaError, UsageError
from .mapper import LatentMapper

KEY = "nada_mapper"
VERSION = 1
MAX_BYTES, MAX_WIDTH = 1 << 28, 4096  # far more than the 12.6 MB and 512 features of the usual mapper


def save_mapper(mapper: LatentMapper, path: str | os.PathLike[str]) -> None:
    """Write a mapper as safetensors, with its `metadata`. The file appears whole or not at all.

    Raises:
        NadaError: the file cannot be written, or the metadata is not plain data.
    """
    description = {
        "format": VERSION,
        "num_ws": mapper.num_ws,
        "w_dim": mapper.w_dim,
        "bands": mapper.bands,
        "scale": mapper.scale,
        "metadata": mapper.metadata,
    }
    try:
        text = json.dumps(description)
    except (TypeError, ValueError) as error:
        raise NadaError(f"the mapper's metadata cannot be saved as JSON: {error}") from error
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in mapper.state_dict().items()}
    write_safetensors(tensors, {KEY: text}, path)


@torch.inference_mode(False)
def load_mapper(path: str | os.PathLike[str]) -> LatentMapper:
    """Read a mapper, on the CPU, without gradients.

    Raises:
        CheckpointError: there is no such file, or it is not a mapper, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file {str(path)!r}; give the path of a mapper, as `nada mapper` writes it")
    try:
        with safe_open(path, "pt") as file:
            description = (file.metadata() or {}).get(KEY)
            if description is None:
                raise CheckpointError(
                    f"{path.name} is not a latent mapper; give a file that `nada mapper` or Save Latent Mapper wrote"
                )
            if path.stat().st_size > MAX_BYTES:
                raise CheckpointError(f"{path.name} is larger than {MAX_BYTES >> 20} MB; no mapper is")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        return _build(json.loads(description), tensors)
    except (SafetensorError, ValueError, RecursionError, RuntimeError, UsageError) as error:
        reason = str(error).splitlines()[0][:200]
        raise CheckpointError(f"{path.name} is damaged, or no mapper ({reason}); copy or train it again") from error


def _build(description: object, tensors: dict[str, torch.Tensor]) -> LatentMapper:
    match description:
        case {"format": int() as version} if version > VERSION:
            raise ValueError(f"it has format {version}, and this version reads up to {VERSION}: update it")
        case {
            "format": 1,
            "num_ws": int() as num_ws,
            "w_dim": int() as w_dim,
            "bands": [*bands],
            "scale": int() | float() as scale,
            "metadata": dict() as metadata,
        } if 0 < w_dim <= MAX_WIDTH and isfinite(scale):
            with torch.device("meta"):
                mapper = LatentMapper(num_ws, w_dim, tuple(map(str, bands)), float(scale))
        case _:
            raise ValueError("its description is not that of a mapper")
    if any(not tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("it holds numbers that are not finite")
    mapper.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    mapper.metadata = metadata
    return mapper.eval().requires_grad_(False)
