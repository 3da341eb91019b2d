"""Spoiled pictures: what adaptations that fail look like, for a judge that must not be pleased by them.

Pictures are [N, 3, H, W] in 0..1. Every function spoils all of its pictures; how far is up to the generator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nada.demo.drawing.pens import blur, gray


def uniform(count: int, low: float, high: float, rng: torch.Generator, channels: int = 1) -> Tensor:
    """Uniform numbers [count, channels, 1, 1]."""
    return low + (high - low) * torch.rand(count, channels, 1, 1, generator=rng)


def clouds(count: int, size: int, cells: int, rng: torch.Generator, channels: int = 1) -> Tensor:
    """Smooth noise [count, channels, size, size] of about unit variance."""
    coarse = torch.randn(count, channels, cells, cells, generator=rng)
    return F.interpolate(coarse, size=size, mode="bicubic", align_corners=True) * 1.25


def half_way(a: Tensor, b: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Double exposures of two pictures of an individual, and how much of the second each shows, [N]."""
    amount = uniform(len(a), 0.0, 1.0, rng)
    return torch.lerp(a, b, amount), amount.flatten()


def patchwork(a: Tensor, b: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The first picture in some places and the second in others, and the share of the second, [N]."""
    cloud = clouds(len(a), a.shape[-1], 4, rng) + uniform(len(a), -0.7, 0.7, rng)
    amount = torch.sigmoid(8 * cloud)
    return torch.lerp(a, b, amount), amount.mean((1, 2, 3))


def borrowed(a: Tensor, b: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Colors, tones and details, each of one of two pictures, and the share of those from the second, [N]."""
    pick = (torch.rand(len(a), 3, 1, 1, 1, generator=rng) < 0.5).float()
    colors, tones, details = (torch.lerp(a, b, pick[:, k]) for k in range(3))
    width = a.shape[-1] // 14 | 1
    light = gray(blur(tones, width)) + gray(details - blur(details, width))
    mixed = light.unsqueeze(1) + colors - gray(colors).unsqueeze(1)
    return mixed.clamp(0, 1), pick.mean((1, 2, 3, 4))


def smeared(images: Tensor, rng: torch.Generator) -> Tensor:
    """Blurred until nobody can say what it was: out of focus, pulled to one side, or melted."""
    count, _, size, _ = images.shape
    soft = F.interpolate(F.avg_pool2d(images, size // 8), size=size, mode="bilinear", align_corners=False)
    pulled = F.avg_pool2d(F.pad(images, [size // 4] * 2 + [0, 0], mode="reflect"), (1, size // 2 + 1), 1)[..., :size]
    melted = warped(soft * 0.5 + 0.5 * images, 0.45, 5, rng)
    kind = torch.randint(3, (count,), generator=rng).view(-1, 1, 1, 1)
    turned = torch.where(torch.rand(count, 1, 1, 1, generator=rng) < 0.5, pulled, _pulled_down(images))
    result = torch.where(kind == 0, soft, torch.where(kind == 1, turned, melted))
    contrast = uniform(count, 0.8, 1.6, rng)
    return (0.5 + (result - 0.5) * contrast).clamp(0, 1)


def _pulled_down(images: Tensor) -> Tensor:
    size = images.shape[-1]
    return F.avg_pool2d(F.pad(images, [0, 0] + [size // 4] * 2, mode="reflect"), (size // 2 + 1, 1), 1)[..., :size, :]


def warped(images: Tensor, strength: float, cells: int, rng: torch.Generator) -> Tensor:
    """Bent like rubber; `strength` is in half pictures."""
    count, _, height, width = images.shape
    grid = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), [count, 1, height, width], align_corners=False)
    bend = clouds(count, height, cells, rng, 2).permute(0, 2, 3, 1) * strength
    return F.grid_sample(images, grid + bend, padding_mode="reflection", align_corners=False)


def faceless(images: Tensor, rng: torch.Generator) -> Tensor:
    """The middle of the picture wiped away."""
    count, _, size, _ = images.shape
    axis = torch.linspace(-1, 1, size)
    dx = axis - uniform(count, -0.2, 0.2, rng)[:, :, 0]
    dy = axis[:, None] - uniform(count, -0.1, 0.3, rng)
    mask = torch.sigmoid((uniform(count, 0.5, 0.8, rng) ** 2 - (dx.unsqueeze(2).square() + dy.square())) * 14)
    width = size // 6 | 1
    return torch.lerp(images, blur(blur(images, width), width), mask)


def jumbled(images: Tensor, rng: torch.Generator) -> Tensor:
    """Cut into squares that are put together in another order."""
    count, _, size, _ = images.shape
    step = size // 4
    tiles = images.unfold(2, step, step).unfold(3, step, step).flatten(2, 3)  # [N, 3, 16, step, step]
    order = torch.rand(count, 16, generator=rng).argsort(1)
    mixed = torch.gather(tiles, 2, order[:, None, :, None, None].expand_as(tiles))
    rows = [torch.cat(list(mixed[:, :, 4 * r : 4 * r + 4].unbind(2)), 3) for r in range(4)]
    return torch.cat(rows, 2)


def textured(images: Tensor, rng: torch.Generator) -> Tensor:
    """Covered with gravel, gratings or colored blots that hide most of what is there."""
    count, _, size, _ = images.shape
    axis = torch.linspace(0, 2 * torch.pi, size)
    across, down = uniform(count, -40, 40, rng), uniform(count, -40, 40, rng)
    grating = torch.sin(across * axis + down * axis[:, None] + uniform(count, 0, 6, rng))
    gravel = clouds(count, size, 30, rng, 3)
    blots = clouds(count, size, 7, rng, 3)
    kind = torch.randint(3, (count,), generator=rng).view(-1, 1, 1, 1)
    pattern = torch.where(kind == 0, grating, torch.where(kind == 1, gravel, blots))
    return (0.5 * blur(images, size // 16 | 1) + 0.25 + uniform(count, 0.25, 0.5, rng) * pattern).clamp(0, 1)


SPOILERS = (smeared, faceless, jumbled, textured)


def spoiled(images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each picture spoiled in one of the ways above, and the index of the way in SPOILERS, [N]."""
    kind = torch.randint(len(SPOILERS), (len(images),), generator=rng)
    out = images.clone()
    for number, spoil in enumerate(SPOILERS):
        chosen = (kind == number).nonzero().flatten()
        if len(chosen):
            out[chosen] = spoil(images[chosen], rng)
    return out, kind


@torch.no_grad()
def bent_generator(generator: torch.nn.Module, strength: float, rng: torch.Generator) -> dict[str, Tensor]:
    """Weights of a generator, each tensor changed by noise of `strength` times its own deviation."""
    state = {}
    for name, value in generator.state_dict().items():
        if value.is_floating_point() and value.ndim > 1 and "noise" not in name:
            value = value + strength * value.std() * torch.randn(value.shape, generator=rng)
        state[name] = value
    return state
