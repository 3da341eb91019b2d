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


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [N, 3, H, W] in 0..1, moved, recolored and softened; a fifth stays as it was."""
    n, device = len(images), images.device
    out = recolor(soften(move(images, generator), generator), generator)
    return torch.lerp(out, images, _chance(n, 0.2, generator, device)).clamp(0, 1)


def move(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random zoom (0.85..1.2), turn (+-9 degrees), shift (+-12 %) and mirror image, edges reflected."""
    n, device = len(images), images.device
    angle = _uniform(n, -0.16, 0.16, generator, device).flatten()
    zoom = _uniform(n, 0.83, 1.15, generator, device).flatten()
    mirror = 1 - 2 * _chance(n, 0.5, generator, device).flatten()
    shift = torch.cat([_uniform(n, -0.2, 0.2, generator, device).flatten(1) for _ in range(2)], 1)
    c, s = zoom * torch.cos(angle), zoom * torch.sin(angle)
    theta = torch.stack([torch.stack([c * mirror, -s], 1), torch.stack([s * mirror, c], 1)], 1)
    grid = F.affine_grid(torch.cat([theta, shift[:, :, None]], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


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
