"""The embedding-norm loss: artefacts lengthen CLIP embeddings."""

from __future__ import annotations

from torch import Tensor

LENGTH = 10.0  # of the image embeddings of OpenAI's ViT-B/32, roughly, which the authors' weight of 0.5 is for


def embedding_norm_loss(source: Tensor, adapted: Tensor) -> Tensor:
    """(|source| - |adapted|)^2, mean over the batch (StyleGAN-NADA v1, section 4.3, L_norm).

    CLIP embeddings grow where a picture is overdrawn: opened mouths, enlarged tongues. The paper uses the loss while it
    trains the latent mapper.

    Args:
        source: [N, D] CLIP embeddings before the change, not normalized.
        adapted: [N, D] those after it.

    Returns:
        [], 0 or more, in squared units of the embedding space.
    """
    return (source.norm(dim=-1) - adapted.norm(dim=-1)).square().mean()


def relative_norm_loss(source: Tensor, adapted: Tensor) -> Tensor:
    """`embedding_norm_loss` of embeddings that are scaled to a mean length of 10 before the change.

    How long embeddings are differs between CLIP models by a factor of 30 and more; so scaled, one weight serves all.
    """
    scale = LENGTH / source.norm(dim=-1).mean()
    return embedding_norm_loss(source * scale, adapted * scale)
