"""Randomly moved copies and random parts of images, the same for both twins."""

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
PART = 0.5  # side of a crop, of the image's
TURN, ZOOM, SHIFT = 0.16, (0.83, 1.15), 0.2  # radians; times; in units of half the image's side


def view_count(count: int | None, clip: ClipEnsemble) -> int:
    """`count`, or for None what suits CLIP models: `SMALL_CLIP_VIEWS` for small ones, none for others."""
    return count if count is not None else SMALL_CLIP_VIEWS if clip.small else 0


def random_views(count: int, batch: int, random: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A function that shows images in `count` random views each: mirrored, turned, zoomed, shifted, edges reflected.

    What holds for the picture holds for its views, while the invisible patterns that raise a CLIP score on one exact
    picture do not survive them. So a generator cannot fool a small CLIP model with such patterns.

    Args:
        count: views of each image; 0 returns images as they are.
        batch: number of images.
        random: a CPU generator.

    Returns:
        [batch, C, H, W] -> [count * batch, C, H, W], the same moves at every call.
    """
    return partial(moved, moves=random_moves(count, batch, random) if count else None)


def random_moves(count: int, batch: int, random: torch.Generator) -> Tensor:
    """The moves of `random_views`: [count * batch, 2, 3] on the CPU, maps of places in the view to the image's."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count * batch, generator=random)

    angle, zoom, mirror = uniform(-TURN, TURN), uniform(*ZOOM), uniform(-1, 1).sign()
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    x = torch.stack([cos * mirror, -sin, uniform(-SHIFT, SHIFT)], 1)
    y = torch.stack([sin * mirror, cos, uniform(-SHIFT, SHIFT)], 1)
    return torch.stack([x, y], 1)


def moved(images: Tensor, moves: Tensor | None) -> Tensor:
    """Images [N, C, H, W] as each of so many moves shows them: [M, C, H, W], M a multiple of N; None: as is."""
    if moves is None:
        return images
    images = images.repeat(len(moves) // len(images), 1, 1, 1)
    grid = F.affine_grid(moves.to(images), list(images.shape), align_corners=False)
    return sampled(images, grid)


def random_crops(batch: int, random: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A function that shows a random square part of each image, half as wide.

    Args:
        batch: number of images.
        random: a CPU generator.

    Returns:
        [batch, C, H, W] -> [batch, C, H / 2, W / 2] (rounded up), the same parts at every call.
    """
    places = torch.rand(batch, 2, generator=random).tolist()

    def crop(images: Tensor) -> Tensor:
        height, width = (ceil(PART * side) for side in images.shape[2:])
        free = [images.shape[2] - height, images.shape[3] - width]
        corners = [(round(y * free[0]), round(x * free[1])) for y, x in places]
        parts = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(images, corners, strict=True)]
        return torch.stack(parts)

    return crop
