"""The within-domain loss: images that differ before the adaptation should differ after it."""

from __future__ import annotations

from torch import Tensor

from .similarity import unit


def within_domain_loss(source: Tensor, adapted: Tensor) -> Tensor:
    """Return the squared change of the cosine between two images of the batch, mean over all pairs.

    This is the in-domain angle consistency loss of HyperDomainNet (Alanov et al., arXiv 2210.08884), in the form of
    StyleDomain (arXiv 2212.10229), which gives it the weight 0.25.

    Args:
        source: [N, D] CLIP embeddings of the frozen generator's images, any length; N is at least 2.
        adapted: [N, D] CLIP embeddings of the trained generator's images for the same latents, any length.

    Returns:
        [] in 0..4.
    """
    before, after = (x @ x.T for x in (unit(source), unit(adapted)))
    pairs = len(source) * (len(source) - 1) // 2
    return (after - before).square().triu(1).sum() / pairs
