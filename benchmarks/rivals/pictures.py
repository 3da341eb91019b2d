"""Draw the pictures of docs/rivals.md: images of all methods, and plots with a label for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from nada.pictures.charts import CURVES, FAINT
from nada.pictures.fonts import default_font
from nada.pictures.grids import INK, PAPER

LABEL = 20  # px above each row
SIDE, MARGIN, NAMES, DOT = 330, 48, 160, 4  # px: a plot's square, around it, for its labels, and radius of a point
LEADER = (170, 170, 170)
LINE = 15  # smallest distance of two labels in px

Points = Mapping[str, Sequence[tuple[float, float]]]
"""{method: points (x, y), from left to right}, both in 0..1."""


def rows(strips: list[tuple[str, Image.Image]]) -> Image.Image:
    """Stack pictures, each below its label."""
    width, heights = max(strip.width for _, strip in strips), [strip.height + LABEL for _, strip in strips]
    whole, top = Image.new("RGB", (width, sum(heights)), PAPER), 0
    for (label, strip), height in zip(strips, heights, strict=True):
        ImageDraw.Draw(whole).text((4, top + 3), label, INK, default_font(14))
        whole.paste(strip, (0, top + LABEL))
        top += height
    return whole


def side_by_side(plots: Sequence[Image.Image], columns: int = 2) -> Image.Image:
    """Arrange plots of equal size in a grid."""
    width, height = plots[0].size
    whole = Image.new("RGB", (width * min(columns, len(plots)), height * -(-len(plots) // columns)), PAPER)
    for i, one in enumerate(plots):
        whole.paste(one, (i % columns * width, i // columns * height))
    return whole


def plot(
    title: str, points: Points, across: str, up: str, ticks: Mapping[str, float], colors: Mapping[str, int]
) -> Image.Image:
    """Plot the points of each method, joined by lines, with labels that do not overlap.

    Args:
        title: text above the plot.
        points: the methods' points. A label at the right of the plot is connected with the last point.
        across: name of the x axis.
        up: name of the y axis, which goes from 0 to 1.
        ticks: {text: x in 0..1} of the x axis.
        colors: {method: index of a color}.
    """
    whole = Image.new("RGB", (SIDE + 2 * MARGIN + NAMES, SIDE + 2 * MARGIN), PAPER)
    draw, font = ImageDraw.Draw(whole), default_font(12)
    low, high = MARGIN, MARGIN + SIDE
    place = lambda x, y: (low + SIDE * x, high - SIDE * min(max(y, 0.0), 1.0))
    for text, x in ticks.items():
        draw.line([place(x, 0), place(x, 1)], FAINT)
        draw.text((place(x, 0)[0], high + 6), text, INK, font, anchor="ma")
    for part in range(6):
        draw.line([place(0, part / 5), place(1, part / 5)], FAINT)
        draw.text((low - 8, place(0, part / 5)[1]), f"{part / 5:g}", INK, font, anchor="rm")
    draw.text((low + SIDE / 2, high + 24), across, INK, font, anchor="ma")
    draw.text((low, low - 16), f"{title}: {up}", INK, default_font(14), anchor="lm")
    ends = {method: place(*path[-1]) for method, path in points.items()}
    order = sorted(ends, key=lambda method: ends[method][1])
    for method, y in zip(order, spread([ends[method][1] for method in order], LINE, high), strict=True):
        draw.line([ends[method], (high + 14, y)], LEADER)
        draw.text((high + 18, y), method, CURVES[colors[method] % len(CURVES)], font, anchor="lm")
    for method in points:
        color, path = CURVES[colors[method] % len(CURVES)], [place(*point) for point in points[method]]
        if len(path) > 1:
            draw.line(path, color, 2)
        for left, top in path:
            draw.ellipse([left - DOT, top - DOT, left + DOT, top + DOT], color)
    return whole


def spread(heights: Sequence[float], gap: float, lowest: float) -> list[float]:
    """Move ascending heights apart to a distance of at least `gap`, downwards, and up again from `lowest`."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + gap) if moved else height)
    limit = lowest
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], limit)
        limit = moved[i] - gap
    return moved
