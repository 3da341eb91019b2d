"""Frames of animations: a wipe from before to after, and two walks side by side."""

from __future__ import annotations

from math import cos, tau

from PIL import Image
from torch import Tensor

from ..errors import UsageError
from .grids import make_grid, side_by_side

DIVIDER = 4  # width in pixels of the line between before and after


def wipe(before: Tensor, after: Tensor, frames: int, side: int | None = None) -> list[Image.Image]:
    """Return frames in which a line moves to the right and back, after on its left and before on its right.

    The first frame is all before, the one in the middle all after, and the last leads back to the first.

    Args:
        before, after: images [N, C, H, W] in [-1, 1] of the same latents.
        frames: number of frames, at least 2.
        side: length of an image's longer side in pixels, as for `make_grid`.

    Raises:
        UsageError: there are too few frames.
    """
    if frames < 2:
        raise UsageError(f"frames is {frames}; an animation needs at least 2")
    original, adapted = make_grid(before, side=side), make_grid(after, side=side)
    made = []
    for i in range(frames):
        place = round(original.width * (1 - cos(tau * i / frames)) / 2)
        frame = original.copy()
        frame.paste(adapted.crop((0, 0, place, adapted.height)), (0, 0))
        if 0 < place < original.width:
            frame.paste("white", (max(0, place - DIVIDER // 2), 0, place + DIVIDER // 2, frame.height))
        made.append(frame)
    return made


def paired(before: Tensor | None, after: Tensor, side: int | None = None) -> list[Image.Image]:
    """Return a frame for each image, optionally with its counterpart on the left.

    Args:
        before: counterparts [N, C, H, W] in [-1, 1], or None.
        after: images [N, C, H, W] in [-1, 1].
        side: length of an image's longer side in pixels, as for `make_grid`.
    """
    frames = []
    for i in range(len(after)):
        shown = (after,) if before is None else (before, after)
        frames.append(side_by_side([make_grid(images[i : i + 1], side=side) for images in shown]))
    return frames
