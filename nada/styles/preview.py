"""Make and read the preview picture inside a style file."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor

from ..errors import CheckpointError, UsageError
from ..generators import Generator
from ..latents.rendering import generate_samples
from ..pictures.grids import make_grid
from ..pictures.reading import read_picture

COLUMNS, PSI = 4, 0.7
SIZE, QUALITY = (512, 256), 85  # largest width and height in pixels, and JPEG quality: about 25 kB
MAX_PIXELS = 1 << 22  # largest preview that is read


def encode(before: Tensor, after: Tensor) -> bytes:
    """Encode a preview as JPEG: a row of images before, above a row of images after.

    Args:
        before, after: images [N, C, H, W] in [-1, 1] of the base and the adapted generator for the same latents; the
            first four are shown.
    """
    rows = [images[:COLUMNS] for images in (before, after)]
    picture = make_grid(torch.cat(rows), columns=len(rows[0]))
    picture.thumbnail(SIZE)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def preview_of(base: Generator, adapted: Generator) -> bytes:
    """Make the preview of a style from images of four latents before and after.

    Args:
        base: the style's base.
        adapted: the generator after the adaptation, of the same shape.

    Returns:
        A JPEG file; see `encode`.
    """
    before, after = (generate_samples(model, COLUMNS, truncation_psi=PSI, batch=1) for model in (base, adapted))
    return encode(before, after)


def preview_picture(data: bytes) -> Image.Image:
    """Decode the preview picture of a style.

    Args:
        data: `Style.preview`, a JPEG file.

    Returns:
        The picture in RGB.

    Raises:
        CheckpointError: the data is damaged, or has more than `MAX_PIXELS` pixels.
    """
    try:
        return read_picture(io.BytesIO(data), ("JPEG",), MAX_PIXELS)
    except UsageError as error:
        raise CheckpointError(f"the style's preview is damaged and cannot be read ({error})") from error
