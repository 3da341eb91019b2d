"""Draw the pictures of docs/rivals.md: images of all methods, and the plane of target and variety."""

from __future__ import annotations

from PIL import Image, ImageDraw

from nada.pictures.charts import CURVES, FAINT
from nada.pictures.fonts import default_font
from nada.pictures.grids import INK, PAPER

LABEL = 20  # px above each row
SIDE, MARGIN, DOT = 520, 56, 4  # px of the plane


def rows(strips: list[tuple[str, Image.Image]]) -> Image.Image:
    """Stack pictures, each below its label."""
    width, heights = max(strip.width for _, strip in strips), [strip.height + LABEL for _, strip in strips]
    whole, top = Image.new("RGB", (width, sum(heights)), PAPER), 0
    for (label, strip), height in zip(strips, heights, strict=True):
        ImageDraw.Draw(whole).text((4, top + 3), label, INK, default_font(14))
        whole.paste(strip, (0, top + LABEL))
        top += height
    return whole


def plane(points: dict[tuple[str, str], tuple[float, float]]) -> Image.Image:
    """Plot each method by its target rate (to the right) and the variety that it keeps (upwards), both 0..1.

    Args:
        points: {(method, target): (target rate, variety kept)}; each target has a color.
    """
    whole = Image.new("RGB", (SIDE + 160, SIDE), PAPER)
    draw, font = ImageDraw.Draw(whole), default_font(12)
    low, high = MARGIN, SIDE - MARGIN
    place = lambda x, y: (low + (high - low) * x, high - (high - low) * y)
    for part in range(6):
        share = part / 5
        draw.line([place(share, 0), place(share, 1)], FAINT)
        draw.line([place(0, share), place(1, share)], FAINT)
        draw.text((place(share, 0)[0], high + 6), f"{share:g}", INK, font, anchor="ma")
        draw.text((low - 8, place(0, share)[1]), f"{share:g}", INK, font, anchor="rm")
    draw.text(((low + high) / 2, SIDE - 24), "target rate", INK, font, anchor="ma")
    draw.text((low, low - 24), "variety kept", INK, font, anchor="lm")
    targets = list(dict.fromkeys(target for _, target in points))
    for (method, target), (x, y) in points.items():
        color, (left, top) = CURVES[targets.index(target) % len(CURVES)], place(x, min(y, 1.0))
        draw.ellipse([left - DOT, top - DOT, left + DOT, top + DOT], color)
        draw.text((left + DOT + 3, top), method, color, font, anchor="lm")
    for i, target in enumerate(targets):
        draw.text((SIDE + 150, 16 + 18 * i), target, CURVES[i % len(CURVES)], font, anchor="rm")
    return whole
