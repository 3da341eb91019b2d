"""The losses of StyleGAN-NADA (arXiv 2108.00946), pure functions of CLIP embeddings."""

from .directional import directional_loss
from .embedding_norm import embedding_norm_loss
from .similarity import global_loss, unit

__all__ = ["directional_loss", "embedding_norm_loss", "global_loss", "unit"]
