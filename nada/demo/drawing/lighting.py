"""Light on a scene: its direction, and the brightness of each place of the figure."""

from __future__ import annotations

import torch
from torch import Tensor

from .canvas import Scene
from .parameters import Parameters
from .solids import Vector, dot


def light_direction(p: Parameters) -> Vector:
    """Unit vector toward the main light, three [N, 1, 1]."""
    x, y, z = (p.light_x - 0.5) * 2.2, -0.25 - 0.85 * p.light_y, torch.full_like(p.light_x, 0.85)
    length = (x * x + y * y + z * z).sqrt()
    return x / length, y / length, z / length


def facing(scene: Scene) -> Tensor:
    """Cosine between surface and light, [N, H, W] in -1..1."""
    return dot(scene.canvas.normal, light_direction(scene.p))


def shading(scene: Scene, ambient: float = 0.42, wrap: float = 0.35) -> Tensor:
    """Brightness of the figure's surface under the main light, about 0.3..1.15, [N, H, W]."""
    wrapped = ((facing(scene) + wrap) / (1 + wrap)).clamp(0, 1)
    return (ambient + (1.16 - ambient) * wrapped) * (1 - 0.6 * scene.canvas.shadow)


def highlight(scene: Scene, sharpness: float = 24.0) -> Tensor:
    """Mirror image of the main light in the surface (Blinn), [N, H, W] in 0..1."""
    x, y, z = light_direction(scene.p)
    half_z = z + 1
    length = (x * x + y * y + half_z * half_z).sqrt()
    nx, ny, nz = scene.canvas.normal
    return ((nx * x + ny * y + nz * half_z) / length).clamp(0, 1) ** sharpness


def light_color(p: Parameters) -> Tensor:
    """Color of the main light, [N, 3, 1, 1], from cool to warm."""
    t = (p.warmth - 0.5).unsqueeze(1)
    return 1 + t * torch.tensor((0.14, 0.02, -0.16)).view(1, 3, 1, 1)
