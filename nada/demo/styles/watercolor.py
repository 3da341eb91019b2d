"""Watercolor: transparent washes that run into each other, pigment pooled at their edges, the white of the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.lighting import shading
from ..drawing.noise import Noise
from ..drawing.pens import blur, color, saturated, stroke

MANNER = Manner(eye_scale=1.12, fuzz=0.6, tremble=0.016)


def watercolor(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene as flowing paint on rough paper: pictures [N, 3, H, W]."""
    c = scene.canvas
    flow, run, pool = noise.cloud(4), noise.cloud(9), noise.cloud(22)
    light = shading(scene, ambient=0.30)
    steps = light + 0.07 * run
    washes = 0.62 + 0.22 * torch.sigmoid((steps - 0.62) * 22) + 0.20 * torch.sigmoid((steps - 0.90) * 22)
    wet = blur(saturated(c.color, 1.35), noise.size // 42 | 1)
    sharp = torch.maximum(c.eyes, stroke(c.detail, 0.03)).unsqueeze(1)
    coat = torch.lerp(wet * washes.unsqueeze(1), c.color * 0.95, 0.75 * sharp)
    density = (0.84 + 0.09 * flow + 0.06 * run + 0.04 * pool).clamp(0.4, 1.2)
    edge = 0.42 * stroke(c.contour - 0.012, 0.018) + 0.16 * stroke(c.contour - 0.05, 0.035)
    pigment = (1 - coat).clamp(0, 1) * (density * (1 + edge)).unsqueeze(1) * 0.95
    bloom = torch.sigmoid((flow + 0.6 * run - 1.6) * 4) * 0.45  # drops of water push the pigment away
    pigment = pigment * (1 - bloom * (1 - c.eyes)).unsqueeze(1)
    border = (scene.px.square() + scene.py.square() + 1e-4).sqrt() - 0.92 - 0.16 * noise.cloud(5) - 0.03 * run
    soft = torch.sigmoid(-border * 16)
    tide = 0.45 * stroke(border + 0.015, 0.025)
    back = (1 - blur(saturated(scene.place, 1.25), 2 * (noise.size // 26) + 1)) * 0.62
    halo = torch.sigmoid((c.outline - 0.022 - 0.012 * run) * 90)  # a rim of dry paper around the figure
    back = back * ((0.62 + 0.36 * noise.cloud(5) + 0.18 * run).clamp(0.05, 1.3) * (soft + tide) * halo).unsqueeze(1)
    figure = torch.sigmoid(-(border - 0.10) * 20) * c.figure
    amount = torch.lerp(back, pigment, figure.unsqueeze(1))
    grain = 1 + 0.07 * pool + 0.05 * noise.white()
    paper = color(0.992, 0.980, 0.952) * (1 + 0.010 * noise.white()).unsqueeze(1)
    image = paper - amount * grain.unsqueeze(1)
    pencil = stroke(torch.minimum(c.contour, c.detail + 0.004), 1.1 / noise.size + 0.004) * 0.26 * c.figure
    return image * (1 - pencil).unsqueeze(1) * (1 - c.spark.unsqueeze(1)) + c.spark.unsqueeze(1) * 0.985
