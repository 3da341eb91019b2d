"""LPIPS between all pairs of images, if the `lpips` package and the network beneath it are on this machine already."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import NadaError, is_out_of_memory
from ..lpips.network import ADVICE, SIDE, Lpips, find_lpips
from ..pictures.convert import to_rgb

BACKBONE = "vgg"
BLOCK = 10  # images whose features, 32 MB each, are in memory at once, beside those of as many others


@torch.no_grad()
def lpips_distances(images: Tensor, device: torch.device | None = None) -> Tensor:
    """Return LPIPS-VGG of all pairs of images [N, C, H, W] in [-1, 1]: [N, N], symmetric, on the CPU.

    The features of an image are computed once for each block of images that it is compared with, instead of once for
    each image. To compute them only once, those of all images would have to be kept: 3 GB for a hundred.

    Args:
        images: the images.
        device: device to compute on, if its memory suffices; None for the CPU.

    Raises:
        NadaError: the package or the weights are missing. Nothing is downloaded.
    """
    model = find_lpips([BACKBONE])
    if model is None:
        raise NadaError(f"LPIPS-VGG is not on this machine; {ADVICE}")
    # resized on the CPU, since Apple's GPUs have no antialiased resampling
    images = to_rgb(images).clamp(-1, 1).cpu()
    images = F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
    device = device or torch.device("cpu")
    try:
        return _pairs(model.to(device), images, device)
    except Exception as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    return _pairs(model.cpu(), images, torch.device("cpu"))


def _pairs(model: Lpips, images: Tensor, device: torch.device) -> Tensor:
    """Return the distances [N, N] of images [N, 3, SIDE, SIDE], computed on the device of the model."""
    blocks = images.split(BLOCK)
    distances = torch.zeros(len(images), len(images))
    for i, block in enumerate(blocks):
        rows = model.layers(block.to(device))
        for j, other in enumerate(blocks[i:], i):
            columns = rows if i == j else model.layers(other.to(device))
            for k in range(len(block)):
                one = [layer[k : k + 1].expand_as(theirs) for layer, theirs in zip(rows, columns, strict=True)]
                found = model.distance(one, columns).cpu()
                row, first = i * BLOCK + k, j * BLOCK
                distances[row, first : first + len(other)] = distances[first : first + len(other), row] = found
    return distances
