"""Signed distances, colors and noise: the pens and paints of the demo world.

Everything is vectorized: coordinates and distances are [N, H, W], images and colors are [N, 3, H, W] or
broadcast to it, per-picture scalars are [N, 1, 1]. Lengths are in units of half a picture (the picture spans
-1..1, so one of 64 pixels is 1/32). A distance is negative inside a shape.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def ellipse(x: Tensor, y: Tensor, cx, cy, rx, ry, angle=None) -> Tensor:
    """Approximate signed distance to an ellipse; `angle` in radians turns it clockwise on the screen."""
    dx, dy = x - cx, y - cy
    if angle is not None:
        angle = torch.as_tensor(angle, dtype=x.dtype, device=x.device)
        c, s = torch.cos(angle), torch.sin(angle)
        dx, dy = dx * c + dy * s, dy * c - dx * s
    u, v = dx / rx, dy / ry
    k0 = (u * u + v * v).clamp_min(1e-6).sqrt()
    k1 = ((u / rx) ** 2 + (v / ry) ** 2).clamp_min(1e-6).sqrt()
    return k0 * (k0 - 1) / k1


def triangle_ear(ax: Tensor, y: Tensor, cx, tip, half, base, lean=0.0) -> Tensor:
    """A pointed ear with rounded edges: tip at height `tip`, half width `half` at height `base`.

    `ax` is |x|, so one call draws both ears; `lean` moves the tip outward.
    """
    height = base - tip
    center = cx + lean * (base - y) / height
    flank = ((ax - center).abs() - half * (y - tip) / height) * (height / (height**2 + half**2) ** 0.5)
    return smooth_max(flank, y - base - 0.1, 0.06)


def smooth_max(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """The larger of two distances, with the corner rounded by about `radius`."""
    h = (0.5 + 0.5 * (a - b) / radius).clamp(0, 1)
    return b + (a - b) * h + radius * h * (1 - h)


def smooth_min(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """The smaller of two distances (union of the shapes), with the corner filled by about `radius`."""
    return -smooth_max(-a, -b, radius)


def curve(x: Tensor, y: Tensor, center, half: float, drop, bend) -> Tensor:
    """Distance to a short smile-like stroke: y = drop + bend * ((x - center) / half)^2 for |x - center| < half."""
    t = ((x - center) / half).clamp(-1, 1)
    return (((x - center) - t * half) ** 2 + (y - drop - bend * t * t) ** 2 + 1e-8).sqrt()


def fill(distance: Tensor, softness: float = 0.014) -> Tensor:
    """Coverage 0..1 of a shape, its edge antialiased over about a pixel."""
    return torch.sigmoid(-distance / softness)


def stroke(distance: Tensor, width) -> Tensor:
    """Coverage 0..1 of a line along a shape's edge."""
    return torch.exp(-((distance / width) ** 2))


def over(image: Tensor, color: Tensor, mask: Tensor) -> Tensor:
    """Paint `color` over `image` where `mask` [N, H, W] says so."""
    return torch.lerp(image, color.expand_as(image), mask.unsqueeze(1))


def hsv(h: Tensor, s, v) -> Tensor:
    """Hue, saturation, value (each [N, 1, 1] or [N, H, W]) to RGB [N, 3, ...], all in 0..1; hue wraps."""
    h = (h % 1.0) * 6
    rgb = torch.stack([(h - 3).abs() - 1, 2 - (h - 2).abs(), 2 - (h - 4).abs()], 1).clamp(0, 1)
    s, v = (a.unsqueeze(1) if torch.is_tensor(a) else a for a in (s, v))
    return ((rgb - 1) * s + 1) * v


def palette(stops: list[tuple[float, float, float]], u: Tensor) -> Tensor:
    """Piecewise linear color ramp: u [N, 1, 1] in 0..1 to RGB [N, 3, 1, 1]."""
    colors = torch.tensor(stops, dtype=u.dtype, device=u.device)
    position = u.flatten() * (len(stops) - 1)
    low = position.floor().clamp(0, len(stops) - 2).long()
    return torch.lerp(colors[low], colors[low + 1], (position - low).unsqueeze(1))[:, :, None, None]


class Noise:
    """Seeded noise fields, drawn on the CPU so that every device sees the same ones."""

    def __init__(
        self,
        count: int,
        size: int,
        device: torch.device,
        generator: torch.Generator | None,
        texture: float = 1.0,
    ):
        self.count, self.size, self.device, self.generator, self.texture = (
            count,
            size,
            device,
            generator,
            texture,
        )

    def grain(self) -> Tensor:
        """White noise [N, H, W], unit variance."""
        return torch.randn(self.count, self.size, self.size, generator=self.generator).to(self.device)

    def cloud(self, cells: int) -> Tensor:
        """Smooth noise [N, H, W] with about `cells` blobs a side, roughly unit variance."""
        coarse = torch.randn(self.count, 1, cells, cells, generator=self.generator).to(self.device)
        return F.interpolate(coarse, size=self.size, mode="bicubic", align_corners=True)[:, 0] * 1.2

    def number(self) -> Tensor:
        """One uniform number 0..1 per picture, [N, 1, 1]."""
        return torch.rand(self.count, 1, 1, generator=self.generator).to(self.device)


def strands(x: Tensor, y: Tensor, cx, cy) -> Tensor:
    """Fur: fine streaks that radiate from (cx, cy), [N, H, W], roughly within -1..1, the same for the same head."""
    dx, dy = x - cx, y - cy
    r = (dx * dx + dy * dy + 1e-4).sqrt()
    a = torch.atan2(dy, dx)
    wave = torch.sin(23 * a + 5 * torch.sin(9 * r)) * torch.sin(17 * r + 3 * torch.sin(5 * a))
    return 0.6 * wave + 0.4 * torch.sin(41 * a + 6 * torch.sin(13 * r + 1.3))


def blur(image: Tensor, size: int) -> Tensor:
    """Box blur of [N, C, H, W] over an odd `size`, edges repeated."""
    return F.avg_pool2d(F.pad(image, [size // 2] * 4, mode="replicate"), size, 1)


def gaussian_cdf(z: Tensor) -> Tensor:
    """Standard normal to uniform."""
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))
