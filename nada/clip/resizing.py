"""Antialiased resizing and sampling by operations that work on every device, forward and backward."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MODES = ("bicubic", "bilinear")
KERNELS = ("cpu", "cuda", "meta", "xpu")  # devices with all of `F.grid_sample`, its backward pass too
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


def sampled(images: Tensor, grid: Tensor) -> Tensor:
    """Sample images at places; equal to `F.grid_sample` with reflected edges and without aligned corners.

    PyTorch's own kernel has no backward pass on Apple's GPUs before its newest releases, and none on DirectML; where it
    has one, it is faster, and takes less memory.

    Args:
        images: [N, C, H, W]; gradients flow back to them, and to the places.
        grid: [N, h, w, 2], x and y of each place, -1 to 1 from edge to edge.

    Returns:
        [N, C, h, w].
    """
    if images.device.type in KERNELS:
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return _gathered(images, grid)


def _gathered(images: Tensor, grid: Tensor) -> Tensor:
    """`sampled`, by the four pixels around each place."""
    height, width = images.shape[-2:]
    x, y = (_reflected(grid[..., axis], size) for axis, size in enumerate((width, height)))
    left, top = x.floor(), y.floor()
    pixels, found = images.flatten(2), images.new_zeros(())
    for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
            place = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)  # beyond the last, none counts
            index = place.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
            part = pixels.gather(2, index).unflatten(2, tuple(grid.shape[1:3]))
            found = found + part * (across * down)[:, None]
    return found


def _reflected(places: Tensor, size: int) -> Tensor:
    """Places from -1 to 1 as pixels, those beyond an edge reflected at it, none beyond the middle of a last pixel."""
    along = ((places + 1) * size / 2).abs()
    turns = (along / size).floor()
    along = along - turns * size
    return torch.where(turns % 2 == 0, along, size - along).sub(0.5).clamp(0, size - 1)


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
