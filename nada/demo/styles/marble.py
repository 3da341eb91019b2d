"""Marble statue: polished, veined stone under a lamp, blank eyes, a dark gallery behind."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.lighting import highlight, shading
from ..drawing.noise import Noise
from ..drawing.pens import blur, color, gray, hsv, over, stroke

MANNER = Manner(eye_scale=1.05, fuzz=0.15)


def marble(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene as a bust of stone, where dark coats are gray stone: pictures [N, 3, H, W]."""
    c, p = scene.canvas, scene.p
    relief = gray(c.color)
    smooth = torch.where(c.eyes > 0.05, gray(scene.coat), relief)
    stone = 0.60 + 0.36 * blur(smooth.unsqueeze(1), noise.size // 40 | 1)[:, 0].clamp(0, 1).sqrt()
    turn_x, turn_y, _ = scene.surface
    bend = 0.35 * noise.cloud(4)
    vein = torch.sin(7 * turn_x + 9 * turn_y + 6 * bend) + 0.6 * torch.sin(13 * turn_x - 8 * turn_y + 9 * bend)
    fine = torch.sin(23 * turn_x + 11 * turn_y + 14 * bend + 3 * noise.cloud(7))
    veins = 0.30 * torch.exp(-(vein / 0.17).square()) + 0.13 * torch.exp(-(fine / 0.10).square())
    lit = shading(scene, ambient=0.22, wrap=0.18)
    carved = torch.maximum(0.50 * stroke(c.contour, 0.020), 0.62 * stroke(c.detail, 0.015))
    hollow = c.eyes * (1 - relief.clamp(0, 1)) * 0.30 * (1 - stroke(c.detail, 0.05))
    value = stone * (1 - veins) * lit * (1 - carved) * (1 - hollow) + 0.30 * highlight(scene, 26.0) * (1 - carved)
    tint = over(torch.ones_like(c.color), color(0.86, 0.90, 0.96), (veins * 1.8).clamp(0, 1))
    figure = value.unsqueeze(1) * tint * color(1.0, 0.985, 0.955)
    gallery = hsv(p.hue, 0.22, 0.13 + 0.20 * p.tone).expand_as(figure)
    spot = torch.exp(-((scene.px - 0.5 * (p.light_x - 0.5)).square() + (scene.py + 0.2).square()) / 0.7).unsqueeze(1)
    pillars = 0.86 + 0.14 * torch.sin(7 * scene.px + 5 * p.scenery).unsqueeze(1)
    image = over(gallery * (0.55 + 0.75 * spot) * pillars, figure, c.figure)
    return image + noise.amount * 0.008 * noise.white().unsqueeze(1)
