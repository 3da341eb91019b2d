"""Embeddings of many images."""

from __future__ import annotations

import torch
from torch import Tensor

from ..generators.threads import suited_threads
from ..losses import unit
from .models import ClipModel


@torch.no_grad()
def embed_images(model: ClipModel, images: Tensor, batch: int = 16) -> Tensor:
    """Return unit embeddings [N, D], on the CPU, of images [N, 3, H, W] clamped to [-1, 1] as in a picture file."""
    device = model.mean.device
    with suited_threads(model):
        parts = [unit(model.encode_image(part.clamp(-1, 1).to(device))).cpu() for part in images.split(batch)]
    return torch.cat(parts)


@torch.no_grad()
def mean_embedding(model: ClipModel, images: Tensor) -> Tensor:
    """Return the mean [D] of the unit embeddings of images."""
    return torch.cat([unit(model.encode_image(part.to(model.mean))) for part in images.split(8)]).mean(dim=0)
