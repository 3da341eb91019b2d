"""Painting that all styles share: where a face lies in the picture, its light, its colors and its features."""

from __future__ import annotations

import torch
from anatomy import COATS, HAIR, Chimera, Face
from shapes import ellipse, fill, hsv, over, palette, stroke
from torch import Tensor


def head_coordinates(p: dict[str, Tensor], size: int, wobble: Tensor | None = None, wobble_y: Tensor | None = None):
    """Picture coordinates [H, W] and head coordinates [N, H, W]."""
    axis = (torch.arange(size, device=p["x"].device) + 0.5) / size * 2 - 1
    py, px = torch.meshgrid(axis, axis, indexing="ij")
    x, y = px - (p["x"] - 0.5) * 0.06, py - 0.06 - (p["y"] - 0.5) * 0.05
    if wobble is not None:
        x, y = x + wobble, y + wobble_y
    angle = (p["tilt"] - 0.5) * 0.18
    c, s = torch.cos(angle), torch.sin(angle)
    scale = 1.0 + 0.10 * (p["size"] - 0.5)
    return px, py, (x * c + y * s) / scale, (y * c - x * s) / scale


def dome_light(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Soft shading [N, H, W] of the head as a dome lit from the upper side, about 0.5..1.2."""
    lx, ly = (p["light_x"] - 0.5) * 1.5, -0.25 - 0.45 * p["light_y"]
    dome = (1 - (x / 0.85) ** 2 - (y / 0.95) ** 2).clamp_min(0.02).sqrt()
    return (0.45 + 0.5 * dome + 0.42 * (x * lx + y * ly)).clamp(0.35, 1.2)


def coat_color(p: dict[str, Tensor], species: str | Chimera) -> Tensor:
    stops = COATS[species.coat if isinstance(species, Chimera) else species]
    return palette(stops, p["coat"]) * (0.82 + 0.30 * p["shade"]).unsqueeze(1)


def soft_step(u: Tensor, at: float) -> Tensor:
    """A soft switch: 0 below `at`, 1 above, so that a generator can follow it."""
    return torch.sigmoid((u - at) * 14)


def rgb(like: Tensor, *rgb: float) -> Tensor:
    return torch.tensor(rgb, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def paint(image: Tensor, f: Face, p: dict[str, Tensor], coat: Tensor, shade: Tensor, fur: Tensor) -> Tensor:
    """Paint body, head and features over a background; photo, Pixar and watercolor pictures share this.

    coat is [N, 3, 1, 1], shade [N, H, W] multiplies the coat, fur [N, H, W] modulates it around zero.
    """
    lit, texture = shade.unsqueeze(1), (1 + fur).unsqueeze(1)
    dark, pale = coat * 0.58, 1 - (1 - coat) * 0.42
    pink = rgb(image, 0.86, 0.52, 0.50)
    body, head, ears = fill(f.body), fill(f.head), fill(f.ears)
    clothes = coat if f.hair is None else hsv(p["hue"] + 0.5, 0.5, 0.75)
    image = over(image, clothes * 0.75 * lit * texture, body)
    if not f.ears_in_front:
        image = over(image, coat * 0.88 * lit * texture, ears)
        if f.inner_ears is not None:
            image = over(image, (pink * 0.6 + coat * 0.4) * lit, fill(f.inner_ears, 0.03))
    image = over(image, coat * lit * texture, head)
    image = over(image, pale * lit * texture, blaze(f, p) * head)
    image = over(image, dark * lit * texture, patch(f, p) * head)
    if f.muzzle is not None:
        white = 1 - (1 - coat) * (1 - f.muzzle_white)
        muzzle_color = white if f.nostrils is None else coat * rgb(image, 0.98, 0.82, 0.82)
        image = over(image, muzzle_color * lit * (1 + 0.4 * fur).unsqueeze(1), fill(f.muzzle, 0.022))
    if f.ears_in_front:
        image = over(image, dark * lit * texture, ears)
    if f.hair is not None:
        image = over(image, palette(HAIR, p["patch"]) * lit * (1 + 1.5 * fur).unsqueeze(1), fill(f.hair))
    return features(image, f, p, coat)


def features(image: Tensor, f: Face, p: dict[str, Tensor], coat: Tensor) -> Tensor:
    """Mouth, nose, whiskers and eyes of a face of the color `coat`."""
    black, pink = rgb(image, 0.06, 0.05, 0.06), rgb(image, 0.86, 0.52, 0.50)
    if f.tongue is not None:
        image = over(image, rgb(image, 0.88, 0.38, 0.42), fill(f.tongue) * soft_step(p["mouth"], 0.55))
    image = over(image, rgb(image, 0.42, 0.12, 0.12) if f.skin_nose else black, 0.85 * stroke(f.mouth, 0.024))
    if f.whiskers is not None:
        image = over(image, rgb(image, 0.95, 0.95, 0.95), 0.5 * stroke(f.whiskers, 0.014))
    nose = pink * 0.9 if f.pink_nose else (pink * 0.35 if f.nostrils is not None else black)
    nose = coat * 0.78 if f.skin_nose else nose
    image = over(image, nose, fill(f.nose))
    image = over(image, black, fill(f.eyes - 0.022, 0.018))
    image = over(image, rgb(image, 0.93, 0.92, 0.90), fill(f.eyes))
    image = over(image, rgb(image, *f.iris_color), fill(f.iris))
    image = over(image, black * 0.4, fill(f.pupils))
    return over(image, torch.ones_like(image), fill(f.highlights))


def blaze(f: Face, p: dict[str, Tensor]) -> Tensor:
    """The pale stripe between the eyes that some animals wear."""
    if f.hair is not None:
        return torch.zeros_like(f.x)
    return fill(ellipse(f.x, f.y, 0, -0.3, 0.10, 0.42), 0.03) * soft_step(p["blaze"], 0.6)


def patch(f: Face, p: dict[str, Tensor]) -> Tensor:
    """The dark patch round one eye that some animals wear."""
    if f.hair is not None:
        return torch.zeros_like(f.x)
    return fill(ellipse(f.x, f.y, -0.24, -0.12, 0.20, 0.22), 0.03) * soft_step(p["patch"], 0.6)


def over_gray(image: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """`over` for one channel: image, value and mask are [N, H, W]."""
    return torch.lerp(image, value.expand_as(image), mask)
