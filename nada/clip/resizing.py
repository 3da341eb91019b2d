"""Antialiased resizing as matrix products, which work on every device, forward and backward."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MODES = ("bicubic", "bilinear")
KEPT = 32  # matrices in the cache; one of 1024 -> 224 takes 0.9 MB


def resized(images: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Resize images; equal to `F.interpolate(images, size, mode=mode, antialias=True)` up to rounding.

    A resize is separable: one matrix product for the rows and one for the columns. PyTorch's own kernel has no backward
    pass on Apple's GPUs before its newest releases, and none on DirectML; on the CPU it is no faster.

    Args:
        images: [N, C, H, W], any size; gradients flow back to them.
        size: height and width of the result, in pixels.
        mode: one of `MODES`.

    Returns:
        [N, C, *size], in the precision of the images even under autocast.
    """
    height, width = images.shape[-2:]
    rows = _weights(height, size[0], mode, images.device, images.dtype)
    columns = _weights(width, size[1], mode, images.device, images.dtype)
    with _without_autocast(images.device):
        return rows @ images @ columns.T


@lru_cache(KEPT)
@torch.inference_mode(False)  # autograd cannot save an inference tensor for the backward pass
def _weights(old: int, new: int, mode: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the share of each old pixel in each new one, [new, old]; computed on the CPU, which supports all modes."""
    identity = torch.eye(old)[None, None]
    weights = F.interpolate(identity, (new, old), mode=mode, antialias=True, align_corners=False)[0, 0]
    return weights.to(device, dtype)


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context with products in full precision: rows of weights rounded to bfloat16 do not add up to 1."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
