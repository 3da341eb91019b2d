"""Augmentation for the CLIP: what a crop, a resize or a generator does to a picture without changing what it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from shapes import blur
from torch import Tensor


def _uniform(count: int, low: float, high: float, generator: torch.Generator, device) -> Tensor:
    return (low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)).to(device)


def _chance(count: int, probability: float, generator: torch.Generator, device) -> Tensor:
    return (torch.rand(count, 1, 1, 1, generator=generator) < probability).float().to(device)


def augment(images: Tensor, animal: list[int], generator: torch.Generator, reach: float = 1.0) -> tuple[Tensor, Tensor]:
    """Pictures [N, 3, H, W] in 0..1, moved (all of one animal alike), recolored and softened.

    Also the moves, as of `random_moves`, [N, 2, 3].
    """
    count, device = max(animal) + 1, images.device
    moves = random_moves(count, generator, device, unmoved=0.2, reach=reach)[animal]
    out = moved(images, moves)
    changed = recolor(soften(out, generator), generator)
    return torch.lerp(changed, out, _chance(len(images), 0.2, generator, device)).clamp(0, 1), moves


def moved(images: Tensor, moves: Tensor) -> Tensor:
    """Images [N, 3, H, W] moved by `moves` [N, 2, 3], edges reflected."""
    grid = F.affine_grid(moves, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def random_moves(n: int, generator: torch.Generator, device, unmoved: float, reach: float = 1.0) -> Tensor:
    """Random zoom (0.85..1.2), turn (+-9 degrees), shift (+-10 %) and mirror image: from shown places to original ones.

    Affine maps [n, 2, 3] of places in -1..1; a share `unmoved` leaves all where it is. `reach` scales all but the
    mirror image.
    """
    angle = _uniform(n, -0.16 * reach, 0.16 * reach, generator, device).flatten()
    zoom = _uniform(n, 1 - 0.17 * reach, 1 + 0.15 * reach, generator, device).flatten()
    mirror = 1 - 2 * _chance(n, 0.5, generator, device).flatten()
    shift = torch.cat([_uniform(n, -0.2 * reach, 0.2 * reach, generator, device).flatten(1) for _ in range(2)], 1)
    c, s = zoom * torch.cos(angle), zoom * torch.sin(angle)
    theta = torch.stack([torch.stack([c * mirror, -s], 1), torch.stack([s * mirror, c], 1)], 1)
    moves = torch.cat([theta, shift[:, :, None]], 2)
    stay = _chance(n, unmoved, generator, device).flatten(1, 2)
    return torch.lerp(moves, torch.eye(2, 3, device=device), stay)


def soften(images: Tensor, generator: torch.Generator) -> Tensor:
    """A third blurred as an undertrained generator blurs."""
    n, device = len(images), images.device
    amount = _uniform(n, 0.2, 0.8, generator, device) * _chance(n, 0.33, generator, device)
    return torch.lerp(images, blur(images, 3), amount)


def recolor(images: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and tint, all slightly: a style is also a matter of its colors."""
    n, device = len(images), images.device
    gray = images.mean(1, keepdim=True)
    images = gray + (images - gray) * _uniform(n, 0.8, 1.2, generator, device)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * _uniform(n, 0.85, 1.15, generator, device)
    tint = 1 + 0.02 * torch.randn(n, 3, 1, 1, generator=generator).to(device)
    return images * tint + _uniform(n, -0.04, 0.04, generator, device)
