"""The losses of StyleGAN-NADA (arXiv 2108.00946) and its successors: pure functions of CLIP embeddings and features."""

from .directional import directional_loss
from .embedding_norm import embedding_norm_loss, relative_norm_loss
from .similarity import global_loss, unit
from .style import style_loss
from .within_domain import within_domain_loss

__all__ = [
    "directional_loss",
    "embedding_norm_loss",
    "global_loss",
    "relative_norm_loss",
    "style_loss",
    "unit",
    "within_domain_loss",
]
