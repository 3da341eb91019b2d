"""Convert image tensors to pictures."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] (clamped here) -> RGB [N, H, W, 3] uint8. Grey is repeated, alpha dropped."""
    rgb = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    return ((rgb.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def to_pil(images: Tensor) -> list[Image.Image]:
    """Images [N, C, H, W] in [-1, 1] -> N RGB pictures."""
    return [Image.fromarray(np.ascontiguousarray(image)) for image in to_uint8(images).numpy()]
