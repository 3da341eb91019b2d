"""The five styles: how a face becomes a photo, a pencil sketch, a 3D render, a watercolor or a neon sign."""

from __future__ import annotations

import torch
from anatomy import COATS, Face, build_face
from shapes import Noise, blur, ellipse, fill, hsv, over, palette, strands, stroke
from torch import Tensor


def _coordinates(p: dict[str, Tensor], size: int, wobble: Tensor | None = None, wobble_y: Tensor | None = None):
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


def _light(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Soft shading [N, H, W] of the head as a dome lit from the upper side, about 0.5..1.2."""
    lx, ly = (p["light_x"] - 0.5) * 1.5, -0.25 - 0.45 * p["light_y"]
    dome = (1 - (x / 0.85) ** 2 - (y / 0.95) ** 2).clamp_min(0.02).sqrt()
    return (0.45 + 0.5 * dome + 0.42 * (x * lx + y * ly)).clamp(0.35, 1.2)


def _coat(p: dict[str, Tensor], species: str) -> Tensor:
    return palette(COATS[species], p["coat"]) * (0.82 + 0.30 * p["shade"]).unsqueeze(1)


def _step(u: Tensor, at: float) -> Tensor:
    """A soft switch: 0 below `at`, 1 above, so that a generator can follow it."""
    return torch.sigmoid((u - at) * 14)


def _color(like: Tensor, *rgb: float) -> Tensor:
    return torch.tensor(rgb, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def _paint(image: Tensor, f: Face, p: dict[str, Tensor], coat: Tensor, shade: Tensor, fur: Tensor) -> Tensor:
    """Paint body, head and features over a background; photo, Pixar and watercolor pictures share this.

    coat is [N, 3, 1, 1], shade [N, H, W] multiplies the coat, fur [N, H, W] modulates it around zero.
    """
    lit, texture = shade.unsqueeze(1), (1 + fur).unsqueeze(1)
    dark, pale = coat * 0.58, 1 - (1 - coat) * 0.42
    pink = _color(image, 0.86, 0.52, 0.50)
    body, head, ears = fill(f.body), fill(f.head), fill(f.ears)
    image = over(image, coat * 0.75 * lit * texture, body)
    if not f.ears_in_front:
        image = over(image, coat * 0.88 * lit * texture, ears)
        if f.inner_ears is not None:
            image = over(image, (pink * 0.6 + coat * 0.4) * lit, fill(f.inner_ears, 0.03))
    image = over(image, coat * lit * texture, head)
    image = over(image, pale * lit * texture, _blaze(f, p) * head)
    image = over(image, dark * lit * texture, _patch(f, p) * head)
    muzzle_color = pale if f.nostrils is None else coat * _color(image, 0.98, 0.82, 0.82)
    image = over(image, muzzle_color * lit * (1 + 0.4 * fur).unsqueeze(1), fill(f.muzzle, 0.022))
    if f.ears_in_front:
        image = over(image, dark * lit * texture, ears)
    return _features(image, f, p)


def _features(image: Tensor, f: Face, p: dict[str, Tensor]) -> Tensor:
    """Mouth, nose, whiskers and eyes."""
    black, pink = _color(image, 0.06, 0.05, 0.06), _color(image, 0.86, 0.52, 0.50)
    if f.tongue is not None:
        image = over(image, _color(image, 0.88, 0.38, 0.42), fill(f.tongue) * _step(p["mouth"], 0.55))
    image = over(image, black, 0.85 * stroke(f.mouth, 0.024))
    if f.whiskers is not None:
        image = over(image, _color(image, 0.95, 0.95, 0.95), 0.5 * stroke(f.whiskers, 0.014))
    nose = pink * 0.9 if f.pink_nose else (pink * 0.35 if f.nostrils is not None else black)
    image = over(image, nose, fill(f.nose))
    image = over(image, black, fill(f.eyes - 0.022, 0.018))
    image = over(image, _color(image, 0.93, 0.92, 0.90), fill(f.eyes))
    image = over(image, _color(image, *f.iris_color), fill(f.iris))
    image = over(image, black * 0.4, fill(f.pupils))
    return over(image, torch.ones_like(image), fill(f.highlights))


def _blaze(f: Face, p: dict[str, Tensor]) -> Tensor:
    """The pale stripe between the eyes that some faces wear."""
    return fill(ellipse(f.x, f.y, 0, -0.3, 0.10, 0.42), 0.03) * _step(p["blaze"], 0.6)


def _patch(f: Face, p: dict[str, Tensor]) -> Tensor:
    """The dark patch round one eye that some faces wear."""
    return fill(ellipse(f.x, f.y, -0.24, -0.12, 0.20, 0.22), 0.03) * _step(p["patch"], 0.6)


def photo(p: dict[str, Tensor], species: str, noise: Noise) -> Tensor:
    """Fur, soft light, a blurred background, a lens that darkens toward the corners, a little grain."""
    px, py, x, y = _coordinates(p, noise.size)
    f = build_face(species, p, x, y)
    background = hsv(p["hue"], 0.32, (0.32 + 0.5 * p["tone"]) * (1 - 0.22 * py))
    glow = torch.exp(-((px - 1.2 * (p["light_x"] - 0.5)) ** 2 + (py + 0.6) ** 2) / 0.35)
    background = background + 0.16 * glow.unsqueeze(1)
    fur = noise.texture * (0.10 * strands(x, y, 0.0, 0.12) + 0.05 * noise.grain())
    image = _paint(background, f, p, _coat(p, species), _light(p, x, y), fur)
    return image * (1 - 0.12 * (px * px + py * py)) + 0.008 * noise.texture * noise.grain().unsqueeze(1)


def sketch(p: dict[str, Tensor], species: str, noise: Noise) -> Tensor:
    """Pencil on white paper: wobbling outlines pressed more or less, hatching where the face is dark."""
    px, py, x, y = _coordinates(p, noise.size, 0.014 * noise.cloud(6), 0.014 * noise.cloud(6))
    f = build_face(species, p, x, y)
    coat, shade = _coat(p, species).mean(1), _light(p, x, y)
    head, ears, body = fill(f.head), fill(f.ears), fill(f.body)
    tone = over_gray(torch.ones_like(x), coat * 0.9 + 0.05, body)
    tone = over_gray(tone, coat, ears)
    tone = over_gray(tone, coat * shade + 0.1, head)
    tone = over_gray(tone, 0.95 * torch.ones_like(x), _blaze(f, p) * head)
    tone = over_gray(tone, coat * 0.5, _patch(f, p) * head)
    tone = over_gray(tone, 1 - (1 - coat) * 0.3, fill(f.muzzle))
    if f.ears_in_front:
        tone = over_gray(tone, coat * 0.6, ears)
    dark = (1 - tone).clamp(0, 1) * (1 - fill(f.eyes))
    hatch = (0.5 + 0.5 * torch.sin((px + 0.8 * py + 0.02 * noise.cloud(5)) * 40)) * (dark * 1.1)
    cross = (0.5 + 0.5 * torch.sin((px - 0.9 * py) * 38)) * (dark - 0.45).clamp_min(0) * 1.2
    press = (0.88 + 0.14 * noise.cloud(5)).clamp(0.55, 1.1)
    lines = _pencil_lines(f, head, ears) * press
    paper = 0.965 + 0.008 * noise.cloud(4) + 0.004 * noise.grain()
    graphite = 1 - (1 - 0.5 * hatch.clamp(0, 1)) * (1 - 0.4 * cross.clamp(0, 1)) * (1 - 0.88 * lines.clamp(0, 1))
    graphite = graphite * (1 - 0.9 * fill(f.highlights))
    gray = paper * (1 - graphite) + 0.16 * graphite
    return gray.unsqueeze(1).expand(-1, 3, -1, -1) * _color(gray, 1.0, 0.995, 0.98)


def over_gray(image: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """`over` for one channel: image, value and mask are [N, H, W]."""
    return torch.lerp(image, value.expand_as(image), mask)


def _pencil_lines(f: Face, head: Tensor, ears: Tensor) -> Tensor:
    """Outlines and features [N, H, W]; what lies behind is left out."""
    width = 0.026
    behind_ears, behind_head = ((1 - ears), 1.0) if f.ears_in_front else (1.0, (1 - head))
    drawn = [
        stroke(f.head, width) * behind_ears,
        stroke(f.ears, width) * behind_head,
        stroke(f.body, width) * (1 - head) * (1 - ears),
        0.45 * stroke(f.muzzle, width) * head,
        stroke(f.eyes, 0.022),
        fill(f.pupils - 0.02),
        fill(f.nose - 0.006),
        stroke(f.mouth, 0.022),
    ]
    if f.inner_ears is not None:
        drawn.append(0.5 * stroke(f.inner_ears, width) * behind_head)
    if f.whiskers is not None:
        drawn.append(0.6 * stroke(f.whiskers, 0.014))
    return torch.stack(drawn).amax(0)


def pixar(p: dict[str, Tensor], species: str, noise: Noise) -> Tensor:
    """Smooth saturated plastic under studio light: huge eyes, glossy highlights, a colored backdrop."""
    px, py, x, y = _coordinates(p, noise.size)
    f = build_face(species, p, x, y, eye_scale=1.5)
    gray = _coat(p, species)
    mean = gray.mean(1, keepdim=True)
    coat = (mean + (gray - mean) * 1.7) * 0.72 + 0.24
    shade = 0.42 + 0.62 * _light(p, x, y)
    backdrop = hsv(p["hue"], 0.62, (0.72 + 0.25 * p["tone"]) * (1 - 0.28 * (px * px + (py - 0.1) ** 2)))
    image = _paint(backdrop, f, p, coat.clamp(0.1, 1), shade, torch.zeros_like(x))
    side = (p["light_x"] - 0.5) * 0.5
    gloss = torch.exp(-(((x - side) / 0.16) ** 2 + ((y + 0.36) / 0.07) ** 2)) * fill(f.head) * (1 - fill(f.ears))
    nose_gloss = fill(ellipse(x, y + 0.03, 0.02, _nose_height(species), 0.035, 0.016), 0.02)
    rim = stroke(f.head + 0.03, 0.035) * (x * (p["light_x"] - 0.5)).clamp_min(0) * 2
    white = torch.ones_like(image)
    return over(image, white, (0.55 * gloss + 0.6 * nose_gloss + rim).clamp(0, 0.8))


def _nose_height(species: str) -> float:
    return {"dog": 0.17, "cat": 0.20, "pig": 0.14, "bear": 0.16, "rabbit": 0.31}[species]


def watercolor(p: dict[str, Tensor], species: str, noise: Noise) -> Tensor:
    """Pale transparent washes on warm paper: pigment pools at the edges, runs, and leaves the corners white."""
    px, py, x, y = _coordinates(p, noise.size, 0.022 * noise.cloud(5), 0.022 * noise.cloud(5))
    f = build_face(species, p, x, y)
    wash = hsv(p["hue"], 0.38, 0.9 + 0 * x)
    image = blur(_paint(wash, f, p, _coat(p, species), 0.35 + 0.65 * _light(p, x, y), torch.zeros_like(x)), 3)
    gray = image.mean(1, keepdim=True)
    pigment = (1 - _features(gray + (image - gray) * 1.35, f, p)) * 0.72
    pool = 1 + 0.35 * noise.cloud(7) + 0.5 * stroke(f.head, 0.045) + 0.5 * stroke(f.ears, 0.045)
    animal = torch.maximum(torch.maximum(fill(f.head, 0.04), fill(f.ears, 0.04)), fill(f.body, 0.04))
    ragged = fill((px * px + py * py + 1e-6).sqrt() - 0.85 - 0.14 * noise.cloud(6), 0.05) * 0.75
    amount = torch.maximum(animal, ragged) * pool * (1 + 0.06 * noise.grain())
    return _color(image, 0.985, 0.97, 0.93) - pigment * amount.clamp(0, 1.5).unsqueeze(1)


def neon(p: dict[str, Tensor], species: str, noise: Noise) -> Tensor:
    """Glowing tubes in two colors on a nearly black wall."""
    _px, _py, x, y = _coordinates(p, noise.size)
    f = build_face(species, p, x, y)
    head, ears = fill(f.head), fill(f.ears)
    behind_ears, behind_head = ((1 - ears), 1.0) if f.ears_in_front else (1.0, (1 - head))
    first = [f.head.abs() + 9 * (1 - behind_ears), f.ears.abs() + 9 * (1 - behind_head)]
    first.append(f.body.abs() + 9 * torch.maximum(head, ears))
    second = [f.eyes.abs(), f.pupils.abs() + 0.012, f.nose.abs(), f.mouth, f.muzzle.abs() + 0.045]
    if f.whiskers is not None:
        second.append(f.whiskers + 0.01)
    wall = 0.035 + 0.012 * noise.cloud(6).unsqueeze(1) * _color(x, 0.6, 0.7, 1.2)
    image = (
        wall + _tube(first, hsv(p["hue"] + 0 * x, 0.85, 1.0)) + _tube(second, hsv(p["hue"] + 0.42 + 0 * x, 0.8, 1.0))
    )
    return image


def _tube(distances: list[Tensor], color: Tensor) -> Tensor:
    """A lit tube along the nearest of the lines: a whitish core and a colored glow."""
    d = torch.stack(torch.broadcast_tensors(*distances)).amin(0).unsqueeze(1)
    return color * (0.75 * torch.exp(-((d / 0.028) ** 2)) + 0.36 * torch.exp(-d / 0.07)) + 0.35 * torch.exp(
        -((d / 0.016) ** 2)
    )


DRAW = {"photo": photo, "sketch": sketch, "pixar": pixar, "watercolor": watercolor, "neon": neon}
