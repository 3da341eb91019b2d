"""How far generated images are from photos: pixels at several scales, features of CLIP, and LPIPS."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clip.features import feature_distance, image_features
from ..clip.models import ClipEnsemble
from ..pictures.convert import to_rgb
from .lpips import Lpips

LARGEST, SMALLEST = 256, 8  # px: sides of the pyramid's levels


class PhotoDistance:
    """The distance of images to photos, each image to its own; smaller is more alike.

    Args:
        photos: [N, 3, H, W] in [-1, 1], of the size of the images to come.
        weights: {name: weight} of "pyramid", "clip" and "lpips"; those of 0 cost nothing.
        clip: the models for "clip".
        lpips: the network for "lpips".
    """

    def __init__(
        self, photos: Tensor, weights: dict[str, float], clip: ClipEnsemble | None = None, lpips: Lpips | None = None
    ):
        self.photos = photos
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self._clip, self._lpips = clip, lpips
        with torch.no_grad():
            self._features = [image_features(model, photos) for model in clip or ()] if "clip" in self.weights else []
            self._layers = lpips.layers(photos) if lpips and "lpips" in self.weights else []

    def __call__(self, images: Tensor, part: slice = slice(None)) -> dict[str, Tensor]:
        """{name: distance of each image, [N]} before the weights; gradients flow to the images.

        Args:
            images: [N, C, H, W] about in [-1, 1].
            part: which of the photos they belong to.
        """
        images = to_rgb(images)
        found: dict[str, Tensor] = {}
        if "pyramid" in self.weights:
            found["pyramid"] = pyramid_distance(images, self.photos[part])
        if self._clip is not None and self._features:
            total = sum(model.weight for model in self._clip)
            terms = [
                model.weight / total * feature_distance(image_features(model, images), [f[part] for f in features])
                for model, features in zip(self._clip, self._features, strict=True)
            ]
            found["clip"] = reduce(torch.add, terms)
        if self._lpips is not None and self._layers:
            found["lpips"] = self._lpips.distance(self._lpips.layers(images), [layer[part] for layer in self._layers])
        return found

    def weighted(self, distances: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what a call returns: [N]."""
        return reduce(torch.add, (self.weights[name] * distance for name, distance in distances.items()))


def pyramid_distance(images: Tensor, photos: Tensor) -> Tensor:
    """Mean absolute difference over the scales from 256 px (or the images' size) down to 8 px: [N].

    Args:
        images, photos: [N, 3, H, W].
    """
    difference = images - photos
    shrink = max(1, max(difference.shape[-2:]) // LARGEST)
    difference = F.avg_pool2d(difference, shrink) if shrink > 1 else difference
    levels = [difference.abs().mean((1, 2, 3))]
    while min(difference.shape[-2:]) >= 2 * SMALLEST:
        difference = F.avg_pool2d(difference, 2)
        levels.append(difference.abs().mean((1, 2, 3)))
    return torch.stack(levels).mean(0)
