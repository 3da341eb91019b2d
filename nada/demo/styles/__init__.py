"""The styles of the demo world: each turns a scene into a picture, such as a photo, a sketch or a statue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..drawing.canvas import Manner, Scene
from ..drawing.noise import Noise
from . import chalk, glass, marble, neon, photo, pixar, pixel, sketch, ukiyoe, watercolor


@dataclass(frozen=True)
class Style:
    """A style: its settings for drawing figures, and its function from a scene to a picture."""

    manner: Manner
    render: Callable[[Scene, Noise], Tensor]


STYLES = {
    "photo": Style(photo.MANNER, photo.photo),
    "sketch": Style(sketch.MANNER, sketch.sketch),
    "pixar": Style(pixar.MANNER, pixar.pixar),
    "watercolor": Style(watercolor.MANNER, watercolor.watercolor),
    "neon": Style(neon.MANNER, neon.neon),
    "pixel": Style(pixel.MANNER, pixel.pixel),
    "marble": Style(marble.MANNER, marble.marble),
    "ukiyoe": Style(ukiyoe.MANNER, ukiyoe.ukiyoe),
    "chalk": Style(chalk.MANNER, chalk.chalk),
    "glass": Style(glass.MANNER, glass.glass),
}
