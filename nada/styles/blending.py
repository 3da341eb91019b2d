"""Blend two generators: interpolate their weights, or swap layers at a resolution."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..errors import UsageError
from ..generators import Generator


@torch.inference_mode(False)
@torch.no_grad()
def blend_generators(first: Generator, second: Generator, share: float = 0.5, from_resolution: int = 4) -> Generator:
    """Interpolate the weights of two generators, in all layers or only from a resolution upwards.

    This works between generators with a common ancestor. Interpolating weights is section F of StyleGAN-NADA's appendix
    (arXiv 2108.00946). Layer swapping (Pinkney and Adler, arXiv 2010.05334) is `share` = 1 from a resolution upwards:
    the first generator's coarse layers decide pose and shape, the second's fine layers decide color and texture.

    Args:
        first, second: generators of the same shape; they are not changed.
        share: share of the second generator, 0..1.
        from_resolution: resolution in pixels below which blocks stay those of the first generator. 4 blends all blocks
            and the mapping network; above 4, the mapping network, which all layers share, is the first's.

    Returns:
        A new generator on the first generator's device; `metadata["blends"]` records the blend.

    Raises:
        UsageError: the shapes differ, `share` is out of range, or there are no layers from that resolution upwards.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share is {share}; it must be in 0..1, where 1 is the second generator alone")
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
