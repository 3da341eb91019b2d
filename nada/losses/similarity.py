"""The global CLIP loss: the distance of images to a text."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """Scale vectors [..., D] to length 1."""
    return F.normalize(x, dim=-1)


def global_loss(images: Tensor, text: Tensor) -> Tensor:
    """Return 1 - cos(image, text), mean over the batch (StyleCLIP's loss; StyleGAN-NADA section 4.1, L_global).

    It selects the layers to train. As a training loss it makes all images collapse to one that fools CLIP.

    Args:
        images: [N, D] CLIP embeddings, any length.
        text: [D] embedding of the target text, any length.

    Returns:
        [] in 0..2.
    """
    return (1 - unit(images) @ unit(text)).mean()
