"""The objective of an adaptation: losses in CLIP space between images of the frozen and the trained generator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property, partial, reduce

import torch
from torch import Tensor

from ..clip.features import style_features
from ..clip.models import ClipEnsemble, ClipModel
from ..generators.half_precision import half_precision
from ..losses import directional_loss, global_loss, relative_norm_loss, style_loss, within_domain_loss
from .cuda_graphs import Tensors
from .goal import Goal
from .pieces import Result, in_pieces

View = Callable[[Tensor], Tensor]
"""Crops or transforms images [N, 3, H, W] before CLIP sees them, in the same way for both generators."""


class Pair:
    """Embeddings of both generators' images under one CLIP model, each computed when a loss first needs it.

    Args:
        embed: maps images [N, 3, H, W] to embeddings [N, D].
        style_features: maps images to embeddings and to features [N, places, F], for the style loss.
        before, after: images [N, 3, H, W] of the frozen and of the trained generator.
        crop: cuts the same random parts out of both, for the patch loss.
        direction: unit vector [D], the change to learn.
        target: vector [D] to resemble, for the global loss.
        style: features [M, places, F] of the style images, for the style loss; None without it.
        known: cached embeddings of `before` by name; missing ones are added. Runs in lock-step share it.
    """

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        style_features: Callable[[Tensor], tuple[Tensor, Tensor]],
        before: Tensor,
        after: Tensor,
        crop: View | None,
        direction: Tensor,
        target: Tensor,
        style: Tensor | None,
        known: Tensors,
    ):
        self.embed, self.style_features, self.before, self.after, self.crop = embed, style_features, before, after, crop
        self.direction, self.target, self.style, self.known = direction, target, style, known

    @property
    def source(self) -> Tensor:
        """[N, D] embeddings of the frozen generator's images."""
        if "whole" not in self.known:
            with torch.no_grad():
                self.known["whole"] = self.embed(self.before)
        return self.known["whole"]

    @cached_property
    def adapted(self) -> Tensor:
        """[N, D] embeddings of the trained generator's images."""
        return self.embed(self.after) if self.style is None else self._adapted_features[0]

    @property
    def features(self) -> Tensor:
        """[N, places, F] features of the trained generator's images."""
        return self._adapted_features[1]

    @property
    def wanted(self) -> Tensor:
        """[M, places, F] features of the style images."""
        if self.style is None:
            raise ValueError("the style loss needs a goal with styles")
        return self.style

    @cached_property
    def _adapted_features(self) -> tuple[Tensor, Tensor]:
        return self.style_features(self.after)

    @property
    def source_parts(self) -> Tensor:
        """[N, D] embeddings of random parts of the frozen generator's images."""
        if "parts" not in self.known:
            with torch.no_grad():
                self.known["parts"] = self.embed(self._cropped(self.before))
        return self.known["parts"]

    @cached_property
    def adapted_parts(self) -> Tensor:
        """[N, D] embeddings of the same parts of the trained generator's images."""
        return self.embed(self._cropped(self.after))

    def _cropped(self, images: Tensor) -> Tensor:
        if self.crop is None:
            raise ValueError("the patch loss needs a crop; pass one to Objective.losses")
        return self.crop(images)


LOSSES: dict[str, Callable[[Pair], Tensor]] = {  # the weight of a loss is the configuration's NAME_weight
    "directional": lambda pair: directional_loss(pair.source, pair.adapted, pair.direction),
    "global": lambda pair: global_loss(pair.adapted, pair.target),
    "norm": lambda pair: relative_norm_loss(pair.source, pair.adapted),
    "angle": lambda pair: within_domain_loss(pair.source, pair.adapted),
    # Every part gets the whole phrase's direction: a change of the whole image, such as a style, changes each part.
    "patch": lambda pair: directional_loss(pair.source_parts, pair.adapted_parts, pair.direction),
    "style": lambda pair: style_loss(pair.features, pair.wanted),
}


class Objective:
    """The weighted losses of a batch, summed over the CLIP models with their weights (StyleGAN-NADA section 4.1).

    Args:
        clip: the CLIP models.
        goal: directions and targets, one for each model.
        weights: {name in `LOSSES`: weight}, without the losses of weight 0.
        bfloat16: whether images are embedded in bfloat16.
    """

    def __init__(self, clip: ClipEnsemble, goal: Goal, weights: dict[str, float], bfloat16: bool = False):
        self.clip, self.goal, self.weights, self.bfloat16 = clip, goal, weights, bfloat16

    def losses(
        self,
        before: Tensor,
        after: Tensor,
        crop: View | None = None,
        pieces: int = 1,
        known: dict[int, Tensors] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the losses of images, and the gradient of their weighted sum.

        The CLIP models are processed one after the other, so that only one backward pass is in memory at a time.

        Args:
            before, after: [N, 3, H, W] images of the frozen and of the trained generator.
            crop: cuts the same random parts out of both, for the patch loss.
            pieces: number of chunks in which each batch is embedded; more need less memory.
            known: cached embeddings of `before` by index of the CLIP model; missing ones are added.

        Returns:
            The unweighted losses {loss: []}, and the gradient [N, 3, H, W] of their weighted sum with respect to
            `after`.
        """
        after = after.detach().requires_grad_(True)
        losses: dict[str, Tensor] = {name: after.new_zeros([]) for name in self.weights}
        gradient = torch.zeros_like(after)
        known = {} if known is None else known
        styles = self.goal.styles if "style" in self.weights else [None] * len(self.clip)
        aims = zip(self.clip, self.goal.directions, self.goal.targets, styles, strict=True)
        for place, (model, direction, target, style) in enumerate(aims):
            embed = partial(self.embed, model, pieces=pieces)
            features = partial(self.style_features, model, pieces=pieces)
            pair = Pair(embed, features, before, after, crop, direction, target, style, known.setdefault(place, {}))
            found = {name: model.weight * LOSSES[name](pair) for name in self.weights}
            gradient = gradient + torch.autograd.grad(self.weighted(found), after)[0]
            losses = {name: losses[name] + loss.detach() for name, loss in found.items()}
        return losses, gradient

    def weighted(self, losses: dict[str, Tensor]) -> Tensor:
        """Sum the weighted losses: the value [] to minimize."""
        return reduce(torch.add, (weight * losses[name] for name, weight in self.weights.items()))

    def distance(self, images: Tensor, pieces: int = 1) -> Tensor:
        """Mean global loss [] of images [N, 3, H, W], by which layers are selected (section 4.2)."""
        terms = [
            model.weight * global_loss(self.embed(model, images, pieces=pieces), target)
            for model, target in zip(self.clip, self.goal.targets, strict=True)
        ]
        return reduce(torch.add, terms)

    def embed(self, model: ClipModel, images: Tensor, pieces: int = 1) -> Tensor:
        """Embed images [N, 3, H, W] with one model, in chunks: [N, D]."""
        return self._in_pieces(model.encode_image, images, pieces)

    def style_features(self, model: ClipModel, images: Tensor, pieces: int = 1) -> tuple[Tensor, Tensor]:
        """Compute `clip.features.style_features` of images in chunks: [N, D] and [N, places, F]."""
        return self._in_pieces(partial(style_features, model), images, pieces)

    def _in_pieces(self, function: Callable[[Tensor], Result], images: Tensor, pieces: int) -> Result:
        """Apply a function of images in chunks, in bfloat16 if the run is."""

        def piece(part: slice) -> Result:
            # inside the chunk, since the recomputation for the gradient enters no context of ours
            with half_precision(images.device) if self.bfloat16 else nullcontext():
                return function(images[part])

        return in_pieces(piece, len(images), pieces)
