"""LPIPS between images, if the `lpips` package and the network beneath it are on this machine already."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import NadaError

BACKBONE = "vgg16-397923af.pth"  # torchvision's file name of the weights that LPIPS-VGG stands on
SIDE = 256  # pixels at which images are compared


def lpips_distances(images: Tensor, batch: int = 16) -> Tensor:
    """LPIPS-VGG of all pairs of images [N, 3, H, W] in [-1, 1]: [N, N], symmetric.

    Raises:
        NadaError: the package or the weights are missing. Nothing is downloaded.
    """
    weights = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
    try:
        package = importlib.import_module("lpips")
    except ImportError as error:
        raise NadaError("the package lpips is not installed; pip install lpips") from error
    if not weights.is_file():
        raise NadaError(f"{weights} is missing; torchvision.models.vgg16(weights='DEFAULT') downloads it")
    model = package.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False)
    images = F.interpolate(images.clamp(-1, 1), (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
    rows, columns = torch.triu_indices(len(images), len(images), 1)
    found = [
        model(images[i], images[j]).flatten() for i, j in zip(rows.split(batch), columns.split(batch), strict=True)
    ]
    distances = images.new_zeros(len(images), len(images))
    distances[rows, columns] = torch.cat(found)
    return distances + distances.T
