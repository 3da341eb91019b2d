"""The places behind a figure, out of focus: a studio, a meadow, a room, lights at night."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .canvas import FAR, by_kind
from .parameters import Parameters
from .pens import box, color, hsv, over, step

PLACES = ("studio", "meadow", "room", "lights")
BULBS = 9


def place_index(p: Parameters) -> Tensor:
    """Index [N] in PLACES of each drawing's place."""
    return (p.place.flatten() * len(PLACES)).floor().clamp(0, len(PLACES) - 1).long()


def backdrop(p: Parameters, px: Tensor, py: Tensor) -> tuple[Tensor, Tensor]:
    """Color [N, 3, H, W] of the places at px, py [N, H, W], and distance to their lines [N, H, W]."""
    both = by_kind(place_index(p), (_studio, _meadow, _room, _lights), p, px, py)
    return both[:, :3].clamp(0, 1), both[:, 3]


def _with_lines(image: Tensor, lines: Tensor) -> Tensor:
    return torch.cat([image, lines.unsqueeze(1)], 1)


def _studio(p: Parameters, px: Tensor, py: Tensor) -> Tensor:
    """A wall with a pool of light."""
    base = hsv(p.hue, 0.42, 0.35 + 0.5 * p.tone)
    pool = torch.exp(-((px - 0.9 * (p.scenery - 0.5)).square() + (py + 0.15).square()) / 0.9)
    image = base * (0.72 + 0.48 * pool - 0.10 * py).unsqueeze(1)
    return _with_lines(image, FAR + 0 * px)


def _meadow(p: Parameters, px: Tensor, py: Tensor) -> Tensor:
    """Sky with clouds, hills and grass."""
    s = 2.5 * (p.scenery - 0.5)
    horizon = 0.10 + 0.30 * (p.scenery - 0.5)
    sky = torch.lerp(hsv(0.56 + 0.10 * (p.hue - 0.5) + 0 * px, 0.52, 0.62 + 0.36 * p.tone),
                     hsv(0.10 + 0.9 * (p.hue > 0.8).float() + 0 * px, 0.16, 0.95),
                     (0.5 + 0.55 * py).clamp(0, 1).unsqueeze(1))  # fmt: skip
    drift = torch.sin(2.6 * px + s) + 0.6 * torch.sin(5.3 * px - 2 * py + 2 * s)
    puffs = drift + 0.8 * torch.sin(7 * py + 1.7 * torch.sin(3 * px + s)) + 0.4 * torch.sin(9 * px + 4 * py)
    image = over(sky, color(1.0, 0.99, 0.97), 0.75 * step(puffs, 0.9, 3) * step(-py, -0.05, 6))
    hills = py - horizon + 0.16 * torch.sin(2.1 * px + s) + 0.05 * torch.sin(5 * px + 2 * s)
    grass = py - horizon - 0.24 + 0.05 * torch.sin(3 * px - s)
    green = 0.26 + 0.10 * (p.hue - 0.5)
    image = over(image, hsv(green + 0.08 + 0 * px, 0.34, 0.42 + 0.32 * p.tone), step(hills, 0.0, 28))
    blades = 1 + 0.10 * torch.sin(31 * px + 5 * torch.sin(11 * py)) * torch.sin(17 * py + 7 * px)
    meadow = hsv(green - 0.02 + 0 * px, 0.58, (0.40 + 0.36 * p.tone) * blades)
    image = over(image, meadow, step(grass, 0.0, 22))
    hidden = FAR * (grass > 0)
    return _with_lines(image, torch.minimum(hills.abs() + hidden, grass.abs()))


def _room(p: Parameters, px: Tensor, py: Tensor) -> Tensor:
    """A wall with a window or a picture, wainscot and a lamp."""
    side = torch.where(p.scenery > 0.5, 1.0, -1.0)
    wx = side * (0.56 + 0.25 * (p.scenery * 2 % 1.0 - 0.5))
    wall = hsv(p.hue, 0.26, 0.48 + 0.40 * p.tone) * (1 - 0.12 * py - 0.10 * side * px).unsqueeze(1)
    panel = py - 0.46
    image = over(wall, hsv(0.07 + 0 * px, 0.42, 0.30 + 0.22 * p.tone), step(panel, 0.0, 40))
    ledge = (panel + 0.02).abs()
    image = over(image, hsv(0.08 + 0 * px, 0.26, 0.62 + 0.2 * p.tone), step(-ledge, -0.035, 60))
    frame = box(px - wx, py + 0.40, 0.32, 0.42)
    glass = box(px - wx, py + 0.40, 0.26, 0.36)
    bars = torch.minimum((px - wx).abs(), (py + 0.40).abs())
    image = over(image, hsv(0.09 + 0 * px, 0.20, 0.80), step(-frame, 0.0, 45))
    view = torch.lerp(color(0.98, 0.93, 0.80), color(0.55, 0.74, 0.93), step(-py, 0.30, 4).unsqueeze(1))
    image = over(image, view * (0.8 + 0.3 * p.tone).unsqueeze(1), step(-glass, 0.0, 45) * step(bars, 0.022, 90))
    lamp_x = -side * 0.72
    shade = box(px - lamp_x, py + 0.02, 0.20 - 0.10 * (0.15 - py).clamp(-0.2, 0.5), 0.16, 0.04)
    glow = torch.exp(-((px - lamp_x).square() + py.square()) / 0.18)
    image = image + 0.22 * glow.unsqueeze(1) * color(1.0, 0.85, 0.55)
    image = over(image, color(1.0, 0.90, 0.66), step(-shade, 0.0, 45))
    lines = torch.stack([ledge, frame.abs(), glass.abs(), bars + FAR * (glass > 0), shade.abs()]).amin(0)
    return _with_lines(image, lines)


def _lights(p: Parameters, px: Tensor, py: Tensor) -> Tensor:
    """A street at night: blurred lights in front of a dark gradient."""
    image = hsv(p.hue, 0.55, 0.10 + 0.20 * p.tone) * (1.05 - 0.35 * py).unsqueeze(1)
    lines = FAR + 0 * px
    for n in range(BULBS):
        near = 0.5 + 0.5 * math.sin(3.1 * n)  # closer lights are larger and shift further
        cx = math.sin(2.4 * n) + (0.3 + 0.5 * near) * (p.scenery - 0.5)
        cy = -0.42 + 0.55 * math.sin(1.3 * n * n) + 0.15 * near * (p.tone - 0.5)
        radius = 0.05 + 0.12 * near
        distance = ((px - cx).square() + (py - cy).square() + 1e-6).sqrt() - radius
        rim = 0.70 + 0.30 * torch.exp(-(distance / 0.03).square())
        tint = hsv(p.hue + 0.10 * math.sin(5.0 * n) + (0.5 if n % 3 == 0 else 0.0), 0.45, 1.0)
        cover = step(-distance, 0.0, 70) * rim * (0.38 + 0.22 * p.tone)
        image = image + (1 - image) * tint * cover.unsqueeze(1)
        lines = torch.minimum(lines, distance.abs())
    return _with_lines(image, lines)
