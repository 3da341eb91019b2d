"""Stained glass: panes of glowing color between lines of lead, a rose window behind the figure."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import FAR, Manner, Scene
from ..drawing.lighting import shading
from ..drawing.noise import Noise
from ..drawing.pens import hsv, over, saturated

MANNER = Manner(eye_scale=1.22, fuzz=0.0)
LEAD = 0.019  # half the width of a line of lead


def glass(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene as a church window: pictures [N, 3, H, W]."""
    c, p = scene.canvas, scene.p
    back, back_lead = _rose(scene)
    pane, seam = _facets(scene)
    steps = 0.72 + 0.16 * (shading(scene) > 0.70).float() + 0.14 * (shading(scene) > 0.95).float()
    uneven = (0.90 + 0.22 * pane).clamp(0.5, 1.3) * steps
    figure = (saturated(c.color, 1.7).clamp(0.04, 1) * uneven.unsqueeze(1)).clamp(0, 1)
    figure = torch.lerp(figure, c.color, c.eyes.unsqueeze(1))
    image = over(back, figure, c.figure)
    sun = torch.exp(-((scene.px - 1.3 * (p.light_x - 0.5)).square() + (scene.py + 0.5).square()) / 1.1)
    ripples = 0.05 * noise.cloud(18) + 0.07 * noise.cloud(6)
    image = image * (0.70 + 0.50 * sun + ripples).unsqueeze(1)
    image = image + 0.05 * sun.unsqueeze(1)
    free = c.figure < 0.5
    lead = torch.minimum(c.contour, torch.where(free, back_lead, seam + 0.008))
    wide = LEAD + 0.3 / noise.size
    lines = torch.exp(-((lead / wide) ** 4))
    lines = torch.maximum(lines, torch.exp(-((c.detail / (0.50 * wide)) ** 4)))
    shine = torch.exp(-(((lead - 0.3 * wide) / (0.35 * wide)).square())) * 0.10
    metal = (0.06 + shine).unsqueeze(1).expand_as(image)
    return over(image, metal, lines * (1 - c.spark)) + 0.006 * noise.amount * noise.white().unsqueeze(1)


def _rose(scene: Scene) -> tuple[Tensor, Tensor]:
    """Panes of a rose window around the head: colors [N, 3, H, W] and distance to the lead."""
    p = scene.p
    cx, cy = scene.center
    dx, dy = scene.px - 0.6 * cx, scene.py - 0.6 * cy
    radius = (dx.square() + dy.square() + 1e-5).sqrt()
    ring = (radius > 0.74).float() + (radius > 1.02).float()
    count = 6.0 + 6.0 * (ring > 0)
    turn = torch.atan2(dy, dx) / (2 * torch.pi) * count + p.scenery + 0.5 * (ring == 2)
    pane = turn.floor()
    spoke = (turn - turn.round()).abs() / count * 2 * torch.pi * radius
    lead = torch.minimum(spoke, torch.minimum((radius - 0.74).abs(), (radius - 1.02).abs()))
    number = pane + 5 * ring
    hue = p.hue + 0.10 * torch.sin(2.4 * number) + 0.5 * (ring == 1) * (torch.sin(1.9 * number) > 0.2)
    value = 0.62 + 0.28 * torch.sin(4.1 * number + 6 * p.tone) ** 2
    return hsv(hue, 0.78 + 0 * hue, value), lead


def _facets(scene: Scene) -> tuple[Tensor, Tensor]:
    """A number for each pane of the figure (-1..1), and distance to the seams between them."""
    x, y = scene.surface[0], scene.surface[1]
    cuts = (x, 0.8 * y + 0.6 * x.abs() - 0.02, 0.9 * y - 0.4 * x.abs() + 0.20)
    sides = [(cut > 0).float() for cut in cuts]
    number = sides[0] * 1.3 + sides[1] * 2.9 + sides[2] * 5.3
    seam = torch.stack([cuts[1].abs(), cuts[2].abs() + FAR * (y > 0.3)]).amin(0)
    near = torch.minimum(scene.canvas.detail, seam * 0 + 1)  # no seams across eyes and mouth
    return torch.sin(3.7 * number + 4 * scene.p.shade), seam + FAR * ((near < 0.06) | (scene.canvas.worn > 0.5))
