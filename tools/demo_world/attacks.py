"""Ways to disturb pictures for an encoder in training: moves, colors, random networks, and steps against its gradient.

None of them knows a generator or a target of an adaptation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from spoiled import clouds, uniform
from torch import Tensor

from nada.demo.drawing.pens import blur, gray

NUISANCES = 6  # dimensions of an embedding that say how a picture is disturbed


def random_moves(count: int, rng: torch.Generator, reach: float = 1.0, unmoved: float = 0.2) -> Tensor:
    """Zoom (0.83 to 1.15), turn (+-9 degrees), shift (+-10 %) and mirror image, affine maps [count, 2, 3].

    They lead from shown places to drawn ones, both in -1..1. `reach` scales all except the mirror image.
    """
    angle, zoom = (uniform(count, low, high, rng).flatten() * reach for low, high in ((-0.16, 0.16), (-0.17, 0.15)))
    zoom = 1 + zoom
    mirror = 1 - 2 * (torch.rand(count, generator=rng) < 0.5).float()
    shift = reach * uniform(count, -0.2, 0.2, rng, 2)[:, :, 0]
    c, s = zoom * torch.cos(angle), zoom * torch.sin(angle)
    turn = torch.stack([torch.stack([c * mirror, -s], 1), torch.stack([s * mirror, c], 1)], 1)
    stay = (torch.rand(count, 1, 1, generator=rng) < unmoved).float()
    return torch.lerp(torch.cat([turn, shift], 2), torch.eye(2, 3), stay)


def moved(images: Tensor, moves: Tensor) -> Tensor:
    """Images [N, C, H, W] moved by maps [N, 2, 3], edges reflected."""
    grid = F.affine_grid(moves, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def disturbed(images: Tensor, group: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Contrast, saturation, softness, noise and blots, alike for pictures of a group; and their code.

    Args:
        images: [N, 3, H, W] in 0..1.
        group: [N] numbers from 0; pictures with equal numbers are disturbed alike.
        rng: random numbers for the disturbances.

    Returns:
        The pictures, not clamped, and how each is disturbed, [N, NUISANCES].
    """
    count = int(group.max()) + 1

    def some(low: float, high: float, part: float) -> Tensor:
        chosen = torch.rand(count, generator=rng) < part
        return torch.where(chosen, low + (high - low) * torch.rand(count, generator=rng), torch.zeros(count))

    amounts = torch.stack(
        [some(-0.5, 0.6, 0.4), some(-0.8, 1.2, 0.4), some(0, 1, 0.3), some(0, 0.05, 0.3), some(0, 0.08, 0.3),
         some(-0.10, 0.10, 0.4)], 1
    )[group]  # fmt: skip
    contrast, saturation, softness, noise, blots, light = (amounts[:, k].view(-1, 1, 1, 1) for k in range(NUISANCES))
    images = 0.5 + (images - 0.5) * contrast.exp()
    mean = gray(images).unsqueeze(1)
    images = mean + (images - mean) * (1 + saturation).clamp_min(0) + light
    images = torch.lerp(images, blur(images, 5), softness) + noise * torch.randn(images.shape, generator=rng)
    images = images + blots * clouds(len(images), images.shape[-1], 6, rng, 3)
    return images, 0.2 * amounts / torch.tensor([0.5, 1.0, 1.0, 0.05, 0.08, 0.1])


def through_random_network(images: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures plus the output of two random convolution layers, scaled to at most 0.3 of each picture's deviation."""
    width, kernel = 8, 3
    first = torch.randn(width, 3, kernel, kernel, generator=rng) * (2 / (3 * kernel**2)) ** 0.5
    second = torch.randn(3, width, kernel, kernel, generator=rng) * (2 / (width * kernel**2)) ** 0.5
    made = F.conv2d(F.leaky_relu(F.conv2d(images - 0.5, first, padding=1), 0.2), second, padding=1)
    made = made - made.mean((2, 3), keepdim=True)
    strength = uniform(len(images), 0.0, 0.30, rng) * (images.std((1, 2, 3), keepdim=True) / made.std().clamp_min(1e-3))
    return images + strength * made


def length(x: Tensor) -> Tensor:
    """Euclidean length of each of N tensors, [N, 1, 1, 1]."""
    return x.flatten(1).norm(dim=1).view(-1, 1, 1, 1).clamp_min(1e-12)


def attacked(
    encode: Callable[[Tensor], Tensor],
    images: Tensor,
    directions: Tensor,
    radius: Tensor,
    steps: int,
    rng: torch.Generator,
) -> Tensor:
    """Pictures moved, within a ball, so that their embeddings go along `directions` (projected gradient, L2).

    Args:
        encode: pictures in 0..1 -> unit embeddings [N, D].
        images: [N, 3, H, W] in 0..1.
        directions: unit vectors [N, D], such as from the true style's words to others.
        radius: radius of the ball, root of the summed squares in 0..1, [N, 1, 1, 1].
        steps: number of gradient steps.
        rng: random numbers for the start.
    """
    start = torch.randn(images.shape, generator=rng)
    delta = start / length(start) * radius * uniform(len(images), 0, 1, rng)
    coarse = int(torch.randint(3, (), generator=rng))  # at times the change is of coarse pixels
    for _ in range(steps):
        delta.requires_grad_(True)
        (slope,) = torch.autograd.grad((encode(images + delta) * directions).sum(), delta)
        if coarse:
            small = F.avg_pool2d(slope, 2**coarse)
            slope = F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
        with torch.no_grad():
            delta = delta + slope / length(slope) * radius * (2.0 / steps)
            delta = delta * (radius / length(delta)).clamp(max=1)
            delta = (images + delta).clamp(-0.5, 1.5) - images
    return (images + delta).detach()
