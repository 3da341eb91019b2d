"""Cache tensors in files, with the costs of computing them, and round images as picture files do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from nada.checkpoint.saving import write_safetensors
from nada.pictures.convert import from_uint8, to_uint8

KEY = "costs"


def save(tensors: dict[str, Tensor], costs: dict[str, Any], path: Path) -> None:
    """Write named tensors and JSON-able costs, atomically."""
    write_safetensors({name: tensor.contiguous() for name, tensor in tensors.items()}, {KEY: json.dumps(costs)}, path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the costs that `save` wrote."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
        return tensors, json.loads(file.metadata()[KEY])


def cached(
    path: Path | None, make: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and costs from a file, which is written if it does not exist; None for no file."""
    if path is None:
        return make()
    if not path.is_file():
        save(*make(), path)
    return load(path)


def rounded(images: Tensor) -> Tensor:
    """Round images [N, 3, H, W] to the numbers that a picture file has, clamped to [-1, 1]."""
    return from_uint8(to_uint8(images))
