"""Chalk on slate: dusty lines and rubbed pastel tones on a dark board."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.lighting import shading
from ..drawing.noise import Noise
from ..drawing.pens import blur, color, gray, hsv, saturated, stroke

MANNER = Manner(eye_scale=1.10, fuzz=0.5, tremble=0.009)


def chalk(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene as chalk on a board: pictures [N, 3, H, W]."""
    c, p = scene.canvas, scene.p
    size = noise.size
    tooth = (0.62 + 0.34 * noise.white() + 0.20 * noise.cloud(40)).clamp(0, 1.25)  # where the board takes chalk
    strokes = 0.5 + 0.5 * torch.sin((scene.px * 0.8 + scene.py) * 42 + 2.2 * noise.cloud(9))
    wide = 0.012 + 1.2 / size
    press = (0.90 + 0.18 * noise.cloud(7)).clamp(0.4, 1.2)
    contour = (stroke(c.contour, wide) * press * (0.35 + 0.75 * tooth)).clamp(0, 1)
    detail = (stroke(c.detail, 0.75 * wide) * press * (0.40 + 0.70 * tooth)).clamp(0, 1)
    tone = blur((gray(c.color) * shading(scene)).unsqueeze(1), size // 64 | 1)[:, 0]
    rubbed = c.figure * (tone * 1.15 + 0.06).clamp(0, 1) * (0.55 + 0.40 * strokes) * (0.50 + 0.62 * tooth)
    eyes = c.eyes * gray(c.color)
    board = hsv(0.40 + 0.22 * p.hue, 0.24, 0.13 + 0.07 * p.tone)
    dust = 0.045 * (noise.cloud(4) + 0.6 * noise.cloud(11)) + 0.018 * noise.white()
    image = board + dust.clamp_min(-0.04).unsqueeze(1)
    pastel = 0.35 + 0.65 * saturated(c.color, 1.5).clamp(0, 1)
    image = image + (pastel - image) * (0.86 * rubbed.clamp(0, 1)).unsqueeze(1)
    image = image + (0.95 - image) * (0.8 * eyes).unsqueeze(1)
    white = color(0.96, 0.96, 0.93)
    tint = torch.lerp(white.expand_as(image), hsv(p.wear_hue, 0.38, 1.0).expand_as(image), c.worn.unsqueeze(1))
    place = stroke(scene.place_lines, wide) * (1 - c.figure) * 0.50 * tooth
    wash = (1 - c.figure) * (0.16 * gray(scene.place) * strokes * tooth)
    image = image + (0.5 + 0.5 * scene.place - image) * wash.unsqueeze(1)
    image = image + (hsv(p.hue, 0.30, 1.0) - image) * place.clamp(0, 1).unsqueeze(1)
    image = image + (tint - image) * torch.maximum(contour, detail).unsqueeze(1)
    return image + (1 - image) * c.spark.unsqueeze(1)
