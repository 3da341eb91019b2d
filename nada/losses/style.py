"""The style loss: colors and textures of generated images move close to those of style images."""

from __future__ import annotations

import torch
from torch import Tensor


def style_loss(features: Tensor, wanted: Tensor) -> Tensor:
    """Return the relaxed earth mover's distance of CLIP features to those of style images, mean over all pairs.

    This is the attentive style loss of DiFa (Zhang et al., arXiv 2207.08736), whose distance is that of STROTSS (Kolkin
    et al., arXiv 1904.12785): each place of an image should look like some place of the style image, and each of its
    places should be found in the image.

    Args:
        features: [N, places, D] features of generated images, each of length 1; see `clip.features.style_features`.
        wanted: [M, K, D] features of the style images, each of length 1.

    Returns:
        [] in 0..2. Of a pair of images, it is the larger of two means of 1 - cos, over the features of either, each
        with its nearest counterpart in the other.
    """
    cost = 1 - torch.einsum("npd,mkd->nmpk", features, wanted)
    return torch.maximum(cost.amin(dim=3).mean(dim=2), cost.amin(dim=2).mean(dim=2)).mean()
