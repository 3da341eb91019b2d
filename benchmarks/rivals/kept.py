"""Keep tensors in files, with what it took to compute them, and round images as picture files do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from nada.checkpoint.saving import write_safetensors
from nada.pictures.convert import to_uint8

KEY = "costs"


def save(tensor: Tensor, costs: dict[str, Any], path: Path) -> None:
    """Write a tensor and JSON-able costs, atomically."""
    write_safetensors({"tensor": tensor.contiguous()}, {KEY: json.dumps(costs)}, path)


def load(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Read the tensor and the costs that `save` wrote."""
    with safe_open(path, "pt") as file:
        return file.get_tensor("tensor"), json.loads(file.metadata()[KEY])


def to_images(pixels: Tensor) -> Tensor:
    """Convert pixels of picture files, [N, H, W, 3] uint8, to images [N, 3, H, W] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def rounded(images: Tensor) -> Tensor:
    """Round images [N, 3, H, W] to the numbers that a picture file has, clamped to [-1, 1]."""
    return to_images(to_uint8(images))
