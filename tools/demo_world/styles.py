"""The styles: how a face becomes a photo, a sketch, a 3D render, a watercolor, a neon sign, pixel art, a statue."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from anatomy import Chimera, Face, build_face
from paint import blaze, coat_color, dome_light, features, head_coordinates, over_gray, paint, patch, rgb
from shapes import Noise, blur, ellipse, fill, hsv, over, strands, stroke
from torch import Tensor


def photo(p: dict[str, Tensor], species: str | Chimera, noise: Noise) -> Tensor:
    """Fur, soft light, a blurred background, a lens that darkens toward the corners, a little grain."""
    px, py, x, y = head_coordinates(p, noise.size)
    f = build_face(species, p, x, y)
    background = hsv(p["hue"], 0.32, (0.32 + 0.5 * p["tone"]) * (1 - 0.22 * py))
    glow = torch.exp(-((px - 1.2 * (p["light_x"] - 0.5)) ** 2 + (py + 0.6) ** 2) / 0.35)
    background = background + 0.16 * glow.unsqueeze(1)
    fur = noise.texture * (0.10 * strands(x, y, 0.0, 0.12) + 0.05 * noise.grain())
    image = paint(background, f, p, coat_color(p, species), dome_light(p, x, y), fur)
    return image * (1 - 0.12 * (px * px + py * py)) + 0.008 * noise.texture * noise.grain().unsqueeze(1)


def sketch(p: dict[str, Tensor], species: str | Chimera, noise: Noise) -> Tensor:
    """Pencil on white paper: wobbling outlines pressed more or less, hatching where the face is dark."""
    px, py, x, y = head_coordinates(p, noise.size, 0.014 * noise.cloud(6), 0.014 * noise.cloud(6))
    f = build_face(species, p, x, y)
    coat, shade = coat_color(p, species).mean(1), dome_light(p, x, y)
    head, ears, body = fill(f.head), fill(f.ears), fill(f.body)
    tone = over_gray(torch.ones_like(x), coat * 0.9 + 0.05, body)
    tone = over_gray(tone, coat, ears)
    tone = over_gray(tone, coat * shade + 0.1, head)
    tone = over_gray(tone, 0.95 * torch.ones_like(x), blaze(f, p) * head)
    tone = over_gray(tone, coat * 0.5, patch(f, p) * head)
    if f.muzzle is not None:
        tone = over_gray(tone, 1 - (1 - coat) * 0.3, fill(f.muzzle))
    if f.ears_in_front:
        tone = over_gray(tone, coat * 0.6, ears)
    if f.hair is not None:
        tone = over_gray(tone, 0.1 + 0.5 * p["patch"], fill(f.hair))
    dark = (1 - tone).clamp(0, 1) * (1 - fill(f.eyes))
    hatch = (0.5 + 0.5 * torch.sin((px + 0.8 * py + 0.02 * noise.cloud(5)) * 40)) * (dark * 1.1)
    cross = (0.5 + 0.5 * torch.sin((px - 0.9 * py) * 38)) * (dark - 0.45).clamp_min(0) * 1.2
    press = (0.88 + 0.14 * noise.cloud(5)).clamp(0.55, 1.1)
    lines = _pencil_lines(f, head, ears) * press
    paper = 0.965 + 0.008 * noise.cloud(4) + 0.004 * noise.grain()
    graphite = 1 - (1 - 0.5 * hatch.clamp(0, 1)) * (1 - 0.4 * cross.clamp(0, 1)) * (1 - 0.88 * lines.clamp(0, 1))
    graphite = graphite * (1 - 0.9 * fill(f.highlights))
    gray = paper * (1 - graphite) + 0.16 * graphite
    return gray.unsqueeze(1).expand(-1, 3, -1, -1) * rgb(gray, 1.0, 0.995, 0.98)


def _pencil_lines(f: Face, head: Tensor, ears: Tensor) -> Tensor:
    """Outlines and features [N, H, W]; what lies behind is left out."""
    width = 0.026
    behind_ears, behind_head = ((1 - ears), 1.0) if f.ears_in_front else (1.0, (1 - head))
    drawn = [
        stroke(f.head, width) * behind_ears,
        stroke(f.ears, width) * behind_head,
        stroke(f.body, width) * (1 - head) * (1 - ears),
        stroke(f.eyes, 0.022),
        fill(f.pupils - 0.02),
        fill(f.nose - 0.006),
        stroke(f.mouth, 0.022),
    ]
    if f.muzzle is not None:
        drawn.append(0.45 * stroke(f.muzzle, width) * head)
    if f.hair is not None:
        drawn.append(stroke(f.hair, width))
    if f.inner_ears is not None:
        drawn.append(0.5 * stroke(f.inner_ears, width) * behind_head)
    if f.whiskers is not None:
        drawn.append(0.6 * stroke(f.whiskers, 0.014))
    return torch.stack(drawn).amax(0)


def pixar(p: dict[str, Tensor], species: str | Chimera, noise: Noise) -> Tensor:
    """Smooth saturated plastic under studio light: huge eyes, glossy highlights, a colored backdrop."""
    px, py, x, y = head_coordinates(p, noise.size)
    f = build_face(species, p, x, y, eye_scale=1.5)
    gray = coat_color(p, species)
    mean = gray.mean(1, keepdim=True)
    coat = (mean + (gray - mean) * 1.7) * 0.72 + 0.24
    shade = 0.42 + 0.62 * dome_light(p, x, y)
    backdrop = hsv(p["hue"], 0.62, (0.72 + 0.25 * p["tone"]) * (1 - 0.28 * (px * px + (py - 0.1) ** 2)))
    image = paint(backdrop, f, p, coat.clamp(0.1, 1), shade, torch.zeros_like(x))
    side = (p["light_x"] - 0.5) * 0.5
    gloss = torch.exp(-(((x - side) / 0.16) ** 2 + ((y + 0.36) / 0.07) ** 2)) * fill(f.head) * (1 - fill(f.ears))
    nose_gloss = fill(
        ellipse(x, y + 0.03, 0.02, _NOSE_HEIGHT[species if isinstance(species, str) else species.muzzle], 0.035, 0.016),
        0.02,
    )
    rim = stroke(f.head + 0.03, 0.035) * (x * (p["light_x"] - 0.5)).clamp_min(0) * 2
    white = torch.ones_like(image)
    return over(image, white, (0.55 * gloss + 0.6 * nose_gloss + rim).clamp(0, 0.8))


_NOSE_HEIGHT = {"dog": 0.17, "cat": 0.20, "pig": 0.14, "bear": 0.16, "rabbit": 0.31, "fox": 0.38, "person": 0.2}


def watercolor(p: dict[str, Tensor], species: str | Chimera, noise: Noise) -> Tensor:
    """Pale transparent washes on warm paper: pigment pools at the edges, runs, and leaves the corners white."""
    px, py, x, y = head_coordinates(p, noise.size, 0.022 * noise.cloud(5), 0.022 * noise.cloud(5))
    f = build_face(species, p, x, y)
    wash = hsv(p["hue"], 0.38, 0.9 + 0 * x)
    image = blur(paint(wash, f, p, coat_color(p, species), 0.35 + 0.65 * dome_light(p, x, y), torch.zeros_like(x)), 3)
    gray = image.mean(1, keepdim=True)
    pigment = (1 - features(gray + (image - gray) * 1.35, f, p, coat_color(p, species))) * 0.72
    pool = 1 + 0.35 * noise.cloud(7) + 0.5 * stroke(f.head, 0.045) + 0.5 * stroke(f.ears, 0.045)
    animal = torch.maximum(torch.maximum(fill(f.head, 0.04), fill(f.ears, 0.04)), fill(f.body, 0.04))
    ragged = fill((px * px + py * py + 1e-6).sqrt() - 0.85 - 0.14 * noise.cloud(6), 0.05) * 0.75
    amount = torch.maximum(animal, ragged) * pool * (1 + 0.06 * noise.grain())
    return rgb(image, 0.985, 0.97, 0.93) - pigment * amount.clamp(0, 1.5).unsqueeze(1)


def neon(p: dict[str, Tensor], species: str | Chimera, noise: Noise) -> Tensor:
    """Glowing tubes in two colors on a nearly black wall, and what their light shows of the animal between them."""
    _px, _py, x, y = head_coordinates(p, noise.size)
    f = build_face(species, p, x, y)
    head, ears = fill(f.head), fill(f.ears)
    behind_ears, behind_head = ((1 - ears), 1.0) if f.ears_in_front else (1.0, (1 - head))
    first = [f.head.abs() + 9 * (1 - behind_ears), f.ears.abs() + 9 * (1 - behind_head)]
    first.append(f.body.abs() + 9 * torch.maximum(head, ears))
    second = [f.eyes.abs(), f.pupils.abs() + 0.012, f.nose.abs(), f.mouth]
    if f.muzzle is not None:
        second.append(f.muzzle.abs() + 0.045)
    if f.hair is not None:
        first.append(f.hair.abs())
    if f.whiskers is not None:
        second.append(f.whiskers + 0.01)
    wall = 0.02 + 0.04 * p["tone"].unsqueeze(1) + 0.012 * noise.cloud(6).unsqueeze(1) * rgb(x, 0.6, 0.7, 1.2)
    shown = paint(torch.zeros_like(wall), f, p, coat_color(p, species), dome_light(p, x, y), torch.zeros_like(x))
    outlines, details = (hsv(p["hue"] + turn + 0 * x, *of) for turn, of in ((0, (0.85, 1.0)), (0.42, (0.8, 1.0))))
    lamp, width = 0.3 + 0.5 * noise.number(), 0.8 + 0.8 * noise.number()
    return wall + lamp.unsqueeze(1) * shown + _tube(first, outlines, width) + _tube(second, details, width)


def _tube(distances: list[Tensor], color: Tensor, width: Tensor) -> Tensor:
    """A lit tube along the nearest of the lines: a whitish core and a colored glow."""
    d = (torch.stack(torch.broadcast_tensors(*distances)).amin(0) / width).unsqueeze(1)
    return color * (0.75 * torch.exp(-((d / 0.028) ** 2)) + 0.36 * torch.exp(-d / 0.07)) + 0.35 * torch.exp(
        -((d / 0.016) ** 2)
    )


def pixel(p: dict[str, Tensor], species: str | Chimera, noise: Noise) -> Tensor:
    """Pixel art: a sprite of 16 x 16 squares, few flat colors, a dark outline, a plain backdrop."""
    _px, py, x, y = head_coordinates(p, noise.size)
    f = build_face(species, p, x, y, eye_scale=1.5)
    coat = coat_color(p, species)
    mean = coat.mean(1, keepdim=True)
    shade = 0.62 + 0.4 * (3 * dome_light(p, x, y)).round() / 3
    backdrop = hsv(p["hue"], 0.55, 0.45 + 0.5 * p["tone"] + 0 * py)
    flat = paint(backdrop, f, p, (mean + (coat - mean) * 1.5).clamp(0.05, 1), shade, torch.zeros_like(x))
    edge = torch.stack([stroke(d, 0.05) for d in (f.head, f.ears, f.body)])
    hidden = torch.stack([torch.zeros_like(x), fill(f.head), torch.maximum(fill(f.head), fill(f.ears))])
    flat = over(flat, flat * 0.25, (edge * (1 - hidden)).amax(0) * (1 - fill(f.eyes)))
    squares = (F.avg_pool2d(flat, 4) * 5).round() / 5
    return squares.repeat_interleave(4, 2).repeat_interleave(4, 3)


def marble(p: dict[str, Tensor], species: str | Chimera, noise: Noise) -> Tensor:
    """A marble statue: veined stone, gray to white, under one lamp, blank eyes, a dark gallery behind."""
    _px, py, x, y = head_coordinates(p, noise.size)
    f = build_face(species, p, x, y)
    head, ears, body = fill(f.head), fill(f.ears), fill(f.body)
    stone = 0.58 + 0.40 * coat_color(p, species).mean(1)
    light = 0.30 + 0.72 * dome_light(p, x, y)
    veins = 1 - 0.22 * torch.exp(-((noise.cloud(5) / 0.14) ** 2)) * (0.6 + 0.4 * noise.cloud(3)).clamp(0, 1)
    gallery = (0.10 + 0.18 * p["tone"]) * (1 - 0.3 * py)
    gray = over_gray(gallery, stone * light * 0.72, body)
    gray = over_gray(gray, stone * light * 0.82, ears * (1 - head))
    gray = over_gray(gray, stone * light, head)
    if f.ears_in_front:
        gray = over_gray(gray, stone * light * 0.86, ears)
    carved = [stroke(f.head, 0.03), stroke(f.ears, 0.03), 0.9 * stroke(f.mouth, 0.028), 0.8 * stroke(f.nose, 0.03)]
    carved.append(stroke(f.eyes, 0.035))
    if f.muzzle is not None:
        carved.append(0.5 * stroke(f.muzzle, 0.04) * head)
    if f.inner_ears is not None:
        carved.append(0.8 * fill(f.inner_ears, 0.03) * (1 - head))
    if f.hair is not None:
        gray = over_gray(gray, stone * light * (0.8 + 0.16 * torch.sin(38 * x + 9 * y)), fill(f.hair))
        carved.append(stroke(f.hair, 0.03))
    hair = torch.zeros_like(head) if f.hair is None else fill(f.hair)
    figure = torch.stack([head, ears, body, hair]).amax(0)
    gray = gray * (1 - 0.55 * torch.stack(carved).amax(0) * figure)
    gray = over_gray(gray, 0.97 * stone * light, fill(f.eyes + 0.02))
    gray = gray * (1 - figure * (1 - veins))
    warm = torch.lerp(hsv(p["hue"] + 0 * x, 0.18, 1.0), rgb(x, 1.0, 0.985, 0.95), figure.unsqueeze(1))
    return gray.unsqueeze(1) * warm


DRAW = {
    "photo": photo,
    "sketch": sketch,
    "pixar": pixar,
    "watercolor": watercolor,
    "neon": neon,
    "pixel": pixel,
    "marble": marble,
}
