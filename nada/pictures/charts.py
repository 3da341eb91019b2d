"""Charts of a run: loss curves, and a map of the trained layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from PIL.Image import Resampling

from .fonts import FONT_SIZE, default_font
from .grids import INK, PAPER

SMALL_FONT, ROW = 12, 18
FAINT = (220, 220, 220)
CURVES = ((31, 119, 180), (214, 96, 20), (44, 140, 44), (170, 50, 120), (120, 90, 60))


def plot(curves: Mapping[str, Sequence[float]], size: tuple[int, int] = (800, 440)) -> Image.Image:
    """Draw curves over the iterations 1, 2, ..., with axes and a legend.

    Args:
        curves: {name: values}; values that are not finite are left out.
        size: width and height of the picture in pixels.
    """
    picture = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(picture), default_font()
    left, top, right, bottom = 64, 20, size[0] - 20, size[1] - 40
    finite = [v for values in curves.values() for v in values if np.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    high = high if high > low else low + 1
    last = max(max(len(values) for values in curves.values()), 2)

    def place(i: float, v: float) -> tuple[float, float]:
        return left + (right - left) * (i - 1) / (last - 1), bottom - (bottom - top) * (v - low) / (high - low)

    for part in range(5):
        value, step = low + (high - low) * part / 4, 1 + (last - 1) * part / 4
        y, x = place(1, value)[1], place(step, low)[0]
        draw.line([(left, y), (right, y)], FAINT)
        draw.text((left - 8, y), f"{value:.3g}", INK, font, anchor="rm")
        draw.text((x, bottom + 10), f"{step:.0f}", INK, font, anchor="ma")
    for n, (name, values) in enumerate(curves.items()):
        color = CURVES[n % len(CURVES)]
        points = [place(i, v) for i, v in enumerate(values, 1) if np.isfinite(v)]
        if len(points) > 1:
            draw.line(points, color, 2)
        draw.text((right - 8, top + 8 + n * (FONT_SIZE + 6)), name, color, font, anchor="rt")
    return picture


def layer_map(names: Sequence[str], chosen: Sequence[Collection[str]], width: int = 800) -> Image.Image:
    """Draw a map of the trained layers: a row for each layer, iterations from left to right, darker for more often.

    Args:
        names: the layers, from the top down.
        chosen: the layers that each of the iterations 1, 2, ... trained.
        width: width of the picture in pixels.
    """
    trained = np.array([[name in layers for layers in chosen] for name in names], dtype=float)  # [layers, iterations]
    left, top, right = 110, 12, width - 20
    columns = min(len(chosen), right - left)
    shares = np.stack([part.mean(axis=1) for part in np.array_split(trained, columns, axis=1)], axis=1)
    shade = np.array(PAPER) + shares[..., None] * (np.array(CURVES[0]) - np.array(PAPER))
    cells = Image.fromarray(shade.round().astype(np.uint8)).resize((right - left, len(names) * ROW), Resampling.NEAREST)
    bottom = top + cells.height
    picture = Image.new("RGB", (width, bottom + 34), PAPER)
    picture.paste(cells, (left, top))
    draw, font = ImageDraw.Draw(picture), default_font()
    for row, (name, share) in enumerate(zip(names, trained.mean(axis=1), strict=True)):
        y = top + row * ROW
        draw.line([(left, y), (right, y)], FAINT)
        draw.text((left - 8, y + ROW / 2), f"{name} {share:.0%}", INK, default_font(SMALL_FONT), anchor="rm")
    for part in range(5):
        x = left + (right - left) * part / 4
        draw.text((x, bottom + 8), f"{1 + (len(chosen) - 1) * part / 4:.0f}", INK, font, anchor="ma")
    return picture


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Join pictures, one below the other."""
    column = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    y = 0
    for p in pictures:
        column.paste(p, (0, y))
        y += p.height
    return column
