"""Photo: strands of fur, soft light, a place out of focus, the lens and the grain of a camera."""

from __future__ import annotations

import torch
from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.lighting import highlight, light_color, shading
from ..drawing.noise import Noise
from ..drawing.pens import over

MANNER = Manner()
FUR, SKIN, GRAIN = 0.10, 0.03, 0.014  # amplitudes of random differences between pictures


def photo(scene: Scene, noise: Noise) -> Tensor:
    """Draw the scene as a camera sees it: pictures [N, 3, H, W]."""
    c, p = scene.canvas, scene.p
    angle = torch.atan2(scene.y - 0.12, scene.x)
    radius = (scene.x.square() + (scene.y - 0.12).square() + 1e-4).sqrt()
    below = torch.sigmoid((scene.y - 0.52) * 26)  # on the chest, fur falls straight down
    along, across = torch.lerp(radius, scene.y, below), torch.lerp(angle, 1.4 * scene.x, below)
    strands = noise.strands(across, along, 3.6)
    lit = shading(scene) * (1 + noise.amount * (FUR * c.furry * (0.6 + 0.6 * p.fur) * strands))
    skin = 1 + noise.amount * SKIN * noise.white() * (1 - c.gloss)
    figure = c.color * (lit * skin).unsqueeze(1) * light_color(p)
    shine = c.gloss * (0.15 + 0.55 * c.gloss) * highlight(scene, 30.0)
    edge = (1 - c.normal[2].clamp(0, 1)) ** 3 * c.furry.clamp(0, 1) * 0.16
    figure = figure + (shine + edge).unsqueeze(1) * (1 - c.eyes * 0.8).unsqueeze(1)
    figure = over(figure, torch.ones(1, 3, 1, 1), c.spark * 0.95)
    image = over(scene.place * light_color(p), figure, c.figure)
    image = image * (1 - 0.14 * (scene.px.square() + scene.py.square()))
    image = image + noise.amount * GRAIN * noise.white().unsqueeze(1)
    return image
