"""Random views and crops of images: the same ones for both twins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from .models import ClipEnsemble
from .resizing import sampled

SMALL_CLIP_VIEWS = 2
PART = 0.5  # side of a crop, as a fraction of the image's side
TURN, ZOOM, SHIFT = 0.16, (0.83, 1.15), 0.2  # largest angle in radians; factors; largest shift in halves of a side


def view_count(count: int | None, clip: ClipEnsemble) -> int:
    """Return `count`, or if it is None the default for CLIP models: `SMALL_CLIP_VIEWS` for small ones, else 0."""
    return count if count is not None else SMALL_CLIP_VIEWS if clip.small else 0


def random_views(count: int, batch: int, random: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return a function that makes `count` random views of each image: mirrored, turned, zoomed, shifted.

    Edges are reflected. A view shows the same content as its picture, but the invisible patterns that raise a CLIP
    score on one exact picture do not survive in it, so that a generator cannot fool a small CLIP model with them.

    Args:
        count: views of each image; 0 returns images as they are.
        batch: number of images.
        random: a CPU generator.

    Returns:
        A function [batch, C, H, W] -> [count * batch, C, H, W] with the same moves at every call.
    """
    return partial(moved, moves=random_moves(count, batch, random) if count else None)


def random_moves(count: int, batch: int, random: torch.Generator) -> Tensor:
    """Draw the affine moves of `random_views`: [count * batch, 2, 3] on the CPU, from places in a view to the image."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count * batch, generator=random)

    angle, zoom, mirror = uniform(-TURN, TURN), uniform(*ZOOM), uniform(-1, 1).sign()
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    x = torch.stack([cos * mirror, -sin, uniform(-SHIFT, SHIFT)], 1)
    y = torch.stack([sin * mirror, cos, uniform(-SHIFT, SHIFT)], 1)
    return torch.stack([x, y], 1)


def moved(images: Tensor, moves: Tensor | None) -> Tensor:
    """Apply M affine moves to N images (M a multiple of N): [M, C, H, W]. Without moves, return the images as they are.

    Args:
        images: [N, C, H, W].
        moves: [M, 2, 3] from `random_moves`; None for no moves.
    """
    if moves is None:
        return images
    images = images.repeat(len(moves) // len(images), 1, 1, 1)
    grid = F.affine_grid(moves.to(images), list(images.shape), align_corners=False)
    return sampled(images, grid)


def random_crops(batch: int, random: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return a function that cuts a random crop, half as wide and high, out of each image.

    Args:
        batch: number of images.
        random: a CPU generator.

    Returns:
        A function [batch, C, H, W] -> [batch, C, H / 2, W / 2] (rounded up) with the same crops at every call.
    """
    places = torch.rand(batch, 2, generator=random).tolist()

    def crop(images: Tensor) -> Tensor:
        height, width = (ceil(PART * side) for side in images.shape[2:])
        free = [images.shape[2] - height, images.shape[3] - width]
        corners = [(round(y * free[0]), round(x * free[1])) for y, x in places]
        parts = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(images, corners, strict=True)]
        return torch.stack(parts)

    return crop
