"""CLIP: models that score images by text, their embeddings and directions."""

from .loading import load_clip
from .models import ClipEnsemble, ClipModel

__all__ = ["ClipEnsemble", "ClipModel", "load_clip"]
