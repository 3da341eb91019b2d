"""Pixel art: a sprite of 32 x 32 squares, a few flat colors, a dark outline."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.lighting import shading
from ..drawing.noise import Noise
from ..drawing.pens import gray, over, saturated

MANNER = Manner(eye_scale=1.65, fuzz=0.0)
SQUARES = 32
LEVELS = 6  # number of brightness levels of each color


def pixel(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene in squares of constant color: pictures [N, 3, H, W]."""
    if noise.size % SQUARES:
        raise ValueError(f"pixel art needs a size that is a multiple of {SQUARES}; got {noise.size}")
    c = scene.canvas
    block = noise.size // SQUARES
    light = shading(scene, ambient=0.46)
    tones = 0.74 + 0.18 * (light > 0.62).float() + 0.16 * (light > 0.94).float()
    coat = saturated(c.color, 1.35) * torch.where(c.eyes > 0.5, 1.0, tones).unsqueeze(1)
    coat = over(coat, torch.ones(1, 3, 1, 1), (c.spark > 0.5).float())
    place = saturated(F.avg_pool2d(scene.place, block), 1.3) * 0.95
    sprite = F.avg_pool2d(c.figure, block).unsqueeze(1) > 0.5
    small = torch.where(sprite, _middle(coat, block), place)
    edge = F.max_pool2d(torch.exp(-(c.contour / 0.022).square()).unsqueeze(1), block)
    line = F.max_pool2d(torch.exp(-((c.detail + c.eyes) / 0.012).square()).unsqueeze(1), block)
    small = torch.where(edge > 0.62, small * 0.25, small)
    near_eyes = F.max_pool2d(F.avg_pool2d(c.eyes, block).unsqueeze(1), 3, 1, 1) > 0.2
    small = torch.where((line > 0.62) & ~near_eyes, small * 0.40, small)
    small = torch.where(F.avg_pool2d(c.eyes, block).unsqueeze(1) > 0.35, _eyes(c.color, c.eyes, block), small)
    value = gray(small).unsqueeze(1).clamp_min(0.04)
    flat = small * ((value * LEVELS).round().clamp_min(0.5) / LEVELS / value)
    flat = ((flat * 2 * LEVELS).round() / (2 * LEVELS)).clamp(0, 1)
    return flat.repeat_interleave(block, 2).repeat_interleave(block, 3)


def _eyes(image: Tensor, eyes: Tensor, block: int) -> Tensor:
    """Colors of squares over eyes, [N, 3, H, W]: black where a square covers much of a pupil, else white or iris."""
    light, share = gray(image), F.avg_pool2d(eyes, block).unsqueeze(1).clamp_min(0.05)
    dark, white = (
        F.avg_pool2d(eyes * part.float(), block).unsqueeze(1) / share for part in (light < 0.20, light > 0.72)
    )
    iris = saturated(F.avg_pool2d(image * eyes.unsqueeze(1), block) / share, 1.6)
    return torch.where(dark > 0.24, 0.04, torch.where(white > 0.60, 0.98, iris))


def _middle(image: Tensor, block: int) -> Tensor:
    """Color at the center of each square, without averaging."""
    low = (block - 1) // 2
    return F.avg_pool2d(image[:, :, low:, low:], 2 if block > 1 else 1, block, ceil_mode=True)[
        :, :, : image.shape[2] // block, : image.shape[3] // block
    ]
