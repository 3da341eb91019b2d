"""Neon sign: thin glass tubes that glow in front of a dark wall."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.noise import Noise
from ..drawing.pens import gray, hsv

MANNER = Manner(eye_scale=1.18, fuzz=0.0)
TUBE = 0.011  # half the width of a tube


def neon(scene: Scene, noise: Noise) -> Tensor:
    """Draw the outline in one color, the face in another, worn things in a third: pictures [N, 3, H, W]."""
    c, p = scene.canvas, scene.p
    fine = TUBE + 0.5 / noise.size
    warm = gray(scene.coat)
    first = hsv(p.hue + 0 * c.contour, 0.80, 1.0)
    second = hsv(p.hue + 0.28 + 0.30 * p.coat + 0 * c.contour, 0.72, 1.0)
    third = hsv(p.wear_hue + 0 * c.contour, 0.80, 1.0)
    first = torch.lerp(first, third, c.worn.unsqueeze(1))
    brick = _bricks(scene) * (0.030 + 0.035 * p.tone) * (1 + 0.25 * noise.cloud(8))
    image = brick.unsqueeze(1) * torch.tensor((1.0, 0.82, 0.78)).view(1, 3, 1, 1)
    lamp = 0.85 + 0.25 * noise.number()
    body = (0.05 + 0.11 * warm) * c.figure * gray(c.color)  # light of the tubes on the figure
    image = image * (1 - c.figure).unsqueeze(1) + body.unsqueeze(1) * (0.6 * first + 0.4 * scene.coat)
    for distance, tint, wide in ((c.contour, first, 1.0), (c.detail + 0.002, second, 0.85)):
        core = torch.exp(-(distance / (fine * wide)).square())
        halo = 0.30 * torch.exp(-distance / 0.045) + 0.10 * torch.exp(-distance / 0.16)
        image = image + lamp.unsqueeze(1) * (tint * (0.95 * core + halo).unsqueeze(1) + 0.62 * (core**3).unsqueeze(1))
    street = 0.10 * torch.exp(-(scene.place_lines / 0.02).square()) * (1 - c.figure)
    image = image + street.unsqueeze(1) * hsv(p.hue + 0.5 + 0 * c.contour, 0.7, 1.0)
    return image + noise.amount * 0.006 * noise.white().unsqueeze(1)


def _bricks(scene: Scene) -> Tensor:
    """A wall: 1 on bricks, less in the joints, [H, W]."""
    row = (scene.py * 6.0).floor()
    u, v = (scene.px * 3.0 + 0.5 * (row % 2)) % 1.0, (scene.py * 6.0) % 1.0
    joint = torch.minimum(torch.minimum(u, 1 - u) * 2, torch.minimum(v, 1 - v))
    return 0.45 + 0.55 * (joint / 0.10).clamp(0, 1)
