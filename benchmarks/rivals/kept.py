"""Keep tensors in files, with what it took to compute them, and round images as picture files do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from nada.checkpoint.saving import write_safetensors
from nada.pictures.convert import from_uint8, to_uint8

KEY = "costs"


def save(tensor: Tensor, costs: dict[str, Any], path: Path) -> None:
    """Write a tensor and JSON-able costs, atomically."""
    write_safetensors({"tensor": tensor.contiguous()}, {KEY: json.dumps(costs)}, path)


def load(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Read the tensor and the costs that `save` wrote."""
    with safe_open(path, "pt") as file:
        return file.get_tensor("tensor"), json.loads(file.metadata()[KEY])


def rounded(images: Tensor) -> Tensor:
    """Round images [N, 3, H, W] to the numbers that a picture file has, clamped to [-1, 1]."""
    return from_uint8(to_uint8(images))
