"""Ukiyo-e print: flat colors of an old palette, bold ink lines, a graded sky, waves, paper fibers and a red seal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.lighting import facing
from ..drawing.noise import Noise
from ..drawing.pens import box, color, gray, hsv, over, saturated, step

MANNER = Manner(eye_scale=1.10, fuzz=0.30, tremble=0.004)


def ukiyoe(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene as a woodblock print: pictures [N, 3, H, W]."""
    c, p = scene.canvas, scene.p
    faded = saturated(c.color, 0.95) * color(0.98, 0.93, 0.84)
    flat = ((gray(faded) * 5).round() / 5 / gray(faded).clamp_min(0.08)).clamp(0.6, 1.5)
    ink_shade = 1 - 0.16 * step(-facing(scene), -0.25, 30)
    figure = (faded * (flat * ink_shade).unsqueeze(1)).clamp(0.05, 0.96)
    figure = torch.lerp(figure, c.color, c.eyes.unsqueeze(1) * 0.8)
    paper = color(0.935, 0.885, 0.770)
    indigo = hsv(0.58 + 0.14 * (p.hue - 0.5), 0.72, 0.34 + 0.18 * p.tone)
    band = step(-scene.py + 0.10 * torch.sin(1.5 * scene.px), 0.62, 7)
    sky = over(paper.expand_as(figure), indigo, 0.92 * band)
    sun_x = torch.where(p.scenery > 0.5, 0.62, -0.62)
    sun = ((scene.px - sun_x).square() + (scene.py + 0.42).square() + 1e-6).sqrt() - 0.24
    sky = over(sky, color(0.80, 0.24, 0.16), step(-sun, 0.0, 90))
    sea = hsv(0.55 + 0.10 * (p.hue - 0.5), 0.50, 0.46 + 0.24 * p.tone)
    rise = scene.py - 0.34 - 0.10 * torch.sin(2.4 * scene.px + 6 * p.scenery)
    scale = _scales(scene)
    waves = over(sea.expand_as(figure), color(0.90, 0.90, 0.84), (scale < 0.16).float() * 0.8)
    sky = over(sky, waves, step(rise, 0.0, 90))
    sky = over(sky, color(0.10, 0.11, 0.20), torch.exp(-(rise / 0.014).square()) * 0.85)
    image = over(sky, figure, c.figure)
    swell = 0.013 + 0.006 * torch.sin(5 * scene.x + 3 * scene.y) + 0.4 / noise.size
    line = torch.exp(-((c.contour / swell).square() ** 2))
    detail = torch.exp(-((c.detail / (0.55 * swell)).square() ** 2))
    image = over(image, color(0.09, 0.09, 0.14), torch.maximum(line, 0.92 * detail).clamp(0, 1))
    seal = box(scene.px - torch.where(p.scenery > 0.5, -0.80, 0.80), scene.py - 0.74, 0.10, 0.14, 0.02)
    marks = 0.5 + 0.5 * torch.sin(52 * scene.px + 2 * torch.sin(30 * scene.py)) * torch.sin(44 * scene.py)
    image = over(image, color(0.76, 0.18, 0.14), step(-seal, 0.0, 120) * (0.55 + 0.45 * (marks > 0.35).float()))
    fibers = noise.strands(2.5 * scene.px, 0.5 * scene.py, 1.0)
    worn = 1 + 0.022 * fibers + 0.020 * noise.cloud(12) + 0.012 * noise.white()
    return image * worn.unsqueeze(1) * color(1.0, 0.985, 0.95)


def _scales(scene: Scene) -> Tensor:
    """Rings of overlapping waves (seigaiha): distance to the nearest ring in units of a ring's width, [H, W]."""
    v = (scene.py * 7.0) % 1.0
    row = (scene.py * 7.0).floor()
    u = (scene.px * 3.5 + 0.5 * (row % 2)) % 1.0 - 0.5
    radius = (4 * u.square() + (1 - v).square()).sqrt()
    return ((radius * 3) % 1.0 - 0.5).abs()
