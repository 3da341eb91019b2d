"""The global CLIP loss: how far images are from a text."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """Vectors [..., D] scaled to length 1."""
    return F.normalize(x, dim=-1)


def global_loss(images: Tensor, text: Tensor) -> Tensor:
    """1 - cos(image, text), mean over the batch (StyleCLIP's loss; StyleGAN-NADA section 4.1, L_global).

    It decides which layers to train. As a training loss it lets all images collapse onto one that fools CLIP.

    Args:
        images: [N, D] CLIP embeddings, any length.
        text: [D] embedding of the target text, any length.

    Returns:
        [] in 0..2.
    """
    return (1 - unit(images) @ unit(text)).mean()
