"""The losses of a step: what each compares of a batch, as one CLIP model sees it before and after the change."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from ..losses import directional_loss, global_loss, relative_norm_loss, within_domain_loss


class Pair:
    """A batch of both twins through one CLIP model; each embedding is made when a loss first asks for it.

    Args:
        embed: images [N, 3, H, W] -> [N, D], what the CLIP model sees.
        before, after: [N, 3, R, R] images of the frozen and of the trained generator.
        crop: shows the same random part of both, for the patch loss.
        direction: [D] of length 1, the change to learn.
        target: [D], what to resemble.
    """

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        before: Tensor,
        after: Tensor,
        crop: Callable[[Tensor], Tensor],
        direction: Tensor,
        target: Tensor,
    ):
        self.embed, self.before, self.after, self.crop = embed, before, after, crop
        self.direction, self.target = direction, target

    @cached_property
    def source(self) -> Tensor:
        """[N, D] embeddings of the frozen generator's images."""
        with torch.no_grad():
            return self.embed(self.before)

    @cached_property
    def adapted(self) -> Tensor:
        """[N, D] those of the trained generator's."""
        return self.embed(self.after)

    @cached_property
    def source_parts(self) -> Tensor:
        """[N, D] embeddings of random parts of the frozen generator's images."""
        with torch.no_grad():
            return self.embed(self.crop(self.before))

    @cached_property
    def adapted_parts(self) -> Tensor:
        """[N, D] those of the same parts of the trained generator's."""
        return self.embed(self.crop(self.after))


LOSSES: dict[str, Callable[[Pair], Tensor]] = {  # their weights are the configuration's NAME_weight
    "directional": lambda pair: directional_loss(pair.source, pair.adapted, pair.direction),
    "global": lambda pair: global_loss(pair.adapted, pair.target),
    "norm": lambda pair: relative_norm_loss(pair.source, pair.adapted),
    "angle": lambda pair: within_domain_loss(pair.source, pair.adapted),
    # The whole phrase's direction for every part: what changes everywhere, such as a style, changes in each of them.
    "patch": lambda pair: directional_loss(pair.source_parts, pair.adapted_parts, pair.direction),
}
