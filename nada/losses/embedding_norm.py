"""The embedding-norm loss: penalize artefacts, which lengthen CLIP embeddings."""

from __future__ import annotations

from torch import Tensor

LENGTH = 10.0  # rough length of ViT-B/32's image embeddings (OpenAI), for which the authors' weight is 0.5


def embedding_norm_loss(source: Tensor, adapted: Tensor) -> Tensor:
    """Return (|source| - |adapted|)^2, mean over the batch (StyleGAN-NADA v1, section 4.3, L_norm).

    CLIP embeddings become longer when a picture is exaggerated: opened mouths, enlarged tongues. The paper uses the
    loss to train the latent mapper.

    Args:
        source: [N, D] CLIP embeddings before the change, not normalized.
        adapted: [N, D] CLIP embeddings after the change, not normalized.

    Returns:
        [], 0 or more, in squared units of the embedding space.
    """
    return (source.norm(dim=-1) - adapted.norm(dim=-1)).square().mean()


def relative_norm_loss(source: Tensor, adapted: Tensor) -> Tensor:
    """Return the `embedding_norm_loss` of embeddings that are scaled so that `source` has a mean length of 10.

    The length of embeddings differs between CLIP models by a factor of 30 and more; with the scaling, one weight of the
    loss fits all of them.

    Args:
        source, adapted: [N, D] CLIP embeddings before and after the change, not normalized.

    Returns:
        [], 0 or more, about as large as that of ViT-B/32's embeddings.
    """
    scale = LENGTH / source.norm(dim=-1).mean()
    return embedding_norm_loss(source * scale, adapted * scale)
