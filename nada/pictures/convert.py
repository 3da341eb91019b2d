"""Convert between image tensors and pictures, and read picture files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.Image import Resampling
from torch import Tensor

from ..errors import UsageError

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def to_uint8(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] (clamped here) -> RGB [N, H, W, 3] uint8. Grey is repeated, alpha dropped."""
    rgb = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    return ((rgb.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def to_pil(images: Tensor) -> list[Image.Image]:
    """Images [N, C, H, W] in [-1, 1] -> N RGB pictures."""
    return [Image.fromarray(np.ascontiguousarray(image)) for image in to_uint8(images).numpy()]


def load_pictures(paths: Sequence[Path], side: int) -> Tensor:
    """Pictures as a generator would make them: the square in the middle, resized.

    Args:
        paths: picture files, and folders of them.
        side: of the result in pixels.

    Returns:
        [N, 3, side, side] float32 in [-1, 1], in the order of the paths; those of a folder by name.

    Raises:
        UsageError: a file is not a picture that can be read, or there is none.
    """
    files = []
    for path in paths:
        files += sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"there are no pictures in {', '.join(map(str, paths))}; {', '.join(PICTURES)} are looked for")
    return torch.stack([_load_picture(path, side) for path in files])


def _load_picture(path: Path, side: int) -> Tensor:
    try:
        with Image.open(path) as picture:
            square = ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), (side, side), Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path} is not a picture that can be read: {error}") from error
    return torch.from_numpy(np.array(square)).permute(2, 0, 1) / 127.5 - 1
