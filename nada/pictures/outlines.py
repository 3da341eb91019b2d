"""Draw the outline of a square in a photo, and the points that it was found from."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw
from PIL.Image import Resampling

SHOWN = 1024  # longer side of the picture in pixels
COLOR, SHADE = (255, 220, 60), (0, 0, 0)
Point = tuple[float, float]


def outlined(photo: Image.Image, squares: Sequence[Sequence[Point]], points: Sequence[Point] = ()) -> Image.Image:
    """Return a reduced copy of a photo with squares and points drawn on it.

    Args:
        photo: an RGB picture.
        squares: four corners of each, in pixels of the photo, top left first. The upper edge is drawn thicker.
        points: points to mark, in pixels of the photo.
    """
    scale = min(SHOWN / max(photo.size), 1.0)
    shown = photo.resize([max(round(side * scale), 1) for side in photo.size], Resampling.LANCZOS)
    draw, width = ImageDraw.Draw(shown), max(round(max(shown.size) / 250), 1)
    for color, extra in ((SHADE, 2), (COLOR, 0)):
        for corners in squares:
            edge = [(x * scale, y * scale) for x, y in corners]
            draw.line([*edge, edge[0]], color, width + extra)
            draw.line([edge[0], edge[-1]], color, 2 * width + extra)
        for x, y in points:
            radius = 1.5 * width + extra / 2
            draw.ellipse([x * scale - radius, y * scale - radius, x * scale + radius, y * scale + radius], color)
    return shown
