"""The directional CLIP loss: images must change as the text does."""

from __future__ import annotations

import torch
from torch import Tensor

from .similarity import unit

# Squared length below which a change of unit vectors counts as none: far above round-off, also that of TensorFloat-32,
# and far below the change by one iteration. Scaled to length 1, round-off would give a gradient a million times too
# large, which Adam remembers for thousands of iterations.
ZERO = 1e-8


def directional_loss(source: Tensor, adapted: Tensor, direction: Tensor) -> Tensor:
    """Return 1 - cos(image change, text change), mean over the batch (StyleGAN-NADA section 4.1, L_direction).

    The direction of an image that has not changed is undefined; in the first iteration, when the twins are equal, that
    is every image. The cosine is then 0 with `direction` as its gradient, so that training starts in that direction.

    Args:
        source: [N, D] CLIP embeddings of the frozen generator's images, any length.
        adapted: [N, D] CLIP embeddings of the trained generator's images for the same latents, any length.
        direction: [D] from source to target text, length 1.

    Returns:
        [] in 0..2.
    """
    change = unit(adapted) - unit(source)
    length2 = change.square().sum(dim=-1)
    scale = torch.where(length2 > ZERO, length2.clamp_min(ZERO).rsqrt(), 1.0)
    # Without a change the dot product is zero up to round-off, and its gradient is `direction`.
    return (1 - (change @ direction) * scale).mean()
