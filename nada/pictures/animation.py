"""Frames of animations: a wipe from before to after, and two walks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, tau

from PIL import Image

from ..errors import UsageError
from .grids import arranged, side_by_side

DIVIDER = 4  # width in pixels of the line between before and after


def wipe(before: Sequence[Image.Image], after: Sequence[Image.Image], frames: int) -> list[Image.Image]:
    """Return frames in which a line moves to the right and back, after on its left and before on its right.

    The first frame is all before, the one in the middle all after, and the last leads back to the first.

    Args:
        before, after: pictures of the same latents, of equal size, which are shown as a grid.
        frames: number of frames, at least 2.

    Raises:
        UsageError: there are too few frames.
    """
    if frames < 2:
        raise UsageError(f"frames is {frames}; an animation needs at least 2")
    original, adapted = arranged(before), arranged(after)
    made = []
    for i in range(frames):
        place = round(original.width * (1 - cos(tau * i / frames)) / 2)
        frame = original.copy()
        frame.paste(adapted.crop((0, 0, place, adapted.height)), (0, 0))
        if 0 < place < original.width:
            frame.paste("white", (max(0, place - DIVIDER // 2), 0, place + DIVIDER // 2, frame.height))
        made.append(frame)
    return made


def paired(before: Sequence[Image.Image], after: Sequence[Image.Image]) -> list[Image.Image]:
    """Return a frame for each picture, with its counterpart on the left.

    Args:
        before, after: pictures of the same latents, as many.
    """
    return [side_by_side(pair) for pair in zip(before, after, strict=True)]
