"""Signed distances, lines and colors.

Coordinates and distances are [N, H, W], colors [N, 3, H, W] or broadcastable to that, numbers per drawing [N, 1, 1].
A picture spans -1..1 in both directions, y points down. A distance is negative inside a shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Number = Tensor | float


def ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Approximate distance to an ellipse around the origin."""
    u, v = x / rx, y / ry
    k0 = (u * u + v * v + 1e-6).sqrt()
    k1 = ((u / rx) ** 2 + (v / ry) ** 2 + 1e-6).sqrt()
    return k0 * (k0 - 1) / k1


def box(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float, corner: float = 0.0) -> Tensor:
    """Distance to a rectangle around the origin with corners of the given radius."""
    dx, dy = x.abs() - rx + corner, y.abs() - ry + corner
    outside = (dx.clamp_min(0).square() + dy.clamp_min(0).square() + 1e-9).sqrt()
    return outside + torch.maximum(dx, dy).clamp_max(0) - corner


def segment(x: Tensor, y: Tensor, ax: Number, ay: Number, bx: Number, by: Number) -> Tensor:
    """Distance to the line segment from (ax, ay) to (bx, by)."""
    ux, uy = bx - ax, by - ay
    px, py = x - ax, y - ay
    t = ((px * ux + py * uy) / (ux * ux + uy * uy)).clamp(0, 1)
    return ((px - t * ux).square() + (py - t * uy).square() + 1e-9).sqrt()


def arc(x: Tensor, y: Tensor, half_width: Number, bend: Number) -> Tensor:
    """Distance to the parabola y = bend * (x / half_width)^2 between -half_width and half_width."""
    t = (x / half_width).clamp(-1, 1)
    return ((x - t * half_width).square() + (y - bend * t * t).square() + 1e-9).sqrt()


def leaf(
    x: Tensor, y: Tensor, base: Sequence[Tensor], tip: Sequence[Tensor], width: Number, point: Number
) -> tuple[Tensor, ...]:
    """Distance to a leaf from `base` to `tip`, and coordinates in the leaf: 0..1 from base to tip, -1..1 across.

    `width` is half the width at the base; `point` makes the tip round (0) or pointed (1).
    """
    ux, uy = tip[0] - base[0], tip[1] - base[1]
    length = (ux * ux + uy * uy).sqrt().clamp_min(1e-3)
    ux, uy = ux / length, uy / length
    px, py = x - base[0], y - base[1]
    along, across = (px * ux + py * uy) / length, py * ux - px * uy
    t = along.clamp(0, 1)
    profile = torch.lerp((1 - t * t + 1e-4).sqrt() * (1 + 0.35 * t), (1 - t) * (1 + 0.5 * t) + 1e-3, point)
    half_width = width * profile
    distance = smooth_max((across.abs() - half_width) * 0.9, torch.maximum(along - 1, -along - 0.15) * length, 0.03)
    return distance, t, across / half_width.clamp_min(1e-2)


def smooth_max(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """The larger of two distances, with the corner rounded by about `radius`."""
    h = (0.5 + 0.5 * (a - b) / radius).clamp(0, 1)
    return torch.lerp(b, a, h) + radius * h * (1 - h)


def smooth_min(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """The smaller of two distances (union of the shapes), with the corner filled by about `radius`."""
    return -smooth_max(-a, -b, radius)


def fill(distance: Tensor, softness: Tensor | float) -> Tensor:
    """Coverage 0..1 of a shape whose edge is antialiased over `softness`."""
    return (0.5 - distance / softness).clamp(0, 1)


def stroke(distance: Tensor, width: Tensor | float) -> Tensor:
    """Coverage 0..1 of a soft line where `distance` is 0, about twice `width` wide."""
    return torch.exp(-(distance / width).square())


def over(image: Tensor, color: Tensor, coverage: Tensor) -> Tensor:
    """Paint `color` over `image` with the coverage [N, H, W]."""
    return torch.lerp(image, color, coverage.unsqueeze(1))


def step(value: Tensor, at: Tensor | float, sharpness: float = 14.0) -> Tensor:
    """Smooth step: 0 below `at`, 1 above."""
    return torch.sigmoid((value - at) * sharpness)


def color(*rgb: float) -> Tensor:
    """One color for all drawings, [1, 3, 1, 1]."""
    return torch.tensor(rgb).view(1, 3, 1, 1)


def hsv(hue: Tensor, saturation: Tensor | float, value: Tensor | float) -> Tensor:
    """Convert hue, saturation and value ([N, 1, 1] or [N, H, W]) to colors [N, 3, ...]; hue wraps around at 1."""
    h = (hue % 1.0) * 6
    rgb = torch.stack([(h - 3).abs() - 1, 2 - (h - 2).abs(), 2 - (h - 4).abs()], 1).clamp(0, 1)
    s, v = (a.unsqueeze(1) if torch.is_tensor(a) else a for a in (saturation, value))
    return ((rgb - 1) * s + 1) * v


def ramp(stops: Sequence[tuple[float, float, float]], at: Tensor) -> Tensor:
    """Piecewise linear ramp of colors: `at` [N, 1, 1] in 0..1 to [N, 3, 1, 1]."""
    colors = torch.tensor(stops)
    position = at.flatten().clamp(0, 1) * (len(stops) - 1)
    low = position.floor().clamp(0, len(stops) - 2).long()
    return torch.lerp(colors[low], colors[low + 1], (position - low).unsqueeze(1))[:, :, None, None]


def gray(image: Tensor) -> Tensor:
    """Luma [N, H, W] of colors [N, 3, H, W]."""
    return image[:, 0] * 0.30 + image[:, 1] * 0.59 + image[:, 2] * 0.11


def saturated(image: Tensor, amount: float) -> Tensor:
    """Multiply the distance of colors from gray by `amount`."""
    mean = gray(image).unsqueeze(1)
    return mean + (image - mean) * amount


def blur(image: Tensor, size: int) -> Tensor:
    """Box blur of [N, C, H, W] over an odd number of pixels, edges repeated."""
    if size < 2:
        return image
    radius = size // 2
    image = F.avg_pool2d(F.pad(image, [radius, radius, 0, 0], mode="replicate"), (1, 2 * radius + 1), 1)
    return F.avg_pool2d(F.pad(image, [0, 0, radius, radius], mode="replicate"), (2 * radius + 1, 1), 1)
