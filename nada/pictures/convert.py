"""Convert image tensors to pictures, and pictures to tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..errors import UsageError


def to_rgb(images: Tensor, background: float = 1.0) -> Tensor:
    """Convert images of any generator to RGB: repeat grey, and put transparent parts on a background. Differentiable.

    Args:
        images: [N, C, H, W] in [-1, 1]: grey, grey with alpha, RGB or RGBA. RGB is returned as it is.
        background: the grey behind transparent parts, -1 black .. 1 white.

    Returns:
        [N, 3, H, W].
    """
    color, alpha = _color_and_alpha(images)
    if alpha is None:
        return color
    return background + ((alpha + 1) / 2).clamp(0, 1) * (color - background)


def as_saved(images: Tensor) -> Tensor:
    """Convert images [N, C, H, W] of any generator to the channels of picture files: RGB or RGBA, [N, 3 or 4, H, W]."""
    color, alpha = _color_and_alpha(images)
    return color if alpha is None else torch.cat([color, alpha], dim=1)


def _color_and_alpha(images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Split images of one to four channels into color [N, 3, H, W], grey repeated, and alpha [N, 1, H, W] or None."""
    channels = images.shape[1]
    color = images[:, :3] if channels >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    return color, images[:, -1:] if channels in (2, 4) else None


def middle(size: tuple[int, int], width: int, height: int) -> tuple[slice, slice]:
    """Return the rows and columns of the middle of a picture, for `images[..., rows, columns]`.

    Args:
        size: height and width of the picture.
        width, height: size of the middle.

    Raises:
        UsageError: the picture is smaller.
    """
    if not (1 <= height <= size[0] and 1 <= width <= size[1]):
        raise UsageError(f"the images have {size[1]} x {size[0]} pixels; {width} x {height} cannot be cut out of them")
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)


def to_uint8(images: Tensor) -> Tensor:
    """Convert images [N, C, H, W], clamped to [-1, 1], to RGB or RGBA [N, H, W, 3 or 4] uint8; see `as_saved`."""
    shown = as_saved(images.detach().float().cpu())
    return ((shown + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def from_uint8(pixels: Tensor) -> Tensor:
    """Convert RGB pixels [N, H, W, 3] uint8 to images [N, 3, H, W] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2) / 127.5 - 1


def to_pil(images: Tensor) -> list[Image.Image]:
    """Convert images [N, C, H, W] in [-1, 1] to N pictures, RGB or RGBA."""
    return [Image.fromarray(np.ascontiguousarray(image)) for image in to_uint8(images).numpy()]


def png_notes(notes: Mapping[str, str]) -> PngInfo:
    """Return texts by key as Pillow's `pnginfo`, with which a PNG file is saved; `picture_note` reads them."""
    info = PngInfo()
    for key, text in notes.items():
        info.add_text(key, text)
    return info


def from_pil(picture: Image.Image) -> Tensor:
    """Convert an RGB picture to an image [1, 3, H, W] in [-1, 1]."""
    return from_uint8(torch.from_numpy(np.array(picture))[None])
