"""The small picture inside a style file."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor

from ..errors import CheckpointError, UsageError
from ..generators import Generator
from ..latents.rendering import generate
from ..latents.sampling import sample_latents
from ..pictures.grids import make_grid
from ..pictures.reading import read_picture

COLUMNS, PSI = 4, 0.7
SIZE, QUALITY = (512, 256), 85  # at most so many pixels, which is about 25 kB
MAX_PIXELS = 1 << 22


def encode(before: Tensor, after: Tensor) -> bytes:
    """A JPEG of two rows of pictures.

    Args:
        before, after: the base's and the adapted generator's images of the same latents, [N, C, H, W] in [-1, 1]; the
            first four are shown.
    """
    rows = [images[:COLUMNS] for images in (before, after)]
    picture = make_grid(torch.cat(rows), columns=len(rows[0]))
    picture.thumbnail(SIZE)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def preview_of(base: Generator, adapted: Generator) -> bytes:
    """The picture of a style: images of four latents before and after; see `encode`."""
    ws = sample_latents(base, COLUMNS, truncation_psi=PSI)
    return encode(generate(base, ws, batch=1), generate(adapted, ws, batch=1))


def preview_picture(data: bytes) -> Image.Image:
    """The picture in a style.

    Raises:
        CheckpointError: it is damaged, or absurdly large.
    """
    try:
        return read_picture(io.BytesIO(data), ("JPEG",), MAX_PIXELS)
    except UsageError as error:
        raise CheckpointError(f"the style's preview cannot be read, it is damaged ({error})") from error
