"""Save and load latent mappers: safetensors, with a JSON description in the header."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..checkpoint.metadata import NUMBER, header_json
from ..checkpoint.own_files import OwnKind, read_own_file
from ..checkpoint.saving import write_safetensors
from ..errors import CheckpointError, NadaError, UsageError, is_out_of_memory
from .mapper import LatentMapper

KEY = "nada_mapper"
VERSION = 1
SHAPE = {"num_ws": int, "w_dim": int, "bands": [str], "scale": NUMBER, "metadata": {"target?": str, "base?": str}}
# Limits far above the 12.6 MB and 512 features of the usual mapper.
KIND = OwnKind(KEY, VERSION, "mapper", SHAPE, max_bytes=1 << 28)
MAX_WIDTH = 4096


def save_mapper(mapper: LatentMapper, path: str | os.PathLike[str], new: bool = False) -> None:
    """Save a mapper as safetensors, with its `metadata`. The write is atomic.

    Args:
        mapper: what to write.
        path: the file to create or replace.
        new: never replace a file; see `atomic_path`.

    Raises:
        NadaError: the file cannot be written, or the metadata is not JSON-serializable.
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
        text = header_json(description)
    except (TypeError, ValueError) as error:
        raise NadaError(f"the mapper's metadata cannot be saved as JSON: {error}") from error
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in mapper.state_dict().items()}
    write_safetensors(tensors, {KEY: text}, path, new)


@torch.inference_mode(False)
def load_mapper(path: str | os.PathLike[str]) -> LatentMapper:
    """Load a mapper on the CPU, without gradients.

    Args:
        path: file that `save_mapper` wrote.

    Returns:
        The mapper in evaluation mode, with its `metadata`.

    Raises:
        CheckpointError: the file does not exist, is not a mapper, or is damaged.
    """
    description, tensors = read_own_file(path, KIND)
    try:
        return _build(description, tensors)
    except (ValueError, TypeError, RuntimeError, UsageError) as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{Path(path).name} is damaged or not a mapper ({reason}); copy it or train it again"
        ) from error


def _build(description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> LatentMapper:
    """Build a mapper from the description and the tensors of a file."""
    if not 0 < description["w_dim"] <= MAX_WIDTH:
        raise ValueError(f"its codes have {description['w_dim']} numbers")
    with torch.device("meta"):
        mapper = LatentMapper(
            description["num_ws"], description["w_dim"], tuple(description["bands"]), float(description["scale"])
        )
    if any(not tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("it holds numbers that are not finite")
    mapper.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    mapper.metadata = description["metadata"]
    return mapper.eval().requires_grad_(False)
