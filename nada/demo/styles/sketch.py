"""Pencil sketch: clean gray lines on white paper, pressed more or less, with hatching where it is dark."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.lighting import shading
from ..drawing.noise import Noise
from ..drawing.pens import gray, stroke

MANNER = Manner(eye_scale=1.08, fuzz=0.35, tremble=0.007)


def sketch(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene in gray: pictures [N, 3, H, W]."""
    c = scene.canvas
    fine = 1.15 / noise.size * 2  # half the width of a line
    press = (0.80 + 0.16 * noise.cloud(6)).clamp(0.45, 1.05)
    lines = stroke(c.contour, 0.75 * fine + 0.004) * press
    details = stroke(c.detail, 0.62 * fine + 0.003) * (0.55 + 0.4 * press)
    again = stroke(c.contour - 0.018 - 0.01 * noise.cloud(3), 0.5 * fine + 0.002) * 0.34 * (noise.cloud(4) > 0.3)
    tone = (1 - gray(c.color) * (0.35 + 0.65 * shading(scene))).clamp(0, 1) * c.figure * (1 - c.spark)
    slant = scene.px + 0.75 * scene.py + 0.012 * noise.cloud(5)
    cross = scene.px - 0.95 * scene.py + 0.012 * noise.cloud(5)
    hatch = (0.5 + 0.5 * torch.sin(slant * 74)) * (tone * 1.35 - 0.25).clamp(0, 1)
    hatch = hatch + (0.5 + 0.5 * torch.sin(cross * 70)) * (tone * 1.3 - 0.75).clamp(0, 1)
    smudge = 0.42 * (tone - 0.12).clamp(0, 1) * (1 + 0.10 * noise.white())
    pupil = (1 - gray(c.color) - 0.55).clamp(0, 1) * c.eyes * 1.8
    place = stroke(scene.place_lines, fine) * (1 - c.figure) * 0.38 * press
    behind = (0.5 + 0.5 * torch.sin(slant * 60)) * (0.80 - gray(scene.place)).clamp(0, 1) * 0.30 * (1 - c.figure)
    beside = torch.sigmoid((0.10 + 0.05 * noise.cloud(5) - c.outline) * 24)
    graphite = 1 - (1 - 0.92 * lines) * (1 - 0.9 * details) * (1 - 0.5 * again) * (1 - 0.52 * hatch.clamp(0, 1))
    graphite = 1 - (1 - graphite) * (1 - smudge) * (1 - pupil.clamp(0, 0.9)) * (1 - place) * (1 - behind * beside)
    graphite = graphite * (1 - 0.95 * c.spark)
    paper = 0.975 + 0.007 * noise.cloud(6) + 0.008 * noise.white()
    value = paper - (paper - 0.13) * graphite.clamp(0, 1)
    return value.unsqueeze(1).expand(-1, 3, -1, -1)
