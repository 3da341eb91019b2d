"""Fur and skin: color at each place of a head, in coordinates that turn with it."""

from __future__ import annotations

import torch
from torch import Tensor

from .anatomy import HAIR, Anatomy
from .canvas import by_kind
from .parameters import Parameters
from .pens import ellipse, gray, over, ramp, step

PATTERNS = ("plain", "patches", "mask", "spots", "stripes")
PATTERN_ENDS = (0.32, 0.56, 0.74, 0.90, 1.01)  # upper ends of the parameter "pattern" for each of PATTERNS


def pattern_index(p: Parameters) -> Tensor:
    """Index [N] in PATTERNS of each animal's marking."""
    return torch.bucketize(p.pattern.flatten().contiguous(), torch.tensor(PATTERN_ENDS[:-1]), right=True)


def coat_color(p: Parameters, a: Anatomy) -> Tensor:
    """Main color of fur or skin, [N, 3, 1, 1]."""
    return (ramp(a.coats, p.coat) * (0.84 + 0.28 * p.shade).unsqueeze(1)).clamp(0.02, 1)


def marking_color(p: Parameters, coat: Tensor) -> Tensor:
    """Color of markings, [N, 3, 1, 1]: dark on pale coats, pale on dark ones."""
    dark = coat * 0.25 + 0.30 * ramp(HAIR[:4], p.hair)
    pale = 0.22 * coat + 0.78 * ramp(((0.95, 0.93, 0.89), (0.93, 0.78, 0.55)), p.hair)
    return torch.lerp(pale, dark, step(gray(coat), 0.34, 18).unsqueeze(1))


def coat_at(p: Parameters, a: Anatomy, ox: Tensor, oy: Tensor, oz: Tensor) -> Tensor:
    """Color at each place of the head, given in coordinates that turn with it; [N, 3, H, W]."""
    coat = coat_color(p, a)
    color = coat.expand(-1, -1, *ox.shape[1:])
    if a.lips > 0.5:
        blush = torch.exp(-(((ox.abs() - 0.21) / 0.10) ** 2 + ((oy - 0.14) / 0.09) ** 2)) * 0.34
        return over(color, coat * torch.tensor((0.98, 0.62, 0.58)).view(1, 3, 1, 1), blush)
    mark = by_kind(pattern_index(p), (_plain, _patches, _mask, _spots, _stripes), p, ox, oy, oz)
    color = over(color, marking_color(p, coat), a.marked * mark)
    if a.pale_cheeks > 0.01:
        cheeks = step(oy + 0.35 * ox.abs() - 0.02 * torch.sin(30 * ox), 0.12, 16) * step(-oy, -0.75)
        color = over(color, 1 - (1 - coat) * 0.12, a.pale_cheeks * cheeks)
    if a.pale_muzzle > 0.01:
        snout = step(-ellipse(ox, oy - a.muzzle[0] - 0.02, a.muzzle[2] * 1.12, a.muzzle[3] * 1.15), 0.0, 45)
        color = over(color, 1 - (1 - coat) * (1 - a.pale_muzzle), snout * step(oz, 0.15, 20))
    return color


def _plain(p: Parameters, ox: Tensor, oy: Tensor, oz: Tensor) -> Tensor:
    """A stripe down the forehead of some animals with the largest marking."""
    return step(-ellipse(ox, oy + 0.30, 0.035 + 0.05 * p.marking, 0.36), 0.0, 50) * step(p.marking, 0.55, 30)


def _patches(p: Parameters, ox: Tensor, oy: Tensor, oz: Tensor) -> Tensor:
    """A patch around one eye, and one or two more."""
    side = torch.where(p.hair > 0.5, 1.0, -1.0)
    eye = ellipse(side * ox - 0.23, oy + 0.10, 0.17 + 0.08 * p.marking, 0.21 + 0.06 * p.marking)
    top = ellipse(side * ox + 0.28, oy + 0.40, 0.06 + 0.20 * p.marking, 0.20)
    ragged = 0.018 * torch.sin(26 * ox + 9 * oy) + 0.014 * torch.sin(31 * oy - 7 * ox)
    return step(-torch.minimum(eye, top) + ragged, 0.0, 50)


def _mask(p: Parameters, ox: Tensor, oy: Tensor, oz: Tensor) -> Tensor:
    """A dark or pale face with a soft edge: snout and around the eyes."""
    face = torch.minimum(
        ellipse(ox, oy - 0.22, 0.24 + 0.10 * p.marking, 0.26 + 0.08 * p.marking),
        ellipse(ox.abs() - 0.18, oy + 0.08, 0.10 + 0.06 * p.marking, 0.12),
    )
    return step(-face, 0.0, 22) * step(oz, 0.05, 12)


def _spots(p: Parameters, ox: Tensor, oy: Tensor, oz: Tensor) -> Tensor:
    """Spots, from few and small to many and large."""
    u, v = ox * 10 + 2.2 * torch.sin(5.3 * oy + 6 * p.hair), oy * 10 + 2.2 * torch.sin(4.7 * ox + 9 * p.hair)
    return step(torch.sin(u) * torch.sin(v) + 0.3 * torch.sin(2.3 * u + v), 0.62 - 0.30 * p.marking, 14)


def _stripes(p: Parameters, ox: Tensor, oy: Tensor, oz: Tensor) -> Tensor:
    """Stripes of a tabby: upright on the forehead, level on the cheeks."""
    ax = ox.abs()
    brow = torch.sin(46 * ax + 6 * oy + 0.8) * step(-oy, 0.10, 16) * step(-ax, -0.26, 20)
    cheek = torch.sin(34 * oy + 16 * ax) * step(ax, 0.24, 16)
    return step(torch.maximum(brow, cheek), 0.35 - 0.3 * p.marking, 9) * 0.85
