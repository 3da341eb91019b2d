"""3D animation in the manner of Pixar: large eyes, rounded shading, saturated colors, a rim of light from behind."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.lighting import facing, highlight, light_color, light_direction, shading
from ..drawing.noise import Noise
from ..drawing.pens import blur, color, hsv, over, saturated

MANNER = Manner(eye_scale=1.42, fuzz=0.25)


def pixar(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene as a rendered film: pictures [N, 3, H, W]."""
    c, p = scene.canvas, scene.p
    coat = saturated(c.color, 1.38).clamp(0.02, 1)
    lit = shading(scene, ambient=0.46, wrap=0.55).unsqueeze(1)
    bleed = torch.exp(-((facing(scene) + 0.05) / 0.28).square()).unsqueeze(1) * (1 - c.eyes.unsqueeze(1))
    figure = coat * lit * light_color(p) + coat * bleed * color(0.16, 0.03, 0.0)
    softness = (0.20 * highlight(scene, 9.0) * (1 - c.eyes) + c.gloss * 0.9 * highlight(scene, 40.0)).unsqueeze(1)
    figure = figure + softness * color(1.0, 0.97, 0.92)
    nx, ny, nz = c.normal
    side = -light_direction(p)[0].sign()
    rim = ((1 - nz.clamp(0, 1)) ** 2.2) * (0.45 + 0.9 * (nx * side).clamp(0, 1)) * (0.6 - 0.5 * ny).clamp(0, 1.1)
    figure = figure + (rim * (1 - c.eyes) * 1.25).unsqueeze(1) * hsv(0.56 + 0.50 * (p.warmth < 0.5), 0.32, 1.0)
    figure = over(figure, torch.ones(1, 3, 1, 1), c.spark)
    place = saturated(blur(scene.place, 2 * (noise.size // 20) + 1), 1.35) * 0.92
    depth = 1 - 0.35 * (scene.px.square() + (scene.py + 0.05).square()).unsqueeze(1)
    glow = torch.exp(-(c.outline.clamp_min(0) / 0.28).square()).unsqueeze(1) * 0.10
    image = over(place * depth + glow * light_color(p), figure, c.figure)
    return image * 1.02 + noise.amount * 0.004 * noise.white().unsqueeze(1)
