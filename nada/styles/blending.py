"""Generators between two generators: interpolated weights, and layers swapped at a resolution."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..errors import UsageError
from ..generators import Generator


@torch.inference_mode(False)
@torch.no_grad()
def blend_generators(first: Generator, second: Generator, share: float = 0.5, from_resolution: int = 4) -> Generator:
    """A generator whose weights lie between those of two, in all layers or from a resolution on.

    Works between generators with a common ancestor: interpolating weights is section F of StyleGAN-NADA's appendix
    (arXiv 2108.00946), and layer swapping (Pinkney and Adler, arXiv 2010.05334) is `share` = 1 from a resolution on:
    the coarse layers of the first decide pose and shape, the fine ones of the second the looks.

    Args:
        first, second: of the same shape; they are not changed.
        share: of the second, 0..1.
        from_resolution: the blocks below, in pixels, stay those of the first. 4 blends all, and the mapping network
            too; otherwise that, which all layers share, is the first's.

    Returns:
        A new generator on the first one's device; `metadata["blends"]` says what it is made of.

    Raises:
        UsageError: the shapes differ, `share` is out of range or there are no layers from that resolution on.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share is {share}; it must be in 0..1, the part of the second generator")
    resolution = first.config.resolution
    if not 4 <= from_resolution <= resolution:
        raise UsageError(f"from_resolution is {from_resolution}; this generator has layers of 4..{resolution} px")
    others = second.state_dict()
    memo = {}
    for name, tensor in first.state_dict(keep_vars=True).items():
        other = others.get(name)
        if other is None or other.shape != tensor.shape or len(others) != len(first.state_dict()):
            raise UsageError(
                f"the generators have different shapes ({resolution} and {second.config.resolution} px); blend two "
                "that come from the same base"
            )
        part = share if max(first.resolution_of(name), 4) >= from_resolution else 0.0
        data = tensor.detach().lerp(other.to(tensor), part) if part else tensor.detach()
        memo[id(tensor)] = nn.Parameter(data, requires_grad=False) if isinstance(tensor, nn.Parameter) else data
    blended = copy.deepcopy(first, memo)
    entry = {"with": second.fingerprint(), "share": share, "from_resolution": from_resolution}
    blended.metadata["blends"] = [*first.metadata.get("blends", []), entry]
    return blended
